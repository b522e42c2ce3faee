"""Real NVP: couplings whose elementwise map is affine, so that density and sampling cost one pass each.

Dinh, Sohl-Dickstein and Bengio (2017), "Density estimation using Real NVP", arXiv 1605.08803. Batch normalisation is
replaced by ActNorm, and between pairs of couplings lie LU-parametrised linear maps (Kingma and Dhariwal, 2018,
"Glow", arXiv 1807.03039), which a small event can afford over all its dimensions at once. A large grid takes the
paper's multi-scale form (section 3.6) with convolutional networks, and those maps are of the channels at every place.
"""

from collections.abc import Iterable
from typing import Annotated

from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Event, dims
from pofx.core.options import Depth, Dropout, OneOf, Range, Real, Width
from pofx.families.flow.composition import ActNorm, Bijection, Composition, LinearMap, shuffled
from pofx.families.flow.coupling import Affine, Couplings, checkerboard
from pofx.families.flow.flow import Flow, by_size
from pofx.families.flow.grid import CheckerboardCoupling, EveryPlace, GridBijection, GridCoupling, grid_step
from pofx.families.flow.multiscale import MultiScale, Shape, multiscale

FORMS = ("auto", "vector", "multiscale")
LARGE = 256  # places of a grid from which "auto" takes the multi-scale form


class RealNVP(Flow):
    """Flow of affine couplings: exact density, exact codes, sampling in one pass."""

    name = "realnvp"
    source = "Dinh et al., 2017, arXiv 1605.08803"
    trains_with = {"lr": 2e-3, "weight_decay": 0.01, "precision": "auto"}  # bf16 in convolutions only
    small = {"layers": 4, "width": 16, "blocks": 1}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        form: Annotated[str, OneOf(*FORMS)] = "auto",
        layers: Depth | None = None,
        width: Width | None = None,
        blocks: Depth = 1,
        dropout: Dropout | None = None,
        octaves: Annotated[int, Range(0, 16)] | None = None,
        scale_bound: Annotated[Real, Range(0, 20, above=True)] = 2.0,
        context: Width = 64,
    ) -> None:
        """A flow of `layers` couplings, whose conditioners are residual nets of `blocks` blocks of `width` units.

        Args:
            form: "vector" flattens the event; "multiscale" keeps a grid, with convolutions, and lets half of it leave
                at each scale; "auto" is multi-scale from 16 × 16 places on.
            layers: couplings; of the multi-scale form, at each scale, half of them by checkerboard and half by
                channels. None is 12, or 6 in the multi-scale form.
            width: hidden units or channels; None is 256, or 64 in the multi-scale form.
            dropout: share of the conditioners' hidden units that is dropped in training; None is 0.2 for an event of
                at least 16 dimensions, and 0 for a smaller one or in the multi-scale form.
            scale_bound: one coupling stretches by at most e to this power.
            octaves: sines and cosines of the inputs that the conditioners also see; None is 5 for an event of at most
                3 dimensions, and 0 for a larger one; the multi-scale form has none.
            context: width of the condition's embedding.
        """
        super().__init__(event, condition)
        self.form, self.layers, self.width, self.blocks = form, layers, width, blocks
        self.dropout, self.octaves, self.scale_bound, self.context = dropout, octaves, scale_bound, context
        assert isinstance(event, Continuous)
        grid = len(event.shape) == 3
        if form == "multiscale" and not grid:
            raise UsageError(f"form=multiscale needs a grid (got shape {event.shape}): pass form=auto")
        d, size = dims(event), context if condition is not None else 0
        if form == "multiscale" or (form == "auto" and grid and event.shape[1] * event.shape[2] >= LARGE):
            if octaves:
                raise UsageError(f"the multi-scale form has no octaves (got {octaves}): pass form=vector")
            channels, height, breadth = event.shape
            stack = real_nvp(
                (channels, height, breadth),
                layers or 6,
                width or 64,
                blocks,
                scale_bound,
                context=size,
                dropout=dropout or 0.0,
            )
            self.flow = Composition(event, condition, context, [stack])
            return
        layers, width = layers or 12, width or 256
        drop, octave = by_size(d, dropout, octaves)
        options = {"context": size, "dropout": drop, "octaves": octave}
        parts: list[Bijection] = [ActNorm(d)]
        for i in range(0, layers, 2):
            if i:
                parts += [LinearMap(d, shuffled(d, i)), ActNorm(d)]
            turns, moved = min(2, layers - i), checkerboard(event.shape, 0)
            parts.append(Couplings(turns, moved, Affine(scale_bound), width, blocks, **options))
        self.flow = Composition(event, condition, context, parts)


def real_nvp(
    shape: Shape, layers: int, width: int, blocks: int, scale_bound: float, *, context: int, dropout: float = 0.0
) -> MultiScale:
    """The multi-scale form: couplings by checkerboard, a squeeze, couplings by channels, and half of them leave."""
    affine = Affine(scale_bound)

    def before(shape: Shape) -> Iterable[GridBijection]:
        for i in range(-(-layers // 2)):
            yield EveryPlace(ActNorm(shape[0]))
            yield CheckerboardCoupling(shape, i % 2, affine, width, blocks, context=context, dropout=dropout)

    def after(shape: Shape) -> Iterable[GridBijection]:
        for i in range(layers // 2):
            yield from grid_step(shape, i, affine, width, blocks, context=context, dropout=dropout)

    def prior(shape: Shape, leaving: int) -> GridBijection:
        return GridCoupling(shape, leaving, affine, width, blocks, context=context, dropout=dropout)

    return multiscale(shape, before, after, prior)
