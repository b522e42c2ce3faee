"""Neural spline flows: the elementwise maps of a flow are monotonic rational-quadratic splines.

Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline flows", arXiv 1906.04032. `conditioner="coupling"` is
RQ-NSF (C): sampling costs one pass; "autoregressive" is RQ-NSF (AR): a stronger density, sampled one dimension at a
time.
"""

import torch

from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Event, dims
from pofx.families.flow.autoregressive import Autoregressive
from pofx.families.flow.chain import ActNorm, Bijection, Chain, Linear, shuffled
from pofx.families.flow.coupling import Coupling, Spline, checkerboard
from pofx.families.flow.flow import Flow, by_size

CONDITIONERS = ("coupling", "autoregressive")


class NSF(Flow):
    """Flow of rational-quadratic splines: exact density, exact codes."""

    name = "nsf"
    source = "Durkan et al., 2019, arXiv 1906.04032"
    trains_with = {"lr": 4e-3, "weight_decay": 0.01}
    small = {"layers": 2, "bins": 4, "width": 16, "blocks": 1}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        layers: int = 2,
        bins: int = 16,
        bound: float = 6.0,
        width: int = 256,
        blocks: int = 2,
        dropout: float | None = None,
        octaves: int | None = None,
        conditioner: str = "autoregressive",
        context: int = 64,
    ) -> None:
        """A flow of `layers` spline layers with `bins` bins on [-bound, bound] standard deviations.

        Args:
            width: hidden units of the residual conditioners, which have `blocks` blocks.
            dropout: share of the conditioners' hidden units that is dropped in training; None is 0.2 for an event of
                at least 16 dimensions, and 0 for a smaller one.
            octaves: sines and cosines of the inputs that the conditioners also see; None is 5 for an event of at most
                3 dimensions, and 0 for a larger one.
            context: width of the condition's embedding.

        Raises:
            UsageError: an unknown conditioner.
        """
        super().__init__(event, condition)
        if conditioner not in CONDITIONERS:
            raise UsageError(f"conditioner must be {' or '.join(CONDITIONERS)} (got '{conditioner}')")
        self.layers, self.bins, self.bound, self.width, self.blocks = layers, bins, bound, width, blocks
        self.dropout, self.octaves, self.conditioner, self.context = dropout, octaves, conditioner, context
        assert isinstance(event, Continuous)
        d, size = dims(event), context if condition is not None else 0
        drop, octave = by_size(d, dropout, octaves)
        parts: list[Bijection] = [ActNorm(d)]
        spline = Spline(bins, bound)
        for i in range(layers):
            if conditioner == "autoregressive":
                place = torch.arange(d) if i % 2 == 0 else torch.arange(d).flip(0)
                parts.append(Autoregressive(place, spline, width, blocks, context=size, dropout=drop, octaves=octave))
                continue
            if i and i % 2 == 0:
                parts.append(Linear(d, shuffled(d, i)))
            moved = checkerboard(event.shape, i % 2)
            parts.append(Coupling(moved, spline, width, blocks, context=size, dropout=drop, octaves=octave))
        self.flow = Chain(event, condition, context, parts)
