"""Neural spline flows: the elementwise maps of a flow are monotonic rational-quadratic splines.

Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline flows", arXiv 1906.04032. `conditioner="coupling"` is
RQ-NSF (C): sampling costs one pass; "autoregressive" is RQ-NSF (AR): a stronger density, sampled one dimension at a
time. Some dimensions may be circles (Rezende et al., 2020, arXiv 2002.02428).
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch

from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Event, dims
from pofx.core.model import Default, Recipe
from pofx.core.options import Depth, Dropout, OneOf, Positive, Range, Real, Width
from pofx.families.flow.autoregressive import Autoregressive
from pofx.families.flow.circle import Circle, OnLines, Torus, Wrap
from pofx.families.flow.composition import ActNorm, Base, Bijection, Composition, LinearMap, shuffled
from pofx.families.flow.coupling import Couplings, Spline, checkerboard
from pofx.families.flow.flow import Flow, by_size

CONDITIONERS = ("coupling", "autoregressive")


class NSF(Flow):
    """Flow of rational-quadratic splines: exact density, exact codes."""

    name = "nsf"
    source = "Durkan et al., 2019, arXiv 1906.04032"
    trains_with = {"lr": 4e-3, "weight_decay": 0.01}
    default_for = (Default(Continuous, 1), Default())
    small = {"layers": 2, "bins": 4, "width": 16, "blocks": 1}
    recipes = (
        Recipe(
            "nsf-coupling",
            "Durkan et al., 2019, arXiv 1906.04032, RQ-NSF (C)",
            {"conditioner": "coupling", "layers": 8, "bins": 8},
            {"lr": 2e-3, "weight_decay": 0.01},
            summary="Splines in couplings: density and samples both in one pass.",
        ),
    )

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        layers: Depth = 2,
        bins: Annotated[int, Range(1, 512)] = 16,
        bound: Annotated[Real, Range(0, 1000, above=True)] = 6.0,
        width: Width = 256,
        blocks: Depth = 2,
        dropout: Dropout | None = None,
        octaves: Annotated[int, Range(0, 16)] | None = None,
        conditioner: Annotated[str, OneOf(*CONDITIONERS)] = "autoregressive",
        circular: Sequence[Annotated[int, Range(0, 1 << 24)]] = (),
        period: Positive | Sequence[Positive] = 2 * math.pi,
        context: Width = 64,
    ) -> None:
        """A flow of `layers` spline layers with `bins` bins on [-bound, bound] standard deviations.

        Args:
            width: hidden units of the residual conditioners, which have `blocks` blocks.
            dropout: share of the conditioners' hidden units that is dropped in training; None is 0.2 for an event of
                at least 16 dimensions, and 0 for a smaller one.
            octaves: sines and cosines of the inputs that the conditioners also see; None is 5 for an event of at most
                3 dimensions, and 0 for a larger one.
            circular: dimensions, by number, that are circles. Their density is one over a single period, their
                samples and codes lie in half a period around 0, and values a period apart are the same.
            period: of the circles, one for all or one each, in the units of the event; a representation that leaves
                the units as they are (`represent="unscaled"` for points) makes these the data's own.
            context: width of the condition's embedding.

        Raises:
            UsageError: a circular dimension that is not there or is listed twice, or periods that
                are not positive or not as many as circles.
        """
        super().__init__(event, condition)
        self.layers, self.bins, self.bound, self.width, self.blocks = layers, bins, bound, width, blocks
        self.dropout, self.octaves, self.conditioner, self.context = dropout, octaves, conditioner, context
        self.circular, self.period = circular, period
        assert isinstance(event, Continuous)
        d, size = dims(event), context if condition is not None else 0
        drop, octave = by_size(d, dropout, octaves)
        circle, periods = _circle(d, circular, period, float(bound))
        base: Base | None = None if circle is None else Torus(circle)
        parts: list[Bijection] = [ActNorm(d)] if circle is None else [Wrap(circle, periods)]
        if circle is not None and not bool(circle.where.all()):
            parts.append(OnLines(circle, ActNorm(d - len(circular))))
        spline = Spline(bins, float(bound), circle)
        options: dict[str, Any] = {"context": size, "dropout": drop, "octaves": octave, "circle": circle}
        if conditioner == "autoregressive":
            for i in range(layers):
                order = torch.arange(d).flip(0) if i % 2 else None
                parts.append(Autoregressive(d, order, spline, width, blocks, **options))
        else:
            for i in range(0, layers, 2):
                if i and circle is None:  # a linear map of angles is none of circles
                    parts.append(LinearMap(d, shuffled(d, i)))
                turns, moved = min(2, layers - i), checkerboard(event.shape, 0)
                parts.append(Couplings(turns, moved, spline, width, blocks, **options))
        self.flow = Composition(event, condition, context, parts, base)


def _circle(
    d: int, circular: Sequence[int], period: float | Sequence[float], bound: float
) -> tuple[Circle | None, list[float]]:
    """Which of d dimensions are circles, and the period of each dimension (1 for a line)."""
    if not circular:
        return None, []
    if len(set(circular)) < len(circular) or not all(0 <= i < d for i in circular):
        raise UsageError(f"circular must be different numbers in 0 to {d - 1} (got {list(circular)})")
    each = list(period) if isinstance(period, Sequence) else [period] * len(circular)
    if len(each) != len(circular) or not all(0 < p < math.inf for p in each):
        raise UsageError(f"period must be one positive number, or one for each of {len(circular)} (got {period})")
    where, periods = torch.zeros(d, dtype=torch.bool), [1.0] * d
    for i, p in zip(circular, each, strict=True):
        where[i], periods[i] = True, float(p)
    return Circle(where, bound), periods
