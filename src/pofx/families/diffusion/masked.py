"""Masked diffusion: places are hidden in random order, and drawn back one after the other, each given all known ones.

Sahoo et al., 2024, arXiv 2406.07524; Shi et al., 2024, arXiv 2406.04329. The bound and the order of draws are in
`places`. Classes are drawn in double precision: noise of single precision cuts tails off, which lowers the temperature
unseen (Zheng et al., 2025, arXiv 2409.02908).
"""

import math
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pofx.core.errors import DataError, UsageError
from pofx.core.event import Condition, Discrete, Event, dims
from pofx.core.model import Batch, Completing, Marginal, Recipe
from pofx.core.options import Depth, Dropout, Range, Width
from pofx.core.random import Streams
from pofx.families.diffusion.places import Block, Draws, Hidden, Network, Places, Steps, fewest
from pofx.maths.distributions import categorical_draw, categorical_log_prob
from pofx.maths.sharpening import sharpen
from pofx.nets.attention.masked_transformer import CONTEXT
from pofx.nets.vector.conditioner import Conditioner


class MaskedDiffusion(Places, Hidden, Completing, Marginal):
    """Hidden places are drawn back in random order: a bound.

    Args:
        network: "transformer"; "unet", convolutions that see what lies beside a place from the start; "auto" takes the
            U-Net for images, grids and sequences, and the transformer for columns.
        width: features of each place, a multiple of 32; None takes 128, or 64 of a U-Net at its full resolution.
        layers: blocks of attention and a two-layer net, or of a U-Net on each of its paths at each resolution; None
            takes 4; of a U-Net 2, or 1 where it has several resolutions.
        dropout: share of hidden features dropped in training.
        sampler_steps: evaluations of the network for a sample, each of which draws an equal share of the places; 0
            draws every place by itself, up to 256 places.
        block: places that are drawn, in random order, before the next ones: 1 goes from the first to the last like an
            autoregressive model, and log p is exact where `bound_draws` is at least the number of places; 0 takes all
            at once.
        remasking: evaluations after the last place, each of which hides a step's share of the places again and draws
            them given the others; corrects what few steps draw apart from each other.
        bound_draws: random sets of hidden places from which the bound of an item is estimated.
        bound_orders: random orders of the places whose p(x) are averaged inside the logarithm, in place of the above: a
            tighter bound, of as many evaluations for each order as there are places; 0: none.
        part_sizes: how many places each part of the event has, one part after the other; those of a part are then
            hidden together in half of the training, and the smallest part is drawn first.
        shared_tables: whether long runs of places with as many classes each share a table, where others differ.

    Raises:
        UsageError: parts that do not add up to the places of the event, or blocks of an event of several parts.
    """

    name, source = "masked-diffusion", "Sahoo et al., 2024, arXiv 2406.07524; Shi et al., 2024, arXiv 2406.04329"
    adjustable: ClassVar = ("sampler_steps", "block", "remasking", "bound_draws", "bound_orders")
    small: ClassVar = {"width": 32, "layers": 2}
    unstated: ClassVar = {"shared_tables": False, "network": "transformer"}
    recipes: ClassVar = (
        Recipe(
            "d3pm",
            "Austin et al., 2021, arXiv 2107.03006",
            {"sampler_steps": 32},
            summary="Absorbing-state diffusion, many places at a step.",
        ),
    )

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        network: Network = "auto",
        width: Width | None = None,
        layers: Depth | None = None,
        dropout: Dropout = 0.0,
        sampler_steps: Steps = 0,
        block: Block = 0,
        remasking: Steps = 0,
        bound_draws: Draws = 32,
        bound_orders: Steps = 0,
        part_sizes: list[Annotated[int, Range(1, 1 << 24)]] = [],  # noqa: B006
        shared_tables: bool = True,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.dropout = dropout
        self.network, self.width, self.layers = self.chosen(network, width, layers)
        self.sampler_steps, self.block, self.remasking, self.bound_draws = sampler_steps, block, remasking, bound_draws
        self.length, self.bound_orders = dims(event), bound_orders
        self.part_sizes, self.shared_tables = list(part_sizes), shared_tables
        if part_sizes and sum(part_sizes) != self.length:
            raise UsageError(f"part_sizes must add up to {self.length}, the places (got {sum(part_sizes)})")
        if block and len(part_sizes) > 1:
            raise UsageError(f"block must be 0 for an event of several parts, drawn one after the other (got {block})")
        self.part: Tensor
        of = [k for k, size in enumerate(part_sizes) for _ in range(size)]
        self.register_buffer("part", torch.tensor(of, dtype=torch.int64), persistent=False)  # of each place
        self.conditioner = Conditioner(condition, CONTEXT)
        self.net = self.network_of(context=condition is not None, dropout=dropout, shared=shared_tables)

    def log_each(
        self,
        y: Int[Tensor, "n places"],
        hidden: Bool[Tensor, "n places"],
        context: Float[Tensor, "n context"] | None,
        wanted: Bool[Tensor, "n places"],
        streams: Streams,
    ) -> Float[Tensor, "some"]:
        return categorical_log_prob(self.net(y, hidden, context, wanted), y[wanted])

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """As that of all places; of several parts half of the items hide one part by part: those before it in a random
        order of the parts are known, those behind it hidden, and what is scored are hidden places of this part, each
        part as often as the others."""
        if len(self.part_sizes) < 2:
            return super().loss(batch)
        y, n = self.seen(batch.x), len(batch)
        rand = lambda *shape: torch.rand(*shape, dtype=torch.float32, device=y.device)  # noqa: E731
        u = (torch.randperm(n, device=y.device) + rand(n)) / n
        scored = hidden = fewest(u, rand(n, self.length))
        order = rand(n, len(self.part_sizes)).argsort(1)  # rank of every part
        chosen = torch.randint(len(self.part_sizes), (n, 1), device=y.device)
        rank, own = order[:, self.part], order.gather(1, chosen)
        inside = self.part == chosen
        sizes = torch.tensor(self.part_sizes, device=y.device)[chosen[:, 0]]
        keys = rand(n, self.length).masked_fill(~inside, 2.0)
        few = keys.argsort(1).argsort(1) < (u * sizes).ceil().clamp(min=1)[:, None]
        together = torch.arange(n, device=y.device)[:, None] % 2 == 0
        scored = torch.where(together, inside & few, scored)
        hidden = torch.where(together, scored | (rank > own), hidden)
        streams = Streams(0, n, device=y.device)
        each = -self.log_each(y, hidden, self.conditioner(batch.condition), scored, streams)
        return self._all(each, scored).mean() / self.size

    def log_prob_estimate(
        self, x: Int[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        """The bound and its standard error: (n,) each, or log p and None. Of `bound_orders` K orders it is log (1 / K)
        sum p(x | order), the importance-weighted bound (Burda et al., 2015, arXiv 1509.00519) on the density that draws
        place by place have, whose proposal is the orders' own distribution."""
        if not self.bound_orders or self.in_turn:
            return super().log_prob_estimate(x, condition)
        self.check_condition(len(x), condition)
        streams, y, context = Streams.of_items(0, x), self.seen(x), self.conditioner(condition)
        rows, found = torch.arange(len(y), device=y.device), []
        for _ in range(self.bound_orders):
            order = self.ranked(streams.uniform(self.length)).argsort(1)
            hidden = torch.ones(y.shape, dtype=torch.bool, device=y.device)
            total = torch.zeros(len(y), dtype=torch.float64, device=y.device)
            for place in order.unbind(1):
                wanted = torch.zeros_like(hidden)
                wanted[rows, place] = True
                total = total + self.log_each(y, hidden, context, wanted, streams)
                hidden = hidden & ~wanted
            found.append(total)
        each = torch.stack(found)
        value = each.logsumexp(0) - math.log(len(each))
        share = (each - value).exp()
        error = share.std(0) / len(each) ** 0.5 if len(each) > 1 else torch.full_like(value, math.nan)
        return value.float(), error.float()

    def ranked(self, keys: Float[Tensor, "n places"]) -> Float[Tensor, "n places"]:
        """Random numbers in [0, 1) as keys of an order of the draws: parts, then blocks, the smallest first."""
        if self.part_sizes:
            keys = keys + torch.tensor(self.part_sizes, device=keys.device).argsort(stable=True).argsort()[self.part]
        return self.by_block(keys)

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
        keys, u = self.ranked(generator.uniform(self.length)), generator.uniform64(self.length)
        x, hidden = torch.zeros_like(keys, dtype=torch.int64), torch.ones_like(keys, dtype=torch.bool)
        if prefix is not None:
            if tuple(prefix.shape) != (n, *self.event.shape):
                raise DataError(f"prefix must have shape {(n, *self.event.shape)} (got {tuple(prefix.shape)})")
            if n and (prefix.min() < -1 or prefix.max() >= self.event.largest):
                raise DataError(f"prefix must lie in -1 to {self.event.largest - 1}")
            flat = prefix.reshape(n, self.length)
            x, hidden = flat.clamp(min=0), flat < 0
        going = self._going(x, ~hidden)
        context = self.conditioner(condition)
        for now in self.turns(hidden, keys, generator):
            if not bool((hidden & now).any()):  # drawn before
                u = generator.uniform64(self.length)
            rows = now.any(1).nonzero()[:, 0]
            given = None if context is None else context[rows]
            logits = self.net(x[rows], (hidden | now)[rows], given, now[rows])
            if going is not None:
                logits[:, self.event.end] = logits[:, self.event.end].masked_fill(going[now], -torch.inf)
            x = x.masked_scatter(now, categorical_draw(sharpen(logits, temperature, top_k, top_p, min_p), u[now]))
            hidden = hidden & ~now
        return x.reshape(n, *self.event.shape)

    def _going(self, x: Int[Tensor, "n places"], known: Bool[Tensor, "n places"]) -> Bool[Tensor, "n places"] | None:
        """Where a sequence cannot have ended, since something that is known follows; None where none can end."""
        assert isinstance(self.event, Discrete)
        if self.event.end is None or not bool(known.any()):
            return None
        held = (known & (x != self.event.end)).flip(1).long().cumsum(1).flip(1)
        return held > 0

    def log_marginal(
        self, x: Int[Tensor, "n *event"], known: Bool[Tensor, "n *event"], condition: Condition | None = None
    ) -> Float[Tensor, "n"]:
        """The bound on log p of the known places, drawn first and in random order, in nats: (n,); an estimate of it by
        `bound_draws` sets of hidden places. What is unknown is hidden throughout."""
        self.check_condition(len(x), condition)
        there = known.reshape(len(x), self.length)
        y, context = torch.where(there, self.seen(x), 0), self.conditioner(condition)
        streams, count = Streams.of_items(0, torch.where(there, y, -1)), there.sum(1)
        start, found = streams.uniform(1)[:, 0], torch.zeros(len(x), device=y.device)
        for k in range(self.bound_draws):
            share = (start + k) / self.bound_draws
            keys = streams.uniform(self.length).masked_fill(~there, 2.0)
            few = keys.argsort(1).argsort(1) < ((share * count).floor() + 1)[:, None]
            wanted = few & there
            each = self.log_each(y, wanted | ~there, context, wanted, streams)
            whole = torch.zeros(wanted.shape, dtype=each.dtype, device=each.device).masked_scatter(wanted, each)
            found = found + count * whole.sum(1) / wanted.sum(1).clamp(min=1)
        return found / self.bound_draws

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
