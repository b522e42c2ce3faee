"""Glow: a multi-scale flow of steps, each an ActNorm, an invertible 1×1 convolution and an affine coupling.

Kingma and Dhariwal (2018), "Glow: generative flow with invertible 1×1 convolutions", arXiv 1807.03039. The
convolutions are LU-parametrised (section 3.2), scales are bounded, and the priors of what leaves are learned.
"""

from collections.abc import Iterable
from typing import Annotated

from pofx.core.event import Continuous, Event
from pofx.core.options import Depth, Dropout, Range, Real, Width
from pofx.families.flow.composition import Bijection, Composition
from pofx.families.flow.coupling import Affine
from pofx.families.flow.flow import Flow
from pofx.families.flow.grid import GridBijection, GridCoupling, grid_step
from pofx.families.flow.multiscale import Shape, multiscale


class Glow(Flow):
    """Glow for grids: exact density, exact codes, sampling in one pass.

    Args:
        flow_steps: ActNorm, 1×1 convolution and coupling, at each scale.
        width, blocks: of the couplings' networks: hidden channels, and 1×1 layers between the convolutions.
        scales: resolutions at most; 0 takes as many as sides of 4 allow.
        dropout: share of hidden channels' values dropped in training.
        scale_bound: one coupling stretches by at most e to this power.
        context: width of the condition's embedding.
    """

    name = "glow"
    source = "Kingma and Dhariwal, 2018, arXiv 1807.03039"
    ranks = (3,)
    trains_with = {"lr": 2e-3, "batch_size": 64, "precision": "auto"}
    former = {"steps": "flow_steps"}
    small = {"flow_steps": 2, "width": 16, "blocks": 1}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        flow_steps: Depth = 8,
        width: Width = 64,
        blocks: Annotated[int, Range(0, 1024)] = 1,
        scales: Annotated[int, Range(0, 16)] = 0,
        dropout: Dropout = 0.0,
        scale_bound: Annotated[Real, Range(0, 20, above=True)] = 2.0,
        context: Width = 64,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.flow_steps, self.width, self.blocks, self.scales = flow_steps, width, blocks, scales
        self.dropout, self.scale_bound, self.context = dropout, scale_bound, context
        size = context if condition is not None else 0
        stack = glow(event.shape, flow_steps, width, blocks, scales, scale_bound, context=size, dropout=dropout)
        self.flow = Composition(event, condition, context, [stack])


def glow(
    shape: tuple[int, ...],
    steps: int,
    width: int,
    blocks: int,
    scales: int,
    scale_bound: float,
    *,
    context: int,
    dropout: float = 0.0,
) -> Bijection:
    """The whole of Glow as one bijection of flattened grids (see `Glow` for the arguments)."""
    transformer = Affine(scale_bound)

    def after(shape: Shape) -> Iterable[GridBijection]:
        for step in range(steps):
            yield from grid_step(shape, step, transformer, width, blocks, context=context, dropout=dropout)

    def prior(shape: Shape, leaving: int) -> GridBijection:
        return GridCoupling(shape, leaving, transformer, width, blocks, context=context, dropout=dropout)

    channels, height, breadth = shape
    return multiscale((channels, height, breadth), lambda _: (), after, prior, scales or None)
