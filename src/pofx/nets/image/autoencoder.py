"""Encoder and decoder trunks for autoencoders: perceptrons for vectors and small shapes, convolutions for images.

Encoders map x to a vector, decoders a code to one feature map per output; both take a context vector. Convolutions
halve any height and width, rounding up, and the decoder grows back through the very same sizes. Nothing couples the
items of a batch: normalisation is by group within an item (Wu and He, 2018, arXiv 1803.08494).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.nets.vector.linear import Linear

silu = torch.nn.functional.silu


class VectorTrunk(nn.Module):
    """A residual perceptron with dropout: inputs → outputs."""

    def __init__(
        self, inputs: int, outputs: int, width: int, depth: int, *, context: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.first = Linear(inputs, width)
        self.inner = nn.ModuleList(Linear(width, width) for _ in range(depth - 1))
        self.context = Linear(context, width) if context else None
        self.drop = nn.Dropout(dropout)
        self.last = Linear(width, outputs)

    def forward(
        self, x: Float[Tensor, "n inputs"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n outputs"]:
        """x (n, inputs), context (n, context) → (n, outputs)."""
        h = self.first(x)
        if self.context is not None and context is not None:
            h = h + self.context(context)
        for layer in self.inner:
            h = h + layer(self.drop(silu(h)))
        out: Tensor = self.last(self.drop(silu(h)))
        return out


def sizes(height: int, width: int, halvings: int) -> list[tuple[int, int]]:
    """Heights and widths from the full one down."""
    found = [(height, width)]
    for _ in range(halvings):
        found.append((-(-found[-1][0] // 2), -(-found[-1][1] // 2)))
    return found


def halvings(height: int, width: int) -> int:
    """How often an image is halved until its longer side is at most 8."""
    return max(0, math.ceil(math.log2(max(height, width) / 8)))


class ConvBlock(nn.Module):
    """h + conv(silu(norm(conv(silu(norm(h)))))), with the context added in between."""

    def __init__(self, width: int, context: int, dropout: float) -> None:
        super().__init__()
        groups = math.gcd(8, width)
        self.norms = nn.ModuleList(nn.GroupNorm(groups, width) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.context = Linear(context, width) if context else None
        self.drop = nn.Dropout(dropout)

    def forward(
        self, h: Float[Tensor, "n width H W"], context: Float[Tensor, "n context"] | None
    ) -> Float[Tensor, "n width H W"]:
        r = self.convs[0](silu(self.norms[0](h)))
        if self.context is not None and context is not None:
            r = r + self.context(context)[:, :, None, None]
        r = self.convs[1](self.drop(silu(self.norms[1](r))))
        out: Tensor = h + r
        return out


class ImageEncoder(nn.Module):
    """(n, channels, H, W) → (n, outputs)."""

    def __init__(
        self, shape: Sequence[int], outputs: int, width: int, *, context: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        channels, height, breadth = shape
        steps = halvings(height, breadth)
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.downs = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(steps))
        self.blocks = nn.ModuleList(ConvBlock(width, context, dropout) for _ in range(steps))
        low = sizes(height, breadth, steps)[-1]
        self.last = Linear(width * low[0] * low[1], outputs)

    def forward(
        self, x: Float[Tensor, "n channels H W"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n outputs"]:
        h = self.first(x)
        for down, block in zip(self.downs, self.blocks, strict=True):
            h = block(down(h), context)
        out: Tensor = self.last(silu(h).flatten(1))
        return out


class ImageDecoder(nn.Module):
    """(n, inputs) → (n, outputs, H, W), through the encoder's sizes from the smallest up."""

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
        _, height, breadth = shape
        self.sizes = sizes(height, breadth, halvings(height, breadth))[::-1]
        self.width = width
        self.first = Linear(inputs, width * self.sizes[0][0] * self.sizes[0][1])
        self.blocks = nn.ModuleList(ConvBlock(width, context, dropout) for _ in self.sizes)
        self.norm = nn.GroupNorm(math.gcd(8, width), width)
        self.last = nn.Conv2d(width, outputs, 3, padding=1)

    def forward(
        self, z: Float[Tensor, "n inputs"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n outputs H W"]:
        h = self.first(z).reshape(len(z), self.width, *self.sizes[0])
        for size, block in zip(self.sizes, self.blocks, strict=True):
            if h.shape[-2:] != size:
                h = torch.nn.functional.interpolate(h, size=size, mode="nearest")
            h = block(h, context)
        out: Tensor = self.last(silu(self.norm(h)))
        return out
