"""MADE: all conditionals p(x_d | earlier x) from one masked network in one pass.

The masks fix an order of the dimensions; with several orders the same weights serve each of them.
Germain et al., 2015, arXiv 1502.03509; residual blocks after Durkan and Nash, 2019, arXiv 1904.05626.
"""

import math
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from pofx.core.errors import UsageError
from pofx.core.event import Discrete, Event, dims
from pofx.families.autoregressive.chain import Chain, Cursor
from pofx.nets.conditioner import Conditioner
from pofx.nets.levels import LevelLogits, Levels
from pofx.nets.masked import MaskedResidual


class MADE(Chain):
    """Masked residual network over discrete dimensions in a fixed order, or a mixture of random orders.

    Args:
        width: hidden units per layer, at least as many as dimensions for every conditional to see all before it;
            None takes 512, or the next multiple of 512 above the number of dimensions.
        blocks: residual blocks of two layers each.
        terms: numbers that encode one class at the input, at most classes - 1.
        orderings: 1 for the natural order, k > 1 for the mixture of k random orders (k times the cost of log_prob).
        dropout: of hidden units, in training; None takes 0.5 below 256 dimensions and 0.1 from there on.
        ordering_seed: draws the random orders.
    """

    name: ClassVar = "made"
    source: ClassVar = "Germain et al., 2015, arXiv 1502.03509"
    ranks: ClassVar = (0, 1, 2, 3, 4)
    trains_with: ClassVar = {"batch_size": 128, "lr": 2e-3, "precision": "auto"}
    small: ClassVar = {"width": 32, "blocks": 1}

    places: Tensor

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: int | None = None,
        blocks: int = 2,
        terms: int = 16,
        orderings: int = 1,
        dropout: float | None = None,
        ordering_seed: int = 0,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        if orderings < 1:
            raise UsageError(f"orderings must be at least 1 (got {orderings}): pass orderings=1 for the natural order")
        self.width, self.blocks, self.terms, self.orderings = width, blocks, terms, orderings
        self.dropout, self.ordering_seed = dropout, ordering_seed
        d = dims(event)
        units = width or 512 * math.ceil(d / 512)
        self.levels = Levels(event.classes, terms)
        self.conditioner = Conditioner(condition)
        self.net = MaskedResidual(
            d,
            self.levels.terms,
            event.classes,
            units,
            blocks,
            context=self.conditioner.width,
            dropout=(0.5 if d < 256 else 0.1) if dropout is None else dropout,
        )
        self.output = LevelLogits(event.shape, event.classes)
        drawn = torch.Generator().manual_seed(ordering_seed)
        natural = super().order()
        orders = [natural if orderings == 1 else torch.randperm(d, generator=drawn) for _ in range(orderings)]
        places = torch.stack(orders).argsort(1)  # places[o, i]: the place of dimension i in order o
        self.register_buffer("places", places, persistent=False)

    def logits(
        self, x: Int[Tensor, "n *event"], condition: Shaped[Tensor, "n *condition"] | None = None, ordering: int = 0
    ) -> Float[Tensor, "n *event classes"]:
        out = self.net(self.levels(x.flatten(1)), self.places[ordering], self.conditioner(condition))
        logits: Tensor = self.output(out.reshape(*x.shape, -1))
        return logits

    def order(self, ordering: int = 0) -> Int[Tensor, "dims"]:
        return self.places[ordering].argsort()

    def cursor(
        self, n: int, condition: Shaped[Tensor, "n *condition"] | None = None, ordering: int = 0
    ) -> "MADECursor":
        return MADECursor(self, n, condition, ordering)


class MADECursor(Cursor):
    """The hidden units of one degree after the other: a whole sample costs one pass."""

    def __init__(self, model: MADE, n: int, condition: Shaped[Tensor, "n *condition"] | None, ordering: int) -> None:
        self.model, self.cache = model, model.net.begin(n, model.conditioner(condition))
        self.places, self.indices = model.order(ordering).tolist(), list(np.ndindex(*model.output.bias.shape[:-1]))
        self.step = 0

    def logits(self) -> Float[Tensor, "n classes"]:
        place = self.places[self.step]
        logits: Tensor = self.model.output(self.cache.advance(self.step, place), self.indices[place])
        return logits

    def put(self, value: Int[Tensor, "n"]) -> None:
        self.cache.put(self.places[self.step], self.model.levels(value))
        self.step += 1
