"""A GPT of real tokens: a causal transformer over columns, frames or patches, each with a mixture of normals.

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
from pofx.core.model import Batch, Density, Explicit, OnePhase, Tempered
from pofx.core.options import Depth, Dropout, Range, Temperature, Width
from pofx.core.random import Streams
from pofx.maths.distributions import zero_when_far
from pofx.maths.mixture_head import MixtureHead
from pofx.nets.attention.token_transformer import TokenTransformer, gathered_tokens, spread_tokens, tokens
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner

STARTS = 10_000  # items from which means and spreads are taken


class ContinuousGPT(OnePhase, Explicit, Tempered):
    """GPT of real tokens with mixtures of normals: exact.

    Args:
        width: features of a token, a multiple of 32.
        layers: blocks of attention and a two-layer net.
        components: of the mixture of each token.
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
    small: ClassVar = {"width": 32, "layers": 1, "components": 4}

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
        components: Annotated[int, Range(1, 1024)] = 8,
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
        self.head = MixtureHead(table.shape[1], components)
        self.conditioner = Conditioner(condition, context)
        self.net = TokenTransformer(
            counts, table.shape[1], self.head.size, width, layers, context=self.conditioner.width, dropout=dropout
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

    def token_log_prob(
        self, x: Float[Tensor, "n *event"], condition: Condition | None = None
    ) -> Float[Tensor, "n tokens"]:
        """log p of each token given those before it, of standardised numbers: (n, tokens) nats."""
        y = gathered_tokens((x.flatten(1) - self.center) / self.scale, self.slots)
        raw = self.net(y, self.conditioner(condition))
        there = self.slots >= 0
        return self.head.log_prob(y, raw, None if bool(there.all()) else there)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """-log p in nats per number of standardised data."""
        return -self.token_log_prob(batch.x, batch.condition).sum(1).mean() / self.size

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x | condition) in nats: (n,)."""
        self.check_condition(len(x), condition)
        volume = self.scale.log().sum()
        return zero_when_far(lambda near: self.token_log_prob(near, condition).sum(1) - volume, x)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        temperature: Temperature = 1.0,
    ) -> Float[Tensor, "{n} *event"]:
        """As `Model.sample`, token by token; the temperature scales the noise within the components."""
        self.check_condition(n, condition)
        count, numbers = self.slots.shape
        u, noise = generator.uniform(count), generator.normal(count, numbers)
        cursor, drawn = self.net.begin(n, self.conditioner(condition)), []
        for t in range(count):
            token = self.head.draw(cursor.outputs(), u[:, t], noise[:, t], temperature)
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
