"""NICE: additive couplings, which keep volumes, and one diagonal scale.

Dinh, Krueger and Bengio (2015), "NICE: non-linear independent components estimation", arXiv 1410.8516. Both directions
cost one pass, and the log-determinant is the same everywhere. The prior is a standard normal.
"""

from typing import Annotated

from pofx.core.event import Continuous, Event, dims
from pofx.core.options import Depth, Dropout, Range, Width
from pofx.families.flow.composition import ActNorm, Composition
from pofx.families.flow.coupling import Additive, Couplings, checkerboard
from pofx.families.flow.flow import Flow, by_size


class NICE(Flow):
    """Flow of additive couplings and a diagonal scale: exact density, exact codes, sampling in one pass."""

    name = "nice"
    source = "Dinh et al., 2015, arXiv 1410.8516"
    trains_with = {"lr": 2e-3, "weight_decay": 0.01}
    small = {"layers": 6, "width": 32, "blocks": 1}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        layers: Depth = 6,
        width: Width = 512,
        blocks: Depth = 2,
        dropout: Dropout | None = None,
        octaves: Annotated[int, Range(0, 16)] | None = None,
        context: Width = 64,
    ) -> None:
        """A flow of `layers` couplings, whose conditioners are residual nets of `blocks` blocks of `width` units.

        Args:
            dropout: share of the conditioners' hidden units that is dropped in training; None is 0.2 for an event of
                at least 16 dimensions, and 0 for a smaller one.
            octaves: sines and cosines of the inputs that the conditioners also see; None is 5 for an event of at most
                3 dimensions, and 0 for a larger one.
            context: width of the condition's embedding.
        """
        super().__init__(event, condition)
        self.layers, self.width, self.blocks = layers, width, blocks
        self.dropout, self.octaves, self.context = dropout, octaves, context
        assert isinstance(event, Continuous)
        d, size = dims(event), context if condition is not None else 0
        drop, octave = by_size(d, dropout, octaves)
        options = {"context": size, "dropout": drop, "octaves": octave}
        couplings = Couplings(layers, checkerboard(event.shape, 0), Additive(), width, blocks, **options)
        self.flow = Composition(event, condition, context, [ActNorm(d), couplings, ActNorm(d)])
