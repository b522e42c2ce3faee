"""A frozen denoiser and a classifier of noisy items trained beside it, whose gradient corrects the estimate.

By Tweedie's formula E[x | x_t] moves by sigma² / alpha · grad log r(x_t) where the density of x_t is multiplied by r.
Of a label, r = p(c | x_t): classifier guidance (Dhariwal and Nichol, 2021, arXiv 2105.05233), which gives a run the
condition that it was trained without. Of real against drawn items, r = D / (1 - D): discriminator guidance (Kim et al.,
2023, arXiv 2211.17091), which removes what distinguishes the draws of the run from the data; the accuracy of D is a
two-sample test.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.combine.around.denoiser import WALKED, WALKS, Beside, Steps, drawn_times, fixed_times, wide
from pofx.core.companion import Foundation
from pofx.core.errors import Unsupported
from pofx.core.event import Condition, Discrete, Event, select
from pofx.core.model import Batch, Phase
from pofx.core.options import Count, Depth, NonNegative, OneOf, Positive, Range, Real, Unit, Width
from pofx.core.random import Streams
from pofx.families.diffusion.diffusion import GRID, SPACINGS, THRESHOLDS
from pofx.nets.image.autoencoder import ImageEncoder
from pofx.nets.vector.conditioner import Conditioner
from pofx.nets.vector.mlp import ResidualMLP
from pofx.nets.vector.time import TimeEmbedding

CONTEXT, FEATURES = 128, 32
DRAWN = 1 << 42  # the seed of the items that are drawn for training
CHUNK = 500


class NoisyNet(nn.Module):
    """Noisy items of unit size, their times and conditions → outputs (n, outputs)."""

    def __init__(self, shape: tuple[int, ...], condition: Event | None, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        count = math.prod(shape)
        self.time, self.conditioner = TimeEmbedding(CONTEXT), Conditioner(condition, CONTEXT)
        self.encoder = ImageEncoder(shape, width, FEATURES) if len(shape) == 3 and count >= GRID else None
        self.net = ResidualMLP(width if self.encoder else count, outputs, width, depth, context=CONTEXT)

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        h = x.flatten(1) if self.encoder is None else F.silu(self.encoder(x))
        context = self.time(t)
        if condition is not None and self.conditioner.event is not None:
            context = context + self.conditioner(condition)
        out: Tensor = self.net(h, F.silu(context))
        return out


class Judged(Beside):
    """What guidance by a classifier of noisy items shares."""

    conditions: ClassVar = (Discrete,)
    adjustable: ClassVar = ("guidance", "guidance_interval", *WALKED)
    trains_with: ClassVar = {"validations": 8, "validation_items": 500, "ema_images": 20_000}

    def __init__(
        self,
        event: Event,
        condition: Event | None,
        run: Foundation | None,
        outputs: int,
        seen: bool,
        *,
        guidance: Annotated[Real, Range(-1000, 1000)],
        guidance_interval: tuple[float, ...],
        width: Width,
        depth: Depth,
        sampler: Annotated[str, OneOf(*WALKS)],
        sampler_steps: Steps,
        spacing: Annotated[str, OneOf("auto", *SPACINGS)],
        eta: Unit,
        churn: NonNegative,
        tolerance: Positive,
        threshold: Annotated[str, OneOf(*THRESHOLDS)],
    ) -> None:
        super().__init__(
            event, condition, run, sampler=sampler, sampler_steps=sampler_steps, spacing=spacing, eta=eta, churn=churn,
            tolerance=tolerance, threshold=threshold,
        )  # fmt: skip
        self.guidance, self.guidance_interval = guidance, tuple(guidance_interval)
        self.width, self.depth = width, depth
        self.net = NoisyNet(self.shape, condition if seen else None, outputs, width, depth)
        self.measured()

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("classifier", tuple(self.net.parameters()), self.loss),)

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The cross-entropy of the classifier, a mean over the batch."""

    @abstractmethod
    def log_ratio(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        """log r(x_t), differentiable in x_t: (n,)."""

    def outputs(self, x_t: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """What the classifier gives for noisy items in units of the event."""
        x, _ = self.unit(x_t, t)
        out: Tensor = self.net(x, t.expand(len(x_t)), condition)
        return out

    def denoise(self, x_t: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """The corrected estimate: (n, *event)."""
        plain = self.plain(x_t, t, condition)
        low, high = self.guidance_interval
        active = (t >= low) & (t <= high)
        if float(self.guidance) == 0.0 or not bool(active.any()):
            return plain
        with torch.inference_mode(False), torch.enable_grad():
            x = x_t.detach().clone().requires_grad_()
            given = condition.clone() if isinstance(condition, Tensor) else condition
            (slope,) = torch.autograd.grad(self.log_ratio(x, t.clone(), given).sum(), x)
        alpha, sigma = self.schedule(t)
        factor = float(self.guidance) * sigma**2 / alpha
        factor = torch.where(torch.isfinite(factor) & wide(active, x_t), factor, 0.0)
        return plain + factor * slope


class ClassifierGuidance(Judged):
    """A label for a run without one, by a noisy classifier.

    Args:
        run: a denoiser that was trained without the label.
        guidance: factor of the gradient of log p(label | x_t); 1 is Bayes' rule, 0 the run alone.
        guidance_interval: times between which it acts.
        width: units of the classifier.
        depth: its residual blocks.
        sampler: of the walk; "auto" is that of the run.
        sampler_steps: of the walk; 0 takes those of the run.
        spacing: of the times of the walk; "auto" is that of the run.
        eta: random share of "ddim".
        churn: noise that "heun" adds.
        tolerance: of the steps of "adaptive", per number.
        threshold: estimates of bounded events are cut off at 1 ("static"), or scaled to it ("dynamic").
    """

    name: ClassVar[str] = "classifier-guidance"
    source: ClassVar[str] = "Dhariwal and Nichol, 2021, arXiv 2105.05233"

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        run: Foundation | None = None,
        guidance: Annotated[Real, Range(-1000, 1000)] = 1.0,
        guidance_interval: tuple[Unit, Unit] = (0.0, 1.0),
        width: Width = 256,
        depth: Depth = 2,
        sampler: Annotated[str, OneOf(*WALKS)] = "auto",
        sampler_steps: Steps = 0,
        spacing: Annotated[str, OneOf("auto", *SPACINGS)] = "auto",
        eta: Unit = 0.0,
        churn: NonNegative = 0.0,
        tolerance: Positive = 1e-3,
        threshold: Annotated[str, OneOf(*THRESHOLDS)] = "static",
    ) -> None:
        if not isinstance(condition, Discrete) or condition.shape:
            raise Unsupported("classifier-guidance gives a run one label: pass condition=label")
        super().__init__(
            event, condition, run, condition.largest, False,
            guidance=guidance, guidance_interval=guidance_interval, width=width, depth=depth,
            sampler=sampler, sampler_steps=sampler_steps, spacing=spacing, eta=eta, churn=churn,
            tolerance=tolerance, threshold=threshold,
        )  # fmt: skip

    def log_ratio(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        """log p(label | x_t): (n,)."""
        if condition is None:
            return 0.0 * x_t.flatten(1).sum(1)
        assert isinstance(condition, Tensor)
        return self.outputs(x_t, t).log_softmax(1).gather(1, condition[:, None])[:, 0]

    def loss(self, batch: Batch) -> Tensor:
        noise = torch.randn_like(batch.x, dtype=torch.float32)
        return self._loss(batch, drawn_times(noise), noise)

    def validation(self, batch: Batch) -> Tensor:
        """The cross-entropy at fixed times and noises."""
        return self._loss(batch, *fixed_times(batch.x))

    def _loss(self, batch: Batch, t: Tensor, noise: Tensor) -> Tensor:
        assert isinstance(batch.condition, Tensor)
        return F.cross_entropy(self.outputs(self.noised(batch.x, t, noise), t), batch.condition)


class DiscriminatorGuidance(Judged):
    """A run corrected by a classifier of its draws.

    Args:
        run: a denoiser of the same items, and with the same label if there is one.
        guidance: factor of the gradient of log D / (1 - D); 0 is the run alone.
        guidance_interval: times between which it acts.
        draws: items of the run that are drawn for training; a quarter of them validate.
        width: units of the discriminator.
        depth: its residual blocks.
        sampler: of the walk; "auto" is that of the run.
        sampler_steps: of the walk; 0 takes those of the run.
        spacing: of the times of the walk; "auto" is that of the run.
        eta: random share of "ddim".
        churn: noise that "heun" adds.
        tolerance: of the steps of "adaptive", per number.
        threshold: estimates of bounded events are cut off at 1 ("static"), or scaled to it ("dynamic").
    """

    name: ClassVar[str] = "discriminator-guidance"
    source: ClassVar[str] = "Kim et al., 2023, arXiv 2211.17091"
    of: Tensor

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        run: Foundation | None = None,
        guidance: Annotated[Real, Range(-1000, 1000)] = 1.0,
        guidance_interval: tuple[Unit, Unit] = (0.0, 1.0),
        draws: Count = 2000,
        width: Width = 256,
        depth: Depth = 2,
        sampler: Annotated[str, OneOf(*WALKS)] = "auto",
        sampler_steps: Steps = 0,
        spacing: Annotated[str, OneOf("auto", *SPACINGS)] = "auto",
        eta: Unit = 0.0,
        churn: NonNegative = 0.0,
        tolerance: Positive = 1e-3,
        threshold: Annotated[str, OneOf(*THRESHOLDS)] = "static",
    ) -> None:
        super().__init__(
            event, condition, run, 1, True,
            guidance=guidance, guidance_interval=guidance_interval, width=width, depth=depth,
            sampler=sampler, sampler_steps=sampler_steps, spacing=spacing, eta=eta, churn=churn,
            tolerance=tolerance, threshold=threshold,
        )  # fmt: skip
        if self.base.condition != condition:
            raise Unsupported("discriminator-guidance takes the condition that its run was trained with: pass the same")
        self.draws = max(4, draws)
        shape = condition.shape if isinstance(condition, Discrete) else ()
        self.register_buffer("of", torch.zeros(self.draws, *shape, dtype=torch.int64))  # conditions of the draws
        self.drawn: Tensor | None = None  # a function of the run and of these: not saved
        self.share: dict[str, Tensor] = {}

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Measure the mean of the data, and draw what is compared with them."""
        super().prepare(take)
        condition = take(self.draws).condition
        if isinstance(condition, Tensor):
            self.of = condition[torch.arange(self.draws, device=condition.device) % len(condition)].clone()
        self.drawn = None

    def _draws(self) -> tuple[Tensor, Tensor | None]:
        given = None if self.condition is None else self.of
        if self.drawn is None:
            streams, parts = Streams(DRAWN, self.draws, device=self.of.device), []
            with torch.no_grad():
                for i in range(0, self.draws, CHUNK):
                    at = slice(i, i + CHUNK)
                    part = streams[at]
                    c = None if given is None else select(given, at)
                    parts.append(self.base.sample(len(part), c, generator=part))
            self.drawn = torch.cat(parts).float()
        return self.drawn.to(self.of.device), given

    def log_ratio(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        """log D / (1 - D): (n,)."""
        return self.outputs(x_t, t, condition)[:, 0]

    def loss(self, batch: Batch) -> Tensor:
        noise = torch.randn_like(batch.x, dtype=torch.float32)
        t = drawn_times(noise)
        count = self.draws - self.draws // 4
        return self._loss(batch, torch.randint(count, (len(batch),), device=noise.device), t, noise)

    def validation(self, batch: Batch) -> Tensor:
        """The cross-entropy of items and of draws that were not trained on."""
        held = torch.arange(len(batch), device=batch.x.device) % (self.draws // 4)
        return self._loss(batch, self.draws - 1 - held, *fixed_times(batch.x))

    def _loss(self, batch: Batch, rows: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        drawn, given = self._draws()
        real = self.outputs(self.noised(batch.x, t, noise), t, batch.condition)
        false = self.outputs(self.noised(drawn[rows], t, noise.flip(0)), t, None if given is None else given[rows])
        right = 0.5 * ((real > 0).float().mean() + (false < 0).float().mean())
        self.share = {"accuracy": right.detach()}
        return 0.5 * (F.softplus(-real).mean() + F.softplus(false).mean())

    def telemetry(self) -> Mapping[str, Tensor | float]:
        """The share of noisy items and draws that the discriminator names rightly: 0.5 is chance."""
        return self.share
