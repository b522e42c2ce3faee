"""Gated causal convolutions and attention over all earlier cells of a grid, in turn.

One stream holds for each cell what is known of the cells strictly before it. Convolutions see its near past sharply,
attention its whole past. Keys and values also hold the cells themselves, so they are one place later than their
cells: cell i attends to cells up to i - 1, and before them to a nothing, by the causal flag of the attention alone.
No mask is a number that large scores could outweigh. The channels of a cell enter only at the head, one after the
other. Chen, Mishra, Rohaninejad and Abbeel, 2018, "PixelSNAIL: an improved autoregressive generative model", arXiv
1712.09763.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.nets.causal.gated_conv import GroupedConv
from pofx.nets.vector.linear import Linear

conv2d, pad, silu = nn.functional.conv2d, nn.functional.pad, nn.functional.silu


def add_gated(
    h: Float[Tensor, "n width *places"], r: Float[Tensor, "n both *places"]
) -> Float[Tensor, "n width *places"]:
    """h + first half * sigmoid(second half) of r."""
    a, b = r.chunk(2, 1)
    return h + a * torch.sigmoid(b)


class CausalConv(nn.Conv2d):
    """A convolution over the rows above and the cells to the left; `strict=True` leaves out the cell itself."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, *, strict: bool = False) -> None:
        super().__init__(inputs, outputs, (kernel // 2 + 1, kernel))
        self.side = kernel // 2
        mask = torch.ones(1, 1, kernel // 2 + 1, kernel)
        mask[..., -1, self.side + int(not strict) :] = 0
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Float[Tensor, "n inputs H W"]) -> Float[Tensor, "n outputs H W"]:
        """x (n, inputs, H, W) → (n, outputs, H, W)."""
        return self.at(pad(x, (self.side, self.side, self.side, 0)))

    def at(self, x: Float[Tensor, "n inputs P Q"]) -> Float[Tensor, "n outputs H W"]:
        """The outputs of the cells whose whole neighbourhood is given."""
        return conv2d(x, self.weight * self.mask, self.bias)


class GatedResidual(nn.Module):
    """h + a * sigmoid(b), where a and b come from two causal convolutions; a context is added before the gate."""

    def __init__(self, width: int, kernel: int, *, context: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = CausalConv(width, width, kernel)
        self.second = CausalConv(width, 2 * width, kernel)
        self.context = nn.Linear(context, 2 * width, bias=False) if context else None
        self.dropout = nn.Dropout2d(dropout)
        with torch.no_grad():
            self.second.weight.mul_(0.5)

    def given(self, context: Float[Tensor, "n context"] | None) -> Float[Tensor, "n both 1 1"] | float:
        """What a context adds before the gate."""
        if self.context is None or context is None:
            return 0.0
        added: Tensor = self.context(context)[:, :, None, None]
        return added

    def forward(
        self, h: Float[Tensor, "n width H W"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n width H W"]:
        """h (n, width, H, W), context (n, context) → (n, width, H, W)."""
        r = self.dropout(silu(self.first(silu(h))))
        return add_gated(h, self.second(r) + self.given(context))


class PastAttention(nn.Module):
    """h + gated attention over the earlier cells: keys and values also hold the cells themselves."""

    def __init__(self, width: int, features: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width)
        self.key_value = Linear(width + features, 2 * width)
        self.out = Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            self.out.weight.mul_(0.5)

    def queries(self, h: Float[Tensor, "n cells width"]) -> Float[Tensor, "n heads cells size"]:
        """The query of each cell: (n, heads, cells, width / heads)."""
        return self.query(silu(h)).unflatten(2, (self.heads, -1)).transpose(1, 2)

    def past(
        self, h: Float[Tensor, "n cells width"], x: Float[Tensor, "n cells features"]
    ) -> tuple[Float[Tensor, "n heads cells size"], Float[Tensor, "n heads cells size"]]:
        """Keys and values of known cells: (n, heads, cells, width / heads) each."""
        both = self.key_value(torch.cat((silu(h), x), 2)).unflatten(2, (2 * self.heads, -1)).transpose(1, 2)
        keys, values = both.chunk(2, 1)
        return keys, values

    def taken(self, found: Float[Tensor, "n heads cells size"]) -> Float[Tensor, "n cells both"]:
        """The attention's result, ready for the gate: (n, cells, 2 width)."""
        out: Tensor = self.out(self.dropout(found.transpose(1, 2).flatten(2)))
        return out

    def forward(
        self, h: Float[Tensor, "n width H W"], x: Float[Tensor, "n features H W"]
    ) -> Float[Tensor, "n width H W"]:
        """h (n, width, H, W), x (n, features, H, W): features of the cells themselves → (n, width, H, W)."""
        cells = h.flatten(2).transpose(1, 2)
        keys, values = (pad(v, (0, 0, 1, 0))[:, :, :-1] for v in self.past(cells, x.flatten(2).transpose(1, 2)))
        found = nn.functional.scaled_dot_product_attention(self.queries(cells), keys, values, is_causal=True)
        return add_gated(h, self.taken(found).transpose(1, 2).unflatten(2, h.shape[2:]))


class AttentiveGrid(nn.Module):
    """Cells' features → cells' outputs: `blocks` times (`depth` gated residual convolutions, one attention)."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        features: int,
        outputs: int,
        width: int = 64,
        blocks: int = 2,
        depth: int = 2,
        kernel: int = 3,
        heads: int = 1,
        *,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape, self.features, self.outputs = shape, features, outputs
        channels, height, breadth = shape
        whole = channels * features
        self.enter = CausalConv(whole, width, kernel + 4, strict=True)
        self.place = nn.Parameter(0.01 * torch.randn(width, height, breadth))
        self.residuals = nn.ModuleList(
            nn.ModuleList(GatedResidual(width, kernel, context=context, dropout=dropout) for _ in range(depth))
            for _ in range(blocks)
        )
        self.attentions = nn.ModuleList(PastAttention(width, whole, heads, dropout=dropout) for _ in range(blocks))
        self.mix = nn.Conv2d(width, channels * width, 1)
        self.within = GroupedConv(whole, channels * width, 1, channels, strict=True) if channels > 1 else None
        self.last = GroupedConv(channels * width, channels * outputs, 1, channels)
        self.dropout = nn.Dropout2d(dropout)

    def head(
        self, h: Float[Tensor, "n width H W"], x: Float[Tensor, "n features H W"]
    ) -> Float[Tensor, "n outputs H W"]:
        """The stream of cells and the features of their own earlier channels → (n, channels * outputs, H, W)."""
        r = self.mix(silu(h))
        if self.within is not None:
            r = r + self.within(x)
        out: Tensor = self.last(self.dropout(silu(r)))
        return out

    def forward(
        self, x: Float[Tensor, "n channels H W features"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n channels H W outputs"]:
        """x (n, channels, H, W, features), context (n, context) → (n, channels, H, W, outputs)."""
        n, (channels, height, breadth) = len(x), self.shape
        x = x.permute(0, 1, 4, 2, 3).reshape(n, channels * self.features, height, breadth)
        h = self.enter(x)
        h = h + self.place.to(h.dtype)  # under autocast the stream stays in low precision
        for residuals, attention in zip(self.residuals, self.attentions, strict=True):
            for residual in cast(nn.ModuleList, residuals):
                h = residual(h, context)
            h = attention(h, x)
        out = self.head(h, x).reshape(n, channels, self.outputs, height, breadth)
        return out.permute(0, 1, 3, 4, 2)

    def begin(self, n: int, context: Float[Tensor, "n context"] | None = None) -> "AttentiveCache":
        """The state before any cell is known, for n items."""
        return AttentiveCache(self, n, context)


class NearRows:
    """The rows that a causal convolution sees, filled cell by cell, with zeros around."""

    def __init__(self, conv: CausalConv, n: int, breadth: int) -> None:
        self.conv, self.breadth = conv, breadth
        self.rows = conv.weight.new_zeros(n, conv.in_channels, conv.side + 1, breadth + 2 * conv.side)

    def put(self, column: int, x: Float[Tensor, "n inputs"]) -> None:
        """The features of the cell in this column of the row at hand."""
        self.rows[:, :, -1, column + self.conv.side] = x

    def at(self, column: int) -> Float[Tensor, "n outputs 1 1"]:
        """The convolution's output for that cell."""
        return self.conv.at(self.rows[..., column : column + 2 * self.conv.side + 1])

    def finish(self) -> None:
        """The row at hand is complete."""
        self.rows = pad(self.rows[:, :, 1:], (0, 0, 0, 1))


class AttentiveCache:
    """Keys, values and the near rows of every convolution: sampling a grid costs one pass."""

    def __init__(self, net: AttentiveGrid, n: int, context: Float[Tensor, "n context"] | None) -> None:
        self.net = net
        channels, height, breadth = net.shape
        self.enter = NearRows(net.enter, n, breadth)
        self.x = net.place.new_zeros(n, channels * net.features)  # of the cell at hand
        self.blocks = []
        for residuals, attention in zip(net.residuals, net.attentions, strict=True):
            listed = [cast(GatedResidual, residual) for residual in cast(nn.ModuleList, residuals)]
            near = [
                (r, NearRows(r.first, n, breadth), NearRows(r.second, n, breadth), r.given(context)) for r in listed
            ]
            self.blocks.append((near, cast(PastAttention, attention)))
        width, heads = len(net.place), self.blocks[0][1].heads
        size = (n, heads, height * breadth + 1, width // heads)  # the first is the nothing before the first cell
        self.keys, self.values = ([net.place.new_zeros(size) for _ in self.blocks] for _ in range(2))
        self.asked: list[Tensor] = []  # the streams that met the attentions at the cell at hand
        self.h = net.place.new_zeros(n, width, 1, 1)

    def put(self, channel: int, row: int, column: int, features: Float[Tensor, "n features"]) -> None:
        """A channel of a cell has become known: features (n, features)."""
        part = slice(channel * self.net.features, (channel + 1) * self.net.features)
        self.x[:, part] = features
        if channel == self.net.shape[0] - 1:  # the whole cell is known
            self.enter.put(column, self.x)
            after = row * self.net.shape[2] + column + 1
            for (_, attention), h, keys, values in zip(self.blocks, self.asked, self.keys, self.values, strict=True):
                known = attention.past(h[:, None], self.x[:, None])
                keys[:, :, after], values[:, :, after] = known[0][:, :, 0], known[1][:, :, 0]
            self.x = torch.zeros_like(self.x)

    def finish(self, row: int) -> None:
        """A row is complete."""
        self.enter.finish()
        for near, _ in self.blocks:
            for _, first, second, _ in near:
                first.finish()
                second.finish()

    def advance(self, channel: int, row: int, column: int) -> Float[Tensor, "n outputs"]:
        """The outputs of one channel of a cell: (n, outputs). Cells come in raster order, channels within them."""
        if channel == 0:
            self.h = self._stream(row, column)
        out = self.net.head(self.h, self.x[:, :, None, None]).flatten(1)
        return out[:, channel * self.net.outputs : (channel + 1) * self.net.outputs]

    def _stream(self, row: int, column: int) -> Tensor:
        net, known = self.net, row * self.net.shape[2] + column + 1
        h = self.enter.at(column) + net.place[:, row, column, None, None]
        self.asked = []
        for (near, attention), keys, values in zip(self.blocks, self.keys, self.values, strict=True):
            for _, first, second, given in near:
                first.put(column, silu(h).flatten(1))
                second.put(column, silu(first.at(column)).flatten(1))
                h = add_gated(h, second.at(column) + given)
            flat = h.flatten(1)
            self.asked.append(flat)
            found = nn.functional.scaled_dot_product_attention(
                attention.queries(flat[:, None]), keys[:, :, :known], values[:, :, :known]
            )
            h = add_gated(h, attention.taken(found)[:, 0, :, None, None])
        return h
