"""Measurements in the places of an item: all with noise, some of them, means of blocks, blurred ones."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pofx.core.errors import DataError, UsageError
from pofx.inverse.operator import Operator, as_numbers


class Identity(Operator):
    """y is x with noise: denoising."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()

    def adjoint(self, y: Tensor) -> Tensor:
        return y.clone()


class Mask(Operator):
    """Some of the numbers of an item: inpainting of the others. Measurements are the known numbers in their order;
    whole items are accepted, of which the others are not looked at.

    Args:
        mask: true where an item is known: of its shape, or of its places without channels.
    """

    def __init__(self, shape: tuple[int, ...], mask: Any) -> None:
        super().__init__(shape)
        known = torch.as_tensor(np.asarray(mask) > 0)
        if known.ndim == len(self.shape) - 1:
            known = known[None]
        if known.ndim != len(self.shape) or any(a not in (1, b) for a, b in zip(known.shape, self.shape, strict=True)):
            raise DataError(f"a mask must have the shape of an item, {self.shape} (got {tuple(known.shape)})")
        self.mask = known.expand(self.shape).contiguous()
        if not bool(self.mask.any()):
            raise DataError("a mask must leave something known (got none): make it true where the item is measured")

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.mask.to(x.device)]

    def adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros(len(y), *self.shape)
        x[:, self.mask.to(y.device)] = y
        return x

    def taken(self, y: Any) -> Tensor:
        array = as_numbers(y)
        size = math.prod(self.shape)
        if array.ndim and array.numel() % size == 0 and array.shape[-1] == self.shape[-1] and array.numel():
            return super().taken(array.reshape(-1, *self.shape)[:, self.mask])
        return super().taken(array)


class Reduce(Operator):
    """Means of blocks of `factor` places along each side: super-resolution."""

    def __init__(self, shape: tuple[int, ...], factor: int = 4) -> None:
        super().__init__(shape)
        self.factor = int(factor)
        sides = self.shape[1:] if len(self.shape) > 1 else self.shape
        if self.factor < 1 or any(side % self.factor for side in sides):
            raise UsageError(f"factor must divide the sides {sides} of an item (got {factor})")

    def forward(self, x: Tensor) -> Tensor:
        pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[max(len(self.shape) - 2, 0)]
        return pool(x[:, None], self.factor)[:, 0] if len(self.shape) == 1 else pool(x, self.factor)

    def adjoint(self, y: Tensor) -> Tensor:
        first = 2 if len(self.shape) > 1 else 1
        for axis in range(first, y.ndim):
            y = y.repeat_interleave(self.factor, axis)
        return y / self.factor ** (y.ndim - first)


class Grey(Operator):
    """Means of the channels: colour is lost."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        if len(self.shape) < 2 or self.shape[0] < 2:
            raise UsageError(f"grey takes items of several channels (got shape {self.shape})")

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        return (y / self.shape[0]).expand(-1, *self.shape).clone()


class Blur(Operator):
    """Convolution of each channel with a kernel, nothing beyond the edges.

    Args:
        kernel: of odd sides, (height, width); of signals (length,).
    """

    def __init__(self, shape: tuple[int, ...], kernel: Any) -> None:
        super().__init__(shape)
        weights = torch.as_tensor(np.asarray(kernel, np.float64))
        weights = weights[None] if weights.ndim == 1 else weights
        if weights.ndim != 2 or any(side % 2 == 0 for side in weights.shape):
            raise UsageError(f"a kernel must have odd sides (got {tuple(weights.shape)})")
        self.kernel = weights

    def _convolved(self, x: Tensor, kernel: Tensor) -> Tensor:
        n, (height, width) = len(x), (1, *self.shape)[-2:]
        pad = tuple(side // 2 for side in kernel.shape)
        flat = x.reshape(-1, 1, height, width)
        return F.conv2d(flat, kernel.to(x)[None, None], padding=pad).reshape(n, *self.shape)

    def forward(self, x: Tensor) -> Tensor:
        return self._convolved(x, self.kernel.flip(0, 1))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._convolved(y, self.kernel)


def gaussian_kernel(sigma: float, *, flat: bool = False) -> Tensor:
    """Weights that add up to 1, (2 r + 1, 2 r + 1) with r = 3 sigma; `flat`: of one axis."""
    if not sigma > 0:
        raise UsageError(f"sigma must be positive (got {sigma})")
    reach = max(1, math.ceil(3 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2)
    line = line / line.sum()
    return line[None] if flat else torch.outer(line, line)


def motion_kernel(length: float, angle: float = 0.0) -> Tensor:
    """A line of a length in places at an angle in degrees, drawn finely: weights that add up to 1."""
    if not 1 <= length <= 255:
        raise UsageError(f"length must be 1 to 255 places (got {length})")
    reach = math.ceil(length / 2)
    at = torch.linspace(-length / 2, length / 2, 64 * reach, dtype=torch.float64)
    turn = math.radians(angle)
    kernel = torch.zeros(2 * reach + 1, 2 * reach + 1, dtype=torch.float64)
    rows = (reach - at * math.sin(turn)).round().long().clamp(0, 2 * reach)
    columns = (reach + at * math.cos(turn)).round().long().clamp(0, 2 * reach)
    kernel.index_put_((rows, columns), torch.ones_like(at), accumulate=True)
    return kernel / kernel.sum()


def box(shape: tuple[int, ...], side: int = 0) -> Tensor:
    """A mask that hides a box of this side in the middle, by default 3/7 of the shortest: bool of an item's places."""
    places = shape[1:] if len(shape) > 1 else shape
    side = side or max(1, round(min(places) * 3 / 7))
    known = torch.ones(places, dtype=torch.bool)
    known[tuple(slice((s - min(side, s)) // 2, (s - min(side, s)) // 2 + min(side, s)) for s in places)] = False
    return known


def scattered(shape: tuple[int, ...], missing: float = 0.7, seed: int = 0) -> Tensor:
    """A mask that hides this share of the places at random."""
    if not 0 <= missing < 1:
        raise UsageError(f"missing must lie in [0, 1) (got {missing})")
    places = shape[1:] if len(shape) > 1 else shape
    return torch.rand(places, generator=torch.Generator().manual_seed(seed)) >= missing
