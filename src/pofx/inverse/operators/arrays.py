"""Linear functions of numpy's arrays as operators: tabulated once, for they have no derivatives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import UsageError
from pofx.inverse.operators.projection import Matrix

CHUNK, TOLERANCE = 256, 1e-4  # rows of the identity at once; of sums
LARGEST = 30_000_000  # numbers of a matrix
Shape = tuple[int, ...]


class Tabulated(Matrix):
    """A matrix whose measurements have a shape."""

    def __init__(self, shape: Shape, matrix: Any, sides: Shape) -> None:
        super().__init__(shape, matrix)
        self.sides = sides

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).reshape(len(x), *self.sides)

    def adjoint(self, y: Tensor) -> Tensor:
        return super().adjoint(y.reshape(len(y), -1))


def takes(function: Callable[..., Any], shape: Shape) -> bool:
    """Whether a function is one of arrays: it returns an array, or fails on tensors alone."""
    try:
        with torch.no_grad():
            return isinstance(function(torch.zeros(2, *shape)), np.ndarray)
    except Exception:  # whatever a function of the user's raises
        try:
            return isinstance(function(np.zeros((2, *shape))), np.ndarray)
        except Exception:
            return False


def tabulated(function: Callable[[np.ndarray], Any], shape: Shape) -> Tabulated:
    """The matrix of a linear function from arrays (n, *shape) to n measurements. One that mixes the items of a batch,
    such as a filter along all axes, is applied to each by itself, as an array (1, *shape).

    Raises:
        UsageError: it fails, returns something else than finite numbers of each item, is not linear, or is too large.
    """
    rng = np.random.default_rng(0)
    x = rng.random((3, *shape))

    def one(item: np.ndarray) -> np.ndarray:
        return measured(function, item[None])[0]

    alone = np.stack([one(item) for item in x])
    try:
        together = measured(function, x)
        apart = together.shape == alone.shape and np.allclose(together, alone, rtol=1e-5, atol=1e-7)
    except UsageError:
        apart = False
    many = (lambda batch: measured(function, batch)) if apart else lambda batch: np.stack([one(item) for item in batch])
    size, sides = int(np.prod(shape)), alone.shape[1:]
    largest = size * int(np.prod(sides))
    if largest > LARGEST:
        raise UsageError(
            f"a function of arrays is tabulated, and {largest:,} numbers are too many: write it with functions of torch"
        )
    mixed = 0.5 * x[0] - 2 * x[1]
    gap = np.abs(one(mixed) - (0.5 * alone[0] - 2 * alone[1])).max(initial=0.0)
    if not gap <= TOLERANCE * max(np.abs(alone).max(initial=0.0), 1e-12):
        raise UsageError(
            "a function of arrays must be linear and not random, for it has no derivatives: write others with "
            "functions of torch, from a tensor to a tensor"
        )
    identity = np.eye(size).reshape(size, *shape)
    columns = [many(identity[i : i + CHUNK]).reshape(-1, largest // size) for i in range(0, size, CHUNK)]
    return Tabulated(shape, np.concatenate(columns).T, sides)


def measured(function: Callable[[np.ndarray], Any], x: np.ndarray) -> np.ndarray:
    """What a function makes of items.

    Raises:
        UsageError: it fails, or returns something else than finite numbers of each item.
    """
    try:
        found = np.asarray(function(x.copy()))
    except Exception as error:  # whatever a function of the user's raises
        raise UsageError(
            f"the operator must take items of shape {x.shape[1:]} (got {type(error).__name__}: {error})"
        ) from error
    if found.dtype.kind not in "biufc" or found.ndim == 0 or len(found) != len(x):
        raise UsageError(
            f"the operator must return numbers, one measurement for each of {len(x)} items (got {found.dtype} "
            f"{found.shape})"
        )
    if not np.isfinite(found).all():
        raise UsageError("the operator must return finite numbers for items from 0 to 1 (got NaN or infinity)")
    return found
