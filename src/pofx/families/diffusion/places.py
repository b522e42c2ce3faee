"""What diffusions of places share: a transformer of all places, and a bound by stratified random corruptions.

Masked diffusions (`masked`, `masked_real`) and discrete flow matching (`discrete_flow`) differ in what a corruption is
and in the term of the bound that belongs to one; this file draws terms, averages them and gives their error. Of masked
ones the bound is that over random orders (Uria, Murray and Larochelle, 2014, arXiv 1310.1757; Ou et al., 2025, arXiv
2406.03736): with k of L places hidden, k uniform, log p(x) >= E (L / k) sum over the hidden of log p(x_i | known); the
network needs no time. Their draws are those of the first-hitting sampler (Zheng et al., 2025, arXiv 2409.02908), of
all places or block after block (Arriola et al., 2025, arXiv 2503.09573); what was drawn can be hidden and drawn again
(Wang et al., 2025, arXiv 2503.00307).
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.core.event import Condition, Discrete, dims
from pofx.core.model import Batch, Density, Explicit, Infilling, OnePhase, Stepwise, Tempered
from pofx.core.options import OneOf, Range
from pofx.core.random import Streams
from pofx.maths.estimates import standard_error
from pofx.nets.attention.masked_tokens import MaskedTokens
from pofx.nets.attention.masked_transformer import MaskedTransformer
from pofx.nets.image.masked_unet import MaskedUNet, halved
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner

MOST_STEPS = 256  # up to so many places each is drawn by itself unless `sampler_steps` is given
STARTS = 10_000  # items from which frequencies and spreads are taken
Network = Annotated[str, OneOf("auto", "transformer", "unet")]
Steps = Annotated[int, Range(0, 1_000_000)]
Draws = Annotated[int, Range(2, 100_000)]
Block = Annotated[int, Range(0, 1 << 24)]


class Corrupted(OnePhase, Explicit, Tempered, Stepwise):
    """A diffusion of places, whose subclass states the term of the bound of one random corruption."""

    ranks: ClassVar = (1, 2, 3, 4)
    conditions: ClassVar = CONDITIONS
    best_density: ClassVar = Density.BOUND
    length: int  # places
    bound_draws: int
    net: MaskedTransformer | MaskedUNet | MaskedTokens
    conditioner: Conditioner

    @property
    def size(self) -> int:
        """Numbers of an item, for which losses are stated."""
        return dims(self.event)

    @property
    def log_volume(self) -> Float[Tensor, ""] | float:
        """log|det| of the map from events to what the network sees."""
        return 0.0

    def seen(self, x: Num[Tensor, "n *event"]) -> Num[Tensor, "n places *numbers"]:
        """Events as the network sees them."""
        return x.reshape(len(x), self.length)

    def matrices(self) -> Iterable[nn.Parameter]:
        return self.net.matrices

    @abstractmethod
    def drawn_term(
        self,
        y: Num[Tensor, "n places *numbers"],
        share: Float[Tensor, "n"],
        streams: Streams,
        context: Float[Tensor, "n context"] | None,
    ) -> Float[Tensor, "n"]:
        """An unbiased estimate of the bound in nats from one corruption per item, whose amount `share` in [0, 1)
        chooses: (n,)."""

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """The bound in nats per number from two fixed corruptions per item, so that its changes are the weights'."""
        return -self._bounds(batch.x, batch.condition, 2).mean() / self.size

    def log_prob(self, x: Num[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """The bound on log p(x | condition) in nats: (n,); an estimate of it, see `log_prob_estimate`."""
        return self.log_prob_estimate(x, condition)[0]

    def log_prob_estimate(
        self, x: Num[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        """The bound and its standard error over `bound_draws` corruptions, whose amounts are stratified: (n,) each."""
        self.check_condition(len(x), condition)
        each = self._bounds(x, condition, self.bound_draws)
        return each.mean(0) + self.log_volume, standard_error(each)

    def _bounds(self, x: Num[Tensor, "n *event"], condition: Condition | None, draws: int) -> Float[Tensor, "draws n"]:
        """Of what the network sees: the same item has the same corruptions in every batch."""
        streams, y, context = Streams.of_items(0, x), self.seen(x), self.conditioner(condition)
        start = streams.uniform(1)[:, 0]
        return torch.stack([self.drawn_term(y, (start + k) / draws, streams, context) for k in range(draws)])


class Hidden(Infilling, Corrupted):
    """A diffusion that hides places, whose subclass states log p of hidden places given the others."""

    sampler_steps: int
    block: int  # places that are drawn before the next ones; 0: all
    remasking: int  # evaluations after the last place, each of which draws a step's share of places again

    @property
    def in_turn(self) -> bool:
        """Whether log p is that of places drawn from the first to the last, each given those before it: exact."""
        return self.block == 1 and self.bound_draws >= self.length

    @property
    def density(self) -> Density:
        """A bound, or exact where there is one order of the places and each of them is evaluated."""
        return Density.EXACT if self.in_turn else Density.BOUND

    def log_prob_estimate(
        self, x: Num[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        if not self.in_turn:
            return super().log_prob_estimate(x, condition)
        return self.log_prob_in_order(x, torch.arange(self.length), condition), None

    @property
    def steps(self) -> int:
        """Evaluations of the network for a sample, before any place is drawn again."""
        return min(self.sampler_steps or min(self.length, MOST_STEPS), self.length)

    @steps.setter
    def steps(self, value: int) -> None:
        self.sampler_steps = value

    @abstractmethod
    def log_each(
        self,
        y: Num[Tensor, "n places *numbers"],
        hidden: Bool[Tensor, "n places"],
        context: Float[Tensor, "n context"] | None,
        wanted: Bool[Tensor, "n places"],
        streams: Streams,
    ) -> Float[Tensor, "some"]:
        """log p of the wanted places, row by row, given those that are not hidden, or an estimate of a bound on it by
        noise of the items' streams."""

    def loss_each(
        self,
        y: Num[Tensor, "n places *numbers"],
        hidden: Bool[Tensor, "n places"],
        context: Float[Tensor, "n context"] | None,
    ) -> Float[Tensor, "some"]:
        """What training descends for each hidden place, row by row: -log p, unless that has noise of its own."""
        return -self.log_each(y, hidden, context, hidden, Streams(0, len(y), device=y.device))

    def _all(self, each: Float[Tensor, "some"], hidden: Bool[Tensor, "n places"]) -> Float[Tensor, "n"]:
        """The sum over hidden places of their terms, per place hidden, times all places: (n,)."""
        whole = torch.zeros(hidden.shape, dtype=each.dtype, device=each.device).masked_scatter(hidden, each)
        return self.length * whole.sum(1) / hidden.sum(1)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The bound in nats per number, by one set of hidden places per item, of sizes stratified over the batch. Of k
        hidden places the term is L / k times a sum whose variance grows with k: sizes are drawn in proportion to
        k^(-1/2), for which the variance of the weighted term is least."""
        y, n = self.seen(batch.x), len(batch)
        u = (torch.randperm(n, device=y.device) + torch.rand(n, dtype=torch.float32, device=y.device)) / n
        hidden = fewest(u.square(), torch.rand(n, self.length, dtype=torch.float32, device=y.device))
        k = hidden.sum(1) / self.length
        weight = 1 / (self.length * (k.sqrt() - (k - 1 / self.length).clamp(min=0).sqrt()))
        each = self.loss_each(y, hidden, self.conditioner(batch.condition))
        return (weight * self._all(each, hidden)).mean() / self.size

    def drawn_term(
        self,
        y: Num[Tensor, "n places *numbers"],
        share: Float[Tensor, "n"],
        streams: Streams,
        context: Float[Tensor, "n context"] | None,
    ) -> Float[Tensor, "n"]:
        """The term of hidden places, `share` of all, chosen at random; of blocks those of one block, which is chosen by
        `share` too: the blocks before it are known, those behind it hidden."""
        keys = streams.uniform(self.length)
        if not 0 < self.block < self.length:
            hidden = wanted = fewest(share, keys)
        else:
            at = (share * self.length).clamp(max=self.length - 0.5)[:, None]
            first = (at / self.block).floor() * self.block
            size = (self.length - first).clamp(max=self.block)
            place = torch.arange(self.length, device=keys.device)
            inside = (place >= first) & (place < first + size)
            rank = keys.masked_fill(~inside, 2.0).argsort(1).argsort(1)
            wanted = inside & (rank < (at - first).ceil().clamp(min=1).minimum(size))
            hidden = wanted | (place >= first + size)
        return self._all(self.log_each(y, hidden, context, wanted, streams), wanted)

    def log_prob_in_order(
        self, x: Num[Tensor, "n *event"], order: Int[Tensor, "places"], condition: Condition | None = None
    ) -> Float[Tensor, "n"]:
        """log p(x | condition) exactly, where places are drawn in this order: as many evaluations as there are places.

        The bound of `log_prob` is its mean over all orders.
        """
        self.check_condition(len(x), condition)
        y, context, streams = self.seen(x), self.conditioner(condition), Streams.of_items(0, x)
        hidden = torch.ones(y.shape[:2], dtype=torch.bool, device=y.device)
        total = torch.zeros(len(y), device=y.device) + self.log_volume
        for place in order.tolist():
            wanted = torch.zeros_like(hidden)
            wanted[:, place] = True
            total = total + self.log_each(y, hidden, context, wanted, streams)
            hidden[:, place] = False
        return total

    def by_block(self, keys: Float[Tensor, "n places"]) -> Float[Tensor, "n places"]:
        """Keys of the order of the draws with those of earlier blocks before all others."""
        return keys + torch.arange(self.length, device=keys.device) // self.block if self.block else keys

    def turns(
        self, hidden: Bool[Tensor, "n places"], keys: Float[Tensor, "n places"], generator: Streams
    ) -> Iterator[Tensor]:
        """The places that are drawn at every step, bool (n, places) each: the hidden ones, those with the least keys
        first, block after block; then, `remasking` times, as many of them as a step draws, chosen at random."""
        rank = keys.masked_fill(~hidden, -2.0).argsort(1).argsort(1)  # known places come first
        ends = [round(self.length * (s + 1) / self.steps) for s in range(self.steps)]
        for low, high in zip([0, *ends[:-1]], ends, strict=True):
            now = hidden & (rank >= low) & (rank < high)
            if bool(now.any()):
                yield now
        share = -(-self.length // self.steps)
        for _ in range(self.remasking):
            again = generator.uniform(self.length).masked_fill(~hidden, 2.0).argsort(1).argsort(1)
            if bool(hidden.any()):
                yield hidden & (again < share)


class Places(Corrupted):
    """A diffusion of discrete places by a transformer."""

    events: ClassVar = (Discrete,)
    unequal: ClassVar = True
    trains_with: ClassVar[dict[str, Any]] = {
        "batch_size": 32,
        "optimizer": "muon",
        "lr": 8e-3,
        "weight_decay": 0.1,
        "precision": "auto",
        "validations": 16,
        "validation_items": 512,
    }
    net: MaskedTransformer | MaskedUNet
    network: str
    width: int
    layers: int

    def chosen(self, network: str, width: int | None, layers: int | None) -> tuple[str, int, int]:
        """The network of this event, its width and its layers.

        Raises:
            UsageError: a width that the network does not take, or a U-Net of places with unequal numbers of classes.
        """
        event = self.event
        assert isinstance(event, Discrete)
        if network == "auto":  # columns of tables state their classes one by one
            network = "unet" if isinstance(event.classes, int) else "transformer"
        if network == "unet" and event.uneven:
            raise UsageError("network must be 'transformer' for columns with unequal numbers of classes (got 'unet')")
        width = width or (64 if network == "unet" else 128)
        self.check_width(width)
        return network, width, layers or (4 if network == "transformer" else 1 if halved(event.shape) else 2)

    def network_of(self, *, context: bool, dropout: float, shared: bool) -> MaskedTransformer | MaskedUNet:
        """The network that `chosen` names."""
        event = self.event
        assert isinstance(event, Discrete)
        if self.network == "unet":
            return MaskedUNet(event, self.width, self.layers, context=context, dropout=dropout)
        return MaskedTransformer(event, self.width, self.layers, context=context, dropout=dropout, shared=shared)

    @staticmethod
    def check_width(width: int) -> None:
        """Refuse what heads of 32 features do not divide.

        Raises:
            UsageError: width is no multiple of 32.
        """
        if width % 32:
            raise UsageError(f"width must be a multiple of 32 (got {width}): pass width={32 * max(1, width // 32)}")

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start at the frequencies of the classes."""
        self.net.begin(take(STARTS).x.reshape(-1, self.length))


def fewest(u: Float[Tensor, "n"], keys: Float[Tensor, "n places"]) -> Bool[Tensor, "n places"]:
    """ceil(u · places) places of each item, those with the least keys."""
    count = (u * keys.shape[1]).ceil().clamp(1, keys.shape[1])
    return keys.argsort(1).argsort(1) < count[:, None]
