"""Masked models of real tokens: tokens are hidden in random order, and drawn back each from a mixture of normals.

Li, Tian, Li, Deng and He, 2024, arXiv 2406.11838, with the mixture head of Tschannen et al., 2024, arXiv 2312.02116, in
place of a small diffusion, so that there is a density. As for classes (`masked`), log p(x) is at least the mean over
random orders, here of densities: with k of L tokens hidden, k uniform, E (L / k) sum over the hidden of
log p(token | known). A token is a column of a row, a frame of a signal, a place of a grid of codes or a patch.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pofx.core.errors import DataError
from pofx.core.event import Condition, Continuous, Event, dims
from pofx.core.model import Batch, Density, Explicit, Infilling, OnePhase, Stepwise, Tempered
from pofx.core.options import Depth, Dropout, Range, Temperature, Width
from pofx.core.random import Streams
from pofx.families.diffusion.places import MOST_STEPS, STARTS, fewest
from pofx.maths.distributions import near_items
from pofx.maths.estimates import standard_error
from pofx.maths.mixture_head import MixtureHead
from pofx.nets.attention.masked_tokens import MaskedTokens
from pofx.nets.attention.token_transformer import gathered_tokens, spread_tokens, tokens
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner


class MaskedReal(OnePhase, Explicit, Infilling, Tempered, Stepwise):
    """Hidden tokens of numbers are drawn back in random order: a bound.

    Args:
        width: features of a token, a multiple of 32.
        layers: blocks of attention and a two-layer net.
        components: of the mixture of each token.
        patch: side of the squares of positions that become one token, or numbers of a vector; 0 is 1 for a vector and a
            seventh of the longest side of a grid.
        dropout: share of hidden features dropped in training.
        context: width of the condition's embedding.
        sampler_steps: evaluations of the network for a sample, each of which draws an equal share of the tokens; 0
            draws every token by itself, up to 256 tokens.
        bound_draws: random sets of hidden tokens from which the bound of an item is estimated.
    """

    name: ClassVar[str] = "masked-real"
    source: ClassVar[str] = "Li et al., 2024, arXiv 2406.11838; Tschannen et al., 2024, arXiv 2312.02116"
    events: ClassVar = (Continuous,)
    ranks: ClassVar = (1, 2, 3, 4)
    conditions: ClassVar = CONDITIONS
    best_density: ClassVar = Density.BOUND
    adjustable: ClassVar = ("sampler_steps", "bound_draws")
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
        sampler_steps: Annotated[int, Range(0, 1_000_000)] = 0,
        bound_draws: Annotated[int, Range(2, 100_000)] = 32,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.width, self.layers, self.components, self.patch = width, layers, components, patch
        self.dropout, self.context = dropout, context
        self.sampler_steps, self.bound_draws = sampler_steps, bound_draws
        self.size, self.shape = dims(event), event.shape
        table, counts = tokens(event.shape, patch)
        self.register_buffer("slots", table, persistent=False)
        self.length, numbers = table.shape
        self.head = MixtureHead(numbers, components)
        self.conditioner = Conditioner(condition, context)
        given = self.conditioner.width
        self.net = MaskedTokens(counts, numbers, self.head.size, width, layers, context=given, dropout=dropout)
        self.register_buffer("center", torch.zeros(self.size))
        self.register_buffer("scale", torch.ones(self.size))

    @property
    def steps(self) -> int:
        """Evaluations of the network for a sample."""
        return min(self.sampler_steps or min(self.length, MOST_STEPS), self.length)

    @steps.setter
    def steps(self, value: int) -> None:
        self.sampler_steps = value

    def matrices(self) -> Iterable[nn.Parameter]:
        return self.net.matrices

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Measure the mean and standard deviation of every number."""
        x = take(STARTS).x.flatten(1).float()
        deviation = x.std(0, correction=0)
        self.center.copy_(x.mean(0))
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    # the bound

    def tokens_of(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n tokens numbers"]:
        """Standardised numbers as tokens."""
        return gathered_tokens((x.flatten(1).float() - self.center) / self.scale, self.slots)

    def _each(
        self,
        y: Float[Tensor, "n tokens numbers"],
        hidden: Bool[Tensor, "n tokens"],
        context: Tensor | None,
        wanted: Bool[Tensor, "n tokens"],
    ) -> Float[Tensor, "some"]:
        """log p of the wanted tokens given the known ones, of standardised numbers."""
        there = (self.slots >= 0).expand(len(y), -1, -1)[wanted]
        return self.head.log_prob(y[wanted], self.net(y, hidden, context, wanted), there)

    def _terms(
        self, y: Float[Tensor, "n tokens numbers"], hidden: Bool[Tensor, "n tokens"], context: Tensor | None
    ) -> Float[Tensor, "n"]:
        """The sum over hidden tokens of log p(token | known), per token hidden, times all tokens: (n,)."""
        each = self._each(y, hidden, context, hidden)
        whole = torch.zeros(hidden.shape, dtype=each.dtype, device=y.device).masked_scatter(hidden, each)
        return self.length * whole.sum(1) / hidden.sum(1)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The bound in nats per number of standardised data, by one set of hidden tokens per item."""
        y, n = self.tokens_of(batch.x), len(batch)
        u = (torch.randperm(n, device=y.device) + torch.rand(n, dtype=torch.float32, device=y.device)) / n
        hidden = fewest(u, torch.rand(n, self.length, dtype=torch.float32, device=y.device))
        return -self._terms(y, hidden, self.conditioner(batch.condition)).mean() / self.size

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """The bound in nats per number from two fixed sets of hidden tokens per item."""
        return -self._bounds(batch.x, batch.condition, 2).mean() / self.size

    def _bounds(self, x: Tensor, condition: Condition | None, draws: int) -> Float[Tensor, "draws n"]:
        """Of standardised numbers: the same item has the same hidden sets in every batch."""
        streams, y, context = Streams.of_items(0, x), self.tokens_of(x), self.conditioner(condition)
        start = streams.uniform(1)[:, 0]
        sets = [fewest((start + k) / draws, streams.uniform(self.length)) for k in range(draws)]
        return torch.stack([self._terms(y, hidden, context) for hidden in sets])

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """The bound on log p(x | condition) in nats: (n,); an estimate of it, see `log_prob_estimate`."""
        return self.log_prob_estimate(x, condition)[0]

    def log_prob_estimate(
        self, x: Float[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """The bound and its standard error over `bound_draws` sets of hidden tokens: (n,) each."""
        self.check_condition(len(x), condition)
        x, far = near_items(x)
        each = self._bounds(x, condition, self.bound_draws) - self.scale.log().sum()
        return each.mean(0).masked_fill(far, -torch.inf), standard_error(each).masked_fill(far, 0.0)

    def log_prob_in_order(
        self, x: Float[Tensor, "n *event"], order: Int[Tensor, "tokens"], condition: Condition | None = None
    ) -> Float[Tensor, "n"]:
        """log p(x | condition) exactly, where tokens are drawn in this order; the bound is its mean over all orders."""
        self.check_condition(len(x), condition)
        y, context = self.tokens_of(x), self.conditioner(condition)
        hidden = torch.ones(y.shape[:2], dtype=torch.bool, device=y.device)
        total = torch.zeros(len(y), device=y.device) - self.scale.log().sum()
        for place in order.tolist():
            wanted = torch.zeros_like(hidden)
            wanted[:, place] = True
            total = total + self._each(y, hidden, context, wanted)
            hidden[:, place] = False
        return total

    # draws

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        temperature: Temperature = 1.0,
    ) -> Float[Tensor, "{n} *event"]:
        """n events, token by token in an order of its own for each; the temperature scales the noise within the
        components."""
        self.check_condition(n, condition)
        blank = torch.zeros(n, self.length, self.head.numbers, device=self.center.device)
        return self._drawn(blank, torch.zeros_like(blank, dtype=torch.bool), condition, generator, float(temperature))

    @torch.no_grad()
    def complete(
        self,
        x: Float[Tensor, "n *event"],
        known: Bool[Tensor, "n *event"],
        condition: Condition | None = None,
        *,
        generator: Streams,
    ) -> Float[Tensor, "n *event"]:
        """x where `known`, and draws given that elsewhere. Tokens that are known in part are drawn first, from their
        mixture given that part.

        Raises:
            DataError: `known` has another shape than x.
        """
        self.check_condition(len(x), condition)
        if known.shape != x.shape:
            raise DataError(f"known must have the shape of x, {tuple(x.shape)} (got {tuple(known.shape)})")
        there = gathered_tokens(known.flatten(1), self.slots)
        x = torch.where(known, x, torch.zeros_like(x)).float()
        made = self._drawn(self.tokens_of(x) * there, there, condition, generator, 1.0)
        return torch.where(known, x, made)

    def _drawn(
        self,
        y: Float[Tensor, "n tokens numbers"],
        there: Bool[Tensor, "n tokens numbers"],
        condition: Condition | None,
        generator: Streams,
        temperature: float,
    ) -> Float[Tensor, "n *event"]:
        n, context = len(y), self.conditioner(condition)
        keys, u = generator.uniform(self.length), generator.uniform(self.length)
        noise = generator.normal(self.length, self.head.numbers)
        real = (self.slots >= 0).expand(n, -1, -1)
        hidden = (real & ~there).any(2)
        partly = hidden & there.any(2)
        rank = (keys - partly.float()).masked_fill(~hidden, -2.0).argsort(1).argsort(1)  # known tokens come first
        ends = [round(self.length * (s + 1) / self.steps) for s in range(self.steps)]
        for low, high in zip([0, *ends[:-1]], ends, strict=True):
            now = hidden & (rank >= low) & (rank < high)
            if not bool(now.any()):
                continue
            raw = self.net(y, hidden, context, now)
            drawn = self.head.draw_given(raw, u[now], noise[now], y[now], there[now], temperature)
            y = y.masked_scatter(now[..., None], drawn * real[now])
            hidden = hidden & ~now
        x = spread_tokens(y, self.slots) * self.scale + self.center
        return x.reshape(n, *self.shape)
