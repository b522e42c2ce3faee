"""MADE: all conditionals p(x_d | earlier x) from one masked network in one pass.

The masks fix an order of the dimensions. With several orders the model is the mixture over them: log p(x) is the
log-mean-exp of the orders' joint log-probabilities (averaging their logits per dimension would not be a distribution).
Germain et al., 2015, arXiv 1502.03509; residual blocks after Durkan and Nash, 2019, arXiv 1904.05626.
"""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Continuous, Discrete, Event, dims
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.autoregressive.chain import Chain
from pofx.maths.distributions import categorical_draw, categorical_log_prob
from pofx.nets.conditioner import Conditioner
from pofx.nets.levels import LevelLogits, Levels
from pofx.nets.masked import MaskedResidual

STARTS = 10_000  # items from which the frequencies of the classes are taken


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
    events: ClassVar = (Discrete,)
    ranks: ClassVar = (0, 1, 2, 3, 4)
    conditions: ClassVar = (Discrete, Continuous)
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
        self.output = LevelLogits((d,), event.classes)
        drawn = torch.Generator().manual_seed(ordering_seed)
        orders = [torch.arange(d) if orderings == 1 else torch.randperm(d, generator=drawn) for _ in range(orderings)]
        places = torch.stack(orders).argsort(1)  # places[o, i]: the place of dimension i in order o
        self.register_buffer("places", places, persistent=False)

    def logits(
        self, x: Int[Tensor, "n *event"], condition: Shaped[Tensor, "n *condition"] | None = None, ordering: int = 0
    ) -> Float[Tensor, "n dims classes"]:
        """The conditionals' logits in one order: x int64 (n, *shape) → (n, dims, classes)."""
        out = self.net(self.levels(x.flatten(1)), self.places[ordering], self.conditioner(condition))
        logits: Tensor = self.output(out)
        return logits

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start every dimension at the frequencies of its classes."""
        self.output.start(take(STARTS).x.flatten(1))

    def ordering_log_prob(
        self, x: Int[Tensor, "n *event"], condition: Shaped[Tensor, "n *condition"] | None, ordering: int
    ) -> Float[Tensor, "n dims"]:
        """log p(x_d | the dimensions before d) in one order: (n, dims)."""
        return categorical_log_prob(self.logits(x, condition, ordering), x.flatten(1))

    def log_prob_terms(
        self, x: Int[Tensor, "n *event"], condition: Shaped[Tensor, "n *condition"] | None = None
    ) -> Float[Tensor, "n *event"]:
        """log p(x_d | the dimensions before d): (n, *shape).

        Raises:
            Unsupported: several orderings; their mixture has no single order.
        """
        if self.orderings > 1:
            raise Unsupported(f"a mixture of {self.orderings} orderings has no terms: use log_prob, or orderings=1")
        return self.ordering_log_prob(x, condition, 0).reshape(x.shape)

    def log_prob(
        self, x: Int[Tensor, "n *event"], condition: Shaped[Tensor, "n *condition"] | None = None
    ) -> Float[Tensor, "n"]:
        """log p(x | condition) in nats: (n,)."""
        joint = [self.ordering_log_prob(x, condition, o).sum(1) for o in range(self.orderings)]
        return torch.stack(joint).logsumexp(0) - math.log(self.orderings)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats per dimension; in training that of one order, drawn for the batch."""
        if not self.training or self.orderings == 1:
            return super().loss(batch)
        ordering = int(torch.randint(self.orderings, ()))
        return -self.ordering_log_prob(batch.x, batch.condition, ordering).mean()

    def sample(
        self,
        n: int,
        condition: Shaped[Tensor, "n *condition"] | None = None,
        *,
        generator: Streams,
        cached: bool = True,
    ) -> Int[Tensor, "{n} *event"]:
        """n events, dimension by dimension: int64 (n, *shape). `cached=False` repeats the whole pass per dimension."""
        self.check_condition(n, condition)
        assert isinstance(self.event, Discrete)
        u = generator.uniform(dims(self.event))
        chosen = generator.integers(self.orderings, 1)[:, 0]
        x = torch.zeros(n, dims(self.event), dtype=torch.int64, device=u.device)
        for ordering in sorted(set(chosen.tolist())):
            rows = chosen == ordering
            given = None if condition is None else condition[rows]
            x[rows] = self._draw(u[rows], given, ordering, cached)
        return x.reshape(n, *self.event.shape)

    def _draw(self, u: Tensor, condition: Tensor | None, ordering: int, cached: bool) -> Tensor:
        x = torch.zeros_like(u, dtype=torch.int64)
        cache = self.net.begin(len(u), self.conditioner(condition)) if cached else None
        for step, position in enumerate(self.places[ordering].argsort().tolist()):
            if cache is not None:
                logits = self.output(cache.advance(step, position), (position,))
            else:
                logits = self.logits(x, condition, ordering)[:, position]
            x[:, position] = categorical_draw(logits, u[:, position])
            if cache is not None:
                cache.put(position, self.levels(x[:, position]))
        return x
