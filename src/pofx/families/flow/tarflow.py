"""TarFlow: a few causal transformers over patches in alternating orders, each an affine autoregressive flow.

Zhai et al. (2024), "Normalizing flows are capable generative models", arXiv 2412.06329; most layers in the block next
to the prior ("deep-shallow"): Gu et al. (2025), "STARFlow", arXiv 2506.06276. Trained on items with Gaussian noise of
standard deviation sigma, draws y are cleaned by one gradient of the flow itself: x = y + sigma² ∇ log p(y). Under
conditions, samples can be guided as those of a diffusion model (Ho and Salimans, 2022, arXiv 2207.12598).
"""

import dataclasses
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.core.event import Condition, Continuous, Event, dims, each
from pofx.core.model import Batch
from pofx.core.options import Depth, Dropout, NonNegative, OneOf, Range, Real, Temperature, Unit, Width
from pofx.core.random import Streams
from pofx.families.flow.attentive import Attentive
from pofx.families.flow.composition import ActNorm, Bijection, Composition
from pofx.families.flow.coupling import Affine, AffineSpline, Elementwise, Spline
from pofx.families.flow.flow import Flow
from pofx.nets.vector.conditioner import Conditioner

INVERSES = ("cached", "jacobi")
MAPS = ("auto", "affine", "spline", "affine-spline")
BINS, SPLINED = 8, 6.0  # of a spline, and up to how many standard deviations it reaches


class TarFlow(Flow):
    """Transformers over patches or columns: exact density and codes, slow sampling.

    Args:
        blocks: transformers, in alternating orders of the tokens.
        layers: of each transformer.
        deep_layers: of the one next to the prior; 0 is as many as the others have.
        width: features of a token, a multiple of 32.
        patch: side of the squares of positions that become one token, or numbers of a vector; 0 is 1 for a vector and a
            seventh of the longest side of a grid.
        maps: of the numbers of a token: "affine", "spline", or "affine-spline", a spline of shifted and stretched
            numbers; None is "spline" for a vector and "affine-spline" for a grid, "auto" (earlier runs) "affine" there.
        scale_bound: an affine map stretches by at most e to this power.
        dropout: share of hidden features dropped in training.
        noise: standard deviation of the noise that training adds to items, in units of the event. The density is that
            of noisy items then.
        denoised: whether samples are cleaned of that noise.
        inverse: "cached" goes token by token, "jacobi" by sweeps over all tokens; the result is the same.
        guidance: w in unconditional + w (conditional - unconditional), of the maps; 1 is plain conditional sampling.
        condition_dropout: share of conditions dropped in training, so that `guidance` has something to lean on.
        context: width of the condition's embedding.
    """

    name = "tarflow"
    source = "Zhai et al., 2024, arXiv 2412.06329; Gu et al., 2025, arXiv 2506.06276"
    ranks = (1, 2, 3, 4)
    adjustable: ClassVar = ("denoised", "inverse", "guidance")
    trains_with: ClassVar = {
        "batch_size": 64,
        "optimizer": "muon",
        "lr": 4e-3,
        "weight_decay": 0.01,
        "precision": "auto",
    }
    small: ClassVar = {"blocks": 2, "layers": 1, "width": 32}

    flow: "AttentiveComposition"

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        blocks: Depth = 4,
        layers: Depth = 2,
        deep_layers: Annotated[int, Range(0, 1024)] = 0,
        width: Width = 128,
        patch: Annotated[int, Range(0, 1024)] = 0,
        maps: Annotated[str, OneOf(*MAPS)] | None = None,
        scale_bound: Annotated[Real, Range(0, 20, above=True)] = 4.0,
        dropout: Dropout = 0.0,
        noise: NonNegative = 0.0,
        denoised: bool = True,
        inverse: Annotated[str, OneOf(*INVERSES)] = "cached",
        guidance: Annotated[Real, Range(-100, 100)] = 1.0,
        condition_dropout: Unit = 0.1,
        context: Width = 64,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.blocks, self.layers, self.deep_layers, self.width, self.patch = blocks, layers, deep_layers, width, patch
        self.maps, self.scale_bound, self.dropout = maps, scale_bound, dropout
        self.noise, self.denoised, self.inverse, self.guidance = noise, denoised, inverse, guidance
        self.condition_dropout, self.context = condition_dropout, context
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
            null=True,
        )

    def matrices(self) -> Iterable[nn.Parameter]:
        return attention_matrices(self.flow)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        x, drop = batch.x, None
        if self.noise:
            x = x + self.noise * torch.randn_like(x)
        if batch.condition is not None and self.training:
            drop = torch.rand(len(batch), device=x.device) < self.condition_dropout
        return -self.flow.log_prob(x, batch.condition, drop).mean()

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """-log p under a fixed noise, so that its changes are the weights'."""
        x = batch.x
        if self.noise:
            x = x + self.noise * Streams(0, len(x), device=x.device).normal(*x.shape[1:])
        return -self.flow.log_prob(x, batch.condition).mean()

    def prepare(self, take: Any) -> None:
        def noisy(items: int) -> Batch:
            batch = take(items)
            return dataclasses.replace(batch, x=batch.x + self.noise * torch.randn_like(batch.x))

        self.flow.start(noisy if self.noise else take)

    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        temperature: Temperature = 1.0,
    ) -> Float[Tensor, "{n} *event"]:
        """As `Flow.sample`; guided and denoised draws leave p(x)."""
        self.check_condition(n, condition)
        if condition is None or self.guidance == 1.0:
            y = self.flow.draw(condition, generator, temperature)
        else:
            y = self.flow.guided(condition, generator, temperature, float(self.guidance))
        return self.cleaned(y, condition) if self.noise and self.denoised else y

    def rsample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        """Draws of p(x), neither guided nor denoised."""
        self.check_condition(n, condition)
        return self.flow.draw(condition, generator)

    def cleaned(self, y: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """E[x | y] of items with the noise of training: y + noise² ∇ log p(y | condition)."""
        with torch.inference_mode(False), torch.enable_grad():
            y = y.detach().clone().requires_grad_()
            condition = None if condition is None else each(condition, torch.clone)  # one of inference has no gradients
            (score,) = torch.autograd.grad(self.flow.log_prob(y, condition).sum(), y)
        return (y + self.noise**2 * score).detach()


class AttentiveComposition(Composition):
    """Attentive bijections and what lies between them; conditions may be dropped, and draws guided."""

    def __init__(
        self, event: Event, condition: Event | None, context: int, parts: Iterable[Bijection], *, null: bool
    ) -> None:
        super().__init__(event, condition, context, parts)
        self.embed = Conditioner(condition, context, null=null)

    @torch.no_grad()
    def guided(
        self, condition: Condition, generator: Streams, temperature: float, guidance: float
    ) -> Float[Tensor, "n *event"]:
        """One x per stream, under guided maps."""
        given = self.embed(condition)
        assert self.embed.null is not None
        free = self.embed.null.expand(len(given), -1)
        x = self.base.draw(generator, self.features, temperature)
        for part in reversed(self.bijections):
            x = part.guided_inverse(x, given, free, guidance) if isinstance(part, Attentive) else part.inverse(x)
        return x.reshape(generator.n, *self.shape)


def attentive_flow(
    event: Event,
    condition: Event | None,
    *,
    blocks: int,
    layers: int,
    deep_layers: int,
    width: int,
    patch: int,
    maps: str | None,
    scale_bound: float,
    dropout: float,
    jacobi: bool,
    context: int,
    null: bool = False,
) -> AttentiveComposition:
    """The whole of TarFlow (see `TarFlow` for the arguments); `null`: whether conditions may be dropped."""
    assert not isinstance(event, dict)
    shape = event.shape
    vector = len(shape) == 1
    kind = {None: "spline" if vector else "affine-spline", "auto": "spline" if vector else "affine"}.get(maps, maps)
    elementwise: Elementwise = {
        "affine": Affine(scale_bound),
        "spline": Spline(BINS, SPLINED),
        "affine-spline": AffineSpline(scale_bound, BINS, SPLINED),
    }[str(kind)]
    parts: list[Bijection] = [ActNorm(dims(event))]
    for i in range(blocks):
        depth = deep_layers if deep_layers and i == blocks - 1 else layers
        parts.append(
            Attentive(
                shape,
                patch,
                i % 2 == 1,
                elementwise,
                width,
                depth,
                context=context if condition is not None else 0,
                dropout=dropout,
                jacobi=jacobi,
            )
        )
    return AttentiveComposition(event, condition, context, parts, null=null)


def attention_matrices(flow: Composition) -> list[nn.Parameter]:
    """The weights between hidden layers of all transformers."""
    return [p for part in flow.bijections if isinstance(part, Attentive) for p in part.net.matrices]
