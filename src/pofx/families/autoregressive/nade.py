"""NADE: p(x_d | earlier x) from one hidden layer whose weights all conditionals share.

Larochelle and Murray, 2011, "The neural autoregressive distribution estimator"; any order of the dimensions, and
mixtures over orders, after Uria, Murray and Larochelle, 2014, arXiv 1310.1757.
"""

from typing import Annotated, ClassVar

from pofx.core.event import Discrete, Event, dims
from pofx.core.options import Depth, Dropout, OneOf, Range, Width
from pofx.families.autoregressive.orders import KINDS, Ordered
from pofx.nets.causal.prefix import PrefixHidden


class NADE(Ordered):
    """One hidden layer per prefix with shared weights: exact at O(dims × width), in one order or a mixture of several.

    Args:
        width: hidden units.
        terms: numbers that encode one class at the input, at most classes - 1.
        orderings: 1 for a single order, k > 1 for the mixture of k random orders (k times the cost of log_prob).
        ordering: of a single order, "natural" or "random"; several are always random.
        dropout: of hidden units, in training, for a whole item at once; None takes 0.5 below 256 dimensions and none
            from there on.
        ordering_seed: draws the random orders.

    Raises:
        UsageError: fewer than one order, or another kind of order.
    """

    name: ClassVar = "nade"
    source: ClassVar = "Larochelle and Murray, 2011; Uria et al., 2014, arXiv 1310.1757"
    trains_with: ClassVar = {"batch_size": 64, "lr": 2e-3, "precision": "auto"}
    small: ClassVar = {"width": 32}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: Width = 500,
        terms: Width = 16,
        orderings: Depth = 1,
        ordering: Annotated[str, OneOf(*KINDS)] = "natural",
        dropout: Dropout | None = None,
        ordering_seed: Annotated[int, Range(0, 1 << 62)] = 0,
    ) -> None:
        super().__init__(event, condition, terms, orderings, ordering, ordering_seed)
        assert isinstance(event, Discrete)
        self.width, self.dropout = width, dropout
        d = dims(event)
        self.net = PrefixHidden(
            d,
            self.levels.terms,
            event.largest,
            width,
            context=self.conditioner.width,
            dropout=(0.5 if d < 256 else 0.0) if dropout is None else dropout,
        )
