"""Masked autoregressive flows and their mirror image: affine maps whose shift and scale see the dimensions before.

`direction="density"` is MAF (Papamakarios, Pavlakou and Murray, 2017, arXiv 1705.07057): the density costs one pass,
a sample the solution of a triangular system. "sampling" is IAF (Kingma et al., 2016, arXiv 1606.04934): a sample costs
one pass, the density of given data the solution. The conditioner is a residual masked network, and between layers are
LU-parametrised linear maps instead of batch normalisation, both as in Durkan et al. (2019), arXiv 1906.04032.
"""

from typing import Annotated

import torch

from pofx.core.event import Continuous, Event, dims
from pofx.core.model import Recipe
from pofx.core.options import Depth, Dropout, OneOf, Range, Real, Width
from pofx.families.flow.autoregressive import Autoregressive, Inverted
from pofx.families.flow.composition import ActNorm, Bijection, Composition, LinearMap, shuffled
from pofx.families.flow.coupling import Affine
from pofx.families.flow.flow import Flow, by_size

DIRECTIONS = ("density", "sampling")
MIXED = 256  # dimensions up to which linear maps are between the layers


class MAF(Flow):
    """Flow of affine autoregressive layers: exact density and codes, in one direction at the cost of one pass."""

    name = "maf"
    source = "Papamakarios et al., 2017, arXiv 1705.07057"
    trains_with = {"lr": 4e-3, "weight_decay": 0.01}
    small = {"layers": 3, "width": 32, "blocks": 1}
    recipes = (
        Recipe(
            "iaf",
            "Kingma et al., 2016, arXiv 1606.04934",
            {"direction": "sampling", "layers": 4, "width": 128},
            summary="MAF turned round: sampling in one pass, slow densities.",
        ),
    )

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        layers: Depth = 8,
        width: Width = 256,
        blocks: Depth = 2,
        direction: Annotated[str, OneOf(*DIRECTIONS)] = "density",
        dropout: Dropout | None = None,
        octaves: Annotated[int, Range(0, 16)] | None = None,
        scale_bound: Annotated[Real, Range(0, 20, above=True)] = 3.0,
        mixing: Annotated[str, OneOf("auto", "linear", "reversed")] = "auto",
        context: Width = 64,
    ) -> None:
        """A flow of `layers` autoregressive layers, whose conditioners are residual nets of `blocks` blocks of `width`
        units.

        Args:
            direction: "density" (MAF) or "sampling" (IAF): the one that costs a single pass.
            dropout: share of the conditioners' hidden units that is dropped in training; None is 0.2 for an event of
                at least 16 dimensions, and 0 for a smaller one.
            octaves: sines and cosines of the inputs that the conditioners also see; None is 5 for an event of at most
                2 dimensions, and 0 for a larger one.
            scale_bound: one layer stretches by at most e to this power.
            mixing: what is between the layers: a "linear" map of all dimensions, or the order "reversed"; "auto"
                is linear up to 256 dimensions.
            context: width of the condition's embedding.
        """
        super().__init__(event, condition)
        self.layers, self.width, self.blocks, self.direction = layers, width, blocks, direction
        self.dropout, self.octaves, self.scale_bound = dropout, octaves, scale_bound
        self.mixing, self.context = mixing, context
        assert isinstance(event, Continuous)
        d, size = dims(event), context if condition is not None else 0
        drop, octave = by_size(d, dropout, octaves, few=2)
        linear = mixing == "linear" or (mixing == "auto" and 1 < d <= MIXED)
        parts: list[Bijection] = [ActNorm(d)]
        affine = Affine(float(scale_bound))
        for i in range(layers):
            if i and linear:
                parts.append(LinearMap(d, shuffled(d, i)))
            order = torch.arange(d).flip(0) if i % 2 else None
            layer = Autoregressive(d, order, affine, width, blocks, context=size, dropout=drop, octaves=octave)
            parts.append(layer if direction == "density" else Inverted(layer))
        self.flow = Composition(event, condition, context, parts)
