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
from pofx.core.generative import MarginalDensity, Within
from pofx.core.model import Batch, Density, Phase
from pofx.core.options import Range
from pofx.core.random import Streams
from pofx.maths.distributions import zero_when_far
from pofx.maths.margins import Margins, margins
from pofx.maths.robust import held_out_fifth
from pofx.nets.vector.groups import group_count, groups

SHRUNK = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
PARTICLES = 128  # candidates, of which one is drawn by weight, where several dimensions are known as intervals


class Copula(MarginalDensity, Within):
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
        for group in sorted(set(g.tolist())):
            for of in there[g == group].unique(dim=0):
                mine = (g == group) & (there == of).all(1)
                part = lambda x, group=group, of=of: self._part_log_prob(x, group, of)  # noqa: E731
                found[mine] = zero_when_far(part, x[mine].double())
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
        spread = None if low is None else generator.uniform(self.size, PARTICLES).double()
        pick = None if low is None else generator.uniform().double()
        for group in sorted(set(g.tolist())):
            mine = g == group
            if low is None or high is None or spread is None or pick is None:
                factor = torch.linalg.cholesky(self.correlation[group])
                z = (factor * noise[mine][:, None, :]).sum(-1)
            else:
                z = torch.empty_like(noise[mine])
                known = (low.isfinite() | high.isfinite())[mine]
                for pattern in known.unique(dim=0):
                    at = (known == pattern).all(1)
                    of = (low[mine][at].double(), high[mine][at].double(), noise[mine][at])
                    z[at] = self.within(group, *of, spread[mine][at], pick[mine][at])
            x[mine] = self.margins(group).values(z)
        return x.float()

    def within(
        self,
        group: int,
        low: Float[Tensor, "n size"],
        high: Float[Tensor, "n size"],
        noise: Float[Tensor, "n size"],
        spread: Float[Tensor, "n size particles"],
        pick: Float[Tensor, "n"],
    ) -> Float[Tensor, "n size"]:
        """Normal scores given that x lies between low and high, dimension by dimension; equal ends are a value.

        Scores of the known dimensions are drawn inside their intervals under independence and weighted by the copula;
        of values, or of one interval, that is exact, otherwise it nears the conditional distribution with the number of
        particles (sampling-importance resampling; Rubin, 1988).
        """
        here, r = self.margins(group), self.correlation[group]
        known = (low.isfinite() | high.isfinite())[0]
        z = noise.clone()
        if not bool(known.any()):
            return (torch.linalg.cholesky(r) * noise[:, None, :]).sum(-1)
        a = here.scores(low.nan_to_num(0.0, 0.0, -1e6))[0][:, known]
        b = here.scores(high.nan_to_num(0.0, 1e6, 0.0))[0][:, known]
        u = torch.special.ndtr(a)[..., None]
        u = u + (torch.special.ndtr(b)[..., None] - u) * spread[:, known]
        inside = torch.special.ndtri(u.clamp(1e-300, 1 - 1e-16))
        scores = torch.where((a == b)[..., None], a[..., None], inside)  # (n, known, particles)
        n, k, particles = scores.shape
        weights = _log_copula(scores.transpose(1, 2).reshape(-1, k), r[known][:, known]).reshape(n, particles)
        chosen = ((weights.softmax(1).cumsum(1) < pick[:, None]).sum(1)).clamp(max=particles - 1)
        given = scores[torch.arange(n), :, chosen]
        z[:, known] = given
        if not bool(known.all()):
            gain = torch.linalg.solve(r[known][:, known], r[known][:, ~known])  # (known, free)
            factor = torch.linalg.cholesky(r[~known][:, ~known] - r[~known][:, known] @ gain)
            mean = (given[:, :, None] * gain).sum(1)
            z[:, ~known] = mean + (factor * noise[:, ~known][:, None, :]).sum(-1)
        return z


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
