"""MADE: all conditionals p(x_d | earlier x) from one masked network in one pass.

The masks fix an order of the dimensions; with several orders the same weights serve each of them.
Germain et al., 2015, arXiv 1502.03509; residual blocks after Durkan and Nash, 2019, arXiv 1904.05626.
"""

import math
from typing import Annotated, ClassVar

from pofx.core.event import Discrete, Event, dims
from pofx.core.options import Depth, Dropout, OneOf, Range, Width
from pofx.families.autoregressive.orders import KINDS, Ordered
from pofx.nets.causal.masked import MaskedResidual


class MADE(Ordered):
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
    trains_with: ClassVar = {"batch_size": 128, "lr": 2e-3, "precision": "auto"}
    small: ClassVar = {"width": 32, "blocks": 1}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: Width | None = None,
        blocks: Depth = 2,
        terms: Width = 16,
        orderings: Depth = 1,
        ordering: Annotated[str, OneOf(*KINDS)] = "natural",
        dropout: Dropout | None = None,
        ordering_seed: Annotated[int, Range(0, 1 << 62)] = 0,
    ) -> None:
        super().__init__(event, condition, terms, orderings, ordering, ordering_seed)
        assert isinstance(event, Discrete)
        self.width, self.blocks, self.dropout = width, blocks, dropout
        d = dims(event)
        units = width or 512 * math.ceil(d / 512)
        self.net = MaskedResidual(
            d,
            self.levels.terms,
            event.largest,
            units,
            blocks,
            context=self.conditioner.width,
            dropout=(0.5 if d < 256 else 0.1) if dropout is None else dropout,
        )
