"""MADE: all conditionals p(x_d | earlier x) from one masked network in one pass.

The masks fix an order of the dimensions; with several orders the same weights serve each of them.
Germain et al., 2015, arXiv 1502.03509; residual blocks after Durkan and Nash, 2019, arXiv 1904.05626.
"""

import math
from typing import ClassVar

from jaxtyping import Float, Int, Shaped
from torch import Tensor

from pofx.core.event import Discrete, Event, dims
from pofx.families.autoregressive.chain import Chain
from pofx.families.autoregressive.orders import OrderedCursor, places_of
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
        orderings: 1 for a single order, k > 1 for the mixture of k random orders (k times the cost of log_prob).
        ordering: of a single order, "natural" or "random"; several are always random.
        dropout: of hidden units, in training; None takes 0.5 below 256 dimensions and 0.1 from there on.
        ordering_seed: draws the random orders.

    Raises:
        UsageError: fewer than one order, or another kind of order.
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
        ordering: str = "natural",
        dropout: float | None = None,
        ordering_seed: int = 0,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.width, self.blocks, self.terms, self.dropout = width, blocks, terms, dropout
        self.orderings, self.ordering, self.ordering_seed = orderings, ordering, ordering_seed
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
        places = places_of(super().order(), orderings, ordering, ordering_seed)
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
    ) -> OrderedCursor:
        assert isinstance(self.event, Discrete)
        cache = self.net.begin(n, self.conditioner(condition))
        return OrderedCursor(cache, self.order(ordering), self.levels, self.output, self.event.shape)
