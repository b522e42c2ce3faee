"""The map from a stated support to the whole space, column by column or of the simplex as one, in float64."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pofx.data.support import SIMPLEX
from pofx.maths.transforms import from_line, inside, simplex_to_space, space_to_simplex, to_line

REAL = -1  # decimals of a column without a grid


class Opening:
    """Raw columns (n, d) ↔ unbounded ones (n, e), with log-determinants; e is d, or d - 1 for a simplex.

    Columns on a grid are counted in its steps; there the ends belong to the support, and the step of the last value
    reaches one beyond it.
    """

    def __init__(self, support: Any, columns: Sequence[str], decimals: Sequence[int]) -> None:
        self.simplex = support == SIMPLEX
        self.bounded = bool(support)
        self.dims = len(columns) - self.simplex
        low, high = np.full(len(columns), -np.inf), np.full(len(columns), np.inf)
        for i, (column, places) in enumerate(zip(columns, decimals, strict=True)):
            ends = None if self.simplex else (support or {}).get(column)
            if ends is not None:
                step = 10.0 ** max(places, 0)
                on_grid = places != REAL
                least = -np.inf if ends[0] is None else ends[0] * step
                most = np.inf if ends[1] is None else ends[1] * step
                low[i] = np.ceil(least - 1e-6) if on_grid else least
                high[i] = np.floor(most + 1e-6) + 1 if on_grid else most
        self.low, self.high = torch.from_numpy(low), torch.from_numpy(high)

    def ends(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return self.low.to(device), self.high.to(device)

    def slopes(self, raw: Tensor) -> Tensor:
        """|dy/dx| of each column, where columns go one by one: float64 (n, d)."""
        return torch.ones_like(raw) if self.simplex else to_line(raw, *self.ends(raw.device))[1].exp()

    def forward(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Raw (n, d) → unbounded (n, e) and log|det|, of each column (n, d) or of all of a simplex (n, 1)."""
        if not self.bounded:
            return raw, torch.zeros_like(raw)
        if self.simplex:
            y, ladj = simplex_to_space(raw / raw.sum(-1, keepdim=True))
            return y, ladj[:, None]
        return to_line(raw, *self.ends(raw.device))

    def back(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Unbounded (n, e) → raw (n, d), strictly inside the support, and log|det d raw / d y| (n,)."""
        if not self.bounded:
            return y, torch.zeros(len(y), dtype=y.dtype, device=y.device)
        if self.simplex:
            return space_to_simplex(y)
        low, high = self.ends(y.device)
        x, ladj = from_line(y, low.to(y.dtype), high.to(y.dtype))
        return x, ladj.sum(-1)


def kept_inside(values: np.ndarray, dtype: str, low: float | None, high: float | None) -> np.ndarray:
    """Values of an open interval, strictly inside it after rounding to their type too."""
    exact = torch.tensor([-np.inf if low is None else low, np.inf if high is None else high], dtype=torch.float64)
    ends = exact.to(getattr(torch, np.dtype(dtype).name))
    bottom, top = (v.numpy()[0] for v in inside(ends[:1], ends[1:]))
    with np.errstate(over="ignore"):
        return np.asarray(values.astype(dtype).clip(bottom, top), dtype=dtype)
