"""The kernel density estimate: a Gaussian bump on every training item. It is the memoriser that has a density.

Rosenblatt, 1956; Parzen, 1962; the bandwidth maximises the leave-one-out likelihood (Habbema, Hermans and van den
Broek, 1974; Duin, 1976), in units of each dimension's own spread.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.event import Condition, Continuous, Discrete, Event
from pofx.core.model import Batch, Density, Explicit, Phase
from pofx.core.options import Count, NonNegative
from pofx.core.random import Streams
from pofx.nets.vector.groups import group_count, groups

NARROWEST, WIDEST = 1e-3, 10.0  # bandwidths tried, in units of the spread
PAIRS = 4_000_000  # distances held at once


class KDE(Explicit):
    """Gaussian kernel density estimate with leave-one-out bandwidth, one per class of a condition.

    Args:
        capacity: training items kept, at most.
        bandwidth: standard deviation of the kernel in units of each dimension's own; 0 chooses it.
    """

    name = "kde"
    source = "Rosenblatt, 1956; Parzen, 1962"
    events = (Continuous,)
    ranks = (1, 2, 3)
    conditions = (Discrete,)
    best_density = Density.EXACT
    small = {"capacity": 64}

    def __init__(
        self, event: Event, condition: Event | None = None, *, capacity: Count = 10_000, bandwidth: NonNegative = 0.0
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.capacity, self.bandwidth = capacity, bandwidth
        self.groups = group_count(condition, self.name)
        self.size = math.prod(event.shape)
        self.points: Tensor
        self.first: Tensor
        self.counts: Tensor
        self.widths: Tensor
        self.register_buffer("points", torch.zeros(capacity, self.size))  # sorted by class
        self.register_buffer("first", torch.zeros(self.groups, dtype=torch.int64))  # where each class begins
        self.register_buffer("counts", torch.ones(self.groups, dtype=torch.int64))  # and how many items it has
        self.register_buffer("widths", torch.ones(self.groups, self.size))

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Keep the items and choose the bandwidths; a class without items is given all of them."""
        batch = take(self.capacity)
        x = batch.x.detach().flatten(1)[: self.capacity].to(self.points)
        g = torch.zeros(len(x), dtype=torch.int64) if batch.condition is None else batch.condition[: self.capacity]
        g = g.to(self.points.device)
        self.points.zero_()
        self.points[: len(x)] = x[g.argsort(stable=True)]
        counts = torch.bincount(g, minlength=self.groups)
        empty = counts == 0
        self.first.copy_((counts.cumsum(0) - counts).masked_fill(empty, 0))
        self.counts.copy_(counts.masked_fill(empty, len(x)))
        for group in range(self.groups):
            mine = self.of(group).double()
            spread = mine.std(0, unbiased=False)
            spread = torch.where(spread > 1e-8 * (1.0 + mine.mean(0).abs()), spread, torch.ones_like(spread))
            self.widths[group] = (spread * (self.bandwidth or choose_bandwidth(mine / spread))).to(self.widths.dtype)

    def of(self, group: int) -> Float[Tensor, "count size"]:
        """The kept items of a class: (count, size)."""
        start = int(self.first[group])
        return self.points[start : start + int(self.counts[group])]

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        return -self.log_prob(batch.x, batch.condition).mean()

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x | condition) in nats, computed in float64: (n,)."""
        self.check_condition(len(x), condition)
        g = groups(condition, len(x), x.device)
        flat, found = x.flatten(1).double(), x.new_empty(len(x), dtype=torch.float64)
        for group in sorted(set(g.tolist())):
            mine, width = g == group, self.widths[group].double()
            centres = self.of(group).double() / width
            constant = math.log(len(centres)) + float(width.log().sum()) + 0.5 * self.size * math.log(2 * math.pi)
            parts = torch.split(flat[mine] / width, max(1, PAIRS // len(centres)))
            logs = [(-0.5 * square_distances(part, centres)).logsumexp(1) for part in parts]
            found[mine] = torch.cat(logs) - constant
        return found.to(x.dtype)

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        self.check_condition(n, condition)
        g = groups(condition, n, self.points.device)
        count = self.counts[g]
        pick = self.first[g] + (generator.uniform().double() * count).long().clamp(max=count - 1)
        x = self.points[pick] + self.widths[g] * generator.normal(self.size)
        return x.reshape(n, *self.event.shape)  # type: ignore[union-attr]


def square_distances(a: Float[Tensor, "n size"], b: Float[Tensor, "m size"]) -> Float[Tensor, "n m"]:
    """|a_i - b_j|²: (n, m)."""
    squares = a.square().sum(1)[:, None] + b.square().sum(1)[None]
    return torch.addmm(squares, a, b.T, alpha=-2.0).clamp(min=0.0)


def choose_bandwidth(x: Float[Tensor, "n size"]) -> float:
    """The bandwidth that maximises the leave-one-out likelihood of x (n, size); 1 for a single item.

    A grid over log-bandwidths is narrowed three times; of many items only the first 2,000 are left out in turn.
    """
    n, size = x.shape
    if n < 2:
        return 1.0
    some = min(n, 2_000)
    distances = torch.cat([square_distances(part, x) for part in torch.split(x[:some], max(1, PAIRS // n))])
    distances[torch.arange(some), torch.arange(some)] = math.inf
    low, high = math.log(NARROWEST), math.log(WIDEST)
    for _ in range(3):
        grid = torch.linspace(low, high, 13, dtype=torch.float64).tolist()
        values = [float((-0.5 * math.exp(-2 * h) * distances).logsumexp(1).mean()) - size * h for h in grid]
        best = max(range(len(grid)), key=values.__getitem__)
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return math.exp(grid[best])
