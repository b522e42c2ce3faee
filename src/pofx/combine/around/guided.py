"""A trained denoiser, guided while it samples by another run or by any differentiable function; nothing is trained.

All guidance acts on E[x | x_t]. Another denoiser is what to move away from: weak + w (strong - weak), with the run
itself without its condition (Ho and Salimans, 2022, arXiv 2207.12598) or a smaller or earlier run (autoguidance; Karras
et al., 2024, arXiv 2406.02507) as the weak one. A run that knows a condition which this one does not is a classifier: a
conditional denoiser by the difference that the condition makes to its estimate, a conditional density by Bayes' rule.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from pofx.combine.around.denoiser import WALKED, WALKS, Around, Steps, met, wide
from pofx.core.companion import Foundation, Guide
from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Condition, Discrete, Event, each
from pofx.core.model import Denoising, Explicit, Phase
from pofx.core.options import NonNegative, OneOf, Positive, Range, Real, Unit
from pofx.families.diffusion.diffusion import SPACINGS, THRESHOLDS
from pofx.maths.editing import path_of
from pofx.maths.guidance import mixed, rescaled, steered
from pofx.nets.vector.conditioner import CONDITIONS

LogLikelihood = Callable[[Tensor], Tensor]  # of events (n, *event), one number for each


class Guided(Around):
    """A denoiser steered by another run, nothing trained.

    Args:
        run: the denoiser.
        guide: another run: a weaker denoiser of the same items, or one that knows the condition; without one the run
            itself without its condition.
        guidance: w in weak + w (strong - weak), where 1 is the run alone; of a classifier the factor of its gradient,
            where 0 is the run alone.
        guidance_rescale: share by which a guided estimate gets the spread of the plain one (Lin et al., 2024).
        guidance_interval: times between which guidance acts (Kynkäänniemi et al., 2024, arXiv 2404.07724).
        sampler: of the walk; "auto" is that of the run.
        sampler_steps: of the walk; 0 takes those of the run.
        spacing: of the times of the walk; "auto" is that of the run.
        eta: random share of "ddim".
        churn: noise that "heun" adds.
        tolerance: of the steps of "adaptive", per number.
        threshold: estimates of bounded events are cut off at 1 ("static"), or scaled to it ("dynamic").
    """

    name: ClassVar[str] = "guided"
    source: ClassVar[str] = "Ho and Salimans, 2022, arXiv 2207.12598; Karras et al., 2024, arXiv 2406.02507"
    conditions: ClassVar = CONDITIONS
    adjustable: ClassVar = ("guidance", "guidance_rescale", "guidance_interval", *WALKED)
    likelihood: LogLikelihood | None = None  # a function as the guide: not part of the configuration

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        run: Foundation | None = None,
        guide: Guide | None = None,
        guidance: Annotated[Real, Range(-1000, 1000)] = 2.0,
        guidance_rescale: Unit = 0.0,
        guidance_interval: Sequence[Unit] = (0.0, 1.0),
        sampler: Annotated[str, OneOf(*WALKS)] = "auto",
        sampler_steps: Steps = 0,
        spacing: Annotated[str, OneOf("auto", *SPACINGS)] = "auto",
        eta: Unit = 0.0,
        churn: NonNegative = 0.0,
        tolerance: Positive = 1e-3,
        threshold: Annotated[str, OneOf(*THRESHOLDS)] = "static",
    ) -> None:
        super().__init__(
            event, condition, run, sampler=sampler, sampler_steps=sampler_steps, spacing=spacing, eta=eta, churn=churn,
            tolerance=tolerance, threshold=threshold,
        )  # fmt: skip
        if len(guidance_interval) != 2:
            raise UsageError(f"guidance_interval must be two times (got {guidance_interval}): pass (0.0, 1.0)")
        self.guide, self.guidance, self.guidance_rescale = guide, guidance, guidance_rescale
        self.guidance_interval = tuple(guidance_interval)
        self.places: dict[float, tuple[float, float]] = {}  # of the guide's path, by time
        self.classifies = guide is not None and guide.module.condition is not None and self.base.condition is None
        known = None if guide is None else guide.module
        if known is not None and not isinstance(known, Denoising):
            if not (self.classifies and isinstance(known, Explicit) and isinstance(known.condition, Discrete)):
                raise Unsupported(
                    f"{known.label} guides nothing: give a denoiser, or a run with a density given a label that the "
                    "run to guide was trained without"
                )

    def phases(self) -> tuple[Phase, ...]:
        raise Unsupported("a guided run has nothing to train: make it with pofx.guided, or pofx guide")

    def denoise(self, x_t: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """The guided estimate: (n, *event)."""
        low, high = self.guidance_interval
        active = (t >= low) & (t <= high)
        strong = self.plain(x_t, t, condition)
        if not bool(active.any()):
            return strong
        weight = float(self.guidance)
        if self.likelihood is not None:
            found = self._along(self.likelihood, x_t, t, condition)
        elif self.guide is None:
            free = condition is None or self.base.condition is None
            found = strong if free else mixed(self.base.denoise(x_t, t), strong, weight)
        elif self.classifies:
            found = strong if condition is None else self._classified(strong, x_t, t, condition)
        else:
            weak = self._weak(x_t, t, condition)
            found = mixed(weak, strong, weight)
        if self.guidance_rescale:
            found = rescaled(found, strong, float(self.guidance_rescale))
        return torch.where(wide(active, x_t), found, strong)

    def _weak(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        assert self.guide is not None
        guide = self.guide.having(Denoising)
        return guide.denoise(*self._met(guide, x_t, t), None if guide.condition is None else condition)

    def _met(self, guide: Denoising, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x_t and t as the guide has them, at the same ratio of noise to data; of one time found once."""
        if t.ndim:
            size, moved = met(self, guide, t)
            return (x_t if size is None else x_t * wide(size, x_t)), moved
        key = float(t)
        if key not in self.places:
            size, moved = met(self, guide, t)
            self.places[key] = (1.0 if size is None else float(size)), float(moved)
        factor, place = self.places[key]
        return factor * x_t, torch.full_like(t, place)

    def _classified(self, strong: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The estimate given a condition that only the guide knows."""
        assert self.guide is not None
        guide = self.guide.module
        if isinstance(guide, Denoising):
            x, u = self._met(guide, x_t, t)
            return strong + float(self.guidance) * (guide.denoise(x, u, condition) - guide.denoise(x, u))
        assert isinstance(guide, Explicit) and isinstance(guide.condition, Discrete)
        density, labels = guide, range(guide.condition.largest)

        def posterior(x: Tensor) -> Tensor:
            assert isinstance(condition, Tensor)
            one = condition.clone()
            every = torch.stack([density.log_prob(x, torch.full_like(one, k)) for k in labels])
            return every.log_softmax(0).gather(0, one[None])[0]

        return self._along(posterior, x_t, t, None)

    def _along(self, likelihood: LogLikelihood, x_t: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        """The estimate, moved along the gradient of a log-likelihood of itself."""

        def estimate(x: Tensor, u: Tensor) -> Tensor:
            given = None if condition is None else each(condition, Tensor.clone)  # may be tensors of inference mode
            return self.plain(x, u.clone(), given)

        found = steered(estimate, path_of(self.schedule), likelihood, float(self.guidance))(x_t, t)
        if not bool(torch.isfinite(found).all()):
            raise UsageError(
                f"the guide {getattr(likelihood, '__name__', '')} or its gradient is not finite, or too steep, in "
                f"events from {float(x_t.min()):.3g} to {float(x_t.max()):.3g}: mend it, or pass a smaller guidance"
            )
        return found
