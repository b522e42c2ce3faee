"""Samplers from noise to data by one function, denoise(x_t, t) = E[x | x_t], and integration with an error check.

Every sampler walks the given times, from 1 down to 0, on any path of `maths.paths`. Along the probability flow
dx_t = E[x | x_t] d alpha + E[noise | x_t] d sigma: a line integral in the (alpha, sigma) plane, so that no derivative
of the path is needed and its ends, where alpha or sigma is 0, are ordinary points.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.maths.paths import Path, Point

Events = Float[Tensor, "n *event"]
Denoise = Callable[[Tensor, Tensor], Tensor]  # x_t (n, *event), t () → E[x | x_t]
Noise = Callable[[], Tensor]  # a standard normal like x_t, new at each call


def _noise_of(x_t: Tensor, data: Tensor, point: Point) -> Tensor:
    return (x_t - point.alpha * data) / point.sigma


def ddim(denoise: Denoise, x: Events, times: Float[Tensor, "steps"], path: Path, noise: Noise | None = None) -> Events:
    """Order 1, exact for a point mass whatever the steps (Song et al., 2021, arXiv 2010.02502, eq. 12 with eta = 0)."""
    for t, u in zip(times[:-1], times[1:], strict=True):
        here, there = path(t), path(u)
        data = denoise(x, t)
        x = there.alpha * data + there.sigma * _noise_of(x, data, here)
    return x


def euler(denoise: Denoise, x: Events, times: Float[Tensor, "steps"], path: Path, noise: Noise | None = None) -> Events:
    """Order 1 in time: x + dt dx/dt; the same as DDIM on the linear path."""
    for t, u in zip(times[:-1], times[1:], strict=True):
        here = path(t)
        data = denoise(x, t)
        x = x + (u - t) * (here.d_alpha * data + here.d_sigma * _noise_of(x, data, here))
    return x


def heun(denoise: Denoise, x: Events, times: Float[Tensor, "steps"], path: Path, noise: Noise | None = None) -> Events:
    """Order 2, the trapezoid rule; the step to time 0 is DDIM's (Karras et al., 2022, arXiv 2206.00364, alg. 1)."""
    for t, u in zip(times[:-1], times[1:], strict=True):
        here, there = path(t), path(u)
        data = denoise(x, t)
        eps = _noise_of(x, data, here)
        guess = there.alpha * data + there.sigma * eps
        if there.sigma > 0:
            data_2 = denoise(guess, u)
            eps_2 = _noise_of(guess, data_2, there)
            change = (there.alpha - here.alpha) * (data + data_2) + (there.sigma - here.sigma) * (eps + eps_2)
            guess = x + 0.5 * change
        x = guess
    return x


def dpmpp_2m(
    denoise: Denoise, x: Events, times: Float[Tensor, "steps"], path: Path, noise: Noise | None = None
) -> Events:
    """Order 2 at one evaluation a step: DPM-Solver++(2M) (Lu et al., 2022, arXiv 2211.01095, algorithm 2).

    Order 1 where log(alpha / sigma) is infinite: in the first step from pure noise and the last one to the data.
    """
    before: tuple[Tensor, Tensor] | None = None  # the last denoised x and the last step in log(alpha / sigma)
    for t, u in zip(times[:-1], times[1:], strict=True):
        here, there = path(t), path(u)
        data = denoise(x, t)
        step = (there.alpha / there.sigma).log() - (here.alpha / here.sigma).log()
        guess = data
        if before is not None and torch.isfinite(step) and torch.isfinite(before[1]):
            guess = data + 0.5 * step / before[1] * (data - before[0])
        x = there.sigma / here.sigma * x + (there.alpha - here.alpha * there.sigma / here.sigma) * guess
        before = data, step
    return x


def ancestral(
    denoise: Denoise, x: Events, times: Float[Tensor, "steps"], path: Path, noise: Noise | None = None
) -> Events:
    """Draws from q(x_u | x_t, data) step by step (Ho et al., 2020, arXiv 2006.11239, eqs. 6 and 7).

    The transition is exact if the denoised x stays the same over the step. Held at its value at t, it draws too narrow
    a distribution, by order 1 / steps; led on to the middle of the step it does so by order 2 (the multistep SDE
    solver of Lu et al., 2022, arXiv 2211.01095, appendix A).
    """
    assert noise is not None
    before: tuple[Tensor, Tensor] | None = None  # the last denoised x and the last step in log(alpha / sigma)
    for t, u in zip(times[:-1], times[1:], strict=True):
        here, there = path(t), path(u)
        data = denoise(x, t)
        step = (there.alpha / there.sigma).log() - (here.alpha / here.sigma).log()
        guess = data
        if before is not None and torch.isfinite(step) and torch.isfinite(before[1]):
            guess = data + 0.5 * step / before[1] * (data - before[0])
        ratio = here.alpha / there.alpha
        fresh = here.sigma**2 - (ratio * there.sigma) ** 2  # variance added between u and t
        x = (ratio * there.sigma**2 * x + there.alpha * fresh * guess) / here.sigma**2
        if there.sigma > 0:
            x = x + (fresh.clamp(min=0) ** 0.5 * there.sigma / here.sigma) * noise()
        before = data, step
    return x


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "heun": heun,
    "euler": euler,
    "ddim": ddim,
    "dpm++2m": dpmpp_2m,
    "ancestral": ancestral,
}

State = tuple[Tensor, ...]


def rk4(field: Callable[[State, Tensor], State], state: State, start: float, stop: float, steps: int) -> State:
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
    solve: Callable[[Tensor, int], Tensor], n: int, tolerance: float, *, steps: int = 4, most: int = 256
) -> tuple[Float[Tensor, "{n}"], Float[Tensor, "{n}"], int]:
    """Doubles the steps of an order-4 method, item by item, until the error that the doubling shows is small enough.

    Args:
        solve: (items, steps) → one number per item; an item's number depends on that item alone.
        tolerance: on the estimated error |fine - coarse| / 15; the result is extrapolated from both (Richardson, 1911).

    Returns:
        The numbers (n,), the error estimates (n,), and the number of steps that the slowest item took in all.
    """
    left = torch.arange(n)
    coarse = solve(left, steps)
    values, errors, taken = coarse.clone(), torch.zeros_like(coarse), steps
    while len(left) and steps < most:
        steps *= 2
        fine = solve(left, steps)
        taken += steps
        error = (fine - coarse).abs() / 15
        values[left], errors[left] = fine + (fine - coarse) / 15, error
        again = ~(error <= tolerance)
        left, coarse = left[again], fine[again]
    return values, errors, taken
