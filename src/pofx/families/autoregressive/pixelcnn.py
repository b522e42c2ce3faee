"""Gated PixelCNN: p(x) of a grid as a product over cells in raster order, and over the channels within a cell.

Two stacks of gated convolutions see all cells above and all to the left; a condition enters every gate.
Van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves and Kavukcuoglu, 2016, arXiv 1606.05328.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from pofx.core.event import Condition, Discrete, Event, dims
from pofx.core.model import Default
from pofx.core.options import Depth, Dropout, Range, Width
from pofx.families.autoregressive.cells import CellByCell, check_width
from pofx.nets.causal.gated_conv import GatedGrid

MANY = 32  # classes above which a step on a large grid has to be cheaper


class PixelCNN(CellByCell):
    """Gated causal convolutions over a discrete grid of shape (C, H, W), exact and conditional.

    Args:
        width: features of each stack, a multiple of the number of channels; None takes 48 below 256 dimensions, and
            from there on 64, or 32 for more than 32 classes, or the next multiple above.
        layers: gated layers; the field of view grows by kernel // 2 rows and columns with each.
        kernel: odd width of the convolutions.
        terms: numbers that encode one class at the input, at most classes - 1.
        dropout: of whole gated features, in training; None takes 0.2 below 256 dimensions and none from there on.

    Raises:
        UsageError: a width that the channels do not divide, or a kernel that is even or below 3.
    """

    name: ClassVar = "pixelcnn"
    default_for: ClassVar = (Default(),)
    source: ClassVar = "van den Oord et al., 2016, arXiv 1606.05328"
    trains_with: ClassVar = {"batch_size": 16, "least_batch": 8, "lr": 2e-3, "precision": "auto"}
    small: ClassVar = {"width": 12, "layers": 2, "kernel": 3}

    @classmethod
    def upgraded(
        cls, name: str, options: Mapping[str, Any], weights: Mapping[str, Tensor]
    ) -> tuple[str, Mapping[str, Any], Mapping[str, Tensor]]:
        """Earlier versions stored no width where they had chosen it."""
        return super().upgraded(name, {**options, "width": len(weights["net.v_place"])}, weights)

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: Width | None = None,
        layers: Depth = 5,
        kernel: Annotated[int, Range(3, 63)] = 5,
        terms: Width = 16,
        dropout: Dropout | None = None,
    ) -> None:
        super().__init__(event, condition, kernel, terms)
        assert isinstance(event, Discrete)
        channels = event.shape[0]
        large = dims(event) >= 256
        if width is None:
            width = channels * math.ceil((32 if large and event.largest > MANY else 64 if large else 48) / channels)
        check_width(width, channels)
        self.width, self.layers, self.dropout = width, layers, dropout
        self.net = GatedGrid(
            (channels, event.shape[1], event.shape[2]),
            self.levels.terms,
            event.largest,
            width,
            layers,
            kernel,
            context=self.conditioner.width,
            dropout=(0.0 if large else 0.2) if dropout is None else dropout,
        )

    def logits(
        self, x: Int[Tensor, "n C H W"], condition: Condition | None = None, ordering: int = 0
    ) -> Float[Tensor, "n C H W classes"]:
        out = self.net(self.levels(x), self.conditioner(condition), self.output.kernel)
        return out + self.output.bias
