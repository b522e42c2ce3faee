"""Measurements that mix all places: random projections, Fourier coefficients, line integrals, and magnitudes of them.

Compressed sensing: Candès, Romberg and Tao, 2006, arXiv math/0409186. Magnetic resonance with several coils: Pruessmann
et al., 1999 (SENSE). Line integrals: Radon, 1917. Phase retrieval: Fienup, 1982.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pofx.core.errors import DataError, UsageError
from pofx.inverse.operator import Operator, as_numbers


class Matrix(Operator):
    """y = M x of the flattened item, M (m, d) real or complex."""

    def __init__(self, shape: tuple[int, ...], matrix: Any) -> None:
        super().__init__(shape)
        self.matrix = matrix.detach() if isinstance(matrix, Tensor) else torch.as_tensor(np.require(matrix, None, "W"))
        if self.matrix.ndim != 2 or self.matrix.shape[1] != math.prod(self.shape):
            raise UsageError(
                f"the matrix must have {math.prod(self.shape)} columns, the numbers of an item (got shape "
                f"{tuple(self.matrix.shape)})"
            )

    def _as(self, x: Tensor) -> Tensor:
        double = x.dtype in (torch.float64, torch.complex128)
        if self.matrix.is_complex():
            return self.matrix.to(x.device, torch.complex128 if double else torch.complex64)
        return self.matrix.to(x.device, torch.float64 if double else torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        matrix = self._as(x)
        return x.flatten(1).to(matrix.dtype) @ matrix.T

    def adjoint(self, y: Tensor) -> Tensor:
        back = y @ self._as(y).conj()
        return (back.real if back.is_complex() else back).reshape(len(y), *self.shape)

    def shown(self, y: Tensor) -> Tensor:
        return self.adjoint(y)


def sensing(shape: tuple[int, ...], m: int = 25, seed: int = 0) -> Matrix:
    """Compressed sensing: m random projections with entries N(0, 1 / m)."""
    if m < 1:
        raise UsageError(f"m must be at least 1 (got {m})")
    draw = torch.Generator().manual_seed(seed)
    return Matrix(shape, torch.randn(m, math.prod(shape), generator=draw, dtype=torch.float64) / math.sqrt(m))


class Fourier(Operator):
    """Some Fourier coefficients (unitary, the lowest in the middle) of an item seen by one or several coils.

    Args:
        mask: bool (height, width): which coefficients are measured.
        coils: sensitivities (coils, height, width), complex; None: one coil that sees all alike.
        complex_items: items of two channels are real and imaginary part of one complex image.
        centred: phases count from the middle of the image, as in scanners' files, and not from its corner.

    Measurements are the coefficients where the mask is true, in their order; whole k-spaces (height, width) are
    accepted, of which the others are not looked at.
    """

    def __init__(
        self, shape: tuple[int, ...], mask: Any, coils: Any = None, *, complex_items: bool = False,
        centred: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(shape)
        self.mask = torch.as_tensor(np.asarray(mask) > 0)
        self.centred = centred
        if len(self.shape) != 3 or tuple(self.mask.shape) != self.shape[1:]:
            raise UsageError(f"the mask must have the places of an image, {self.shape[1:]} (got {self.mask.shape})")
        if complex_items and self.shape[0] != 2:
            raise UsageError(f"complex items have two channels, real and imaginary (got {self.shape[0]})")
        self.complex_items = complex_items
        self.coils = None if coils is None else torch.as_tensor(np.asarray(coils)).to(torch.complex128)
        if self.coils is not None and tuple(self.coils.shape[1:]) != self.shape[1:]:
            raise UsageError(f"coils must have shape (k, {self.shape[1]}, {self.shape[2]}) (got {self.coils.shape})")

    def forward(self, x: Tensor) -> Tensor:
        image = torch.complex(x[:, :1], x[:, 1:]) if self.complex_items else torch.complex(x, torch.zeros_like(x))
        if self.coils is not None:
            image = (image[:, :, None] * self.coils.to(image)).flatten(1, 2)
        image = torch.fft.ifftshift(image, (-2, -1)) if self.centred else image
        spectrum = torch.fft.fftshift(torch.fft.fft2(image, norm="ortho"), (-2, -1))
        return spectrum[:, :, self.mask.to(x.device)]

    def adjoint(self, y: Tensor) -> Tensor:
        spectrum = y.new_zeros(*y.shape[:2], *self.shape[1:])
        spectrum[:, :, self.mask.to(y.device)] = y
        image = torch.fft.ifft2(torch.fft.ifftshift(spectrum, (-2, -1)), norm="ortho")
        image = torch.fft.fftshift(image, (-2, -1)) if self.centred else image
        if self.coils is not None:
            image = image.reshape(len(y), -1, len(self.coils), *self.shape[1:])
            image = (image * self.coils.to(image).conj()).sum(2)
        return torch.cat((image.real, image.imag), 1) if self.complex_items else image.real

    def taken(self, y: Any) -> Tensor:
        array, sides = as_numbers(y), tuple(self.mask.shape)
        if tuple(array.shape[-3:]) == (*sides, 2) and not array.is_complex():
            array = torch.view_as_complex(array.double().contiguous())
        lead = self.out[0]
        if array.ndim == 4 and tuple(array.shape[-2:]) == sides and array.shape[1] != lead:
            raise DataError(
                f"k-spaces must be of {lead} coils, those of this operator (got {array.shape[1]}): pass coils= their "
                "number or their sensitivities (k, height, width)"
            )
        if tuple(array.shape[-2:]) == sides and array.numel() % (lead * math.prod(sides)) == 0 and array.numel():
            array = array.reshape(-1, lead, *sides)[..., self.mask]
        return super().taken(array)


def cartesian(sides: tuple[int, int], acceleration: float = 4.0, centre: float = 0.08, seed: int = 0) -> Tensor:
    """Columns of k-space: a share `centre` in the middle and random others, one in `acceleration` in all."""
    if not acceleration >= 1:
        raise UsageError(f"acceleration must be at least 1 (got {acceleration})")
    height, width = sides
    count, low = max(1, round(width / acceleration)), max(1, round(width * centre))
    middle = np.arange(width // 2 - low // 2, width // 2 - low // 2 + low)
    rest = np.setdiff1d(np.arange(width), middle)
    more = np.random.default_rng(seed).choice(rest, max(0, count - low), replace=False)
    columns = torch.zeros(width, dtype=torch.bool)
    columns[np.concatenate([middle, more])] = True
    return columns.expand(height, width).contiguous()


def radial(sides: tuple[int, int], spokes: int = 32) -> Tensor:
    """Grid points of k-space next to `spokes` lines through the middle."""
    if spokes < 1:
        raise UsageError(f"spokes must be at least 1 (got {spokes})")
    height, width = sides
    mask = torch.zeros(height, width, dtype=torch.bool)
    radius = torch.linspace(-0.5, 0.5, 4 * max(sides), dtype=torch.float64)
    for k in range(spokes):
        turn = math.pi * k / spokes
        rows = (height // 2 + radius * height * math.sin(turn)).round().long()
        columns = (width // 2 + radius * width * math.cos(turn)).round().long()
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        mask[rows[inside], columns[inside]] = True
    return mask


def smooth_coils(sides: tuple[int, int], count: int = 4) -> Tensor:
    """Made sensitivities of coils around an image, complex (count, height, width); their squares add up to 1."""
    rows, columns = (torch.linspace(-1, 1, side, dtype=torch.float64) for side in sides)
    parts = []
    for k in range(count):
        turn = 2 * math.pi * k / count
        gap = (rows[:, None] - math.sin(turn)) ** 2 + (columns[None] - math.cos(turn)) ** 2
        phase = math.cos(turn) * columns[None] + math.sin(turn) * rows[:, None]
        parts.append(torch.polar(torch.exp(-gap / 2), phase))
    coils = torch.stack(parts)
    return coils / coils.abs().square().sum(0).sqrt()


class Radon(Operator):
    """Line integrals at several angles, in units of the side: tomography of the disk in an image.

    Args:
        angles: in degrees, or how many, evenly over 180.
    """

    def __init__(self, shape: tuple[int, ...], angles: Any = 30) -> None:
        super().__init__(shape)
        if len(self.shape) != 3:
            raise UsageError(f"tomography takes images (got shape {self.shape})")
        turns = np.arange(angles) * 180 / angles if np.ndim(angles) == 0 else np.asarray(angles)
        self.turns = torch.deg2rad(torch.as_tensor(turns, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.shape[1:]
        out = []
        for turn in self.turns.tolist():
            cos, sin = math.cos(turn), math.sin(turn)
            theta = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]], dtype=x.dtype, device=x.device)
            grid = F.affine_grid(theta[None], [1, 1, height, width], align_corners=False).expand(len(x), -1, -1, -1)
            out.append(F.grid_sample(x, grid, align_corners=False).sum(2) / height)
        return torch.stack(out, 2)


class Magnitude(Operator):
    """|A x| of a linear operator: its phase is lost."""

    linear = False

    def __init__(self, inner: Operator) -> None:
        super().__init__(inner.shape)
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner.forward(x)
        square = y.real**2 + y.imag**2 if y.is_complex() else y**2
        return (square + 1e-12).sqrt()


def phase_retrieval(shape: tuple[int, ...], m: int = 0, seed: int = 0) -> Magnitude:
    """Magnitudes of m complex Gaussian projections; by default four for each number of an item."""
    count, d = m or 4 * math.prod(shape), math.prod(shape)
    draw = torch.Generator().manual_seed(seed)
    real, imag = (torch.randn(count, d, generator=draw, dtype=torch.float64) for _ in range(2))
    return Magnitude(Matrix(shape, torch.complex(real, imag) / math.sqrt(2 * d)))
