"""Shifted causal convolutions over a grid, in two streams that shrink and grow again.

Causality comes from the place of a kernel, not from masks. The stream `above` sees the rows before a cell's own; the
stream `left` sees what lies to the left in that row too, and takes in the first stream at every block. Each is a U-net
of gated residual blocks: coarse cells see far at a quarter of the cost, skips carry the fine ones across.
Salimans, Karpathy, Chen and Kingma, 2017, "PixelCNN++", arXiv 1701.05517 (sections 2.2 to 2.4); weight normalisation:
Salimans and Kingma, 2016, arXiv 1602.07868. Coarse features return by a 1 × 1 convolution to 2 × 2 cells each.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

pad = nn.functional.pad


def both_signs(x: Float[Tensor, "n width H W"]) -> Float[Tensor, "n both H W"]:
    """Concatenated ELU: elu of x and of -x, twice the features (Shang et al., 2016, arXiv 1603.05201)."""
    return nn.functional.elu(torch.cat((x, -x), 1))


class NormedConv(nn.Module):
    """A weight-normalised convolution over `rows` rows that end at the cell's own, and columns `left` to `right` of it.

    The weight of each output is a direction times its gain, which starts at `gain`: an input of mean square 1 gives an
    output of mean square gain².
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        rows: int = 1,
        left: int = 0,
        right: int = 0,
        *,
        stride: int = 1,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.rows, self.left, self.right, self.stride = rows, left, right, stride
        self.direction = nn.Parameter(torch.randn(outputs, inputs, rows, left + 1 + right))
        self.gain = nn.Parameter(torch.full((outputs, 1, 1, 1), gain / (inputs * rows * (left + 1 + right)) ** 0.5))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def weight(self) -> Float[Tensor, "outputs inputs rows columns"]:
        """The weight that the direction and its gain make."""
        root = self.direction[0].numel() ** 0.5
        return self.direction * (root * self.gain / self.direction.square().sum((1, 2, 3), keepdim=True).sqrt())

    def forward(self, x: Float[Tensor, "n inputs H W"]) -> Float[Tensor, "n outputs P Q"]:
        """x (n, inputs, H, W) → (n, outputs, H, W), or every second row and column of that at stride 2."""
        x = pad(x, (self.left, self.right, self.rows - 1, 0))
        return nn.functional.conv2d(x, self.weight(), self.bias, self.stride)


class Everywhere:
    """A pass over the whole grid. `Frontier` (shifted_cache.py) is its counterpart for one place after the other."""

    def conv(self, conv: NormedConv, x: Float[Tensor, "n inputs H W"]) -> Float[Tensor, "n outputs P Q"]:
        """A convolution of x."""
        out: Tensor = conv(x)
        return out

    def coarser(
        self, shrink: NormedConv, inside: Callable[[Tensor], Tensor], grow: NormedConv, x: Float[Tensor, "n width H W"]
    ) -> Float[Tensor, "n width H W"]:
        """What the coarser scales make of x, at the cells of x."""
        grown = nn.functional.pixel_shuffle(grow(inside(shrink(x))), 2)
        return grown[:, :, : x.shape[2], : x.shape[3]]


class Block(nn.Module):
    """A gated residual block of two convolutions; another stream, a skip and a context enter where they are given."""

    def __init__(self, width: int, right: int, *, skip: bool, context: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = NormedConv(2 * width, width, 2, 1, right)
        self.second = NormedConv(2 * width, 2 * width, 2, 1, right, gain=0.3)
        self.skip = NormedConv(2 * width, width) if skip else None
        self.context = nn.Linear(context, 2 * width) if context else None
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "n width H W"],
        beside: Float[Tensor, "n width H W"] | None,
        skip: Float[Tensor, "n width H W"] | None,
        context: Float[Tensor, "n context"] | None,
        over: Everywhere,
    ) -> Float[Tensor, "n width H W"]:
        """x, what the other stream adds, and the skip, each (n, width, H, W) → (n, width, H, W)."""
        h = over.conv(self.first, both_signs(x))
        if beside is not None:
            h = h + beside
        if self.skip is not None and skip is not None:
            h = h + over.conv(self.skip, both_signs(skip))
        h = over.conv(self.second, self.dropout(both_signs(h)))
        if self.context is not None and context is not None:
            h = h + self.context(context)[:, :, None, None]
        return x + nn.functional.glu(h, 1)


class Stream(nn.Module):
    """A U-net of blocks whose convolutions reach two rows up, one column to the left and `right` to the right."""

    def __init__(
        self, scales: int, width: int, blocks: int, right: int, *, context: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.scales, self.each = scales, blocks
        self.blocks = nn.ModuleList(
            Block(width, right, skip=i >= blocks, context=context, dropout=dropout)
            for _ in range(scales)
            for i in range(2 * blocks)
        )
        self.shrink = nn.ModuleList(NormedConv(width, width, 2, 1, right, stride=2) for _ in range(scales - 1))
        self.grow = nn.ModuleList(NormedConv(width, 4 * width) for _ in range(scales - 1))

    def scale_of(self, block: int) -> int:
        """The scale at which a block works: 0 for the grid itself."""
        return block // (2 * self.each)

    def forward(
        self,
        x: Float[Tensor, "n width H W"],
        beside: Sequence[Tensor | None],
        context: Float[Tensor, "n context"] | None,
        over: Everywhere,
    ) -> tuple[Float[Tensor, "n width H W"], dict[int, Tensor]]:
        """x (n, width, H, W) and what is added in each block → the output, and the features after each block."""
        seen: dict[int, Tensor] = {}

        def level(scale: int, x: Tensor) -> Tensor:
            skips: list[Tensor] = []
            for i in range(2 * self.each):
                block = 2 * self.each * scale + i
                if i == self.each and scale + 1 < self.scales:
                    x = x + over.coarser(
                        self.shrink[scale],  # type: ignore[arg-type]
                        lambda coarse: level(scale + 1, coarse),
                        self.grow[scale],  # type: ignore[arg-type]
                        x,
                    )
                x = self.blocks[block](x, beside[block], skips.pop() if i >= self.each else None, context, over)
                seen[block] = x
                if i < self.each:
                    skips.append(x)
            return x

        return level(0, x), seen


class ShiftedGrid(nn.Module):
    """Cells' features (n, features, H, W) → outputs (n, outputs, H, W) that see the cells before, in raster order."""

    def __init__(
        self,
        shape: tuple[int, int],
        features: int,
        outputs: int,
        width: int = 32,
        blocks: int = 2,
        scales: int = 3,
        *,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape, self.width = shape, width
        self.above_first = NormedConv(features, width, 2, 2, 2)
        self.left_first = NormedConv(features, width, 2, 2, 0)
        self.above_place = nn.Parameter(0.01 * torch.randn(width, *shape))
        self.left_place = nn.Parameter(0.01 * torch.randn(width, *shape))
        self.above = Stream(scales, width, blocks, 1, context=context, dropout=dropout)
        self.left = Stream(scales, width, blocks, 0, context=context, dropout=dropout)
        self.beside = nn.ModuleList(NormedConv(2 * width, width) for _ in self.left.blocks)
        self.last = NormedConv(2 * width, outputs, gain=0.1)

    def forward(
        self, x: Float[Tensor, "n features H W"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n outputs H W"]:
        """x (n, features, H, W), context (n, context) → (n, outputs, H, W)."""
        over = Everywhere()
        v = self.above_first(pad(x, (0, 0, 1, 0))[:, :, :-1])  # the rows before the cell's own
        h = self.left_first(pad(x, (1, 0, 0, 0))[..., :-1])  # the columns before it, this row and the one above
        v, h = v + self.above_place.to(v.dtype), h + self.left_place.to(h.dtype)
        _, seen = self.above(v, [None] * len(self.beside), context, over)
        beside = [conv(both_signs(seen[i])) for i, conv in enumerate(self.beside)]
        h, _ = self.left(h, beside, context, over)
        out: Tensor = self.last(both_signs(h))
        return out
