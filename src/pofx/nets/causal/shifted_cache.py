"""Shifted convolutions one cell after the other: each stream keeps only the rows that its kernels still read.

The stream `above` moves on by a row when one is complete, the stream `left` by a cell; coarse scales move only where a
coarse cell begins, in every second row and column, every fourth, and so on. The result is that of the whole grid.
After Ramachandran et al., 2017, "Fast generation for convolutional autoregressive models", arXiv 1704.06001.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.nets.causal.shifted_conv import Everywhere, NormedConv, ShiftedGrid, both_signs


class Frontier(Everywhere):
    """A pass over the next piece of a grid: `count` cells of a row from a column on, a whole row or one cell."""

    def __init__(self, n: int, breadth: int) -> None:
        self.n, self.breadth = n, breadth  # breadth is that of the scale at hand, as are row, column and count
        self.row = self.column = 0
        self.count = breadth
        self.weights: dict[NormedConv, Tensor] = {}
        self.rows: dict[NormedConv, Tensor] = {}  # the last inputs of each convolution
        self.grown: dict[NormedConv, Tensor] = {}  # the last coarse row, grown to two fine ones

    def at(self, row: int, column: int, count: int) -> None:
        """Go to a piece of the finest scale."""
        self.row, self.column, self.count = row, column, count

    def keep(self, conv: NormedConv, x: Float[Tensor, "n inputs 1 count"]) -> Float[Tensor, "n inputs rows columns"]:
        """Remember what a convolution reads here, and return the last rows of it, with zeros around the grid."""
        if conv not in self.rows:
            self.rows[conv] = x.new_zeros(self.n, x.shape[1], conv.rows, conv.left + self.breadth + conv.right)
        rows = self.rows[conv]
        if self.column == 0 and conv.rows > 1:
            rows[:, :, :-1] = rows[:, :, 1:].clone()
        start = self.column + conv.left
        rows[:, :, -1:, start : start + self.count] = x
        return rows

    def read(self, conv: NormedConv, rows: Float[Tensor, "n inputs rows columns"]) -> Float[Tensor, "n outputs 1 _"]:
        """The convolution here, of the rows that `keep` returned."""
        if conv not in self.weights:
            self.weights[conv] = conv.weight()
        weight = self.weights[conv]
        window = rows[..., self.column : self.column + self.count + conv.left + conv.right]
        if (
            self.count == 1 and window.shape[-1] == weight.shape[-1]
        ):  # one cell: a product costs less than a convolution
            return nn.functional.linear(window.flatten(1), weight.flatten(1), conv.bias)[:, :, None, None]
        return nn.functional.conv2d(window, weight, conv.bias, conv.stride)

    def conv(self, conv: NormedConv, x: Float[Tensor, "n inputs H W"]) -> Float[Tensor, "n outputs P Q"]:
        if conv.rows == 1 and conv.left + conv.right == 0:  # it reads the cell itself and no other
            if conv not in self.weights:
                self.weights[conv] = conv.weight()
            return nn.functional.conv2d(x, self.weights[conv], conv.bias)
        return self.read(conv, self.keep(conv, x))

    def coarser(
        self, shrink: NormedConv, inside: Callable[[Tensor], Tensor], grow: NormedConv, x: Float[Tensor, "n width H W"]
    ) -> Float[Tensor, "n width H W"]:
        rows = self.keep(shrink, x)
        fine = self.row, self.column, self.count, self.breadth
        row, column, count, breadth = fine
        if row % 2 == 0 and column % 2 == 0:
            coarse = self.read(shrink, rows)
            self.row, self.column, self.count, self.breadth = (
                row // 2,
                column // 2,
                (count + 1) // 2,
                (breadth + 1) // 2,
            )
            patch = nn.functional.pixel_shuffle(self.conv(grow, inside(coarse)), 2)
            self.row, self.column, self.count, self.breadth = fine
            if grow not in self.grown:
                self.grown[grow] = patch.new_zeros(self.n, patch.shape[1], 2, 2 * ((breadth + 1) // 2))
            self.grown[grow][..., column : column + patch.shape[-1]] = patch
        return self.grown[grow][:, :, row % 2 : row % 2 + 1, column : column + count]


class ShiftedCache:
    """The outputs of a `ShiftedGrid` for n items, cell by cell in raster order."""

    def __init__(self, net: ShiftedGrid, n: int, context: Float[Tensor, "n context"] | None) -> None:
        self.net, self.context = net, context
        features, breadth = net.above_first.direction.shape[1], net.shape[1]
        self.above, self.left = Frontier(n, breadth), Frontier(n, breadth)
        self.known = net.left_place.new_zeros(n, features, 1, breadth)  # the row at hand, so far
        self.nothing = self.known[..., :1].clone()
        self.beside: list[Tensor | None] = [None] * len(net.beside)

    def put(self, column: int, features: Float[Tensor, "n features"]) -> None:
        """A cell of the row at hand has become known: features (n, features)."""
        self.known[..., column] = features[:, :, None]

    def advance(self, row: int, column: int) -> Float[Tensor, "n outputs"]:
        """The outputs at a cell: (n, outputs). Every cell in raster order, each after those before it were put."""
        if column == 0:
            self._next_row(row)
        net, here = self.net, slice(column, column + 1)
        self.left.at(row, column, 1)
        before = self.known[..., column - 1 : column] if column else self.nothing
        h = self.left.conv(net.left_first, before) + net.left_place[:, row : row + 1, here]
        coarse = [column >> net.left.scale_of(i) for i in range(len(self.beside))]
        beside = [None if b is None else b[..., c : c + 1] for b, c in zip(self.beside, coarse, strict=True)]
        h, _ = net.left(h, beside, self.context, self.left)
        return self.left.conv(net.last, both_signs(h)).flatten(1)

    def _next_row(self, row: int) -> None:
        net = self.net
        self.above.at(row, 0, net.shape[1])
        before = self.known if row else torch.zeros_like(self.known)
        v = self.above.conv(net.above_first, before) + net.above_place[:, row : row + 1]
        _, seen = net.above(v, [None] * len(self.beside), self.context, self.above)
        for i, features in seen.items():
            conv = net.beside[i]
            assert isinstance(conv, NormedConv)
            self.beside[i] = self.above.conv(conv, both_signs(features))
