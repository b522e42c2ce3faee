"""A measurement y = A(x) + noise: operators between items as real tensors (n, *shape) and measurements (n, *out).

A linear operator has an adjoint with Re<A x, y> = <x, A* y>; where none is written, it is the transposed derivative of
`forward`. Measurements may be complex: their inner product is the real one of real and imaginary parts.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import aslinearoperator
from torch import Tensor

from pofx.core.errors import DataError, UsageError
from pofx.core.options import short


class Operator(ABC):
    """A known map from items of a shape to measurements.

    Attributes:
        shape: of an item, without the batch axis: (channels, height, width), or (d,).
        linear: whether `forward` is linear.
    """

    linear: bool = True

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = tuple(int(side) for side in shape)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Items (n, *shape) → measurements (n, *out), real or complex, differentiable."""

    def adjoint(self, y: Tensor) -> Tensor:
        """Measurements (n, *out) → (n, *shape): the transpose of `forward`."""
        if not self.linear:
            raise UsageError("an operator that is not linear has no adjoint: use a method that takes gradients")
        with torch.inference_mode(False), torch.enable_grad():
            kind = y.real.dtype if y.is_complex() else y.dtype
            x = torch.zeros(len(y), *self.shape, dtype=kind, device=y.device, requires_grad=True)
            (found,) = torch.autograd.grad(self.forward(x), x, y.clone())
        return found

    @cached_property
    def _blank(self) -> Tensor:
        with torch.no_grad():
            return self.forward(torch.zeros(1, *self.shape))

    @property
    def out(self) -> tuple[int, ...]:
        """The shape of a measurement."""
        return tuple(self._blank.shape[1:])

    def taken(self, y: Any) -> Tensor:
        """Measurements as users give them → (n, *out); one measurement is a batch of one.

        Raises:
            DataError: another shape, or values that are not finite.
        """
        array = as_numbers(y)
        if array.is_complex() and not self._blank.is_complex():
            raise DataError("measurements of this operator are real (got complex numbers): pass their real part")
        array = array.to(torch.complex64 if self._blank.is_complex() else torch.float32)
        size = int(np.prod(self.out))
        if array.numel() == 0 or array.numel() % size or not self.alike(tuple(array.shape)):
            raise DataError(f"measurements must have shape (n, {', '.join(map(str, self.out))}) (got {array.shape})")
        if not bool(torch.isfinite(torch.view_as_real(array) if array.is_complex() else array).all()):
            raise DataError("measurements have infinite values: make them NaN, which is unknown, or leave them out")
        return array.reshape(-1, *self.out)

    def alike(self, given: tuple[int, ...]) -> bool:
        """Whether a shape is that of measurements but for axes of one."""
        wide = tuple(side for side in self.out if side > 1)
        found = tuple(side for side in given if side > 1)
        return found == wide or found[1:] == wide

    def shown(self, y: Tensor) -> Tensor:
        """Measurements as something to look at, in the shape of items where that is possible."""
        return self.adjoint(y) if self.linear else y

    def __matmul__(self, inner: "Operator") -> "Operator":
        return Chain(self, inner)


def as_numbers(y: Any) -> Tensor:
    """What a user gives as a tensor of real or complex numbers.

    Raises:
        DataError: it holds something else.
    """
    if isinstance(y, Tensor):
        return y.detach().cpu()
    try:
        found = np.asarray(y)
        return torch.as_tensor(
            np.require(found if found.dtype.kind in "biufc" else found.astype(np.float64), None, "W")
        )
    except (TypeError, ValueError):
        raise DataError(f"measurements must be an array of numbers (got {short(y)}): pass (n, *out)") from None


class Chain(Operator):
    """outer after inner."""

    def __init__(self, outer: Operator, inner: Operator) -> None:
        super().__init__(inner.shape)
        if outer.shape != inner.out:
            raise UsageError(f"the outer operator must take shape {inner.out} (got {outer.shape})")
        self.outer, self.inner = outer, inner
        self.linear = outer.linear and inner.linear

    def forward(self, x: Tensor) -> Tensor:
        return self.outer.forward(self.inner.forward(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))


class Known(Operator):
    """Those numbers of a measurement that are known, in their order; whole measurements are accepted, of which the
    others are not looked at.

    Args:
        known: bool (*out) of the inner operator.
    """

    def __init__(self, inner: Operator, known: Tensor) -> None:
        super().__init__(inner.shape)
        self.inner, self.known, self.linear = inner, known, inner.linear

    def forward(self, x: Tensor) -> Tensor:
        return self.inner.forward(x)[:, self.known.to(x.device)]

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self._whole(y))

    def taken(self, y: Any) -> Tensor:
        array = as_numbers(y)
        if array.numel() and array.numel() % self.known.numel() == 0 and self.inner.alike(tuple(array.shape)):
            return super().taken(array.reshape(-1, *self.known.shape)[:, self.known])
        return super().taken(array)

    def shown(self, y: Tensor) -> Tensor:
        return self.inner.shown(self._whole(y))

    def _whole(self, y: Tensor) -> Tensor:
        whole = y.new_zeros(len(y), *self.known.shape)
        whole[:, self.known.to(y.device)] = y
        return whole


class Function(Operator):
    """Any differentiable function of the user's, from a tensor (n, *shape) to one of n measurements."""

    def __init__(self, shape: tuple[int, ...], function: Callable[[Tensor], Tensor], *, linear: bool = False) -> None:
        super().__init__(shape)
        self.function = function
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Foreign(Operator):
    """An object with `A` and, where it is linear, `A_adjoint`: the physics of deepinv and the like, as they are."""

    def __init__(self, shape: tuple[int, ...], physics: Any) -> None:
        super().__init__(shape)
        self.physics = physics
        self.linear = callable(getattr(physics, "A_adjoint", None))

    def forward(self, x: Tensor) -> Tensor:
        return self.physics.A(x)  # type: ignore[no-any-return]

    def adjoint(self, y: Tensor) -> Tensor:
        return self.physics.A_adjoint(y) if self.linear else super().adjoint(y)


class _Applied(torch.autograd.Function):
    """Rows (n, d) through a linear map of arrays (d, n), whose derivative is its adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Callable[[np.ndarray], np.ndarray], back: Any) -> Tensor:
        ctx.maps, ctx.real = (there, back), not x.is_complex()
        found = torch.as_tensor(np.ascontiguousarray(there(x.detach().cpu().numpy().T).T), device=x.device)
        kind = x.real.dtype
        return found.to(torch.promote_types(kind, torch.complex64) if found.is_complex() else kind)

    @staticmethod
    def backward(ctx: Any, *wanted: Tensor) -> tuple[Tensor, None, None]:
        there, back = ctx.maps
        found = _Applied.apply(wanted[0], back, there)
        return (found.real if ctx.real and found.is_complex() else found), None, None


class LinearMap(Operator):
    """y = A x of the flattened item: a sparse matrix or a linear operator of scipy or pylops, on the processor."""

    def __init__(self, shape: tuple[int, ...], given: Any) -> None:
        super().__init__(shape)
        self.map = aslinearoperator(given)
        size = int(np.prod(self.shape))
        if self.map.shape[1] != size:
            raise UsageError(f"the operator must have {size} columns, the numbers of an item (got {self.map.shape})")

    def forward(self, x: Tensor) -> Tensor:
        return _Applied.apply(x.flatten(1), self.map.matmat, self.map.rmatmat)  # type: ignore[no-any-return]

    def adjoint(self, y: Tensor) -> Tensor:
        back = _Applied.apply(y.flatten(1), self.map.rmatmat, self.map.matmat)
        return (back.real if back.is_complex() else back).reshape(len(y), *self.shape)


TOLERANCE = 2e-3  # of an operator in float32


def examined(operator: Operator) -> Operator:
    """An operator that was tried on two random items.

    Raises:
        UsageError: it fails, is random, returns something else than finite measurements of each item, or is not what it
            states: linear, with this adjoint.
    """
    draw = torch.Generator().manual_seed(0)
    x, other = (torch.rand(2, *operator.shape, generator=draw) for _ in range(2))
    try:
        with torch.no_grad():
            y, again = operator.forward(x), operator.forward(x)
    except UsageError:
        raise
    except Exception as error:  # whatever a function of the user's raises
        raise UsageError(
            f"the operator must take items of shape {operator.shape} (got {type(error).__name__}: {error})"
        ) from error
    if not isinstance(y, Tensor) or y.ndim == 0 or len(y) != len(x):
        got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise UsageError(f"the operator must return a tensor of one measurement for each of {len(x)} items (got {got})")
    real = torch.view_as_real(y) if y.is_complex() else y
    if not bool(torch.isfinite(real).all()):
        raise UsageError("the operator must return finite numbers for items from 0 to 1 (got NaN or infinity)")
    size = y.abs().square().sum().sqrt().clamp(min=1e-12)
    if float((y - again).abs().square().sum().sqrt() / size) > TOLERANCE:
        raise UsageError("the operator must not be random: leave its noise out and state it as noise=…")
    if isinstance(operator, Function):
        with torch.no_grad():
            alone = operator.forward(x[:1])
        if alone.shape != y[:1].shape or float((alone - y[:1]).abs().square().sum().sqrt() / size) > TOLERANCE:
            raise UsageError("the operator must measure each item by itself: it mixes the items of a batch (n, …)")
    if type(operator).adjoint is Operator.adjoint or not operator.linear:
        with torch.inference_mode(False), torch.enable_grad():
            if not operator.forward(x.clone().requires_grad_()).requires_grad:
                raise UsageError(
                    "the operator must be differentiable: write it with functions of torch, without detach"
                )
    if not operator.linear:
        return operator
    with torch.no_grad():
        gap = operator.forward(x + other) - y - operator.forward(other)
    if float(gap.abs().square().sum().sqrt() / size) > TOLERANCE:
        raise UsageError(
            "the operator must be linear, as it states (A(x + y) is not A(x) + A(y)): pass it as a function"
        )
    error = adjoint_gap(operator, dtype=torch.float32)
    if not error <= TOLERANCE:
        raise UsageError(
            f"the adjoint must be the transpose of the operator (<A x, y> and <x, A* y> differ by {error:.2g} of "
            "|A x| |y|): correct it, or leave it out, and derivatives of the operator are used"
        )
    return operator


WIDE, ROUNDING = 10.0, 1e-4  # numbers on which a function is tried, far beyond those of items; of its sums


def is_linear(operator: Operator) -> bool:
    """Whether a function adds up on random items of both signs: closed forms and adjoints are right for it then."""
    draw = torch.Generator().manual_seed(1)
    x, other = (WIDE * torch.randn(4, *operator.shape, generator=draw) for _ in range(2))
    try:
        with torch.no_grad():
            parts = operator.forward(x), operator.forward(other), operator.forward(0.5 * x - 2 * other)
    except Exception:  # a function of items from 0 to 1 may fail beyond
        return False
    whole = 0.5 * parts[0] - 2 * parts[1]
    gap, size = (v.abs().double().square().sum() for v in (whole - parts[2], whole))
    return bool(torch.isfinite(size)) and bool(gap <= ROUNDING**2 * size)


def adjoint_gap(operator: Operator, seed: int = 0, dtype: torch.dtype = torch.float64) -> float:
    """|Re<A x, y> - <x, A* y>| / (|A x| |y|) for random x and y: zero up to rounding for a true adjoint."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(2, *operator.shape, dtype=dtype, generator=draw)
    measured = operator.forward(x)
    y = torch.randn(measured.shape, dtype=dtype, generator=draw)
    if measured.is_complex():
        y = torch.complex(y, torch.randn(measured.shape, dtype=dtype, generator=draw))
    back = operator.adjoint(y)
    if tuple(back.shape) != tuple(x.shape):
        raise UsageError(f"the adjoint must return items of shape {operator.shape} (got {tuple(back.shape[1:])})")
    left = (measured.conj() * y).sum().real
    right = (x * back).sum()
    return float((left - right).abs() / (measured.abs().square().sum().sqrt() * y.abs().square().sum().sqrt()))
