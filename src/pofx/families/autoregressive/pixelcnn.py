"""Gated PixelCNN: p(x) of a grid as a product over cells in raster order, and over the channels within a cell.

Two stacks of gated convolutions see all cells above and all to the left; a condition enters every gate.
Van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves and Kavukcuoglu, 2016, arXiv 1606.05328.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Discrete, Event, dims
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.autoregressive.chain import Chain
from pofx.maths.distributions import categorical_draw, categorical_log_prob
from pofx.nets.conditioner import Conditioner
from pofx.nets.gated import GatedGrid
from pofx.nets.levels import LevelLogits, Levels

STARTS = 10_000  # items from which the frequencies of the classes are taken


class PixelCNN(Chain):
    """Gated causal convolutions over a discrete grid of shape (C, H, W), exact and conditional.

    Args:
        width: features of each stack; a multiple of the number of channels.
        layers: gated layers; the field of view grows by kernel // 2 rows and columns with each.
        kernel: odd width of the convolutions.
        terms: numbers that encode one class at the input, at most classes - 1.
        dropout: of whole gated features, in training.

    Raises:
        UsageError: a width that the channels do not divide, or a kernel that is even or below 3.
    """

    name: ClassVar = "pixelcnn"
    source: ClassVar = "van den Oord et al., 2016, arXiv 1606.05328"
    events: ClassVar = (Discrete,)
    ranks: ClassVar = (3,)
    conditions: ClassVar = (Discrete, Continuous)
    trains_with: ClassVar = {"batch_size": 64, "lr": 2e-3, "precision": "auto"}
    small: ClassVar = {"width": 12, "layers": 2, "kernel": 3}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: int = 48,
        layers: int = 5,
        kernel: int = 5,
        terms: int = 16,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        channels = event.shape[0]
        if width % channels:
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
            width,
            layers,
            kernel,
            context=self.conditioner.width,
            dropout=dropout,
        )

    def logits(
        self, x: Int[Tensor, "n C H W"], condition: Shaped[Tensor, "n *condition"] | None = None
    ) -> Float[Tensor, "n C H W classes"]:
        """The conditionals' logits: x int64 (n, C, H, W) → (n, C, H, W, classes)."""
        logits: Tensor = self.output(self.net(self.levels(x), self.conditioner(condition)))
        return logits

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start every dimension at the frequencies of its classes."""
        self.output.start(take(STARTS).x)

    def log_prob_terms(
        self, x: Int[Tensor, "n C H W"], condition: Shaped[Tensor, "n *condition"] | None = None
    ) -> Float[Tensor, "n C H W"]:
        """log p(x_d | the cells and channels before d) in nats: (n, C, H, W)."""
        return categorical_log_prob(self.logits(x, condition), x)

    def sample(
        self,
        n: int,
        condition: Shaped[Tensor, "n *condition"] | None = None,
        *,
        generator: Streams,
        cached: bool = True,
    ) -> Int[Tensor, "{n} C H W"]:
        """n events, cell by cell: int64 (n, C, H, W). `cached=False` repeats the whole pass per dimension."""
        self.check_condition(n, condition)
        assert isinstance(self.event, Discrete)
        channels, height, breadth = self.event.shape
        u = generator.uniform(dims(self.event)).reshape(n, *self.event.shape)
        x = torch.zeros(n, *self.event.shape, dtype=torch.int64, device=u.device)
        cache = self.net.begin(n, self.conditioner(condition)) if cached else None
        for row in range(height):
            for column in range(breadth):
                for channel in range(channels):
                    place = (slice(None), channel, row, column)
                    logits = (
                        self.output(cache.advance(*place[1:]), place[1:]) if cache else self.logits(x, condition)[place]
                    )
                    x[place] = categorical_draw(logits, u[place])
                    if cache:
                        cache.put(channel, row, column, self.levels(x[place]))
            if cache:
                cache.finish(row)
        return x
