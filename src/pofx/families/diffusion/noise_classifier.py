"""A classifier of the level of noise as a density: one pass gives log p(x), one gradient the denoised item.

A network of x alone gives a logit for each of T + 2 levels of noise, from the clean item (0) to pure noise (T + 1). Its
differences are log-ratios of the densities at those levels, F(x, t) = logit_t - logit_{T+1} = log p_t(x) / N(x; 0, I),
hence log p(x) = F(x, 0) + log N(x; 0, I), and E[x | x_t] from the slope of F (Yadin, Elata and Michaeli, 2024,
"Classification diffusion models", arXiv 2402.10095). Both losses are needed: cross-entropy makes the ratio right, the
squared error of the denoiser its slope. On rows the same number is a score of anomalies (Livernoche et al., 2024,
arXiv 2305.18593).
"""

import math
from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pofx.core.event import Bounded, Condition, Continuous, Event, dims
from pofx.core.generative import Noticing
from pofx.core.model import Batch, Denoising, Density, OnePhase, Stepwise
from pofx.core.options import Count, Depth, Range, Real, Unit, Width
from pofx.core.random import Streams
from pofx.maths.distributions import near_items, normal_log_prob, sum_event, zero_when_far
from pofx.maths.paths import PATHS, angle
from pofx.maths.samplers import Walk, heun, times_of
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner
from pofx.nets.vector.fourier import waves
from pofx.nets.vector.mlp import MLP

CONTEXT = 64
FEW = 3  # numbers of an event up to which the network sees waves of them
OCTAVES = 3
MOST_NOISE = 5.0  # ratio of noise to data at the last level before pure noise
PATH = "cosine"


class NoiseClassifier(OnePhase, Noticing, Denoising, Stepwise):
    """Classifies the level of noise: log p in one pass.

    Args:
        levels: of noise between the clean item and pure noise.
        least: ratio of noise to data at the first of them.
        width, depth: units and hidden layers of the network.
        cross_entropy: weight of the classification; that of the denoiser's squared error per number is 1.
        condition_dropout: share of conditions dropped in training.
        sampler_steps: of Heun's method.
    """

    name = "noise-classifier"
    source = "Yadin et al., 2024, arXiv 2402.10095"
    events: ClassVar = (Bounded, Continuous)
    ranks: ClassVar = (1, 2, 3, 4)
    conditions: ClassVar = CONDITIONS
    best_density: ClassVar = Density.ESTIMATE
    adjustable: ClassVar = ("sampler_steps",)
    trains_with: ClassVar = {"lr": 2e-3, "batch_size": 256, "validations": 8, "validation_items": 500}
    small: ClassVar = {"levels": 16, "width": 64, "depth": 2}

    center: Tensor
    scale: Tensor
    angles: Tensor

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        levels: Depth = 32,
        least: Annotated[Real, Range(0, 1, above=True)] = 0.05,
        width: Width = 256,
        depth: Depth = 3,
        cross_entropy: Annotated[Real, Range(0, 1e6, above=True)] = 1.0,
        condition_dropout: Unit = 0.1,
        sampler_steps: Count = 32,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.levels, self.least, self.width, self.depth = levels, least, width, depth
        self.cross_entropy, self.condition_dropout = cross_entropy, condition_dropout
        self.sampler_steps, self.shape = sampler_steps, event.shape
        count = dims(event)
        self.octaves = OCTAVES if count <= FEW else 0
        self.conditioner = Conditioner(condition, CONTEXT, null=True)
        self.net = MLP(
            count * (1 + 2 * self.octaves), levels + 2, (width,) * depth, context=self.conditioner.width, zero=True
        )
        between = torch.linspace(math.log(least), math.log(MOST_NOISE), levels, dtype=torch.float64).exp().atan()
        ends = torch.tensor([0.0, math.pi / 2], dtype=torch.float64)
        self.register_buffer("angles", torch.cat((ends[:1], between, ends[1:])).float(), persistent=False)
        first = [event.shape[0] if event.shape else 1, *[1] * (len(event.shape) - 1)]
        self.register_buffer("center", torch.zeros(first))
        self.register_buffer("scale", torch.ones(first))

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Measure the mean and standard deviation of the data along its first axis."""
        rows = take(10_000).x.float().transpose(0, 1).flatten(1)
        deviation = rows.std(1, correction=0)
        self.center.copy_(rows.mean(1).reshape(self.center.shape))
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0).reshape(self.scale.shape))

    @property
    def spread(self) -> Float[Tensor, "..."]:
        return self.scale

    def schedule(self, t: Float[Tensor, "*n"]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        point, axes = PATHS[PATH](t), [1] * len(self.shape)
        return point.alpha.reshape(*t.shape, *axes), point.sigma.reshape(*t.shape, *axes) * self.scale

    # the classifier

    def logits(
        self, x: Float[Tensor, "n *event"], context: Float[Tensor, "n context"] | None
    ) -> Float[Tensor, "n levels"]:
        """Of every level of noise, for standardised x: (n, levels + 2). Neighbours differ by one output each."""
        seen = waves(x.float().flatten(1), self.octaves).flatten(1)
        return self.net(seen, context).float().cumsum(1)  # type: ignore[no-any-return]

    def ratio(
        self, x: Float[Tensor, "n *event"], place: Float[Tensor, "n"], context: Float[Tensor, "n context"] | None
    ) -> Float[Tensor, "n"]:
        """F at a place among the levels, linear between them: (n,)."""
        return _between(self.logits(x, context), place)

    def place(self, phi: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """Where angles of the quarter circle lie among the levels, in [0, levels + 1]."""
        at = torch.searchsorted(self.angles, phi.contiguous(), right=True).clamp(1, len(self.angles) - 1)
        low, high = self.angles[at - 1], self.angles[at]
        return (at - 1) + ((phi - low) / (high - low)).clamp(0, 1)

    def data(
        self,
        x: Float[Tensor, "n *event"],
        phi: Float[Tensor, "n"],
        context: Float[Tensor, "n context"] | None,
        *,
        graph: bool = False,
    ) -> Float[Tensor, "n *event"]:
        """E[x | x_t] of standardised x_t on the circle: cos x_t + sin² / cos ∇F (Tweedie's formula)."""
        slope = self._slope(x, self.place(phi), context, graph)
        cos, sin = (f(phi).reshape(-1, *[1] * (x.ndim - 1)) for f in (torch.cos, torch.sin))
        return cos * x + sin**2 / cos.clamp(min=1e-3) * slope

    def _slope(self, x: Tensor, place: Tensor, context: Tensor | None, graph: bool) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            if not x.requires_grad:
                x = x.detach().clone().requires_grad_()
            given = context if context is None or not context.is_inference() else context.clone()
            value = self.ratio(x, place.clone(), given).sum()
            (slope,) = torch.autograd.grad(value, x, create_graph=graph)
        return slope

    # training

    def _losses(
        self, batch: Batch, level: Int[Tensor, "n"], noise: Float[Tensor, "n *event"], drop: Tensor | None
    ) -> dict[str, Tensor]:
        x, phi = self._standardised(batch.x), self.angles[level]
        wide = (-1, *[1] * (x.ndim - 1))
        cos, sin = phi.cos().reshape(wide), phi.sin().reshape(wide)
        context = self.conditioner(batch.condition, drop)
        with torch.enable_grad():
            noisy = (cos * x + sin * noise).detach().requires_grad_()
            logits = self.logits(noisy, context)
            ce = torch.nn.functional.cross_entropy(logits, level)
            value = _between(logits, level.float()).sum()
            (slope,) = torch.autograd.grad(value, noisy, create_graph=torch.is_grad_enabled())
        between = (level > 0) & (level <= self.levels)
        velocity = -(sin / cos.clamp(min=0.1)) * slope
        error = (velocity - (cos * noise - sin * x)).square().flatten(1).mean(1)
        mse = (error * between).sum() / between.sum().clamp(min=1)
        return {"classification": self.cross_entropy * ce, "denoising": mse}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the level, and the squared error of the velocity that its slope gives."""
        n, device = len(batch), batch.x.device
        u = (torch.randperm(n, device=device) + torch.rand(n, device=device)) / n
        level = (u * (self.levels + 2)).long().clamp(max=self.levels + 1)
        drop = None
        if batch.condition is not None:
            drop = torch.rand(n, device=device) < self.condition_dropout
        return self._losses(batch, level, torch.randn_like(batch.x, dtype=torch.float32), drop)

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """The loss at fixed levels and noises, so that its changes are the weights'."""
        n = len(batch)
        level = torch.arange(n, device=batch.x.device) % (self.levels + 2)
        noise = Streams(0, n, device=batch.x.device).normal(*self.shape)
        return torch.stack([v.detach() for v in self._losses(batch, level, noise, None).values()]).sum()

    # use

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x | condition) in nats, by one pass: (n,)."""
        self.check_condition(len(x), condition)
        context = self.conditioner(condition)

        def near(x: Tensor) -> Tensor:
            y = self._standardised(x)
            clean = self.ratio(y, torch.zeros(len(y), device=y.device), context)
            return clean + sum_event(normal_log_prob(y)) - self.scale.log().expand(self.shape).sum()

        return zero_when_far(near, x)

    def expected_noise(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """The mean number of the level, of items that may be noisy: (n,), a score of anomalies (Livernoche et al.)."""
        self.check_condition(len(x), condition)
        near, far = near_items(x)
        p = self.logits(self._standardised(near), self.conditioner(condition)).softmax(1)
        return (p @ torch.arange(p.shape[1], dtype=p.dtype, device=p.device)).masked_fill(far, self.levels + 1.0)

    def denoise(
        self, x_t: Float[Tensor, "n *event"], t: Float[Tensor, "*n"], condition: Condition | None = None
    ) -> Float[Tensor, "n *event"]:
        phi = angle(PATHS[PATH](t))
        cos = phi.cos().reshape(*phi.shape, *[1] * len(self.shape))
        y = (x_t - cos * self.center) / self.scale
        context = self._free(len(x_t)) if condition is None else self.conditioner(condition)
        found = self.data(y, phi.expand(len(y)), context, graph=torch.is_grad_enabled() and x_t.requires_grad)
        return found * self.scale + self.center

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        """n events by Heun's method in `sampler_steps` steps."""
        self.check_condition(n, condition)
        path, context = PATHS[PATH], self.conditioner(condition)

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            return self.data(x, angle(path(t)).expand(n), context)

        times = times_of(path, self.sampler_steps, "even", generator.device)
        x = heun(denoise, generator.normal(*self.shape), Walk(path, times))
        return x * self.scale + self.center

    def _standardised(self, x: Tensor) -> Tensor:
        return (x.float() - self.center) / self.scale

    def _free(self, n: int) -> Float[Tensor, "{n} context"] | None:
        null = self.conditioner.null
        return None if null is None else null.expand(n, -1)


def _between(logits: Float[Tensor, "n levels"], place: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """The log-ratio to pure noise at a place among the levels."""
    low = place.floor().long().clamp(0, logits.shape[1] - 2)
    share = place - low
    here, there = (logits.gather(1, at[:, None])[:, 0] for at in (low, low + 1))
    return torch.lerp(here, there, share) - logits[:, -1]
