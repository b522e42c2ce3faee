"""PixelRNN: p(x) of a grid from LSTMs that run along its diagonals, or down its rows.

Van den Oord, Kalchbrenner and Kavukcuoglu, 2016, arXiv 1601.06759.
"""

from typing import Annotated, ClassVar

from pofx.core.errors import UsageError
from pofx.core.event import Discrete, Event, dims
from pofx.core.model import Recipe
from pofx.core.options import Depth, Dropout, OneOf, Range, Width
from pofx.families.autoregressive.cells import CellByCell, check_width
from pofx.nets.causal.recurrent_grid import LINES, RecurrentGrid


class PixelRNN(CellByCell):
    """Residual LSTM layers over a discrete grid of shape (C, H, W), exact and conditional.

    Diagonal lines see every earlier cell. Row lines have a blind spot by design: the states above a cell widen by one
    cell per row, so that cells of the rows above that lie further to the right than that are not seen.

    Args:
        lines: what moves on in one step, "diagonal" (Diagonal BiLSTM) or "row" (Row LSTM).
        width: features of each LSTM, a multiple of the number of channels; the streams between have twice as many.
        layers: residual LSTM layers.
        kernel: odd width of the first convolution.
        terms: numbers that encode one class at the input, at most classes - 1.
        dropout: of whole features of the LSTMs, in training; None takes 0.2 below 256 dimensions, none from there on.

    Raises:
        UsageError: other lines, a width that the channels do not divide, or a kernel that is even or below 3.
    """

    name: ClassVar = "pixelrnn"
    source: ClassVar = "van den Oord et al., 2016, arXiv 1601.06759 (Diagonal BiLSTM)"
    trains_with: ClassVar = {"batch_size": 64, "lr": 2e-3, "precision": "auto"}
    small: ClassVar = {"width": 6, "layers": 1, "kernel": 3}
    recipes: ClassVar = (
        Recipe(
            "row-lstm",
            "van den Oord et al., 2016, arXiv 1601.06759 (Row LSTM)",
            {"lines": "row"},
            summary="LSTM that goes down the rows of a grid.",
        ),
    )

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        lines: Annotated[str, OneOf(*LINES)] = "diagonal",
        width: Width = 32,
        layers: Depth = 4,
        kernel: Annotated[int, Range(3, 63)] = 7,
        terms: Width = 16,
        dropout: Dropout | None = None,
    ) -> None:
        super().__init__(event, condition, kernel, terms)
        assert isinstance(event, Discrete)
        channels, height, breadth = event.shape
        if lines not in LINES:
            raise UsageError(f"lines must be {' or '.join(LINES)} (got '{lines}'): pass lines='diagonal'")
        check_width(width, channels)
        self.lines, self.width, self.layers, self.dropout = lines, width, layers, dropout
        self.net = RecurrentGrid(
            (channels, height, breadth),
            self.levels.terms,
            event.largest,
            lines,
            width,
            layers,
            kernel,
            context=self.conditioner.width,
            dropout=(0.2 if dims(event) < 256 else 0.0) if dropout is None else dropout,
        )
