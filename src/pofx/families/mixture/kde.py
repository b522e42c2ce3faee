"""The kernel density estimate: a Gaussian bump on every training item. It is the memoriser that has a density.

Rosenblatt, 1956; Parzen, 1962; the bandwidth maximises the leave-one-out likelihood (Habbema, Hermans and van den
Broek, 1974; Duin, 1976), in which a few outliers are bounded (`maths.robust`) and an item's exact copies are left out
with it. So are chosen the unit of each dimension, its standard deviation or that of its inner quantiles (a standard
deviation can be that of one outlier), and whether bumps are as wide as the distance to their neighbours (Breiman,
Meisel and Purcell, 1977), which suits clusters of unequal width and heavy tails.
"""

import math
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pofx.core.event import Condition, Continuous, Discrete, Event
from pofx.core.generative import Within
from pofx.core.model import Batch, Density, Marginal, Phase
from pofx.core.options import Count, NonNegative
from pofx.core.random import Streams
from pofx.maths.distributions import categorical_draw, zero_when_far
from pofx.maths.normal_parts import log_mass, normal_between
from pofx.maths.robust import FarItems, centre_and_scale
from pofx.nets.vector.groups import group_count, groups, patterns

NARROWEST, WIDEST = 1e-6, 10.0  # bandwidths tried, in units of the spread
LEFT_OUT = 1_000  # items left out in turn, at most
NEIGHBOUR = 8  # whose distance is a bump's own width
PAIRS = 4_000_000  # distances held at once


class KDE(Marginal, Within):
    """Gaussian kernel density estimate with leave-one-out bandwidth, one per class of a condition.

    Args:
        capacity: training items stored, at most.
        bandwidth: standard deviation of the kernel in units of each dimension's own; 0 chooses it, and whether bumps
            vary in width.
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
        self.local: Tensor
        self.register_buffer("points", torch.zeros(capacity, self.size))  # sorted by class
        self.register_buffer("first", torch.zeros(self.groups, dtype=torch.int64))  # where each class begins
        self.register_buffer("counts", torch.ones(self.groups, dtype=torch.int64))  # and how many items it has
        self.register_buffer("widths", torch.ones(self.groups, self.size))
        self.register_buffer("local", torch.ones(capacity))  # each bump's width as a multiple of these

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.setdefault(prefix + "local", torch.ones_like(self.local))  # runs of format 1: bumps of one width
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Keep the items and choose the bandwidths; a class without items is given all of them."""
        batch = take(self.capacity)
        x = batch.x.detach().flatten(1)[: self.capacity].to(self.points)
        g = groups(batch.condition, len(batch.x), self.points.device)[: self.capacity].to(self.points.device)
        self.points.zero_()
        self.points[: len(x)] = x[g.argsort(stable=True)]
        counts = torch.bincount(g, minlength=self.groups)
        empty = counts == 0
        self.first.copy_((counts.cumsum(0) - counts).masked_fill(empty, 0))
        self.counts.copy_(counts.masked_fill(empty, len(x)))
        for group in range(self.groups):
            widths, local = self.chosen(self.of(group).double())
            self.widths[group] = widths
            if not empty[group]:
                self.local[self.first[group] : self.first[group] + len(local)] = local

    def chosen(self, x: Float[Tensor, "n size"]) -> tuple[Float[Tensor, "size"], Float[Tensor, "n"]]:
        """The width of the kernel in each dimension, and its multiple on each of the items x (n, size)."""
        middle, inner = centre_and_scale(x)
        deviation = x.std(0, correction=0)
        deviation = torch.where(deviation > 1e-8 * (1.0 + middle.abs()), deviation, torch.ones_like(deviation))
        same = x.new_ones(len(x))
        if self.bandwidth or len(x) < 2:
            return (self.bandwidth or 1.0) * deviation, same
        best = (-math.inf, deviation, same)
        alike = bool((deviation < 1.5 * inner).all() and (inner < 1.5 * deviation).all())
        for scale in (deviation,) if alike else (deviation, inner):
            z = (x - middle) / scale
            for local in (same, neighbour_distances(z)):
                h, value = choose_bandwidth(z, local)
                best = max(best, (value - float(scale.log().sum()), h * scale, local), key=itemgetter(0))
        return best[1:]

    def of(self, group: int) -> Float[Tensor, "count size"]:
        """The stored items of a class: (count, size)."""
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
            mine = g == group
            found[mine] = zero_when_far(lambda x, group=group: self.group_log_prob(x, group), flat[mine])
        return found.to(x.dtype)

    def log_marginal(
        self, x: Float[Tensor, "n *event"], known: Bool[Tensor, "n *event"], condition: Condition | None = None
    ) -> Float[Tensor, "n"]:
        """log p of the known dimensions in nats, computed in float64: (n,)."""
        self.check_condition(len(x), condition)
        flat, there = x.flatten(1).double(), known.expand_as(x).flatten(1)
        g, found = groups(condition, len(x), x.device), flat.new_zeros(len(x))
        for group, of, rows in patterns(g, there):
            found[rows] = zero_when_far(
                lambda a, group=group, of=of: self.group_log_prob(a, group, of), flat[rows][:, of]
            )
        return found.to(x.dtype)

    def group_log_prob(
        self, x: Float[Tensor, "n size"], group: int, of: Bool[Tensor, "all"] | slice = slice(None)
    ) -> Float[Tensor, "n"]:
        """log p of items of a class of the condition, or of those of their dimensions `of`, float64: (n,)."""
        width, points = self.widths[group, of].double(), self.of(group)[:, of].double()
        size = len(width)
        origin = points[0]  # near the items: a distance is a difference of large squares
        centres, start = (points - origin) / width, int(self.first[group])
        local = self.local[start : start + len(centres)].double()
        constant = math.log(len(centres)) + float(width.log().sum()) + 0.5 * size * math.log(2 * math.pi)
        parts = torch.split((x - origin) / width, max(1, PAIRS // len(centres)))
        logs = [log_kernels(square_distances(part, centres), local, size).logsumexp(1) for part in parts]
        return torch.cat(logs) - constant if logs else x.new_empty(0)

    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        low: Float[Tensor, "n *event"] | None = None,
        high: Float[Tensor, "n *event"] | None = None,
    ) -> Float[Tensor, "{n} *event"]:
        self.check_condition(n, condition)
        g = groups(condition, n, self.points.device)
        if low is not None and high is not None:
            return self._inside(g, low.flatten(1).double(), high.flatten(1).double(), generator)
        count = self.counts[g]
        pick = self.first[g] + (generator.uniform().double() * count).long().clamp(max=count - 1)
        x = self.points[pick] + self.widths[g] * self.local[pick, None] * generator.normal(self.size)
        return x.reshape(n, *self.event.shape)  # type: ignore[union-attr]

    def _inside(
        self, g: Int[Tensor, "n"], low: Float[Tensor, "n size"], high: Float[Tensor, "n size"], generator: Streams
    ) -> Float[Tensor, "n *event"]:
        """Draws given that some dimensions lie in intervals or are values, which is exact: a bump by its mass there,
        then each dimension by itself."""
        pick, u = generator.uniform().double(), generator.uniform(self.size).double()
        x = torch.empty_like(u)
        for group, of, rows in patterns(g, low.isfinite() | high.isfinite()):
            points, width, start = self.of(group).double(), self.widths[group].double(), int(self.first[group])
            local = self.local[start : start + len(points)].double()
            for at in torch.split(rows, max(1, PAIRS // len(points))):
                logs = points.new_zeros(len(at), len(points))
                for j in of.nonzero()[:, 0].tolist():
                    scale = width[j] * local
                    a, b = ((v[at, j, None] - points[:, j]) / scale for v in (low, high))
                    value = (low[at, j] == high[at, j])[:, None]
                    logs += torch.where(value, -0.5 * a.square() - scale.log(), log_mass(a, b))
                bump = categorical_draw(logs, pick[at])
                centre, scale = points[bump], width * local[bump, None]
                z = normal_between((low[at] - centre) / scale, (high[at] - centre) / scale, u[at])
                x[at] = (centre + scale * z).maximum(low[at]).minimum(high[at])
        return x.float().reshape(len(g), *self.event.shape)  # type: ignore[union-attr]


def square_distances(a: Float[Tensor, "n size"], b: Float[Tensor, "m size"]) -> Float[Tensor, "n m"]:
    """|a_i - b_j|²: (n, m)."""
    squares = a.square().sum(1)[:, None] + b.square().sum(1)[None]
    return torch.addmm(squares, a, b.T, alpha=-2.0).clamp(min=0.0)


def log_kernels(
    distances: Float[Tensor, "n m"], local: Float[Tensor, "m"], size: int, h: float = 1.0
) -> Float[Tensor, "n m"]:
    """-½ d² / (h l)² - size · log(h l) for squared distances to m items of width h l: (n, m)."""
    widths = h * local
    return distances * (-0.5 / widths.square()) - size * widths.log()


def copies(x: Float[Tensor, "n size"]) -> Int[Tensor, "n"]:
    """A number per item, the same for exact copies: (n,)."""
    found: Tensor = torch.unique(x, dim=0, return_inverse=True)[1]
    return found


def neighbour_distances(x: Float[Tensor, "n size"]) -> Float[Tensor, "n"]:
    """The distance of each item of x (n, size) to its 8th neighbour that is no copy, over their geometric mean."""
    n, same = len(x), copies(x)
    rows = max(1, PAIRS // n)
    found = []
    for at in range(0, n, rows):
        d = square_distances(x[at : at + rows], x)
        d[same[at : at + rows, None] == same[None]] = math.inf
        near = d.topk(min(NEIGHBOUR, n), largest=False).values
        found.append(torch.where(near.isfinite(), near, -1.0).amax(1))
    squared = torch.cat(found)
    if float(squared.max()) <= 0.0:  # all are copies
        return x.new_ones(n)
    least = float(squared[squared > 0].min())
    logs = 0.5 * squared.clamp(min=least).log()
    return (logs - logs.mean()).exp()


def choose_bandwidth(x: Float[Tensor, "n size"], local: Float[Tensor, "n"]) -> tuple[float, float]:
    """The bandwidth that maximises the leave-one-out likelihood of x (n, size), and that likelihood in nats an item.

    Bumps have the width of the bandwidth times `local`. A grid over log-bandwidths is narrowed twice; of many items
    only the first are left out in turn, each with its exact copies. A single item has the bandwidth 1.
    """
    n, size = x.shape
    same = copies(x)
    if int(same.max()) == 0:
        return 1.0, -math.inf
    some = min(n, LEFT_OUT, max(200, PAIRS // (2 * n)))
    distances = square_distances(x[:some], x)
    distances[same[:some, None] == same[None]] = math.inf
    far = FarItems(x[:some], x)
    constant = math.log(n - 1) + 0.5 * size * math.log(2 * math.pi)
    low, high = math.log(NARROWEST), math.log(WIDEST)
    for points in (15, 7, 7):
        grid = torch.linspace(low, high, points, dtype=torch.float64).tolist()
        logs = (log_kernels(distances, local, size, math.exp(h)).logsumexp(1) - constant for h in grid)
        values = [far.bounded_mean(log_p) for log_p in logs]
        best = max(range(len(grid)), key=values.__getitem__)
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return math.exp(grid[best]), values[best]
