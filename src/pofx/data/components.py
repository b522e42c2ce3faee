"""Principal components of rows: few numbers for many, each of unit variance in the data."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA


@dataclass(frozen=True)
class Components:
    """Rows = mean + codes @ directions; `directions` (few, numbers) carry the deviations of the codes."""

    mean: Float[np.ndarray, "numbers"]
    directions: Float[np.ndarray, "few numbers"]

    @classmethod
    def fit(cls, rows: Float[np.ndarray, "n numbers"], most: int) -> Self:
        """At most so many, and a quarter of the rows."""
        few = max(1, min(most, len(rows) // 4, *rows.shape))
        found = PCA(few, svd_solver="full").fit(rows)
        deviations = np.sqrt(found.explained_variance_ * (1 - 1 / len(rows)))
        return cls(found.mean_, found.components_ * (deviations[:, None] + 1e-9))

    def encode(self, rows: Float[np.ndarray, "n numbers"]) -> Float[np.ndarray, "n few"]:
        """Rows → codes."""
        size = (self.directions**2).sum(1, keepdims=True)
        return np.asarray((rows - self.mean) @ (self.directions / size).T)

    def decode(self, codes: Float[np.ndarray, "n few"]) -> Float[np.ndarray, "n numbers"]:
        """Codes → rows."""
        return np.asarray(self.mean + codes @ self.directions)
