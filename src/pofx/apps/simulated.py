"""Simulations as the data of a training: which are held out, the size of a batch, and what they are conditioned on."""

from dataclasses import replace
from typing import Any

import numpy as np

from pofx.data.conditions import conditioned

HELD_OUT = 0.1  # share of simulations for validation, and as many, at most MOST, for calibration
MOST = 1_000


def held_out_of(n: int) -> int:
    """Of n simulations those that validate, and as many that check."""
    return min(max(int(HELD_OUT * n), min(20, n // 3)), MOST)


def budget_of(n: int) -> tuple[int, int]:
    """The batch and the steps of a training on n simulations."""
    batch = int(np.clip(n // 16, 32, 256))
    return batch, int(np.clip(100 * n / batch, 800, 4_000))


def conditioned_splits(whole: Any, conditions: np.ndarray) -> Any:
    """A data set whose splits have these conditions, in their order."""
    parts, at = {}, 0
    for name in ("train", "validation", "test"):
        items = getattr(whole, name)
        parts[name] = conditioned(items, conditions[at : at + len(items)])
        at += len(items)
    return replace(whole, **parts)
