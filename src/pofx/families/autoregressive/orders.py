"""Orders of drawing: the natural one, random ones, and the walk along one of them over a network's cache.

A mixture over random orders is scored by the log-mean-exp of their joint log-probabilities (`Chain.log_prob`).
Uria, Murray and Larochelle, 2014, "A deep and tractable density estimator", arXiv 1310.1757.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pofx.core.errors import UsageError
from pofx.families.autoregressive.chain import Cursor
from pofx.nets.levels import LevelLogits, Levels

KINDS = ("natural", "random")


def places_of(natural: Int[Tensor, "dims"], orderings: int, ordering: str, seed: int) -> Int[Tensor, "orderings dims"]:
    """The place of every dimension in each order: (orderings, dims); several orders are always random.

    Raises:
        UsageError: fewer than one order, or a kind of order that does not exist.
    """
    if orderings < 1:
        raise UsageError(f"orderings must be at least 1 (got {orderings}): pass orderings=1 for a single order")
    if ordering not in KINDS:
        raise UsageError(f"ordering must be {' or '.join(KINDS)} (got '{ordering}'): pass ordering='natural'")
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
        levels: Levels,
        output: LevelLogits,
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
        self.cache.put(self.positions[self.step], self.levels(value))
        self.step += 1
