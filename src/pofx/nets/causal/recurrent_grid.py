"""Residual layers of recurrent lines over a grid: cells' features → cells' outputs, causal cell by cell and channel by
channel.

A masked convolution that leaves out the cell itself, then layers that add W LSTM(V u) to their input u, then two
pointwise layers. Features form one group per channel of a cell; group c sees only the channels before c. All features
leave out the cell that they belong to. So the direction from the right, which enters one row further down, would never
meet the last cell of a row; here it also sees the cells themselves, which are known by then: no blind spot. Van den
Oord, Kalchbrenner and Kavukcuoglu, 2016, arXiv 1601.06759 (sections 3.3 to 3.5, table 1).
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.nets.causal.gated_conv import GroupedConv, down
from pofx.nets.causal.line_lstm import DiagonalBiLSTM, DiagonalState, RowLSTM, RowState

conv2d, pad, silu = nn.functional.conv2d, nn.functional.pad, nn.functional.silu
LINES: dict[str, type[RowLSTM] | type[DiagonalBiLSTM]] = {"row": RowLSTM, "diagonal": DiagonalBiLSTM}


class RecurrentLayer(nn.Module):
    """u + W LSTM(V u): streams of twice the LSTM's width; a context is added before the gates.

    `features` are those of a whole cell, which the direction from the right sees.
    """

    lstm: RowLSTM | DiagonalBiLSTM

    def __init__(
        self, lines: str, width: int, groups: int, features: int, *, context: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.lstm = LINES[lines](width)
        gates = 4 * self.lstm.directions
        self.enter = GroupedConv(2 * width, gates * width, self.lstm.reach, groups, parts=gates)
        self.own = nn.Conv2d(features, 4 * width, 1, bias=False) if self.lstm.directions == 2 else None
        self.leave = GroupedConv(width, 2 * width, 1, groups)
        self.context = nn.Linear(context, gates * width, bias=False) if context else None
        self.dropout = nn.Dropout2d(dropout)
        with torch.no_grad():
            self.leave.weight.mul_(0.5)

    def given(self, context: Float[Tensor, "n context"] | None) -> Float[Tensor, "n gates 1 1"] | float:
        """What a context adds to the gates."""
        if self.context is None or context is None:
            return 0.0
        added: Tensor = self.context(context)[:, :, None, None]
        return added

    def forward(
        self,
        u: Float[Tensor, "n both H W"],
        x: Float[Tensor, "n features H W"],
        context: Float[Tensor, "n context"] | None = None,
    ) -> Float[Tensor, "n both H W"]:
        """u (n, 2 width, H, W), x (n, features, H, W), context (n, context) → (n, 2 width, H, W)."""
        gates = self.enter(u) + self.given(context)
        if self.own is not None:
            left, right = gates.chunk(2, 1)
            gates = torch.cat((left, right + self.own(x)), 1)
        out: Tensor = u + self.leave(self.dropout(self.lstm(gates)))
        return out


class RecurrentGrid(nn.Module):
    """Cells' features → cells' outputs; `lines` is "row" or "diagonal"."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        features: int,
        outputs: int,
        lines: str,
        width: int = 32,
        layers: int = 4,
        kernel: int = 7,
        *,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape, self.features, self.outputs, self.kernel = shape, features, outputs, kernel
        groups, height, breadth = shape
        self.above = nn.Conv2d(groups * features, 2 * width, (kernel // 2, kernel))
        self.left = GroupedConv(groups * features, 2 * width, kernel // 2 + 1, groups, strict=True)
        self.place = nn.Parameter(0.01 * torch.randn(2 * width, height, breadth))
        self.layers = nn.ModuleList(
            RecurrentLayer(lines, width, groups, groups * features, context=context, dropout=dropout)
            for _ in range(layers)
        )
        self.mix = GroupedConv(2 * width, 2 * width, 1, groups)
        self.last = GroupedConv(2 * width, groups * outputs, 1, groups)
        self.dropout = nn.Dropout2d(dropout)

    def head(self, u: Float[Tensor, "n both *places"]) -> Float[Tensor, "n outputs *places"]:
        """The outputs of a stream's features: (n, channels * outputs, …)."""
        out: Tensor = self.last(self.dropout(silu(self.mix(silu(u)))))
        return out

    def forward(
        self, x: Float[Tensor, "n channels H W features"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n channels H W outputs"]:
        """x (n, channels, H, W, features), context (n, context) → (n, channels, H, W, outputs)."""
        n, (channels, height, breadth) = len(x), self.shape
        x = x.permute(0, 1, 4, 2, 3).reshape(n, channels * self.features, height, breadth)
        side = self.kernel // 2
        u = self.left(x) + down(self.above(pad(x, (side, side, side - 1, 0))))
        u = u + self.place.to(u.dtype)
        for layer in self.layers:
            u = layer(u, x, context)
        out = self.head(u).reshape(n, channels, self.outputs, height, breadth)
        return out.permute(0, 1, 3, 4, 2)

    def begin(self, n: int, context: Float[Tensor, "n context"] | None = None) -> "RecurrentCache":
        """The state before any cell is known, for n items."""
        return RecurrentCache(self, n, context)


class RecurrentCache:
    """States of the cells reached so far: sampling a grid costs one pass per channel."""

    def __init__(self, net: RecurrentGrid, n: int, context: Float[Tensor, "n context"] | None) -> None:
        self.net, self.layers = net, [cast(RecurrentLayer, layer) for layer in net.layers]
        channels, height, breadth = net.shape
        weight, self.side = net.above.weight, net.kernel // 2
        self.x = weight.new_zeros(n, channels * net.features, height + self.side, breadth)  # rows of zeros above it
        self.u = [weight.new_zeros(n, weight.shape[0], 1, breadth) for _ in self.layers]  # of the row at hand
        self.states: list[RowState | DiagonalState] = [layer.lstm.begin(n, breadth) for layer in self.layers]
        self.contexts = [layer.given(context) for layer in self.layers]
        self.row_above = weight.new_zeros(n, weight.shape[0], 1, breadth)

    def put(self, channel: int, row: int, column: int, features: Float[Tensor, "n features"]) -> None:
        """A channel of a cell has become known: features (n, features)."""
        part = slice(channel * self.net.features, (channel + 1) * self.net.features)
        self.x[:, part, row + self.side, column] = features

    def finish(self, row: int) -> None:
        """A row is complete."""
        rows = self.x[:, :, row + 1 : row + 1 + self.side]
        self.row_above = self.net.above(pad(rows, (self.side, self.side)))
        cells = rows[:, :, -1:]
        for layer, state in zip(self.layers, self.states, strict=True):
            if layer.own is not None and isinstance(state, DiagonalState):
                state.given = state.given + layer.own(cells)[:, :, 0].transpose(1, 2)
            state.finish()

    def advance(self, channel: int, row: int, column: int) -> Float[Tensor, "n outputs"]:
        """The outputs of one channel of a cell: (n, outputs). Cells come in raster order, channels within them."""
        net, here = self.net, slice(column, column + 1)
        cells = slice(max(column - self.side, 0), column + 1)
        u = net.left.last(self.x[:, :, row + self.side : row + self.side + 1, cells])
        u = u + self.row_above[..., here] + net.place[:, row : row + 1, here]
        for layer, state, kept, context in zip(self.layers, self.states, self.u, self.contexts, strict=True):
            kept[..., here] = u
            given = layer.enter.last(kept[..., max(column - layer.enter.reach + 1, 0) : column + 1]) + context
            u = u + layer.leave(state.cell(column, given[:, :, 0, 0])[:, :, None, None])
        out = net.head(u).flatten(1)
        return out[:, channel * net.outputs : (channel + 1) * net.outputs]
