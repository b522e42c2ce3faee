"""Integration of differential equations with an error check, item by item."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

State = tuple[Tensor, ...]
Field = Callable[[State, Tensor], State]  # of the state and the time
SMALL = 1e-5  # an error of this share of a value is no error: float32 sums of many terms have no more digits


def rk4(field: Field, state: State, start: float, stop: float, steps: int) -> State:
    """The classical Runge-Kutta method of order 4 with equal steps, for a tuple of tensors."""
    grid = torch.linspace(start, stop, steps + 1, dtype=state[0].dtype, device=state[0].device)

    def move(by: Any, *slopes: State) -> State:
        return tuple(y + by * s for y, s in zip(state, *slopes, strict=True))

    for t, u in zip(grid[:-1], grid[1:], strict=True):
        h, middle = u - t, (t + u) / 2
        k1 = field(state, t)
        k2 = field(move(h / 2, k1), middle)
        k3 = field(move(h / 2, k2), middle)
        k4 = field(move(h, k3), u)
        state = move(h / 6, tuple(a + 2 * b + 2 * c + d for a, b, c, d in zip(k1, k2, k3, k4, strict=True)))
    return state


def converged(
    solve: Callable[[Tensor, int], Tensor],
    n: int,
    tolerance: float | Callable[[Tensor], Tensor],
    *,
    steps: int = 4,
    most: int = 256,
) -> tuple[Float[Tensor, "{n}"], Float[Tensor, "{n}"], int]:
    """Doubles the steps of an order-4 method, item by item, until the error that the doubling shows is small enough.

    Args:
        solve: (items, steps) → one number per item; an item's number depends on that item alone.
        tolerance: on the estimated error |fine - coarse| / 3, absolute, or 1e-5 of the number where that is more, or
            a function of the items; the result is extrapolated from both (Richardson, 1911). A third, not a fifteenth:
            the fields of networks are rough, and few steps of a method of order 4 err as one of order 2. A number
            that is not finite is final.

    Returns:
        The numbers (n,), the error estimates (n,), and the number of steps that the slowest item took in all.
    """
    left = torch.arange(n)
    coarse = solve(left, steps)
    left = left.to(coarse.device)
    values, errors, taken = coarse.clone(), torch.zeros_like(coarse), steps
    while len(left) and steps < most:
        steps *= 2
        fine = solve(left, steps)
        taken += steps
        error = (fine - coarse).abs() / 3
        values[left], errors[left] = torch.where(torch.isfinite(error), fine + (fine - coarse) / 15, fine), error
        allowed = tolerance(left).to(error) if callable(tolerance) else tolerance
        enough = (error <= allowed) | (error <= SMALL * fine.abs()) | ~torch.isfinite(fine)
        left, coarse = left[~enough], fine[~enough]
    return values, errors, taken
