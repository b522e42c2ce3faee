"""Observations of a simulator: their shape, and whether they are like what was simulated."""

import math
import warnings
from typing import Any

import numpy as np

from pofx.core.errors import DataError

LEAST_SEEN, BEYOND = 20, 0.5  # simulations that have a range, and shares of it beyond which an observation is odd


def in_rows(x: np.ndarray) -> np.ndarray:
    """Data (n,) as (n, 1), and those of more than two axes as (n, first, others)."""
    return x[:, None] if x.ndim == 1 else x.reshape(*x.shape[:2], -1) if x.ndim > 3 else x


def checked(x: Any, shape: tuple[int, ...]) -> np.ndarray:
    """An observation as the simulator's data are.

    Raises:
        DataError: another shape, or values that are not finite.
    """
    found = np.asarray(x, np.float64)
    if found.shape == (1, *shape) or found.size == math.prod(shape) == 1:
        found = found.reshape(shape)
    if found.shape != shape and len(shape) == 2 and found.size == math.prod(shape):
        found = in_rows(found[None])[0]
    if found.shape != shape:
        raise DataError(f"the observation must have the shape {shape} of the simulated data (got {found.shape})")
    if not np.isfinite(found).all():
        raise DataError("the observation has values that are not finite: remove or fill them first")
    return found


def warn_beyond(x: np.ndarray, seen: np.ndarray) -> None:
    """Warn of an observation unlike all simulations: its posterior would be an extrapolation, however sure it looks."""
    if len(seen) < LEAST_SEEN:
        return
    low, high = seen.min(0), seen.max(0)
    beyond = np.maximum(low - x, x - high) / np.maximum(high - low, 1e-300)
    if (far := float(beyond.max())) > BEYOND:
        warnings.warn(
            f"the observation lies {far:.1f} times the range of the simulated data beyond it: the posterior is an "
            "extrapolation, check the simulator and the prior",
            stacklevel=4,
        )
