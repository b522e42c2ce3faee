"""The chain rule: log p(x) = sum over d of log p(x_d | x_1, …, x_{d-1}), exactly, for every order of the dimensions.

A member gives the logits of all conditionals in one pass (`logits`) and, where it can, one after the other from a cache
(`cursor`). Densities, samples, completions and sharpened draws follow here. With several orders the model is the
mixture over them: log p(x) is the log-mean-exp of the orders' joint log-probabilities (Uria, Murray and Larochelle,
2014, "A deep and tractable density estimator", arXiv 1310.1757); averaging their logits would not be a distribution.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pofx.core.errors import DataError, Unsupported
from pofx.core.event import Condition, Discrete, dims, select
from pofx.core.generative import Forcing
from pofx.core.model import Batch, Density, OnePhase, Tempered
from pofx.core.options import Temperature, TopK, TopP, Unit
from pofx.core.random import Streams
from pofx.maths.distributions import categorical_draw, categorical_log_prob, sum_event
from pofx.maths.sharpening import sharpen
from pofx.nets.vector.column_embedding import ColumnLogits
from pofx.nets.vector.conditioner import CONDITIONS
from pofx.nets.vector.level_embedding import LevelLogits

STARTS = 10_000  # items from which the frequencies of the classes are taken


class Cursor(ABC):
    """The conditionals of n items one after the other, in the order in which dimensions are drawn."""

    @abstractmethod
    def logits(self) -> Float[Tensor, "n classes"]:
        """The logits of the next dimension, given those that were put: (n, classes)."""

    @abstractmethod
    def put(self, value: Int[Tensor, "n"]) -> None:
        """The next dimension has become known: int64 (n,)."""


class Conditionals(OnePhase, Forcing, Tempered):
    """A model of discrete events that knows log p(x_d | x_1, …, x_{d-1}) for each dimension d."""

    events: ClassVar = (Discrete,)
    conditions: ClassVar = CONDITIONS
    best_density: ClassVar[Density] = Density.EXACT

    orderings: int = 1
    ordering: str = "natural"
    at_once: int = 1 << 30  # events that are drawn together
    output: LevelLogits | ColumnLogits

    @property
    def in_order(self) -> bool:
        assert isinstance(self.event, Discrete)
        natural = len(self.event.shape) != 3 or self.event.shape[0] == 1  # channels come cell by cell
        return self.orderings == 1 and self.ordering == "natural" and natural

    @property
    def end(self) -> int | None:
        """The class after which a sequence holds nothing else, where the order of drawing is that of the sequence."""
        assert isinstance(self.event, Discrete)
        return self.event.end if self.in_order and len(self.event.shape) == 1 else None

    @abstractmethod
    def logits(
        self, x: Int[Tensor, "n *event"], condition: Condition | None = None, ordering: int = 0
    ) -> Float[Tensor, "n *event classes"]:
        """The conditionals' logits in one order, in the places of their dimensions: (n, *event.shape, classes)."""

    def order(self, ordering: int = 0) -> Int[Tensor, "dims"]:
        """The dimensions of the flattened event in the order in which they are drawn.

        By default in their own order; those of a grid (C, H, W) cell by cell in raster order, channel after channel.
        """
        assert isinstance(self.event, Discrete)
        places = torch.arange(dims(self.event))
        if len(self.event.shape) == 3:
            places = places.reshape(self.event.shape).permute(1, 2, 0).flatten()
        return places

    def cursor(self, n: int, condition: Condition | None = None, ordering: int = 0) -> Cursor:
        """The conditionals one after the other; by default each by a whole pass."""
        return Uncached(self, n, condition, ordering)

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start every dimension at the frequencies of its classes."""
        self.output.start(take(STARTS).x)

    def dimension_log_prob(
        self, x: Int[Tensor, "n *event"], condition: Condition | None = None, ordering: int = 0
    ) -> Float[Tensor, "n *event"]:
        """The terms of one order before ends are counted: what follows the end of a sequence may be anything."""
        return categorical_log_prob(self.logits(x, condition, ordering), x)

    def ordering_log_prob(
        self, x: Int[Tensor, "n *event"], condition: Condition | None = None, ordering: int = 0
    ) -> Float[Tensor, "n *event"]:
        """log p(x_d | the dimensions before d) in nats in one order: (n, *event.shape)."""
        terms = self.dimension_log_prob(x, condition, ordering)
        if self.end is None:
            return terms
        over = ended(x, self.end)
        return terms.masked_fill(over, 0.0).masked_fill(over & (x != self.end), -torch.inf)

    def log_prob_terms(
        self, x: Int[Tensor, "n *event"], condition: Condition | None = None
    ) -> Float[Tensor, "n *event"]:
        """log p(x_d | the dimensions before d) in nats, in the place of x_d: (n, *event.shape).

        Raises:
            Unsupported: several orderings; their mixture has no single order.
        """
        self._one_order("terms")
        return self.ordering_log_prob(x, condition)

    def log_prob(self, x: Int[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x | condition) in nats: (n,)."""
        joint = [sum_event(self.ordering_log_prob(x, condition, o)) for o in range(self.orderings)]
        return torch.stack(joint).logsumexp(0) - math.log(self.orderings)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats per dimension; in training that of one order, drawn for the batch.

        Of sequences that end the mean is over what is not certain: everything up to and with their ends.
        """
        if self.end is not None:
            return -self.log_prob(batch.x, batch.condition).sum() / (~ended(batch.x, self.end)).sum()
        if not self.training or self.orderings == 1:
            return -self.log_prob(batch.x, batch.condition).mean() / math.prod(batch.x.shape[1:])
        ordering = int(torch.randint(self.orderings, ()))
        return -self.ordering_log_prob(batch.x, batch.condition, ordering).mean()

    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        prefix: Int[Tensor, "n *event"] | None = None,
        temperature: Temperature = 1.0,
        top_k: TopK = 0,
        top_p: TopP = 1.0,
        min_p: Unit = 0.0,
        cached: bool = True,
    ) -> Int[Tensor, "{n} *event"]:
        """n events, dimension by dimension: int64 (n, *event.shape).

        Args:
            prefix: what is known of each event, int64 (n, *event.shape), and -1 in the places to be drawn; the known
                places come first in the order of drawing.
            temperature, top_k, top_p, min_p: sharpen every conditional; at other values than these the draws are no
                longer from p(x).
            cached: False repeats the whole pass for every dimension, to the same result.

        Raises:
            DataError: a prefix of another shape, with classes that the event does not have, or with gaps.
            Unsupported: a prefix for a mixture of orderings.
        """
        self.check_condition(n, condition)
        known = self._checked_prefix(prefix, n)
        return self._drawn(n, condition, generator, known, (temperature, top_k, top_p, min_p), cached)

    def forced(
        self, n: int, condition: Condition | None = None, *, generator: Streams, known: Int[Tensor, "n *event"]
    ) -> Int[Tensor, "{n} *event"]:
        self.check_condition(n, condition)
        self._one_order("known places")
        return self._drawn(n, condition, generator, known.flatten(1), (1.0, 0, 1.0, 0.0), True)

    def _drawn(
        self,
        n: int,
        condition: Condition | None,
        generator: Streams,
        known: Int[Tensor, "n dims"] | None,
        sharper: tuple[float, int, float, float],
        cached: bool,
    ) -> Int[Tensor, "{n} *event"]:
        assert isinstance(self.event, Discrete)
        u = generator.uniform(dims(self.event))
        chosen = generator.integers(self.orderings, 1)[:, 0]
        x = torch.zeros_like(u, dtype=torch.int64)
        parts = [
            (o, rows) for o in chosen.unique().tolist() for rows in (chosen == o).nonzero()[:, 0].split(self.at_once)
        ]
        for ordering, rows in parts:
            given = None if condition is None else select(condition, rows)
            of = (len(rows), given, ordering)
            cursor = self.cursor(*of) if cached else Uncached(self, *of)
            over = torch.zeros(len(rows), dtype=torch.bool, device=u.device)
            noise, drawn, fixed = u[rows], x[rows], None if known is None else known[rows]
            for step, place in enumerate(self.order(ordering).tolist()):
                value = categorical_draw(sharpen(cursor.logits(), *sharper), noise[:, place])
                if fixed is not None:
                    value = torch.where(fixed[:, place] < 0, value, fixed[:, place])
                if self.end is not None:
                    value = value.masked_fill(over, self.end)
                    over = value == self.end
                    if over.all():
                        drawn[:, place:] = self.end
                        break
                drawn[:, place] = value
                generator.notice(drawn, (step + 1) / drawn.shape[1])
                cursor.put(value)
            x[rows] = drawn
        return x.reshape(n, *self.event.shape)

    def _one_order(self, what: str) -> None:
        if self.orderings > 1:
            raise Unsupported(f"a mixture of {self.orderings} orderings has no {what}: train with orderings=1")

    def _checked_prefix(self, prefix: Tensor | None, n: int) -> Int[Tensor, "n dims"] | None:
        if prefix is None:
            return None
        assert isinstance(self.event, Discrete)
        self._one_order("prefix")
        if tuple(prefix.shape) != (n, *self.event.shape):
            raise DataError(f"prefix must have shape {(n, *self.event.shape)} (got {tuple(prefix.shape)})")
        if prefix.min() < -1 or prefix.max() >= self.event.largest:
            raise DataError(f"prefix must lie in -1 to {self.event.largest - 1} (got {prefix.min()} to {prefix.max()})")
        open_ = (prefix.flatten(1)[:, self.order()] < 0).long()
        if (open_.diff(dim=1) < 0).any():
            raise DataError(f"prefix has gaps: {self.label} completes what comes first in its order of drawing")
        return prefix.flatten(1)


def ended(x: Int[Tensor, "n length"], end: int) -> Bool[Tensor, "n length"]:
    """Which places lie behind the first end of their sequence: (n, length)."""
    stops = (x == end).long()
    return (stops.cumsum(1) - stops) > 0


class Uncached(Cursor):
    """Every conditional by a whole pass: the plain method, against which caches are tested and timed."""

    def __init__(self, model: Conditionals, n: int, condition: Condition | None, ordering: int = 0) -> None:
        assert isinstance(model.event, Discrete)
        self.model, self.condition, self.ordering = model, condition, ordering
        device = next(model.parameters()).device
        self.x = torch.zeros(n, *model.event.shape, dtype=torch.int64, device=device)
        self.places = model.order(ordering).tolist()
        self.step = 0

    def logits(self) -> Float[Tensor, "n classes"]:
        whole = self.model.logits(self.x, self.condition, self.ordering)
        return whole.reshape(len(self.x), len(self.places), -1)[:, self.places[self.step]]

    def put(self, value: Int[Tensor, "n"]) -> None:
        self.x.view(len(self.x), -1)[:, self.places[self.step]] = value
        self.step += 1
