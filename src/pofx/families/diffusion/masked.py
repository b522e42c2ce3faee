"""Masked diffusion: places are hidden in random order, and drawn back one after the other, each given all known ones.

Sahoo et al., 2024, arXiv 2406.07524; Shi et al., 2024, arXiv 2406.04329. The bound of continuous time is that over
random orders (Uria, Murray and Larochelle, 2014; Ou et al., 2025, arXiv 2406.03736): with k of L places hidden, k
uniform, log p(x) >= E (L / k) sum over the hidden of log p(x_i | known); the network needs no time. Draws are those of
the first-hitting sampler (Zheng et al., 2025, arXiv 2409.02908), in double precision: noise of single precision cuts
tails off, which lowers the temperature unseen.
"""

from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pofx.core.errors import DataError
from pofx.core.event import Condition, Discrete, Event, dims
from pofx.core.model import Batch, Completing, Infilling, Recipe
from pofx.core.options import Depth, Dropout, Range, Width
from pofx.core.random import Streams
from pofx.families.diffusion.places import MOST_STEPS, Places, fewest
from pofx.maths.distributions import categorical_draw, categorical_log_prob
from pofx.maths.sharpening import sharpen
from pofx.nets.attention.masked_transformer import CONTEXT, MaskedTransformer
from pofx.nets.vector.conditioner import Conditioner


class MaskedDiffusion(Places, Completing, Infilling):
    """Hidden places are drawn back in random order: a bound.

    Args:
        width: features of each place, a multiple of 32.
        layers: blocks of attention and a two-layer net.
        dropout: share of hidden features dropped in training.
        sampler_steps: evaluations of the network for a sample, each of which draws an equal share of the places; 0
            draws every place by itself, up to 256 places.
        bound_draws: random sets of hidden places from which the bound of an item is estimated.
    """

    name, source = "masked-diffusion", "Sahoo et al., 2024, arXiv 2406.07524; Shi et al., 2024, arXiv 2406.04329"
    adjustable: ClassVar = ("sampler_steps", "bound_draws")
    small: ClassVar = {"width": 32, "layers": 2}
    recipes: ClassVar = (
        Recipe(
            "d3pm",
            "Austin et al., 2021, arXiv 2107.03006",
            {"sampler_steps": 32, "layers": 3},
            summary="Absorbing-state diffusion, many places at a step.",
        ),
    )

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: Width = 128,
        layers: Depth = 4,
        dropout: Dropout = 0.0,
        sampler_steps: Annotated[int, Range(0, 1_000_000)] = 0,
        bound_draws: Annotated[int, Range(2, 100_000)] = 32,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.check_width(width)
        self.width, self.layers, self.dropout = width, layers, dropout
        self.sampler_steps, self.bound_draws = sampler_steps, bound_draws
        self.length = dims(event)
        self.conditioner = Conditioner(condition, CONTEXT)
        self.net = MaskedTransformer(event, width, layers, context=condition is not None, dropout=dropout)

    @property
    def steps(self) -> int:
        """Evaluations of the network for a sample."""
        return min(self.sampler_steps or min(self.length, MOST_STEPS), self.length)

    @steps.setter
    def steps(self, value: int) -> None:
        self.sampler_steps = value

    def _terms(
        self, x: Int[Tensor, "n dims"], hidden: Bool[Tensor, "n dims"], context: Float[Tensor, "n context"] | None
    ) -> Float[Tensor, "n"]:
        """The sum over hidden places of log p(x_i | known), per place hidden, times all places: (n,)."""
        each = categorical_log_prob(self.net(x, hidden, context, hidden), x[hidden])
        whole = torch.zeros(x.shape, dtype=each.dtype, device=x.device).masked_scatter(hidden, each)
        return self.length * whole.sum(1) / hidden.sum(1)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The bound in nats per dimension, by one set of hidden places per item, of sizes stratified over the batch."""
        x, n = batch.x.reshape(len(batch), self.length), len(batch)
        u = (torch.randperm(n, device=x.device) + torch.rand(n, device=x.device)) / n
        hidden = fewest(u, torch.rand(n, self.length, device=x.device))
        return -self._terms(x, hidden, self.conditioner(batch.condition)).mean() / self.length

    def drawn_term(
        self,
        x: Int[Tensor, "n dims"],
        share: Float[Tensor, "n"],
        streams: Streams,
        context: Float[Tensor, "n context"] | None,
    ) -> Float[Tensor, "n"]:
        """The term of hidden places, `share` of all, chosen at random."""
        return self._terms(x, fewest(share, streams.uniform(self.length)), context)

    def log_prob_in_order(
        self, x: Int[Tensor, "n *event"], order: Int[Tensor, "dims"], condition: Condition | None = None
    ) -> Float[Tensor, "n"]:
        """log p(x | condition) exactly, where places are drawn in this order: as many evaluations as there are places.

        The bound of `log_prob` is its mean over all orders.
        """
        self.check_condition(len(x), condition)
        flat, context = x.reshape(len(x), self.length), self.conditioner(condition)
        hidden, total = torch.ones_like(flat, dtype=torch.bool), torch.zeros(len(x), device=x.device)
        for place in order.tolist():
            wanted = torch.zeros_like(hidden)
            wanted[:, place] = True
            total = total + categorical_log_prob(self.net(flat, hidden, context, wanted), flat[:, place])
            hidden[:, place] = False
        return total

    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        prefix: Int[Tensor, "n *event"] | None = None,
        temperature: float = 1.0,
        top_k: float = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
    ) -> Int[Tensor, "{n} *event"]:
        """n events: int64 (n, *event.shape). Drawn place by place, in an order of its own for each, they follow p(x).

        Args:
            prefix: what is known of each event and -1 in the places to be drawn, wherever those are.
            temperature, top_k, top_p, min_p: sharpen every conditional; at other values than these the draws are no
                longer from p(x).

        Raises:
            DataError: a prefix of another shape, or with classes that the event does not have.
        """
        self.check_condition(n, condition)
        assert isinstance(self.event, Discrete)
        keys, u = generator.uniform(self.length), generator.uniform64(self.length)
        x, hidden = torch.zeros_like(keys, dtype=torch.int64), torch.ones_like(keys, dtype=torch.bool)
        if prefix is not None:
            if tuple(prefix.shape) != (n, *self.event.shape):
                raise DataError(f"prefix must have shape {(n, *self.event.shape)} (got {tuple(prefix.shape)})")
            if n and (prefix.min() < -1 or prefix.max() >= self.event.largest):
                raise DataError(f"prefix must lie in -1 to {self.event.largest - 1}")
            flat = prefix.reshape(n, self.length)
            x, hidden = flat.clamp(min=0), flat < 0
        rank = keys.masked_fill(~hidden, -1.0).argsort(1).argsort(1)  # known places come first
        context = self.conditioner(condition)
        ends = [round(self.length * (s + 1) / self.steps) for s in range(self.steps)]
        for low, high in zip([0, *ends[:-1]], ends, strict=True):
            now = hidden & (rank >= low) & (rank < high)
            rows = now.any(1).nonzero()[:, 0]
            if not len(rows):
                continue
            given = None if context is None else context[rows]
            logits = self.net(x[rows], hidden[rows], given, now[rows])
            x = x.masked_scatter(now, categorical_draw(sharpen(logits, temperature, top_k, top_p, min_p), u[now]))
            hidden = hidden & ~now
        return x.reshape(n, *self.event.shape)

    def complete(
        self,
        x: Int[Tensor, "n *event"],
        known: Bool[Tensor, "n *event"],
        condition: Condition | None = None,
        *,
        generator: Streams,
    ) -> Int[Tensor, "n *event"]:
        """x where `known`, and draws given that elsewhere."""
        return self.sample(len(x), condition, generator=generator, prefix=torch.where(known, x, -1))
