"""Orders of drawing: the natural one, random ones, models that take any, and the walk along one over their cache.

A mixture over random orders is scored by the log-mean-exp of their joint log-probabilities (`Conditionals.log_prob`).
Uria, Murray and Larochelle, 2014, "A deep and tractable density estimator", arXiv 1310.1757.
"""

from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pofx.core.event import Condition, Discrete, Event
from pofx.families.autoregressive.conditionals import Conditionals, Cursor
from pofx.nets.vector.column_embedding import ColumnEmbedding, ColumnLogits
from pofx.nets.vector.conditioner import Conditioner
from pofx.nets.vector.level_embedding import LevelEmbedding, LevelLogits

KINDS = ("natural", "random")


def places_of(natural: Int[Tensor, "dims"], orderings: int, ordering: str, seed: int) -> Int[Tensor, "orderings dims"]:
    """The place of every dimension in each order: (orderings, dims); several orders are always random."""
    drawn = torch.Generator().manual_seed(seed)
    random = orderings > 1 or ordering == "random"
    orders = [torch.randperm(len(natural), generator=drawn) if random else natural for _ in range(orderings)]
    return torch.stack(orders).argsort(1)


@runtime_checkable
class Cache(Protocol):
    """What a network keeps of the positions that are known."""

    def advance(self, step: int, position: int) -> Float[Tensor, "n outputs"]: ...

    def put(self, position: int, features: Float[Tensor, "n features"]) -> None: ...


class OrderedCursor(Cursor):
    """One dimension of a vector after the other, over a cache: a whole sample costs one pass."""

    def __init__(
        self,
        cache: Cache,
        order: Int[Tensor, "dims"],
        levels: LevelEmbedding | ColumnEmbedding,
        output: LevelLogits | ColumnLogits,
        shape: tuple[int, ...],
    ) -> None:
        self.cache, self.levels, self.output = cache, levels, output
        self.positions, self.indices = order.tolist(), list(np.ndindex(*shape))
        self.step = 0

    def logits(self) -> Float[Tensor, "n classes"]:
        position = self.positions[self.step]
        logits: Tensor = self.output(self.cache.advance(self.step, position), self.indices[position])
        return logits

    def put(self, value: Int[Tensor, "n"]) -> None:
        position = self.positions[self.step]
        self.cache.put(position, self.levels(value, position))
        self.step += 1


class Ordered(Conditionals):
    """A model of discrete dimensions in any order, or in a mixture of random ones: one network serves them all.

    Subclasses set `net`: (n, dims, terms), places (dims,), context → (n, dims, classes); `begin` makes its cache.
    """

    ranks: ClassVar = (0, 1, 2, 3, 4)
    unequal: ClassVar = True

    places: Tensor
    net: Any

    def __init__(
        self, event: Event, condition: Event | None, terms: int, orderings: int, ordering: str, ordering_seed: int
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.terms, self.orderings, self.ordering, self.ordering_seed = terms, orderings, ordering, ordering_seed
        self.levels: LevelEmbedding | ColumnEmbedding
        self.output: LevelLogits | ColumnLogits
        self.conditioner = Conditioner(condition)
        if isinstance(event.classes, int):
            self.levels, self.output = LevelEmbedding(event.largest, terms), LevelLogits(event.shape, event.largest)
        else:
            self.levels = ColumnEmbedding(event.classes, terms)
            self.output = ColumnLogits(event.shape, event.classes)
        places = places_of(super().order(), orderings, ordering, ordering_seed)
        self.register_buffer("places", places, persistent=False)

    def logits(
        self, x: Int[Tensor, "n *event"], condition: Condition | None = None, ordering: int = 0
    ) -> Float[Tensor, "n *event classes"]:
        out = self.net(self.levels(x.flatten(1)), self.places[ordering], self.conditioner(condition))
        logits: Tensor = self.output(out.reshape(*x.shape, -1))
        return logits

    def order(self, ordering: int = 0) -> Int[Tensor, "dims"]:
        return self.places[ordering].argsort()

    def cursor(self, n: int, condition: Condition | None = None, ordering: int = 0) -> OrderedCursor:
        assert isinstance(self.event, Discrete)
        cache = self.net.begin(n, self.conditioner(condition))
        return OrderedCursor(cache, self.order(ordering), self.levels, self.output, self.event.shape)
