"""PixelCNN++: p(x) of a grid of ordered levels, cell by cell, each cell a mixture of discretised logistics.

Shifted convolutions at several resolutions state the mixture; within a cell the later channels follow the earlier ones
linearly. Near levels share their probability, and the cost does not grow with their number.
Salimans, Karpathy, Chen and Kingma, 2017, arXiv 1701.05517.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pofx.core.event import Condition, Discrete, Event, dims
from pofx.core.model import Batch
from pofx.core.options import Depth, Dropout, Range, Width
from pofx.families.autoregressive.conditionals import STARTS, Conditionals, Cursor
from pofx.maths.linked_logistics import channel_logits, count, log_terms, start
from pofx.nets.causal.shifted_cache import ShiftedCache
from pofx.nets.causal.shifted_conv import ShiftedGrid
from pofx.nets.vector.conditioner import Conditioner
from pofx.nets.vector.level_embedding import LevelEmbedding

COARSEST = 4  # cells of the shorter side at the coarsest scale, where scales are chosen here


class PixelCNNPlusPlus(Conditionals):
    """Shifted convolutions over a grid (C, H, W) of ordered levels, and mixtures of logistics; exact and conditional.

    Args:
        width: features of each stream.
        blocks: gated residual blocks on the descending path, and as many on the ascending one, at each scale.
        scales: resolutions, each half as fine as the one before; None takes 3, or fewer on grids below 16 cells.
        mixtures: logistics per cell.
        terms: numbers that encode one level at the input, at most classes - 1.
        dropout: of features within each block, in training; None takes 0.5 below 256 dimensions and 0.1 from there on.

    Raises:
        UsageError: width, blocks, scales or mixtures below 1.
    """

    name: ClassVar = "pixelcnn++"
    source: ClassVar = "Salimans et al., 2017, arXiv 1701.05517"
    ranks: ClassVar = (3,)
    trains_with: ClassVar = {"batch_size": 32, "lr": 2e-3, "precision": "auto"}
    small: ClassVar = {"width": 8, "blocks": 1, "mixtures": 3}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: Width = 32,
        blocks: Depth = 2,
        scales: Annotated[int, Range(1, 16)] | None = None,
        mixtures: Annotated[int, Range(1, 256)] = 10,
        terms: Width = 16,
        dropout: Dropout | None = None,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.width, self.blocks, self.scales, self.mixtures = width, blocks, scales, mixtures
        self.terms, self.dropout = terms, dropout
        channels, height, breadth = event.shape
        halvings = max((k for k in range(3) if min(height, breadth) >= COARSEST * 2**k), default=0)
        self.levels = LevelEmbedding(event.largest, terms)
        self.conditioner = Conditioner(condition)
        self.net = ShiftedGrid(
            (height, breadth),
            channels * self.levels.terms,
            count(channels, mixtures),
            width,
            blocks,
            1 + halvings if scales is None else scales,
            context=self.conditioner.width,
            dropout=(0.5 if dims(event) < 256 else 0.1) if dropout is None else dropout,
        )
        self.place = nn.Parameter(torch.zeros(height, breadth, count(channels, mixtures)))

    @torch.no_grad()
    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start every dimension near the distribution of its levels."""
        assert isinstance(self.event, Discrete)
        channels, m = self.event.shape[0], self.mixtures
        log_weights, means, log_scales = start(take(STARTS).x, self.event.largest, m)
        parts = self.place.unflatten(-1, (-1, m))  # (H, W, parts, m)
        parts[:, :, 0] = log_weights
        parts[:, :, 1 : 1 + channels] = means.permute(1, 2, 0, 3)
        parts[:, :, 1 + channels : 1 + 2 * channels] = log_scales.permute(1, 2, 0, 3)

    def features(self, x: Int[Tensor, "n C *cells"]) -> Float[Tensor, "n features *cells"]:
        """What the net reads: (n, channels * terms, …)."""
        return self.levels(x).movedim(-1, 2).flatten(1, 2)

    def cells(self, x: Int[Tensor, "n C H W"], condition: Condition | None = None) -> Float[Tensor, "n H W outputs"]:
        """The mixture of every cell: (n, H, W, outputs)."""
        out = self.net(self.features(x), self.conditioner(condition)).permute(0, 2, 3, 1)
        return out.to(self.place.dtype) + self.place

    def ordering_log_prob(
        self, x: Int[Tensor, "n C H W"], condition: Condition | None = None, ordering: int = 0
    ) -> Float[Tensor, "n C H W"]:
        assert isinstance(self.event, Discrete)
        cells = self.cells(x, condition)
        with torch.autocast(x.device.type, enabled=False):  # densities are computed in full precision
            return log_terms(cells, x.permute(0, 2, 3, 1), self.event.largest).permute(0, 3, 1, 2)

    def logits(
        self, x: Int[Tensor, "n C H W"], condition: Condition | None = None, ordering: int = 0
    ) -> Float[Tensor, "n C H W classes"]:
        assert isinstance(self.event, Discrete)
        cells, values = self.cells(x, condition), x.permute(0, 2, 3, 1)
        conditionals = [channel_logits(cells, values, self.event.largest, c) for c in range(x.shape[1])]
        return torch.stack(conditionals, 1)

    def cursor(self, n: int, condition: Condition | None = None, ordering: int = 0) -> "MixtureCursor":
        return MixtureCursor(self, n, condition)


class MixtureCursor(Cursor):
    """Cell by cell over the cache of the streams; within a cell, channel by channel over its mixture."""

    def __init__(self, model: PixelCNNPlusPlus, n: int, condition: Condition | None) -> None:
        assert isinstance(model.event, Discrete)
        self.model, self.classes = model, model.event.largest
        self.cache = ShiftedCache(model.net, n, model.conditioner(condition))
        self.channels, _, self.breadth = model.event.shape
        self.values = torch.zeros(n, self.channels, dtype=torch.int64, device=model.place.device)  # of the cell at hand
        self.step = 0

    def logits(self) -> Float[Tensor, "n classes"]:
        cell, channel = divmod(self.step, self.channels)
        row, column = divmod(cell, self.breadth)
        if channel == 0:
            self.mixture = self.cache.advance(row, column) + self.model.place[row, column]
        return channel_logits(self.mixture, self.values, self.classes, channel)

    def put(self, value: Int[Tensor, "n"]) -> None:
        cell, channel = divmod(self.step, self.channels)
        self.values[:, channel] = value
        if channel == self.channels - 1:
            features = self.model.features(self.values[:, :, None])[:, :, 0]
            self.cache.put(cell % self.breadth, features)
        self.step += 1
