"""Flows for discrete grids: levels made real by a dequantiser that is learned with the flow.

    log P(x) >= E log 1/K Σ_k w_k,   w_k = p(y_k) |dy_k/du_k| / q(u_k | x),   u_k ~ q

Ho, Chen, Srinivas, Duan and Abbeel (2019), "Flow++: improving flow-based generative models with variational
dequantization", arXiv 1902.00275, eq. 12 with K = 1 in training; more samples make a tighter bound (Burda, Grosse and
Salakhutdinov, 2016, arXiv 1509.00519). The flow is Glow (Kingma and Dhariwal, 2018, arXiv 1807.03039) or TarFlow
(Zhai et al., 2024, arXiv 2412.06329).
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pofx.core.errors import Unsupported
from pofx.core.event import Condition, Continuous, Discrete, Event
from pofx.core.model import Batch, Default, Density, Encoding, OnePhase, Tempered, Weighted
from pofx.core.options import Count, Depth, Dropout, OneOf, Range, Real, Temperature, Width
from pofx.core.random import Streams
from pofx.families.flow.composition import Composition
from pofx.families.flow.dequantiser import Dequantiser
from pofx.families.flow.glow import glow
from pofx.families.flow.tarflow import INVERSES, MAPS, TarFlow, attention_matrices, attentive_flow
from pofx.nets.vector.conditioner import CONDITIONS

DEQUANTISATIONS = ("variational", "uniform")


class DequantisedFlow(OnePhase, Weighted, Encoding, Tempered):
    """A flow of levels made real by a dequantiser; members build both in the constructor."""

    events: ClassVar = (Discrete,)
    ranks = (3,)
    conditions: ClassVar = CONDITIONS
    best_density = Density.BOUND
    lossless = True
    adjustable: ClassVar[tuple[str, ...]] = ("importance",)

    flow: Composition
    dequantiser: Dequantiser

    def log_weights(
        self,
        x: Int[Tensor, "n *event"],
        condition: Condition | None,
        noise: Float[Tensor, "n *event"],
    ) -> Float[Tensor, "n"]:
        """log w of one draw, made from standard normal noise: (n,) nats, whose exponential has the mean P(x)."""
        y, log_weight = self.dequantiser(x, noise)
        return self.flow.log_prob(y, condition) + log_weight

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        noise = torch.randn(batch.x.shape, dtype=torch.float32, device=batch.x.device)
        return -self.log_weights(batch.x, batch.condition, noise).mean()

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """The negative bound of a single draw."""
        return -self.bound(batch.x, batch.condition, 1).mean()

    def prepare(self, take: Callable[[int], Batch]) -> None:
        def dequantised(items: int) -> Batch:
            batch = take(items)
            noise = torch.randn(batch.x.shape, dtype=torch.float32, device=batch.x.device)
            return dataclasses.replace(batch, x=self.dequantiser(batch.x, noise)[0])

        self.flow.start(dequantised)

    def bound(self, x: Int[Tensor, "n *event"], condition: Condition | None, draws: int) -> Float[Tensor, "n"]:
        """The importance-weighted bound on log P(x): (n,) nats. Its noise is a function of the item."""
        logs = self.importance_weights(x, condition, particles=draws, generator=Streams.of_items(0, x))
        return logs.logsumexp(1) - math.log(draws)

    def importance_weights(
        self,
        x: Int[Tensor, "n *event"],
        condition: Condition | None = None,
        *,
        particles: int,
        generator: Streams,
    ) -> Float[Tensor, "n {particles}"]:
        """`log_weights` of draws of the noise that makes levels real."""
        dtype = next(self.flow.parts.parameters()).dtype
        noises = (generator.normal(*x.shape[1:]).to(dtype) for _ in range(particles))
        return torch.stack([self.log_weights(x, condition, noise) for noise in noises], 1)

    def simulate(
        self, n: int, condition: Condition | None = None, *, generator: Streams
    ) -> tuple[Int[Tensor, "{n} *event"], Float[Tensor, "{n}"]]:
        raise Unsupported("the density of the learned noise is not computed at a given noise")

    def log_prob(self, x: Int[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """A lower bound on log P(x) in nats, with `importance` draws: (n,)."""
        return self.log_prob_estimate(x, condition)[0]

    def log_prob_estimate(
        self, x: Int[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """The bound and its standard error, from the scatter of the weights of each item; nan for a single draw."""
        self.check_condition(len(x), condition)
        draws = Streams.of_items(0, x)
        log_w = self.importance_weights(x, condition, particles=self.importance, generator=draws)
        value = log_w.logsumexp(1) - math.log(self.importance)
        error = (log_w - value[:, None]).exp().std(1) / self.importance**0.5
        return value, error if self.importance > 1 else torch.full_like(value, math.nan)

    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        temperature: Temperature = 1.0,
    ) -> Int[Tensor, "{n} *event"]:
        """As `Model.sample`; codes are multiplied by the temperature, and at another than 1 the draws leave P(x)."""
        self.check_condition(n, condition)
        return self.dequantiser.inverse(self.flow.draw(condition, generator, temperature))

    def encode(self, x: Int[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """The code of the middles of the levels: (n, *shape)."""
        self.check_condition(len(x), condition)
        middle = torch.full(x.shape, 0.5, dtype=next(self.flow.parts.parameters()).dtype, device=x.device)
        z: Tensor = self.flow(self.dequantiser.line(x, middle)[0], condition)[0]
        return z

    def decode(self, z: Float[Tensor, "n *event"], condition: Condition | None = None) -> Int[Tensor, "n *event"]:
        self.check_condition(len(z), condition)
        return self.dequantiser.inverse(self.flow.inverse(z, condition))


class DequantisedGlow(DequantisedFlow):
    """Glow for discrete grids with a learned dequantiser: a bound on log P, codes, sampling in one pass.

    Args:
        dequantisation: "variational" learns the noise that makes levels real, "uniform" does not.
        noise_steps: couplings of the learned noise.
        margin: levels fill (margin, 1 - margin) before a logit makes them real.
        importance: draws of the noise in `log_prob`.
        flow_steps, width, blocks, scales, dropout, scale_bound, context: as for `glow`.
    """

    name = "dequantised-glow"
    source = "Ho et al., 2019, arXiv 1902.00275; Kingma and Dhariwal, 2018, arXiv 1807.03039"
    trains_with = {"lr": 2e-3, "batch_size": 64, "least_batch": 16, "precision": "auto"}
    default_for = (Default(Discrete, 3, 256, family=True),)  # smaller grids: `nsf` reads better
    former = {"steps": "flow_steps"}
    small = {"flow_steps": 2, "width": 16, "importance": 16}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        dequantisation: Annotated[str, OneOf(*DEQUANTISATIONS)] = "variational",
        noise_steps: Depth = 3,
        margin: Annotated[Real, Range(0, 0.5, above=True, below=True)] = 0.0005,
        importance: Count = 8,
        flow_steps: Depth = 8,
        width: Width = 64,
        blocks: Annotated[int, Range(0, 1024)] = 1,
        scales: Annotated[int, Range(0, 16)] = 0,
        dropout: Dropout = 0.0,
        scale_bound: Annotated[Real, Range(0, 20, above=True)] = 2.0,
        context: Width = 64,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.dequantisation, self.noise_steps, self.margin = dequantisation, noise_steps, margin
        self.importance, self.flow_steps, self.width, self.blocks = importance, flow_steps, width, blocks
        self.scales, self.dropout, self.scale_bound, self.context = scales, dropout, scale_bound, context
        self.code = Continuous(event.shape)
        learned = noise_steps if dequantisation == "variational" else 0
        self.dequantiser = Dequantiser(
            event, steps=learned, width=width, blocks=blocks, margin=margin, scale_bound=scale_bound
        )
        size = context if condition is not None else 0
        stack = glow(event.shape, flow_steps, width, blocks, scales, scale_bound, context=size, dropout=dropout)
        self.flow = Composition(event, condition, context, [stack])


class DequantisedTarFlow(DequantisedFlow):
    """TarFlow for discrete grids with a learned dequantiser: a bound on log P and codes.

    Args:
        dequantisation, noise_steps, margin, importance: as for `dequantised-glow`.
        noise_width: hidden channels of the learned noise.
        blocks, layers, deep_layers, width, patch, maps, scale_bound, dropout, inverse, context: as for `tarflow`.
    """

    name = "dequantised-tarflow"
    source = "Zhai et al., 2024, arXiv 2412.06329; Ho et al., 2019, arXiv 1902.00275"
    adjustable = ("importance", "inverse")
    trains_with: ClassVar = TarFlow.trains_with
    small = {"blocks": 2, "layers": 1, "width": 32, "noise_width": 16, "importance": 16}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        dequantisation: Annotated[str, OneOf(*DEQUANTISATIONS)] = "variational",
        noise_steps: Depth = 3,
        noise_width: Width = 32,
        margin: Annotated[Real, Range(0, 0.5, above=True, below=True)] = 0.0005,
        importance: Count = 8,
        blocks: Depth = 4,
        layers: Depth = 2,
        deep_layers: Annotated[int, Range(0, 1024)] = 0,
        width: Width = 128,
        patch: Annotated[int, Range(0, 1024)] = 0,
        maps: Annotated[str, OneOf(*MAPS)] | None = None,
        scale_bound: Annotated[Real, Range(0, 20, above=True)] = 4.0,
        dropout: Dropout = 0.0,
        inverse: Annotated[str, OneOf(*INVERSES)] = "cached",
        context: Width = 64,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.dequantisation, self.noise_steps, self.noise_width = dequantisation, noise_steps, noise_width
        self.margin, self.importance, self.blocks, self.layers = margin, importance, blocks, layers
        self.deep_layers, self.width, self.patch, self.maps = deep_layers, width, patch, maps
        self.scale_bound, self.dropout, self.inverse, self.context = scale_bound, dropout, inverse, context
        self.code = Continuous(event.shape)
        learned = noise_steps if dequantisation == "variational" else 0
        self.dequantiser = Dequantiser(
            event, steps=learned, width=noise_width, blocks=1, margin=margin, scale_bound=scale_bound
        )
        self.flow = attentive_flow(
            event,
            condition,
            blocks=blocks,
            layers=layers,
            deep_layers=deep_layers,
            width=width,
            patch=patch,
            maps=maps,
            scale_bound=float(scale_bound),
            dropout=dropout,
            jacobi=inverse == "jacobi",
            context=context,
        )

    def matrices(self) -> Iterable[nn.Parameter]:
        return attention_matrices(self.flow)
