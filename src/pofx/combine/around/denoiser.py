"""A model around a trained denoiser, which stays as it is: whatever its estimate is made of, the walks of
`maths.samplers` draw from it, and all that needs `Denoising` (editing, inverse problems, distillation) takes it.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.func import jvp

from pofx.core.companion import Foundation
from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Condition, Continuous, Event
from pofx.core.model import Batch, Denoising, Stepwise
from pofx.core.options import NonNegative, OneOf, Positive, Range, Unit
from pofx.core.random import Streams
from pofx.families.diffusion.diffusion import SPACINGS, THRESHOLDS, Diffusion
from pofx.maths.guidance import thresholded
from pofx.maths.multistep import SAMPLERS
from pofx.maths.paths import Path, Point, angle, time_at
from pofx.maths.samplers import Walk, times_of

WALKS = ("auto", *SAMPLERS)
WALKED: tuple[str, ...] = ("sampler", "sampler_steps", "spacing", "eta", "churn", "tolerance", "threshold")
EDGE = 2e-3  # times nearer to the data are not trained on
Steps = Annotated[int, Range(0, 1_000_000)]


def path_in_units(model: Denoising, *, slopes: bool = False) -> Path:
    """The path of a denoiser with sigma in units of the spread of the data: numbers, their slopes where they are needed
    (the derivative of its schedule), else NaN."""

    def numbers(t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = model.schedule(t)
        first, second = (v.reshape(*t.shape, -1)[..., 0] for v in (alpha, sigma / model.spread))
        return first, second

    def path(t: Tensor) -> Point:
        if slopes:
            with torch.inference_mode(False):
                at = t.clone()
                return Point(*(v for pair in jvp(numbers, (at,), (torch.ones_like(at),)) for v in pair))
        unknown = torch.full_like(t, torch.nan)
        return Point(*numbers(t), unknown, unknown)

    return path


def met(own: Denoising, other: Denoising, t: Tensor) -> tuple[Tensor | None, Tensor]:
    """What x_t of one denoiser is multiplied by to be that of another with as much noise, None for equal paths, and the
    time of that."""
    here = path_in_units(own)(t)
    there = path_in_units(other)(t)
    if torch.allclose(here.alpha, there.alpha) and torch.allclose(here.sigma, there.sigma):
        return None, t
    moved = time_at(path_in_units(other), torch.atan2(here.sigma, here.alpha))
    there = path_in_units(other)(moved)
    return ((there.alpha**2 + there.sigma**2) / (here.alpha**2 + here.sigma**2)).sqrt(), moved


class Around(Denoising, Stepwise):
    """What models around a denoiser share: its schedule, and sampling by a walk.

    Options of the walk that are "auto" or 0 are those of the run, and saved as chosen.
    """

    events: ClassVar = (Bounded, Continuous)
    ranks: ClassVar = (1, 2, 3, 4)

    def __init__(
        self,
        event: Event,
        condition: Event | None,
        run: Foundation | None,
        *,
        sampler: Annotated[str, OneOf(*WALKS)],
        sampler_steps: Steps,
        spacing: Annotated[str, OneOf("auto", *SPACINGS)],
        eta: Unit,
        churn: NonNegative,
        tolerance: Positive,
        threshold: Annotated[str, OneOf(*THRESHOLDS)],
    ) -> None:
        super().__init__(event, condition)
        if run is None:
            raise UsageError(f"{self.label} is built around a trained denoiser: pass run=, the folder of its run")
        run.having(Denoising)
        self.run = run
        assert isinstance(event, Continuous)
        self.shape = event.shape
        if isinstance(self.base, Diffusion | Around):
            own, count, spaced = self.base.sampler, self.base.sampler_steps, self.base.spacing
            own = own if own in WALKS else "heun"
        else:
            own, count, spaced = "heun", 16, "even"
        self.sampler: str = own if sampler == "auto" else sampler
        self.sampler_steps: int = sampler_steps or count
        self.spacing: str = str(spaced) if spacing == "auto" else spacing
        self.eta, self.churn, self.tolerance, self.threshold = eta, churn, tolerance, threshold
        self.register_buffer("here", torch.zeros(()), persistent=False)  # the device of a model without weights

    @property
    def base(self) -> Denoising:
        """The model of the run; frozen, and no part of this one's weights."""
        return self.run.having(Denoising)

    @property
    def spread(self) -> Tensor:
        return self.base.spread

    def schedule(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """That of the run."""
        return self.base.schedule(t)

    def plain(self, x_t: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """The estimate of the run itself, given the condition where that is what it was trained with."""
        own = self.base.condition
        return self.base.denoise(x_t, t, condition if own is not None and own == self.condition else None)

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Tensor:
        """n events by the sampler, from noise of `generator` alone: (n, *event)."""
        self.check_condition(n, condition)
        spread, path = self.spread, path_in_units(self, slopes=self.sampler == "adaptive")
        threshold = self.threshold if isinstance(self.event, Bounded) else "none"

        def denoise(y: Tensor, t: Tensor) -> Tensor:
            data = self.denoise(y * spread, t, condition)
            return (data if threshold == "none" else thresholded(data, dynamic=threshold == "dynamic")) / spread

        def normal() -> Tensor:
            return generator.normal(*self.shape)

        end = torch.ones((), device=generator.device)
        first, noise = path(end), normal()
        y = first.sigma * noise
        if float(first.alpha) > 0:  # some data are left: their mean, and their spread with that of the noise
            y = first.alpha * denoise(y, end) + (first.alpha**2 + first.sigma**2).sqrt() * noise
        times = times_of(path, self.sampler_steps, self.spacing, y.device)
        walk = Walk(path, times, normal, eta=float(self.eta), churn=float(self.churn), tolerance=float(self.tolerance))
        return SAMPLERS[self.sampler](denoise, y, walk) * spread


class Beside(Around):
    """What models with a trained part beside the run share: items of unit size, whatever the path of the run."""

    center: Tensor

    def measured(self) -> None:
        """Make room for the mean of the data along its first axis."""
        self.register_buffer("center", torch.zeros(*self.shape[:1], *[1] * (len(self.shape) - 1)))

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Measure the mean of the data along its first axis."""
        rows = take(10_000).x.float().transpose(0, 1).flatten(1)
        self.center.copy_(rows.mean(1).reshape(self.center.shape))

    def unit(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x_t centred and of unit size, and its angle on the quarter circle (n,)."""
        point = path_in_units(self)(t.expand(len(x_t)))
        size = (point.alpha**2 + point.sigma**2).sqrt()
        return (x_t - wide(point.alpha, x_t) * self.center) / (self.spread * wide(size, x_t)), angle(point)

    def noised(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t of events."""
        alpha, sigma = self.schedule(t)
        return alpha * x.float() + sigma * noise


def drawn_times(like: Tensor) -> Tensor:
    """Times of a training step, one for each item, stratified."""
    n = len(like)
    u = (torch.randperm(n, device=like.device) + torch.rand(n, dtype=torch.float32, device=like.device)) / n
    return EDGE + (1 - EDGE) * u


def fixed_times(like: Tensor) -> tuple[Tensor, Tensor]:
    """Times and noises of a validation, the same at every call."""
    t = (torch.arange(len(like), device=like.device) * 0.6180339887498949 + 0.5) % 1.0
    return EDGE + (1 - EDGE) * t.float(), Streams(0, len(like), device=like.device).normal(*like.shape[1:])


def wide(v: Tensor, x: Tensor) -> Tensor:
    """A number, or one per item, in a shape that broadcasts over events."""
    return v.reshape(*v.shape, *[1] * (x.ndim - 1))
