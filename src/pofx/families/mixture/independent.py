"""Independent dimensions: p(x) = prod p(x_d), each fitted in closed form; what dependence must be held against.

Classes have their smoothed frequencies, real numbers margins of smoothed quantiles with normal tails (see
`maths.margins`); the parts of a product event are independent too. The total correlation of the data is the gap to any
good model (Watanabe, 1960, "Information theoretical analysis of multivariate correlation").
"""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pofx.core.event import Condition, Continuous, Discrete, Event, count
from pofx.core.generative import Within
from pofx.core.model import Batch, Density, Infilling, Marginal, Phase, X
from pofx.core.options import Range
from pofx.core.random import Streams
from pofx.maths.distributions import class_counts, zero_when_far
from pofx.maths.margins import Margins, margins
from pofx.maths.normal_parts import normal_between


class Independent(Infilling, Marginal, Within):
    """Independent dimensions of any types: exact density.

    Args:
        knots: quantiles of the margin of a real number; 0 takes 2 n^(1/3), at most 100.
        items: training items looked at, at most.
    """

    name = "independent"
    source = "Watanabe, 1960"
    events = (Discrete, dict, Continuous)
    ranks = (1,)
    unequal = True
    best_density = Density.EXACT
    small = {"knots": 30}
    exempt = {
        "density of the truth of continuous events": "the truth is correlated, the model independent by definition"
    }

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        knots: Annotated[int, Range(0, 1000)] = 0,
        items: Annotated[int, Range(1, 100_000_000)] = 100_000,
    ) -> None:
        super().__init__(event, condition)
        self.knots, self.items = knots, items
        parts = event if isinstance(event, dict) else {"x": event}
        self.parts = nn.ModuleDict({key: _part(part, knots) for key, part in parts.items()})

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def prepare(self, take: Callable[[int], Batch]) -> None:
        self.fit(take(self.items).x)

    def fit(self, x: X) -> None:
        given = self._parts(x)
        for key, part in self.parts.items():
            part.fit(given[key])  # type: ignore[operator]

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        return -self.log_prob(batch.x, batch.condition).mean()

    def log_prob(self, x: X, condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x) in nats: (n,)."""
        return self.log_marginal(x, None, condition)

    def log_marginal(self, x: X, known: X | None, condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p of the known dimensions, all of them for None: (n,)."""
        self.check_condition(count(x), condition)
        given = self._parts(x)
        there = dict.fromkeys(self.parts) if known is None else self._parts(known)
        logs = [part.log_marginal(given[key], there[key]) for key, part in self.parts.items()]  # type: ignore[operator]
        return torch.stack(logs).sum(0)

    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        low: Float[Tensor, "n *event"] | None = None,
        high: Float[Tensor, "n *event"] | None = None,
    ) -> X:
        self.check_condition(n, condition)
        if low is not None and high is not None:
            return self.parts["x"].draw(generator, low.double(), high.double())  # type: ignore[operator]
        return self.draw(generator)

    def draw(self, generator: Streams) -> X:
        drawn = {key: part.draw(generator) for key, part in self.parts.items()}  # type: ignore[operator]
        return drawn if isinstance(self.event, dict) else drawn["x"]

    def complete(self, x: X, known: X, condition: Condition | None = None, *, generator: Streams) -> X:
        self.check_condition(count(x), condition)
        return _where(known, x, self.draw(generator))

    def _parts(self, x: X) -> dict[str, Any]:
        return x if isinstance(x, dict) else {"x": x}


def _where(known: X, x: X, y: X) -> X:
    if isinstance(x, dict):
        return {key: _where(known[key], x[key], y[key]) for key in x}
    return torch.where(known, x, y)


def _part(event: Event, knots: int) -> nn.Module:
    if isinstance(event, dict):
        return Independent(event, knots=knots)
    return Classes(event) if isinstance(event, Discrete) else Numbers(event, knots or 100, bool(knots))


class Classes(nn.Module):
    """Independent classes with the frequencies of the training items, each class counted 1 / classes times more."""

    log_p: Tensor

    def __init__(self, event: Discrete) -> None:
        super().__init__()
        self.shape = event.shape
        size = torch.tensor(event.counts)[:, None]
        there = torch.arange(event.largest) < size
        self.register_buffer("log_p", torch.where(there, 0.0, -torch.inf).log_softmax(-1))

    def fit(self, x: Int[Tensor, "n *event"]) -> None:
        counts = class_counts(x.detach().cpu().flatten(1), self.log_p.shape[1]).to(self.log_p.device, torch.float64)
        there = self.log_p.isfinite()
        smoothed = torch.where(there, counts + 1.0 / there.sum(1, keepdim=True), 0.0)
        self.log_p.copy_((smoothed / smoothed.sum(1, keepdim=True)).log())

    def log_marginal(self, x: Int[Tensor, "n *event"], known: Bool[Tensor, "n *event"] | None) -> Float[Tensor, "n"]:
        each = self.log_p.T.gather(0, x.flatten(1))
        return (each if known is None else torch.where(known.expand_as(x).flatten(1), each, 0.0)).sum(1)

    def draw(self, generator: Streams) -> Tensor:
        cdf = self.log_p.double().exp().cumsum(1)
        u = generator.uniform(len(cdf)).double() * cdf[:, -1]
        found = torch.searchsorted(cdf, u.T.contiguous()).T
        return found.clamp(max=self.log_p.shape[1] - 1).reshape(-1, *self.shape)


class Numbers(nn.Module):
    """Independent real numbers."""

    knots: Tensor
    shares: Tensor
    tails: Tensor
    used: Tensor

    def __init__(self, event: Continuous, count: int, stated: bool) -> None:
        super().__init__()
        self.shape, self.stated, size = event.shape, stated, event.shape[0]
        at = torch.linspace(-1, 1, count, dtype=torch.float64).expand(size, count)
        share = torch.linspace(0.01, 0.99, count, dtype=torch.float64).expand(size, count)
        self.register_buffer("knots", at.clone())
        self.register_buffer("shares", share.clone())
        self.register_buffer("tails", torch.ones(size, 2, dtype=torch.float64))
        self.register_buffer("used", torch.tensor(count))

    def fit(self, x: Float[Tensor, "n size"]) -> None:
        most = self.knots.shape[1]
        used = most if self.stated else max(2, min(most, round(2 * len(x) ** (1 / 3))))
        found = margins(x.detach().cpu().double(), used)
        self.knots[:, :used], self.shares[:, :used], self.tails[:] = found.knots, found.shares, found.tails
        self.used.fill_(used)

    def margins(self) -> Margins:
        used = int(self.used)
        return Margins(self.knots[:, :used].contiguous(), self.shares[:, :used].contiguous(), self.tails)

    def log_marginal(self, x: Float[Tensor, "n size"], known: Bool[Tensor, "n size"] | None) -> Float[Tensor, "n"]:
        there = torch.ones_like(x, dtype=torch.bool) if known is None else known.expand_as(x)

        def log_p(x: Float[Tensor, "n size"]) -> Float[Tensor, "n"]:
            return torch.where(there, self.margins().scores(x)[1], 0.0).sum(1)

        return zero_when_far(log_p, x.double().masked_fill(~there, 0.0)).to(x.dtype)

    def draw(
        self,
        generator: Streams,
        low: Float[Tensor, "n size"] | None = None,
        high: Float[Tensor, "n size"] | None = None,
    ) -> Tensor:
        here = self.margins()
        if low is None or high is None:
            return here.values(generator.normal(*self.shape).double()).float()
        a, b = (here.scores(v.nan_to_num(0.0, 0.0, 0.0))[0].where(v.isfinite(), v) for v in (low, high))
        z = normal_between(a, b, generator.uniform(*self.shape).double())
        return torch.where(low == high, low, here.values(z).maximum(low).minimum(high)).float()
