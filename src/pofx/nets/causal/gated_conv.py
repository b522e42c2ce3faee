"""Gated causal convolutions over a grid: a vertical stack for the rows above, a horizontal one for the row at hand.

At row r the vertical stack holds what lies in rows up to r; shifted down by one row it enters the horizontal stack,
which holds what lies to the left. Together they see every earlier cell: there is no blind spot. The features of the
horizontal stack form one group per channel of a cell; group c sees only the channels before c.
Van den Oord et al., 2016, "Conditional image generation with PixelCNN decoders", arXiv 1606.05328 (equations 2 to 5).
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

conv2d, pad, silu = nn.functional.conv2d, nn.functional.pad, nn.functional.silu


def down(v: Float[Tensor, "n width H W"]) -> Float[Tensor, "n width H W"]:
    """Shift rows down by one, so that row r holds what was known before it."""
    return pad(v, (0, 0, 1, 0))[:, :, :-1]


def gate(h: Float[Tensor, "n both *cells"]) -> Float[Tensor, "n half *cells"]:
    """tanh(first half) * sigmoid(second half) of the features (equation 2)."""
    a, b = h.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


class GroupedConv(nn.Conv2d):
    """A convolution over the cells to the left and the cell itself, of which output group c sees input groups up to c.

    `strict=True` leaves out group c itself. Output features may hold `parts` runs of groups (two for a gate).
    """

    mask: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, reach: int, groups: int, *, strict: bool = False, parts: int = 1
    ) -> None:
        super().__init__(inputs, outputs, (1, reach))
        self.reach = reach
        source = torch.arange(inputs) * groups // inputs
        target = (torch.arange(outputs // parts) * groups // (outputs // parts)).repeat(parts)
        mask = torch.ones(outputs, inputs, 1, reach)
        mask[..., -1] = (target[:, None, None] - int(strict) >= source[None, :, None]).float()
        self.register_buffer("mask", None if mask.all() else mask, persistent=False)

    def masked(self) -> Float[Tensor, "outputs inputs 1 reach"]:
        """The weight with what lies ahead set to zero."""
        return self.weight if self.mask is None else self.weight * self.mask

    def forward(self, x: Float[Tensor, "n inputs H W"]) -> Float[Tensor, "n outputs H W"]:
        """x (n, inputs, H, W) → (n, outputs, H, W)."""
        return conv2d(pad(x, (self.reach - 1, 0, 0, 0)), self.masked(), self.bias)

    def last(self, x: Float[Tensor, "n inputs 1 cells"]) -> Float[Tensor, "n outputs 1 1"]:
        """The output of the last cell only: x (n, inputs, 1, up to reach cells) → (n, outputs, 1, 1)."""
        x = x[..., -self.reach :]
        return conv2d(pad(x, (self.reach - x.shape[-1], 0, 0, 0)), self.masked(), self.bias)

    def flat(self) -> tuple[Float[Tensor, "outputs reached"], Float[Tensor, "outputs"]]:
        """Weight and bias of a linear map of the cells reached, one after the other: (outputs, reach * inputs)."""
        assert self.bias is not None
        return self.masked()[:, :, 0].transpose(1, 2).flatten(1), self.bias


class GatedLayer(nn.Module):
    """One gated layer of both stacks; a context is added before the gates (equation 4); the final one ends `v`."""

    def __init__(
        self, width: int, kernel: int, groups: int, *, context: int = 0, dropout: float = 0.0, final: bool = False
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.vertical = nn.Conv2d(width, 2 * width, (kernel // 2 + 1, kernel))
        self.vertical_out = None if final else nn.Conv2d(width, width, 1)
        self.across = nn.Conv2d(2 * width, 2 * width, 1)
        self.horizontal = GroupedConv(width, 2 * width, kernel // 2 + 1, groups, parts=2)
        self.horizontal_out = GroupedConv(width, width, 1, groups)
        self.context = nn.Linear(context, 4 * width) if context else None
        self.dropout = nn.Dropout2d(dropout)

    def contexts(
        self, context: Float[Tensor, "n context"] | None
    ) -> tuple[Float[Tensor, "n both 1 1"] | float, Float[Tensor, "n both 1 1"] | float]:
        """What a context adds before the two gates: (n, 2 width, 1, 1) each."""
        if self.context is None or context is None:
            return 0.0, 0.0
        above, left = self.context(context)[:, :, None, None].chunk(2, 1)
        return above, left

    def above(self, v: Float[Tensor, "n width H W"]) -> Float[Tensor, "n both H W"]:
        """The vertical convolution: features of the rows up to each row, (n, 2 width, H, W)."""
        side = self.kernel // 2
        above: Tensor = self.vertical(pad(v, (side, side, side, 0)))
        return above

    def forward(
        self,
        v: Float[Tensor, "n width H W"],
        h: Float[Tensor, "n width H W"],
        context: Float[Tensor, "n context"] | None = None,
    ) -> tuple[Float[Tensor, "n width H W"], Float[Tensor, "n width H W"]]:
        """v, h (n, width, H, W), context (n, context) → v, h."""
        for_above, for_left = self.contexts(context)
        a = self.above(v)
        left = gate(self.horizontal(h) + self.across(down(a)) + for_left)
        if self.vertical_out is not None:
            v = v + self.vertical_out(self.dropout(gate(a + for_above)))
        return v, h + self.horizontal_out(self.dropout(left))


class GatedGrid(nn.Module):
    """Cells' features → cells' outputs, causal in raster order and, within a cell, in the order of its channels."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        features: int,
        outputs: int,
        width: int = 64,
        layers: int = 5,
        kernel: int = 5,
        *,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape, self.features, self.outputs = shape, features, outputs
        groups, height, breadth = shape
        self.v_first = nn.Conv2d(groups * features, width, (kernel // 2 + 1, kernel))
        self.h_first = GroupedConv(groups * features, width, kernel // 2 + 1, groups, strict=True)
        self.v_place = nn.Parameter(0.01 * torch.randn(width, height, breadth))
        self.h_place = nn.Parameter(0.01 * torch.randn(width, height, breadth))
        self.kernel = kernel
        self.layers = nn.ModuleList(
            GatedLayer(width, kernel, groups, context=context, dropout=dropout, final=i == layers - 1)
            for i in range(layers)
        )
        self.mix = GroupedConv(width, width, 1, groups)
        self.last = GroupedConv(width, groups * outputs, 1, groups)
        self.dropout = nn.Dropout2d(dropout)

    def forward(
        self,
        x: Float[Tensor, "n channels H W features"],
        context: Float[Tensor, "n context"] | None = None,
        then: Float[Tensor, "outputs outputs"] | None = None,
    ) -> Float[Tensor, "n channels H W outputs"]:
        """x (n, channels, H, W, features), context (n, context) → (n, channels, H, W, outputs), times `then` if any.

        The product is taken with the weights of the last layer, which are far fewer than its outputs.
        """
        n, (channels, height, breadth) = len(x), self.shape
        x = x.permute(0, 1, 4, 2, 3).reshape(n, channels * self.features, height, breadth)
        side = self.kernel // 2
        v, h = self.v_first(pad(x, (side, side, side, 0))), self.h_first(x)
        v, h = v + self.v_place.to(v.dtype), h + self.h_place.to(h.dtype)  # under autocast both stay in low precision
        for layer in self.layers:
            v, h = layer(v, h, context)
        h = self.dropout(silu(self.mix(silu(h)))).permute(0, 2, 3, 1)
        weight, bias = self.last.flat()
        if then is None:
            out = nn.functional.linear(h, weight, bias)
        else:
            with torch.autocast(h.device.type, enabled=False):
                weight = (then.T @ weight.unflatten(0, (channels, -1))).flatten(0, 1)
                bias = (bias.unflatten(0, (channels, -1)) @ then).flatten()
                out = nn.functional.linear(h.to(weight.dtype), weight, bias)
        return out.unflatten(-1, (channels, -1)).permute(0, 3, 1, 2, 4)

    def begin(self, n: int, context: Float[Tensor, "n context"] | None = None) -> "GridCache":
        """The state before any cell is known, for n items."""
        return GridCache(self, n, context)


class GridCache:
    """Features of the cells reached so far: sampling a grid costs one pass of the vertical stack, and one of the
    horizontal stack per channel. That one moves by single cells, where a product costs less than a convolution.
    """

    def __init__(self, net: GatedGrid, n: int, context: Float[Tensor, "n context"] | None) -> None:
        self.net, self.layers = net, [cast(GatedLayer, layer) for layer in net.layers]
        channels, height, breadth = net.shape
        weight = net.v_first.weight
        width, side = weight.shape[0], net.kernel // 2
        self.x = weight.new_zeros(n, channels * net.features, side + height, breadth)  # rows of zeros above the grid
        self.v = [weight.new_zeros(n, width, side + height, breadth) for _ in self.layers]
        self.line = weight.new_zeros(n, side + breadth, channels * net.features)  # the row at hand, zeros to its left
        self.h = [weight.new_zeros(n, side + breadth, width) for _ in self.layers]
        self.contexts = [layer.contexts(context) for layer in self.layers]
        self.across = [self._cells(i, weight.new_zeros(n, 2 * width, 1, breadth)) for i in range(len(self.layers))]
        self.first, self.mix, self.last = net.h_first.flat(), net.mix.flat(), net.last.flat()
        self.left = [layer.horizontal.flat() for layer in self.layers]
        self.out = [layer.horizontal_out.flat() for layer in self.layers]

    def put(self, channel: int, row: int, column: int, features: Float[Tensor, "n features"]) -> None:
        """A channel of a cell has become known: features (n, features)."""
        part, side = slice(channel * self.net.features, (channel + 1) * self.net.features), self.net.kernel // 2
        self.x[:, part, row + side, column] = features
        self.line[:, column + side, part] = features

    def finish(self, row: int) -> None:
        """A row is complete: the vertical stack moves on by one row."""
        net, side = self.net, self.net.kernel // 2
        rows = slice(row, row + side + 1)
        self.line.zero_()
        v = net.v_first(pad(self.x[:, :, rows], (side, side))) + net.v_place[:, row : row + 1]
        for i, layer in enumerate(self.layers):
            self.v[i][:, :, row + side : row + side + 1] = v
            a = layer.vertical(pad(self.v[i][:, :, rows], (side, side)))
            self.across[i] = self._cells(i, a)
            if layer.vertical_out is not None:
                v = v + layer.vertical_out(gate(a + self.contexts[i][0]))

    def advance(self, channel: int, row: int, column: int) -> Float[Tensor, "n outputs"]:
        """The outputs of one channel of a cell: (n, outputs). Cells come in raster order, channels within them."""
        net, side = self.net, self.net.kernel // 2
        linear = nn.functional.linear
        reached = slice(column, column + side + 1)  # in lines that begin with `side` zeros
        h = linear(self.line[:, reached].flatten(1), *self.first) + net.h_place[:, row, column]
        for i in range(len(self.layers)):
            self.h[i][:, column + side] = h
            left = linear(self.h[i][:, reached].flatten(1), *self.left[i]) + self.across[i][:, column]
            h = h + linear(gate(left), *self.out[i])
        out = linear(silu(linear(silu(h), *self.mix)), *self.last)
        return out[:, channel * net.outputs : (channel + 1) * net.outputs]

    def _cells(self, layer: int, above: Float[Tensor, "n both 1 W"]) -> Float[Tensor, "n W both"]:
        """What the rows above and the context add before the gates of the horizontal stack."""
        added: Tensor = self.layers[layer].across(above) + self.contexts[layer][1]
        return added[:, :, 0].transpose(1, 2)
