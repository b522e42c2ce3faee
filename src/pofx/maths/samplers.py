"""Samplers from noise to data by one function, denoise(x_t, t) = E[x | x_t], on any path of `maths.paths`.

Along the probability flow dx_t = E[x | x_t] d alpha + E[noise | x_t] d sigma: a line integral in the (alpha, sigma)
plane, so that no derivative of the path is needed and its ends, where alpha or sigma is 0, are ordinary points.
Multistep methods are in `maths.multistep`; `SAMPLERS` there lists all.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.maths.ode import dopri5
from pofx.maths.paths import Path, angle, shifted, time_at

Events = Float[Tensor, "n *event"]
Denoise = Callable[[Tensor, Tensor], Tensor]  # x_t (n, *event), t () or (n,) → E[x | x_t]
Noise = Callable[[], Tensor]  # a standard normal like x_t, new at each call

LARGEST_CHURN = math.sqrt(2) - 1  # of a step, in shares of its noise (Karras et al., 2022, algorithm 2)
ENDS = 1e-6  # of the time before the end of a path, where slopes may be infinite
NEAR = 2e-3  # the angle from which the adaptive method steps to the data
LEAST, MOST = math.atan(0.004), math.atan(160.0)  # angles between which karras times lie
LANGEVIN = 0.16  # length of a corrector's step in units of the noise (Song et al., 2021, appendix G)


class Place(NamedTuple):
    """A place on the walk: its time, alpha and sigma (numbers, or of a shape that broadcasts over events)."""

    t: Tensor
    alpha: Tensor
    sigma: Tensor

    @property
    def log_ratio(self) -> Tensor:
        """log(alpha / sigma), half of the log signal-to-noise ratio; infinite for pure noise and for data."""
        return self.alpha.log() - self.sigma.log()


@dataclass(frozen=True)
class Walk:
    """The times of a sampler, falling, on a path; where their last is not the data, a step to the data is added.

    eta: share of the random part of a DDIM step; churn: noise that Heun's method adds over the whole walk; tolerance:
    of the adaptive method, per number and step; spread: after a call of denoise, where the variance of a random step
    lies between the least and the largest one, as a share in logarithms (None: the least).
    """

    path: Path
    times: Float[Tensor, "steps"]
    noise: Noise | None = None
    eta: float = 0.0
    churn: float = 0.0
    tolerance: float = 1e-3
    spread: Callable[[], Tensor] | None = None

    @property
    def places(self) -> list[Place]:
        found = [self.at(t) for t in self.times]
        if bool((found[-1].sigma > 0).any()):
            one = torch.ones_like(found[-1].alpha)
            found.append(Place(torch.zeros_like(found[-1].t), one, torch.zeros_like(found[-1].sigma)))
        return found

    def at(self, t: Float[Tensor, "*n"]) -> Place:
        """The place of a time."""
        point = self.path(t)
        return Place(t, point.alpha, point.sigma)

    def steps(self) -> Iterator[tuple[Place, Place]]:
        places = self.places
        return zip(places[:-1], places[1:], strict=True)

    def fresh(self) -> Tensor:
        """A standard normal like x_t."""
        assert self.noise is not None, "this sampler draws noise"
        return self.noise()


def is_data(place: Place) -> bool:
    return not bool((place.sigma > 0).any())


def noise_of(x_t: Events, data: Events, place: Place) -> Events:
    """E[noise | x_t] where E[x | x_t] is `data`."""
    return (x_t - place.alpha * data) / place.sigma


def added(here: Place, there: Place) -> Tensor:
    """The variance of the noise that the path adds from `there` to `here`, in units of x_t."""
    return (here.sigma**2 - (here.alpha / there.alpha * there.sigma) ** 2).clamp(min=0)


def ddim(denoise: Denoise, x: Events, walk: Walk) -> Events:
    """Order 1, exact for a point mass whatever the steps (Song et al., 2021, arXiv 2010.02502, eqs. 12 and 16).

    With eta = 1 the random part has the variance of the posterior q(x_u | x_t, x): Ho et al.'s ancestral sampling.
    """
    for here, there in walk.steps():
        data = denoise(x, here.t)
        random = walk.eta * added(here, there).sqrt() * there.sigma / here.sigma
        still = (there.sigma**2 - random**2).clamp(min=0).sqrt()
        x = there.alpha * data + still * noise_of(x, data, here)
        if walk.eta > 0 and not is_data(there):
            x = x + random * walk.fresh()
    return x


def euler(denoise: Denoise, x: Events, walk: Walk) -> Events:
    """Order 1: a straight step in the (alpha, sigma) plane, Euler's method of flow matching (alpha = 1 - sigma) and of
    Karras et al. (2022, arXiv 2206.00364, alpha = 1); DDIM without its random part."""
    for here, there in walk.steps():
        data = denoise(x, here.t)
        x = x + (there.alpha - here.alpha) * data + (there.sigma - here.sigma) * noise_of(x, data, here)
    return x


def heun(denoise: Denoise, x: Events, walk: Walk) -> Events:
    """Order 2, the trapezoid rule; the step to the data is DDIM's (Karras et al., 2022, arXiv 2206.00364, algs. 1, 2).

    With churn every step first raises the noise by churn / steps of itself, at most by sqrt(2) - 1.
    """
    places = walk.places
    top = float(angle(walk.path(walk.times[0])).max()) if walk.churn else 0.0
    for here, there in zip(places[:-1], places[1:], strict=True):
        if walk.churn > 0:
            x, here = _raised(x, here, walk, min(walk.churn / (len(places) - 1), LARGEST_CHURN), top)
        data = denoise(x, here.t)
        eps = noise_of(x, data, here)
        guess = there.alpha * data + there.sigma * eps
        if not is_data(there):
            data_2 = denoise(guess, there.t)
            eps_2 = noise_of(guess, data_2, there)
            change = (there.alpha - here.alpha) * (data + data_2) + (there.sigma - here.sigma) * (eps + eps_2)
            guess = x + 0.5 * change
        x = guess
    return x


def _raised(x: Events, here: Place, walk: Walk, share: float, top: float) -> tuple[Events, Place]:
    """x with the noise of a place raised by a share, and the place of the path that has it; not beyond the path."""
    if not bool((here.alpha > 0).all()):
        return x, here
    up = walk.at(time_at(walk.path, torch.atan2((1 + share) * here.sigma, here.alpha).clamp(max=top)))
    return up.alpha / here.alpha * x + added(up, here).sqrt() * walk.fresh(), up


def predictor_corrector(denoise: Denoise, x: Events, walk: Walk) -> Events:
    """A random DDIM step, then one of Langevin's at the new noise (Song et al., 2021, arXiv 2011.13456, algorithm 1).

    The Langevin step is 2 (0.16 sigma)²: the norms of noise and score that the paper measures in a batch are taken at
    their expectation, so that no draw depends on its neighbours. Two evaluations a step.
    """
    for here, there in walk.steps():
        data = denoise(x, here.t)
        random = added(here, there).sqrt() * there.sigma / here.sigma
        still = (there.sigma**2 - random**2).clamp(min=0).sqrt()
        x = there.alpha * data + still * noise_of(x, data, here)
        if not is_data(there):
            x = x + random * walk.fresh()
            eps = noise_of(x, denoise(x, there.t), there)
            x = x - 2 * LANGEVIN**2 * there.sigma * eps + 2 * LANGEVIN * there.sigma * walk.fresh()
    return x


def adaptive(denoise: Denoise, x: Events, walk: Walk) -> Events:
    """The probability flow of x_t / sqrt(alpha² + sigma²), each item by steps of its own (`maths.ode`), down to an
    angle of 0.002 on the quarter circle and from there by DDIM. The walk's times are not used. For paths whose alpha
    and sigma are numbers, with slopes that are finite between their ends.
    """
    wide = (-1, *[1] * (x.ndim - 1))
    first = walk.at(walk.times[0])
    near = torch.tensor(max(NEAR, float(angle(walk.path(torch.zeros_like(walk.times[0]))))), dtype=x.dtype)
    last = walk.at(time_at(walk.path, near).to(x.device))

    def slope(y: Tensor, t: Tensor, items: Tensor) -> Tensor:
        items, t = items.to(x.device), t.clamp(max=1 - ENDS)
        whole = x.new_zeros(len(x), y.shape[1]).index_copy(0, items, y).reshape(x.shape)
        point = walk.path(t.new_full((len(x),), float(t[0])).index_copy(0, items, t))
        size = (point.alpha**2 + point.sigma**2).sqrt()
        cos, sin = (point.alpha / size).reshape(wide), (point.sigma / size).reshape(wide)
        speed = (point.alpha * point.d_sigma - point.sigma * point.d_alpha) / size**2
        times = t.new_full((len(x),), float(t[0])).index_copy(0, items, t)
        data = denoise(whole * size.reshape(wide), times)
        return (speed.reshape(wide) * (cos * whole - data) / sin).flatten(1)[items]

    scaled = (x / (first.alpha**2 + first.sigma**2).sqrt()).flatten(1)
    y = dopri5(slope, scaled, float(first.t), float(last.t), walk.tolerance)[0].reshape(x.shape)
    return denoise(y * (last.alpha**2 + last.sigma**2).sqrt(), last.t)


def times_of(
    path: Path, steps: int, spacing: str = "even", device: torch.device | str = "cpu"
) -> Float[Tensor, "times"]:
    """The times of so many steps from 1 to the data: even; squared (shorter steps towards the data); "shifted" (longer
    ones, `paths.shifted`); or "karras", even in (sigma / alpha)^(1/7) (Karras et al., 2022, arXiv 2206.00364, eq. 5).

    Where a path ends before the data its end is the last time, and the step to the data is the last one.
    """
    ends = bool((path(torch.zeros((), device=device)).sigma > 0).any())
    count = steps if ends or spacing == "karras" else steps + 1
    even = torch.linspace(1.0, 0.0, count, dtype=torch.float32, device=device)
    if spacing != "karras":
        return {"even": even, "squared": even**2, "shifted": shifted(even)}[spacing]
    first, last = ((math.tan(min(max(float(angle(path(torch.tensor(t)))), LEAST), MOST))) for t in (1.0, 0.0))
    ratio = (last ** (1 / 7) + even * (first ** (1 / 7) - last ** (1 / 7))) ** 7
    times = time_at(path, ratio.atan())
    times[0] = 1.0
    return times
