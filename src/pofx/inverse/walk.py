"""What guided samplers share: a denoiser in the coordinates of a problem, levels of noise, and random numbers by row.

Levels are s = sigma / alpha, the noise in units of the data's spread: on every path the same walk. States are in
units of alpha, x_t / alpha = x + s noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pofx.core.event import Bounded
from pofx.core.model import Denoising
from pofx.core.random import Streams
from pofx.inverse.problem import Problem
from pofx.maths.editing import path_of
from pofx.maths.paths import time_at

TOP, BOTTOM, POWER = 40.0, 0.01, 7.0  # levels of a walk (Karras et al., 2022, arXiv 2206.00364, eq. 5)


@dataclass
class Walker:
    """One batch of rows of a problem with a denoiser.

    Attributes:
        group: rows in a row that belong to one measurement.
        count: evaluations of the denoiser for each row, gradients counted twice.
    """

    problem: Problem
    model: Denoising
    condition: Any
    streams: Streams
    group: int
    count: int = 0

    def __post_init__(self) -> None:
        spread = self.model.spread.detach()
        self.unit = spread
        self.places: dict[float, tuple[Tensor, Tensor]] = {}  # times and alphas by level

        def schedule(t: Tensor) -> tuple[Tensor, Tensor]:
            alpha, sigma = self.model.schedule(t)
            return alpha.flatten()[0], (sigma / spread).flatten()[0]

        self.path = path_of(schedule)

    @property
    def wide(self) -> tuple[int, ...]:
        return (-1, *[1] * len(self.problem.shape))

    def normal(self) -> Tensor:
        """Standard normals like the events."""
        return self.streams.normal(*self.problem.shape)

    def noise(self) -> Tensor:
        """Standard normals like the measurements."""
        return self.streams.normal(self.problem.y.shape[1])

    def estimate(self, x: Tensor, s: float, *, within: bool = True) -> Tensor:
        """E[z | z + s noise = x]; cut off at the bounds of a bounded event."""
        self.count += 1
        if s not in self.places:
            level = torch.tensor(s, dtype=torch.float64, device=self.streams.device)
            t = time_at(self.path, level.atan()).float()
            self.places[s] = t, self.model.schedule(t)[0]
        t, alpha = self.places[s]
        found = self.model.denoise(x * self.unit * alpha, t, self.condition)
        if within and isinstance(self.model.event, Bounded):
            found = found.clamp(-1, 1)
        return found / self.unit

    def led(self, x: Tensor, s: float, toward: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """The estimate at x, and the gradient with respect to x of a number per row of it."""
        with torch.inference_mode(False), torch.enable_grad():
            at = x.detach().clone().requires_grad_()
            data = self.estimate(at, s, within=False)
            (slope,) = torch.autograd.grad(toward(data).sum(), at)
        self.count += 1
        return data.detach(), slope.nan_to_num(0.0)

    def first(self, s: float) -> Tensor:
        """Where a walk begins: the mean of the data with noise of level s."""
        blank = torch.zeros(len(self.problem.y), *self.problem.shape, device=self.streams.device)
        return self.estimate(s * self.normal(), s) + s * self.normal() if s > 0 else blank


def levels(steps: int, top: float = TOP, bottom: float = BOTTOM) -> list[float]:
    """Falling levels of noise, shorter steps towards the data, then 0."""
    at = torch.linspace(0, 1, max(steps, 2), dtype=torch.float64)
    ends = top ** (1 / POWER), bottom ** (1 / POWER)
    return [*((ends[0] + at * (ends[1] - ends[0])) ** POWER).tolist(), 0.0]


def ancestral(x: Tensor, data: Tensor, s: float, u: float, normal: Callable[[], Tensor], eta: float = 1.0) -> Tensor:
    """A draw of z + u noise given z + s noise = x, where E[z | x] is `data` (DDIM; eta = 1: Ho et al.)."""
    if u == 0:
        return data
    random = eta * u * (1 - (u / s) ** 2) ** 0.5
    still = (u**2 - random**2) ** 0.5
    x = data + still / s * (x - data)
    return x + random * normal() if random > 0 else x
