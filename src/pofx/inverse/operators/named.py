"""Operators by name, as the command line and short calls use them."""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import numpy as np
from scipy.sparse import issparse

from pofx.core.errors import UsageError, unknown
from pofx.core.options import check_value
from pofx.inverse.operator import Foreign, Function, LinearMap, Operator, examined, is_linear
from pofx.inverse.operators import arrays, grid, projection

Shape = tuple[int, ...]


def denoise(shape: Shape) -> Operator:
    """The item itself, with noise."""
    return grid.Identity(shape)


def inpaint(shape: Shape, mask: Any = None, missing: float | None = None, box: int = 0, seed: int = 0) -> Operator:
    """All but a box in the middle, or but a random share `missing`, or where `mask` is true."""
    if mask is None:
        mask = grid.box(shape, box) if missing is None else grid.scattered(shape, missing, seed)
    return grid.Mask(shape, mask)


def superres(shape: Shape, factor: int = 4) -> Operator:
    """Means of blocks."""
    return grid.Reduce(shape, factor)


def grey(shape: Shape) -> Operator:
    """Means of the channels: restoring is to colour."""
    return grid.Grey(shape)


def blur(shape: Shape, sigma: float = 1.5, kernel: Any = None) -> Operator:
    """A Gaussian blur, sigma in places, or the convolution with a kernel of odd sides."""
    return grid.Blur(shape, grid.gaussian_kernel(sigma, flat=len(shape) == 1) if kernel is None else kernel)


def motion(shape: Shape, length: float = 9.0, angle: float = 0.0) -> Operator:
    """A motion blur along a line."""
    return grid.Blur(shape, grid.motion_kernel(length, angle))


def sensing(shape: Shape, m: int = 25, seed: int = 0, matrix: Any = None) -> Operator:
    """Random projections, or those of a matrix (m, numbers of an item): compressed sensing."""
    return projection.sensing(shape, m, seed) if matrix is None else projection.Matrix(shape, matrix)


def mri(
    shape: Shape,
    acceleration: float = 4.0,
    centre: float = 0.08,
    spokes: int = 0,
    coils: Any = 1,
    seed: int = 0,
    mask: Any = None,
    centred: bool = False,
) -> Operator:
    """Fourier coefficients: random columns, `spokes` lines through the middle, or where `mask` is true; by several
    coils, their number or their sensitivities (k, height, width). centred: phases count from the middle of the image,
    as in scanners' files."""
    if len(shape) != 3:
        raise UsageError(f"mri takes images (got items of shape {shape})")
    sides = (shape[-2], shape[-1])
    if mask is None:
        mask = projection.radial(sides, spokes) if spokes else projection.cartesian(sides, acceleration, centre, seed)
    elif np.ndim(mask) == 1:  # columns
        mask = np.broadcast_to(np.asarray(mask), sides)
    if np.ndim(coils) == 0:
        if not isinstance(coils, int) or not 1 <= coils <= 1024:
            raise UsageError(f"coils must be 1 to 1024, or sensitivities (k, height, width) (got {coils!r})")
        coils = projection.smooth_coils(sides, coils) if coils > 1 else None
    return projection.Fourier(shape, mask, coils, complex_items=shape[0] == 2, centred=centred)


def tomography(shape: Shape, angles: Any = 30) -> Operator:
    """Line integrals at evenly spaced angles, or at those in degrees."""
    return projection.Radon(shape, angles)


def phase(shape: Shape, m: int = 0, seed: int = 0, matrix: Any = None) -> Operator:
    """Magnitudes of random complex projections, or of those of a matrix: phase retrieval."""
    if matrix is not None:
        return projection.Magnitude(projection.Matrix(shape, matrix))
    return projection.phase_retrieval(shape, m, seed)


OPERATORS: Mapping[str, Callable[..., Operator]] = {
    f.__name__: f for f in (denoise, inpaint, superres, grey, blur, motion, sensing, mri, tomography, phase)
}


def operator_of(given: Any, shape: Shape, options: Mapping[str, Any] | None = None) -> Operator:
    """An operator on items of this shape: by name with options, an `Operator`, a matrix, a physics object with `A`, or
    any differentiable function of tensors (n, *shape); or a matrix of scipy, or a linear function of numpy's arrays.

    Raises:
        UsageError: an unknown name or option, or an operator for items of another shape.
    """
    options = dict(options or {})
    if isinstance(given, str):
        if given not in OPERATORS:
            raise unknown("operator", given, OPERATORS)
        known = tuple(signature(OPERATORS[given]).parameters)[1:]
        for name, value in options.items():
            if name not in known:
                raise unknown(f"option of the operator {given}", name, known)
            check_value(name, value, signature(OPERATORS[given]).parameters[name].annotation)
        return OPERATORS[given](shape, **options)
    if options:
        raise UsageError("options belong to an operator that is given by its name: leave them out")
    if isinstance(given, Operator):
        if given.shape != tuple(shape):
            raise UsageError(f"the operator must take items of shape {tuple(shape)} (got {given.shape})")
        return examined(given)
    if issparse(given) or (callable(getattr(given, "matvec", None)) and callable(getattr(given, "rmatvec", None))):
        return examined(LinearMap(shape, given))
    if callable(getattr(given, "A", None)):
        return examined(Foreign(shape, given))
    if callable(given) and arrays.takes(given, shape):
        return arrays.tabulated(given, shape)
    if callable(given):
        made = examined(Function(shape, given))
        return Function(shape, given, linear=True) if is_linear(made) else made
    if hasattr(given, "shape") and len(given.shape) == 2:
        return projection.Matrix(shape, given)
    raise UsageError(
        f"an operator must be a name ({', '.join(OPERATORS)}), an Operator, a matrix, a linear operator of scipy, an "
        f"object with A, or a function (got {type(given).__name__})"
    )
