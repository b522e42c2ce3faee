"""A U-Net for grids of one to three axes and any size: residual blocks at falling resolutions, joined by skips.

Ronneberger et al. (2015, arXiv 1505.04597), after Ho et al. (2020, arXiv 2006.11239): GroupNorm, SiLU, a vector context
that scales and shifts every block, attention at the lowest resolution. What makes it quick on CPUs, where everything
but the convolutions is slow: positions are first gathered in patches, so that no layer has few channels at many places;
a block has one norm (of at least 16 channels a group) and one nonlinearity; skips are added, not concatenated.
Resolutions that do not halve evenly are rounded up and resized back to their skip.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.nets.image.patches import gathered, spread

CONVS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // 16 if channels % 16 == 0 else 1, channels)


def _zero(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Block(nn.Module):
    """x + conv(silu(conv(scale * norm(x) + shift))), scale and shift from the context; starts as the identity."""

    def __init__(self, channels: int, context: int, dropout: float, rank: int = 2) -> None:
        super().__init__()
        conv = CONVS[rank - 1]
        self.norm = _norm(channels)
        self.conv1 = conv(channels, channels, 3, padding=1)
        self.conv2 = _zero(conv(channels, channels, 3, padding=1))
        self.film = nn.Linear(context, 2 * channels)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "n channels *sides"], context: Float[Tensor, "n context"]
    ) -> Float[Tensor, "n channels *sides"]:
        h = self.norm(x)
        scale, shift = self.film(context)[(..., *[None] * (x.ndim - 2))].to(h.dtype).chunk(2, 1)
        h = self.conv1(torch.addcmul(shift, h, 1 + scale))
        change: Tensor = self.conv2(self.dropout(F.silu(h)))
        return x + change


class Attention(nn.Module):
    """x + self-attention over positions, with normalised queries and keys; starts as the identity."""

    def __init__(self, channels: int, heads: int, rank: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.norm = _norm(channels)
        self.qkv = CONVS[rank - 1](channels, 3 * channels, 1)
        self.out = _zero(CONVS[rank - 1](channels, channels, 1))

    def forward(self, x: Float[Tensor, "n channels *sides"]) -> Float[Tensor, "n channels *sides"]:
        n, c, *sides = x.shape
        qkv = self.qkv(self.norm(x)).movedim(1, -1).reshape(n, -1, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (n, heads, positions, channels per head)
        weights = (8 * F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2)).float().softmax(-1)
        attended = (weights.to(v.dtype) @ v).transpose(1, 2).reshape(n, *sides, c)
        change: Tensor = self.out(attended.movedim(-1, 1))
        return x + change


class UNet(nn.Module):
    """(n, channels, *sides) and a context (n, context) → (n, outputs, *sides); zero at the start.

    Args:
        width: channels at the largest resolution (after the patches), a multiple of 4; twice as many below it.
        blocks: residual blocks at each resolution going down (one more going up).
        patch: side of the squares of positions that become channels; 0 takes 2 from 16 a side on, else 1.
        smallest: resolutions halve while the longer side is larger than this.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        context: int,
        *,
        width: int = 64,
        blocks: int = 2,
        patch: int = 0,
        smallest: int = 7,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, *sides = shape
        self.patch = patch or (2 if max(sides) >= 16 else 1)
        side, widths = -(-max(sides) // self.patch), [width]
        while side > smallest:
            side, widths = -(-side // 2), [*widths, 2 * width]
        rank = len(sides)
        conv, numbers = CONVS[rank - 1], self.patch**rank
        self.first = conv(channels * numbers, width, 3, padding=1)
        self.down, self.up, self.shrink, self.grow = (nn.ModuleList() for _ in range(4))
        for level, now in enumerate(widths):
            if level:
                self.shrink.append(conv(widths[level - 1], now, 3, stride=2, padding=1))
                self.grow.append(conv(now, widths[level - 1], 3, padding=1))
            self.down.append(nn.ModuleList(Block(now, context, dropout, rank) for _ in range(blocks)))
            self.up.append(nn.ModuleList(Block(now, context, dropout, rank) for _ in range(blocks)))
        heads = max(h for h in range(1, max(now // 32, 1) + 1) if now % h == 0)  # of 32 channels or more
        self.attention = Attention(now, heads, rank)
        self.norm = _norm(width)
        self.last = _zero(conv(width, outputs * numbers, 3, padding=1))
        if rank == 2:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def matrices(self) -> list[nn.Parameter]:
        """The kernels between hidden layers."""
        parts = (self.down, self.up, self.shrink, self.grow, self.attention)
        return [p for part in parts for p in part.parameters() if p.ndim > 2]

    @property
    def skip_widths(self) -> list[int]:
        """Channels of every skip, in the order of the contracting path."""
        return [block.norm.num_channels for blocks in self.down for block in blocks]  # type: ignore[attr-defined]

    def descended(
        self,
        x: Float[Tensor, "n channels *sides"],
        context: Float[Tensor, "n context"],
        hint: Float[Tensor, "n width *fewer"] | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """The features at the bottom, and the skips; `hint` is added to the first features."""
        x = gathered(x, self.patch)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        context = F.silu(context)
        h, skips = self.first(x), []
        h = h if hint is None else h + hint
        for level, blocks in enumerate(self.down):
            h = self.shrink[level - 1](h) if level else h
            for block in blocks:  # type: ignore[attr-defined]
                skips.append(h)
                h = block(h, context)
        return self.attention(h), skips

    def forward(
        self,
        x: Float[Tensor, "n channels *sides"],
        context: Float[Tensor, "n context"],
        added: Sequence[Tensor] | None = None,
    ) -> Float[Tensor, "n outputs *sides"]:
        """x (n, channels, *sides), context (n, context) → (n, outputs, *sides); `added` is added to each skip and, the
        last, at the bottom."""
        h, skips = self.descended(x, context)
        if added is not None:
            skips = [skip + more for skip, more in zip(skips, added[:-1], strict=True)]
            h = h + added[-1]
        context = F.silu(context)
        for level, blocks in reversed(list(enumerate(self.up))):
            for block in blocks:  # type: ignore[attr-defined]
                skip = skips.pop()
                h = block(h + skip, context)
            if level:
                h = self.grow[level - 1](F.interpolate(h, size=skips[-1].shape[2:], mode="nearest"))
        return spread(self.last(F.silu(self.norm(h))), self.patch, tuple(x.shape[2:]))
