"""Real NVP: couplings whose elementwise map is affine, so that density and sampling cost one pass each.

Dinh, Sohl-Dickstein and Bengio (2017), "Density estimation using Real NVP", arXiv 1605.08803. Batch normalisation is
replaced by ActNorm, and between pairs of couplings stand LU-parametrised linear maps (Kingma and Dhariwal, 2018,
"Glow", arXiv 1807.03039), which a small event can afford over all its dimensions at once.
"""

from pofx.core.event import Continuous, Event, dims
from pofx.families.flow.chain import ActNorm, Bijection, Chain, Linear, shuffled
from pofx.families.flow.coupling import Affine, Coupling, checkerboard
from pofx.families.flow.flow import Flow, by_size


class RealNVP(Flow):
    """Flow of affine couplings: exact density, exact codes, sampling in one pass."""

    name = "realnvp"
    source = "Dinh et al., 2017, arXiv 1605.08803"
    trains_with = {"lr": 2e-3, "weight_decay": 0.01}
    small = {"layers": 4, "width": 16, "blocks": 1}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        layers: int = 12,
        width: int = 256,
        blocks: int = 1,
        dropout: float | None = None,
        octaves: int | None = None,
        scale_bound: float = 2.0,
        context: int = 64,
    ) -> None:
        """A flow of `layers` couplings, whose conditioners are residual nets of `blocks` blocks of `width` units.

        Args:
            dropout: share of the conditioners' hidden units that is dropped in training; None is 0.2 for an event of
                at least 16 dimensions, and 0 for a smaller one.
            scale_bound: one coupling stretches by at most e to this power.
            octaves: sines and cosines of the inputs that the conditioners also see; None is 5 for an event of at most
                3 dimensions, and 0 for a larger one.
            context: width of the condition's embedding.
        """
        super().__init__(event, condition)
        self.layers, self.width, self.blocks = layers, width, blocks
        self.dropout, self.octaves, self.scale_bound, self.context = dropout, octaves, scale_bound, context
        assert isinstance(event, Continuous)
        d, size = dims(event), context if condition is not None else 0
        drop, octave = by_size(d, dropout, octaves)
        parts: list[Bijection] = [ActNorm(d)]
        for i in range(layers):
            if i and i % 2 == 0:
                parts += [Linear(d, shuffled(d, i)), ActNorm(d)]
            moved = checkerboard(event.shape, i % 2)
            parts.append(
                Coupling(moved, Affine(scale_bound), width, blocks, context=size, dropout=drop, octaves=octave)
            )
        self.flow = Chain(event, condition, context, parts)
