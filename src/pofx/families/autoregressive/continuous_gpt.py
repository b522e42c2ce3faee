"""A GPT of real tokens: a causal transformer over columns, frames or patches, each with a mixture or a diffusion.

log p(x) = sum over tokens of log p(token | tokens before it), exactly: Tschannen et al. (2024), "GIVT", arXiv
2312.02116. A token is a column of a row, a frame of a signal, a place of a grid of codes or a patch of an image; where
tokens are single numbers it is RNADE (Uria, Murray and Larochelle, 2013, arXiv 1306.0186) with a transformer.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.core.event import Condition, Continuous, Event, dims
from pofx.core.model import Batch, Density, Explicit, OnePhase, Recipe, Tempered
from pofx.core.options import Count, Depth, Dropout, OneOf, Range, Temperature, Width
from pofx.core.random import Streams
from pofx.maths.distributions import near_items
from pofx.maths.estimates import standard_error
from pofx.maths.mixture_head import MixtureHead
from pofx.nets.attention.token_transformer import TokenTransformer, gathered_tokens, spread_tokens, tokens
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner
from pofx.nets.vector.diffusion_head import HEADS, DiffusionHead, token_head

STARTS = 10_000  # items from which means and spreads are taken


class ContinuousGPT(OnePhase, Explicit, Tempered):
    """GPT of real tokens with mixtures of normals: exact; with small diffusions a bound.

    Args:
        width: features of a token, a multiple of 32.
        layers: blocks of attention and a two-layer net.
        head: "mixture" of normals, exact, or "diffusion", a bound.
        components: of the mixture of each token.
        denoiser_width, denoiser_depth: of the perceptron of the diffusion.
        denoiser_steps: of Heun's method for a token.
        noises: draws of noise for each token in training.
        bound_draws: draws of noise for each token from which its bound is estimated.
        patch: side of the squares of positions that become one token, or numbers of a vector; 0 is 1 for a vector and a
            seventh of the longest side of a grid.
        dropout: share of hidden features dropped in training.
        context: width of the condition's embedding.
    """

    name = "continuous-gpt"
    source = "Tschannen et al., 2024, arXiv 2312.02116; Uria et al., 2013, arXiv 1306.0186"
    events: ClassVar = (Continuous,)
    ranks: ClassVar = (1, 2, 3, 4)
    conditions: ClassVar = CONDITIONS
    best_density: ClassVar = Density.EXACT
    trains_with: ClassVar = {"batch_size": 64, "optimizer": "muon", "lr": 4e-3, "weight_decay": 0.05, "validations": 16}
    adjustable: ClassVar = ("denoiser_steps", "bound_draws")
    small: ClassVar = {"width": 32, "layers": 1, "components": 4, "denoiser_width": 32, "denoiser_depth": 1}
    recipes: ClassVar = (
        Recipe(
            "diffusion-gpt",
            "Li et al., 2024, arXiv 2406.11838",
            {"head": "diffusion"},
            {"optimizer": "adamw", "lr": 2e-3, "weight_decay": 0.0},
            summary="GPT of real tokens, each drawn by a small diffusion: a bound.",
            density=Density.BOUND,
        ),
    )

    center: Tensor
    scale: Tensor
    slots: Tensor

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: Width = 128,
        layers: Depth = 4,
        head: Annotated[str, OneOf(*HEADS)] = "mixture",
        components: Annotated[int, Range(1, 1024)] = 8,
        denoiser_width: Width = 128,
        denoiser_depth: Depth = 2,
        denoiser_steps: Count = 12,
        noises: Count = 4,
        bound_draws: Annotated[int, Range(2, 100_000)] = 32,
        patch: Annotated[int, Range(0, 1024)] = 0,
        dropout: Dropout = 0.0,
        context: Width = 64,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.width, self.layers, self.components, self.patch = width, layers, components, patch
        self.dropout, self.context, self.size = dropout, context, dims(event)
        table, counts = tokens(event.shape, patch)
        self.register_buffer("slots", table, persistent=False)
        self.denoiser_width, self.denoiser_depth, self.denoiser_steps = denoiser_width, denoiser_depth, denoiser_steps
        self.noises, self.bound_draws = noises, bound_draws
        self.head = head
        self.token_head = token_head(head, table.shape[1], components, denoiser_width, denoiser_depth, noises)
        self.conditioner = Conditioner(condition, context)
        self.net = TokenTransformer(
            counts, table.shape[1], self.token_head.size, width, layers, context=self.conditioner.width, dropout=dropout
        )
        self.register_buffer("center", torch.zeros(self.size))
        self.register_buffer("scale", torch.ones(self.size))

    def matrices(self) -> Iterable[nn.Parameter]:
        return self.net.matrices

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Measure the mean and standard deviation of every number."""
        x = take(STARTS).x.flatten(1).float()
        deviation = x.std(0, correction=0)
        self.center.copy_(x.mean(0))
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    @property
    def density(self) -> Density:
        """Exact, or a bound with the diffusion."""
        return Density.EXACT if isinstance(self.token_head, MixtureHead) else Density.BOUND

    def _raw(
        self, x: Float[Tensor, "n *event"], condition: Condition | None
    ) -> tuple[Float[Tensor, "n tokens numbers"], Float[Tensor, "n tokens size"], Tensor | None]:
        """Standardised tokens, the outputs of the network for each, and which numbers they have (None: all)."""
        y = gathered_tokens((x.flatten(1) - self.center) / self.scale, self.slots)
        there = self.slots >= 0
        return y, self.net(y, self.conditioner(condition)), None if bool(there.all()) else there

    def token_log_prob(
        self, x: Float[Tensor, "n *event"], condition: Condition | None = None
    ) -> Float[Tensor, "n tokens"]:
        """log p of each token given those before it, of standardised numbers, or its bound: (n, tokens) nats."""
        return self._token_estimates(x, condition, self.bound_draws).mean(0)

    def _token_estimates(
        self, x: Float[Tensor, "n *event"], condition: Condition | None, draws: int
    ) -> Float[Tensor, "draws n tokens"]:
        y, raw, there = self._raw(x, condition)
        if isinstance(self.token_head, MixtureHead):
            return self.token_head.log_prob(y, raw, there)[None]
        return self.token_head.estimates(y, raw, there, Streams.of_items(0, x), draws)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """-log p in nats per number of standardised data; with the diffusion what its `losses` are, per number."""
        return self.token_head.losses(*self._raw(batch.x, batch.condition)).sum(1).mean() / self.size

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """-log p or its bound in nats per number, by two draws that are the items' own."""
        return -self._token_estimates(batch.x, batch.condition, 2).sum(2).mean() / self.size

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x | condition) in nats, or its bound: (n,)."""
        return self.log_prob_estimate(x, condition)[0]

    def log_prob_estimate(
        self, x: Float[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        """`log_prob`, and with the diffusion its standard error over the draws."""
        self.check_condition(len(x), condition)
        x, far = near_items(x)
        each = self._token_estimates(x, condition, self.bound_draws).sum(2) - self.scale.log().sum()
        value = each.mean(0).masked_fill(far, -torch.inf)
        return value, standard_error(each).masked_fill(far, 0.0) if len(each) > 1 else None

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        temperature: Temperature = 1.0,
    ) -> Float[Tensor, "{n} *event"]:
        """As `Model.sample`, token by token; the temperature scales the noise of each."""
        self.check_condition(n, condition)
        count, numbers = self.slots.shape
        u, noise = generator.uniform(count), generator.normal(count, numbers)
        if isinstance(self.token_head, DiffusionHead):
            self.token_head.steps = self.denoiser_steps
        cursor, drawn = self.net.begin(n, self.conditioner(condition)), []
        for t in range(count):
            token = self.token_head.draw(cursor.outputs(), u[:, t], noise[:, t], temperature)
            token = token.masked_fill(self.slots[t] < 0, 0.0)
            drawn.append(token)
            cursor.put(token)
        y = spread_tokens(torch.stack(drawn, 1), self.slots)
        return (y * self.scale + self.center).reshape(n, *self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the event."""
        assert isinstance(self.event, Continuous)
        return self.event.shape
