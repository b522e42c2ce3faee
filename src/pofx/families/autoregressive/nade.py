"""NADE: p(x_d | earlier x) from one hidden layer whose weights all conditionals share.

Larochelle and Murray, 2011, "The neural autoregressive distribution estimator"; any order of the dimensions, and
mixtures over orders, after Uria, Murray and Larochelle, 2014, arXiv 1310.1757.
"""

from typing import ClassVar

from jaxtyping import Float, Int, Shaped
from torch import Tensor

from pofx.core.event import Discrete, Event, dims
from pofx.families.autoregressive.chain import Chain
from pofx.families.autoregressive.orders import OrderedCursor, places_of
from pofx.nets.conditioner import Conditioner
from pofx.nets.levels import LevelLogits, Levels
from pofx.nets.prefix import PrefixHidden


class NADE(Chain):
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
    ranks: ClassVar = (0, 1, 2, 3, 4)
    trains_with: ClassVar = {"batch_size": 64, "lr": 2e-3, "precision": "auto"}
    small: ClassVar = {"width": 32}

    places: Tensor

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: int = 500,
        terms: int = 16,
        orderings: int = 1,
        ordering: str = "natural",
        dropout: float | None = None,
        ordering_seed: int = 0,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.width, self.terms, self.dropout = width, terms, dropout
        self.orderings, self.ordering, self.ordering_seed = orderings, ordering, ordering_seed
        self.levels = Levels(event.classes, terms)
        self.conditioner = Conditioner(condition)
        d = dims(event)
        self.net = PrefixHidden(
            d,
            self.levels.terms,
            event.classes,
            width,
            context=self.conditioner.width,
            dropout=(0.5 if d < 256 else 0.0) if dropout is None else dropout,
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
