"""PixelSNAIL: p(x) of a grid from causal convolutions and attention over all earlier cells.

Chen, Mishra, Rohaninejad and Abbeel, 2018, arXiv 1712.09763.
"""

from typing import Annotated, ClassVar

from pofx.core.errors import UsageError
from pofx.core.event import Discrete, Event, dims
from pofx.core.options import Depth, Dropout, Range, Width
from pofx.families.autoregressive.cells import CellByCell
from pofx.nets.causal.attentive_grid import AttentiveGrid


class PixelSNAIL(CellByCell):
    """Gated causal convolutions and attention over a discrete grid of shape (C, H, W), exact and conditional.

    Args:
        width: features of a cell, a multiple of `heads`.
        blocks: times that attention follows gated residual convolutions.
        depth: gated residual convolutions before each attention.
        kernel: odd width of the convolutions; the first is wider by four.
        heads: of the attention; on large grids their scores are most of the cost.
        terms: numbers that encode one class at the input, at most classes - 1.
        dropout: of features, in training; None takes 0.2 below 256 dimensions and none from there on.

    Raises:
        UsageError: a width that the heads do not divide, or a kernel that is even or below 3.
    """

    name: ClassVar = "pixelsnail"
    source: ClassVar = "Chen et al., 2018, arXiv 1712.09763"
    trains_with: ClassVar = {"batch_size": 32, "lr": 2e-3, "precision": "auto"}
    small: ClassVar = {"width": 8, "blocks": 1, "depth": 1, "heads": 2}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: Width = 64,
        blocks: Depth = 2,
        depth: Depth = 2,
        kernel: Annotated[int, Range(3, 63)] = 3,
        heads: Annotated[int, Range(1, 256)] = 1,
        terms: Width = 16,
        dropout: Dropout | None = None,
    ) -> None:
        super().__init__(event, condition, kernel, terms)
        assert isinstance(event, Discrete)
        channels, height, breadth = event.shape
        if width % heads:
            raise UsageError(f"width must be a multiple of the {heads} heads (got {width}): pass width={heads * 16}")
        self.width, self.blocks, self.depth, self.heads, self.dropout = width, blocks, depth, heads, dropout
        self.net = AttentiveGrid(
            (channels, height, breadth),
            self.levels.terms,
            event.largest,
            width,
            blocks,
            depth,
            kernel,
            heads,
            context=self.conditioner.width,
            dropout=(0.2 if dims(event) < 256 else 0.0) if dropout is None else dropout,
        )
