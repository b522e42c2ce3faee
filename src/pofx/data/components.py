"""Principal components of rows: few numbers for many, each of unit variance in the data."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Components:
    """Rows = mean + codes @ directions; `directions` (few, numbers) carry the deviations of the codes."""

    mean: Float[np.ndarray, "numbers"]
    directions: Float[np.ndarray, "few numbers"]

    @classmethod
    def fit(cls, rows: Float[np.ndarray, "n numbers"], most: int) -> Self:
        """At most so many, and a quarter of the rows."""
        mean = rows.mean(0)
        _, sizes, directions = np.linalg.svd(rows - mean, full_matrices=False)
        few = max(1, min(most, len(rows) // 4, len(directions)))
        return cls(mean, directions[:few] * (sizes[:few, None] / len(rows) ** 0.5 + 1e-9))

    def encode(self, rows: Float[np.ndarray, "n numbers"]) -> Float[np.ndarray, "n few"]:
        size = (self.directions**2).sum(1, keepdims=True)
        return np.asarray((rows - self.mean) @ (self.directions / size).T)

    def decode(self, codes: Float[np.ndarray, "n few"]) -> Float[np.ndarray, "n numbers"]:
        return np.asarray(self.mean + codes @ self.directions)
