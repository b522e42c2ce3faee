"""Samplers that use the denoised x of earlier steps too: higher order at one evaluation a step.

In h, the step in log(alpha / sigma), the flow is x' = alpha e^-h ∫ e^r data(r) dr plus a multiple of x: methods differ
in the polynomial that replaces data(r) (Lu et al., 2022, arXiv 2211.01095). Where log(alpha / sigma) is infinite, in
the step from pure noise and in the last one to the data, all are of order 1, exact there for a constant.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pofx.maths.samplers import (
    Denoise,
    Events,
    Place,
    Walk,
    adaptive,
    added,
    ddim,
    euler,
    heun,
    is_data,
    predictor_corrector,
)

Past = list[tuple[Tensor, Tensor]]  # log(alpha / sigma) and denoised x of earlier places, the latest first


def _plain(x: Events, data: Events, here: Place, there: Place) -> Events:
    """The step on which the denoised x is constant."""
    ratio = there.sigma / here.sigma
    return ratio * x + (there.alpha - here.alpha * ratio) * data


def _finite(*values: Tensor) -> bool:
    return all(bool(torch.isfinite(v).all()) for v in values)


def _led(data: Events, here: Place, there: Place, past: Past) -> Events:
    """The denoised x in the middle of the step, on the line through the last two."""
    step = there.log_ratio - here.log_ratio
    if not past or not _finite(step, past[0][0]):
        return data
    return data + 0.5 * step / (here.log_ratio - past[0][0]) * (data - past[0][1])


def dpmpp_2m(denoise: Denoise, x: Events, walk: Walk) -> Events:
    """Order 2: DPM-Solver++(2M) (Lu et al., 2022, arXiv 2211.01095, algorithm 2)."""
    past: Past = []
    for here, there in walk.steps():
        data = denoise(x, here.t)
        x = _plain(x, _led(data, here, there, past), here, there)
        past = [(here.log_ratio, data)]
    return x


def dpmpp_3m(denoise: Denoise, x: Events, walk: Walk) -> Events:
    """Order 3: the parabola through the last three denoised x, integrated exactly (Lu et al., 2022, appendix B)."""
    past: Past = []
    for here, there in walk.steps():
        data = denoise(x, here.t)
        h, known = there.log_ratio - here.log_ratio, [p for p in past if _finite(p[0])]
        if not _finite(h) or not known:
            x = _plain(x, data, here, there)
        elif len(known) == 1:
            x = _plain(x, _led(data, here, there, known), here, there)
        else:
            (l1, d1), (l2, d2) = known[:2]
            near = (data - d1) / (here.log_ratio - l1)  # divided differences: slopes per unit of log(alpha / sigma)
            far = (d1 - d2) / (l1 - l2)
            second = (near - far) / (here.log_ratio - l2)
            first = near + second * (here.log_ratio - l1)
            shrink = torch.expm1(-h)  # ∫ e^(r-h) r^k dr over the step, for k = 0, 1, 2
            zeroth, linear = -shrink, shrink + h
            square = h * h - 2 * linear
            x = there.sigma / here.sigma * x + there.alpha * (zeroth * data + linear * first + square * second)
        past = [(here.log_ratio, data), *past[:1]]
    return x


def ancestral(denoise: Denoise, x: Events, walk: Walk) -> Events:
    """Draws from q(x_u | x_t, data) step by step (Ho et al., 2020, arXiv 2006.11239, eqs. 6 and 7).

    The transition is exact if the denoised x stays the same over the step. Held at its value at t, as DDIM with eta = 1
    does, it draws too narrow a distribution, by order 1 / steps; led on to the middle of the step it does so by order
    2: this is DPM-Solver++(2M) for the random flow (Lu et al., 2022, arXiv 2211.01095, appendix A).
    """
    past: Past = []
    for here, there in walk.steps():
        data = denoise(x, here.t)
        guess, fresh = _led(data, here, there, past), added(here, there)
        ratio = here.alpha / there.alpha
        x = (ratio * there.sigma**2 * x + there.alpha * fresh * guess) / here.sigma**2
        if not is_data(there):
            least = there.sigma / here.sigma
            random = fresh.sqrt() * (least if walk.spread is None else least ** (1 - walk.spread()))
            x = x + random * walk.fresh()
        past = [(here.log_ratio, data)]
    return x


def unipc(denoise: Denoise, x: Events, walk: Walk, order: int = 3) -> Events:
    """A predictor of this order and a corrector of one more, at one evaluation a step: the evaluation that corrects a
    step is the first of the next (Zhao et al., 2023, arXiv 2302.04867, algorithms 5 to 8, B(h) = e^h - 1)."""
    past: Past = []
    places, data = walk.places, None
    for k, (here, there) in enumerate(zip(places[:-1], places[1:], strict=True)):
        data = denoise(x, here.t) if data is None else data
        h = there.log_ratio - here.log_ratio
        if not _finite(h):
            x, past = _plain(x, data, here, there), [(here.log_ratio, data)] if _finite(here.log_ratio) else []
            data = None
            continue
        known = [p for p in past if _finite(p[0])][: min(order - 1, len(places) - 2 - k)]
        places_of = [(lam - here.log_ratio) / h for lam, _ in known]  # negative: behind, in units of the step
        changes = [(d - data) / r for (_, d), r in zip(known, places_of, strict=True)]
        start = there.sigma / here.sigma * x - there.alpha * torch.expm1(-h) * data
        guess = start - there.alpha * torch.expm1(-h) * _mixed(changes, places_of, h)
        ahead = denoise(guess, there.t)
        better = _mixed([*changes, ahead - data], [*places_of, torch.ones_like(h)], h)
        x = start - there.alpha * torch.expm1(-h) * better
        past = [(here.log_ratio, data), *past[: order - 1]]
        data = ahead
    return x


def _mixed(changes: list[Tensor], places: list[Tensor], h: Tensor) -> Tensor:
    """The weighted changes that make the step exact for polynomials through these places; one change has weight 1/2."""
    if not changes:
        return torch.zeros_like(h)
    if len(changes) == 1:
        return 0.5 * changes[0]
    flat = h.flatten()[0].double()  # the same in every channel
    r = torch.stack([p.flatten()[0].double() for p in places])
    phi, factorial, right = torch.expm1(-flat) / -flat - 1, 1.0, []
    for k in range(1, len(places) + 1):
        right.append(phi * factorial / torch.expm1(-flat))
        factorial *= k + 1
        phi = phi / -flat - 1 / factorial
    rows = torch.stack([r**k for k in range(len(places))])
    weights = torch.linalg.solve(rows, torch.stack(right)).to(changes[0].dtype)
    return sum((w * c for w, c in zip(weights[1:], changes[1:], strict=True)), weights[0] * changes[0])


Sampler = Callable[[Denoise, Events, Walk], Events]
SAMPLERS: dict[str, Sampler] = {
    "heun": heun,
    "euler": euler,
    "ddim": ddim,
    "dpm++2m": dpmpp_2m,
    "dpm++3m": dpmpp_3m,
    "dpm++2m-sde": ancestral,
    "unipc": unipc,
    "ancestral": ancestral,
    "predictor-corrector": predictor_corrector,
    "adaptive": adaptive,
}
RANDOM = ("ancestral", "dpm++2m-sde", "predictor-corrector")  # draw noise at every step
