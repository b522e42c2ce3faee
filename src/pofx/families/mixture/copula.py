"""The Gaussian copula: any margins, joined by the correlations of their normal scores.

x_j = F_j⁻¹(Φ(z_j)) with z ~ N(0, R). Margins are smoothed quantiles, R the correlation of the normal scores, shrunk
towards independence by the share that fits a held-out fifth best. The density of real vectors is exact; columns on a
grid are dequantised by their representation, so that of mixed rows is a bound. Given some of the columns the others are
drawn from their conditional normal distribution (Nelsen, 2006, "An introduction to copulas"; Sklar, 1959).
"""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pofx.core.event import Condition, Continuous, Discrete, Event
from pofx.core.generative import Within
from pofx.core.model import Batch, Density, Marginal, Phase
from pofx.core.options import Range
from pofx.core.random import Streams
from pofx.maths.distributions import zero_when_far
from pofx.maths.margins import Margins, margins
from pofx.maths.normal_parts import PARTICLES, drawn_within
from pofx.maths.robust import held_out_fifth
from pofx.nets.vector.groups import group_count, groups, patterns

SHRUNK = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)


class Copula(Marginal, Within):
    """Gaussian copula with margins of smoothed quantiles.

    Args:
        knots: quantiles of each margin; 0 takes 2 n^(1/3), at most 100.
        items: training items looked at, at most.
    """

    name = "copula"
    source = "Sklar, 1959; Nelsen, 2006"
    events = (Continuous,)
    ranks = (1,)
    conditions = (Discrete,)
    best_density = Density.EXACT
    small = {"knots": 30}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        knots: Annotated[int, Range(0, 1000)] = 0,
        items: Annotated[int, Range(1, 100_000_000)] = 100_000,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.knots, self.items = knots, items
        self.groups, self.size = group_count(condition, self.name), event.shape[0]
        count, ends = knots or 100, torch.tensor([-1.0, 1.0], dtype=torch.float64)
        shape = (self.groups, self.size, count)
        self.at: Tensor
        self.shares: Tensor
        self.tails: Tensor
        self.correlation: Tensor
        self.used: Tensor  # knots of each group
        self.register_buffer("at", torch.linspace(-1, 1, count, dtype=torch.float64).expand(shape).clone())
        self.register_buffer("shares", torch.linspace(0.01, 0.99, count, dtype=torch.float64).expand(shape).clone())
        self.register_buffer("tails", ends.abs().expand(self.groups, self.size, 2).clone())
        self.register_buffer("correlation", torch.eye(self.size, dtype=torch.float64).repeat(self.groups, 1, 1))
        self.register_buffer("used", torch.full((self.groups,), count))

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Fit each class of the condition; a class without items is given the copula of all."""
        batch = take(self.items)
        x = batch.x.detach().double().cpu()
        every = groups(batch.condition, len(x), x.device).cpu()
        for group in range(self.groups):
            mine = x[every == group]
            self.fit(group, mine if len(mine) > 1 else x)

    def fit(self, group: int, x: Float[Tensor, "n size"]) -> None:
        count = self.knots or max(2, min(100, round(2 * len(x) ** (1 / 3))))
        found = margins(x, count)
        z = found.scores(x)[0]
        held, rest = held_out_fifth(z)
        rated = {share: _mean_log_copula(held, _shrunk(rest, share)) for share in SHRUNK} if len(z) > 10 else {1.0: 0.0}
        share = max(rated, key=rated.__getitem__)
        self.at[group, :, :count], self.shares[group, :, :count] = found.knots, found.shares
        self.tails[group], self.used[group] = found.tails, count
        self.correlation[group] = _shrunk(z, share)

    def margins(self, group: int) -> Margins:
        used = int(self.used[group])
        return Margins(
            self.at[group, :, :used].contiguous(), self.shares[group, :, :used].contiguous(), self.tails[group]
        )

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        return -self.log_prob(batch.x, batch.condition).mean()

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x | condition) in nats, computed in float64: (n,)."""
        self.check_condition(len(x), condition)
        g, found = groups(condition, len(x), x.device), x.new_empty(len(x), dtype=torch.float64)
        for group in sorted(set(g.tolist())):
            mine = g == group
            found[mine] = zero_when_far(lambda x, group=group: self.group_log_prob(x, group), x[mine].double())
        return found.to(x.dtype)

    def group_log_prob(self, x: Float[Tensor, "n size"], group: int) -> Float[Tensor, "n"]:
        z, log_f = self.margins(group).scores(x)
        return log_f.sum(1) + _log_copula(z, self.correlation[group])

    def log_marginal(
        self, x: Float[Tensor, "n *event"], known: Bool[Tensor, "n *event"], condition: Condition | None = None
    ) -> Float[Tensor, "n"]:
        """log p of the known dimensions in nats, computed in float64: (n,)."""
        self.check_condition(len(x), condition)
        there, g = known.expand_as(x), groups(condition, len(x), x.device)
        found = x.new_zeros(len(x), dtype=torch.float64)
        for group, of, rows in patterns(g, there):
            found[rows] = zero_when_far(
                lambda x, group=group, of=of: self._part_log_prob(x, group, of), x[rows].double()
            )
        return found.to(x.dtype)

    def _part_log_prob(self, x: Float[Tensor, "n size"], group: int, of: Bool[Tensor, "size"]) -> Float[Tensor, "n"]:
        z, log_f = self.margins(group).scores(x)
        r = self.correlation[group][of][:, of]
        return log_f[:, of].sum(1) + (_log_copula(z[:, of], r) if bool(of.any()) else 0.0)

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
        g = groups(condition, n, self.at.device)
        noise = generator.normal(self.size).double()
        x = torch.empty_like(noise)
        if low is None or high is None:
            for group in sorted(set(g.tolist())):
                mine = g == group
                x[mine] = self.margins(group).values(self._scores(group, noise[mine]))
            return x.float()
        spread, pick = generator.uniform(self.size, PARTICLES).double(), generator.uniform(2).double()
        for group, of, rows in patterns(g, low.isfinite() | high.isfinite()):
            here, z = self.margins(group), self._scores(group, noise[rows])
            if bool(of.any()):
                ends = [v[rows].double() for v in (low, high)]
                a, b = (here.scores(v.nan_to_num(0.0, 1e6, -1e6))[0].where(v.isfinite(), v) for v in ends)
                normal = (z.new_zeros(1), z.new_zeros(1, self.size), self.correlation[group][None])
                z = drawn_within(normal, of, a, b, noise[rows], spread[rows], pick[rows])
            x[rows] = here.values(z)
        return x.float()

    def _scores(self, group: int, noise: Float[Tensor, "n size"]) -> Float[Tensor, "n size"]:
        """Normal scores of the copula from standard normal numbers."""
        return (torch.linalg.cholesky(self.correlation[group]) * noise[:, None, :]).sum(-1)


def _shrunk(z: Float[Tensor, "n d"], share: float) -> Float[Tensor, "d d"]:
    """The correlation of normal scores, moved towards the identity."""
    z = z - z.mean(0)
    scale = z.square().mean(0).sqrt().clamp(min=1e-9)
    r = (z / scale).T @ (z / scale) / len(z)
    one = torch.eye(len(r), dtype=r.dtype)
    return (1 - share) * (0.5 * (r + r.T) * (1 - one) + one) + share * one + 1e-6 * one * (1 - share)


def _log_copula(z: Float[Tensor, "n d"], r: Float[Tensor, "d d"]) -> Float[Tensor, "n"]:
    """log N(z; 0, R) - log N(z; 0, I)."""
    factor = torch.linalg.cholesky(r)
    white = torch.linalg.solve_triangular(factor, z.T, upper=False).T
    return -0.5 * white.square().sum(1) + 0.5 * z.square().sum(1) - factor.diagonal().log().sum()


def _mean_log_copula(z: Float[Tensor, "n d"], r: Float[Tensor, "d d"]) -> float:
    try:
        return float(_log_copula(z, r).mean())
    except RuntimeError:  # a correlation that is singular in float64
        return -math.inf
