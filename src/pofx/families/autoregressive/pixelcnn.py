"""Gated PixelCNN: p(x) of a grid as a product over cells in raster order, and over the channels within a cell.

Two stacks of gated convolutions see all cells above and all to the left; a condition enters every gate.
Van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves and Kavukcuoglu, 2016, arXiv 1606.05328.
"""

import math
from typing import ClassVar

from jaxtyping import Float, Int, Shaped
from torch import Tensor

from pofx.core.errors import UsageError
from pofx.core.event import Discrete, Event, dims
from pofx.families.autoregressive.cells import CellCursor
from pofx.families.autoregressive.chain import Chain
from pofx.nets.conditioner import Conditioner
from pofx.nets.gated import GatedGrid
from pofx.nets.levels import LevelLogits, Levels


class PixelCNN(Chain):
    """Gated causal convolutions over a discrete grid of shape (C, H, W), exact and conditional.

    Args:
        width: features of each stack, a multiple of the number of channels; None takes 48 below 256 dimensions and 64
            from there on, or the next multiple above.
        layers: gated layers; the field of view grows by kernel // 2 rows and columns with each.
        kernel: odd width of the convolutions.
        terms: numbers that encode one class at the input, at most classes - 1.
        dropout: of whole gated features, in training; None takes 0.2 below 256 dimensions and none from there on.

    Raises:
        UsageError: a width that the channels do not divide, or a kernel that is even or below 3.
    """

    name: ClassVar = "pixelcnn"
    source: ClassVar = "van den Oord et al., 2016, arXiv 1606.05328"
    ranks: ClassVar = (3,)
    trains_with: ClassVar = {"batch_size": 64, "lr": 2e-3, "precision": "auto"}
    small: ClassVar = {"width": 12, "layers": 2, "kernel": 3}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: int | None = None,
        layers: int = 5,
        kernel: int = 5,
        terms: int = 16,
        dropout: float | None = None,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        channels = event.shape[0]
        large = dims(event) >= 256
        features = channels * math.ceil((64 if large else 48) / channels) if width is None else width
        if features % channels:
            raise UsageError(
                f"width must be a multiple of the {channels} channels (got {width}): pass width={channels * 16}"
            )
        if kernel < 3 or kernel % 2 == 0:
            raise UsageError(f"kernel must be odd and at least 3 (got {kernel}): pass kernel={max(kernel, 2) + 1}")
        self.width, self.layers, self.kernel, self.terms, self.dropout = width, layers, kernel, terms, dropout
        self.levels = Levels(event.classes, terms)
        self.conditioner = Conditioner(condition)
        self.output = LevelLogits(event.shape, event.classes)
        self.net = GatedGrid(
            (channels, event.shape[1], event.shape[2]),
            self.levels.terms,
            event.classes,
            features,
            layers,
            kernel,
            context=self.conditioner.width,
            dropout=(0.0 if large else 0.2) if dropout is None else dropout,
        )

    def logits(
        self, x: Int[Tensor, "n C H W"], condition: Shaped[Tensor, "n *condition"] | None = None, ordering: int = 0
    ) -> Float[Tensor, "n C H W classes"]:
        logits: Tensor = self.output(self.net(self.levels(x), self.conditioner(condition)))
        return logits

    def cursor(self, n: int, condition: Shaped[Tensor, "n *condition"] | None = None, ordering: int = 0) -> CellCursor:
        return CellCursor(self, self.net.begin(n, self.conditioner(condition)), self.levels)
