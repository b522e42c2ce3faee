"""Encoder and decoder of grids of three axes, solids and clips: patches, and convolutions between them.

A convolution at each of 32³ places costs what a hundred pictures cost. Blocks of side `patch` become features at once
(Dosovitskiy et al., 2021, arXiv 2010.11929) so that no axis is longer than SIDE, and residual convolutions (He et al.,
2016) run there and at half of it. Sides that no patch divides are padded. Normalisation is by group within an item.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.nets.vector.linear import Linear

SIDE = 8  # the longest axis, in patches

silu = nn.functional.silu


def patched(shape: Sequence[int]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """The patch of a grid (K, L, M), the numbers of patches, and half of these, rounded up."""
    patch = max(1, math.ceil(max(shape) / SIDE))
    full = tuple(-(-side // patch) for side in shape)
    return patch, full, tuple(-(-side // 2) for side in full)


class SolidBlock(nn.Module):
    """h + conv(silu(norm(conv(silu(norm(h)))))), with the context added in between."""

    def __init__(self, width: int, context: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(math.gcd(8, width), width) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv3d(width, width, 3, padding=1) for _ in range(2))
        self.context = Linear(context, width) if context else None
        self.drop = nn.Dropout(dropout)

    def forward(
        self, h: Float[Tensor, "n width K L M"], context: Float[Tensor, "n context"] | None
    ) -> Float[Tensor, "n width K L M"]:
        r = self.convs[0](silu(self.norms[0](h)))
        if self.context is not None and context is not None:
            r = r + self.context(context)[:, :, None, None, None]
        found: Tensor = h + self.convs[1](self.drop(silu(self.norms[1](r))))
        return found


class SolidEncoder(nn.Module):
    """(n, channels, K, L, M) → (n, outputs): patches, half as many of them, blocks."""

    def __init__(
        self, shape: Sequence[int], outputs: int, width: int, *, context: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        channels, self.sides = shape[0], tuple(shape[1:])
        self.patch, self.full, half = patched(self.sides)
        self.first = Linear(channels * self.patch**3, width)
        self.down = nn.Conv3d(width, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(SolidBlock(width, context, dropout) for _ in range(2))
        self.last = Linear(width * math.prod(half), outputs)

    def forward(
        self, x: Float[Tensor, "n channels K L M"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n outputs"]:
        p, (a, b, c) = self.patch, self.full
        over = [side * p - old for side, old in zip(self.full, self.sides, strict=True)]
        x = nn.functional.pad(x, [n for extra in reversed(over) for n in (0, extra)])
        blocks = x.reshape(len(x), -1, a, p, b, p, c, p).permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)
        h = self.first(blocks).permute(0, 4, 1, 2, 3)
        h = self.down(silu(h))
        for block in self.blocks:
            h = block(h, context)
        found: Tensor = self.last(silu(h).flatten(1))
        return found


class SolidDecoder(nn.Module):
    """(n, inputs) → (n, outputs, K, L, M): blocks at half as many patches, one block at all of them, voxels."""

    def __init__(
        self,
        inputs: int,
        shape: Sequence[int],
        outputs: int,
        width: int,
        *,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.sides, self.width, self.outputs = tuple(shape[1:]), width, outputs
        self.patch, self.full, self.low = patched(self.sides)
        self.first = Linear(inputs, width * math.prod(self.low))
        self.blocks = nn.ModuleList(SolidBlock(width, context, dropout) for _ in range(3))
        self.norm = nn.GroupNorm(math.gcd(8, width), width)
        self.last = Linear(width, outputs * self.patch**3)

    def forward(
        self, z: Float[Tensor, "n inputs"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n outputs K L M"]:
        h = self.first(z).reshape(len(z), self.width, *self.low)
        for block in self.blocks[:-1]:
            h = block(h, context)
        h = self.blocks[-1](nn.functional.interpolate(h, size=self.full, mode="nearest"), context)
        p, (a, b, c) = self.patch, self.full
        h = self.last(silu(self.norm(h)).permute(0, 2, 3, 4, 1)).reshape(len(z), a, b, c, self.outputs, p, p, p)
        whole: Tensor = h.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(len(z), self.outputs, a * p, b * p, c * p)
        k, m, n = self.sides
        return torch.clone(whole[:, :, :k, :m, :n])
