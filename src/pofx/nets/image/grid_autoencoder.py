"""Convolutional encoder and decoder between an image and a smaller grid of codes, which keeps where things are.

The encoder halves height and width `halvings` times, rounding up; the decoder grows back through the very same sizes.
No block works at the full size, where it would cost most: the first halving takes in the image, the last doubling
spreads channels over pixels (Shi et al., 2016, arXiv 1609.05158).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.nets.image.autoencoder import ConvBlock, sizes

silu = torch.nn.functional.silu


class GridEncoder(nn.Module):
    """(n, channels, H, W) → (n, outputs, h, w), with at least one halving."""

    def __init__(
        self, shape: Sequence[int], outputs: int, width: int, halvings: int, *, context: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.downs = nn.ModuleList(
            nn.Conv2d(shape[0] if k == 0 else width, width, 3, stride=2, padding=1) for k in range(halvings)
        )
        self.blocks = nn.ModuleList(ConvBlock(width, context, dropout) for _ in range(halvings))
        self.norm = nn.GroupNorm(math.gcd(8, width), width)
        self.last = nn.Conv2d(width, outputs, 1)

    def forward(
        self, x: Float[Tensor, "n channels H W"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n outputs h w"]:
        h = x
        for down, block in zip(self.downs, self.blocks, strict=True):
            h = block(down(h), context)
        out: Tensor = self.last(silu(self.norm(h)))
        return out


class GridDecoder(nn.Module):
    """(n, inputs, h, w) → (n, outputs, H, W)."""

    def __init__(
        self,
        inputs: int,
        shape: Sequence[int],
        outputs: int,
        width: int,
        halvings: int,
        *,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.sizes = sizes(shape[1], shape[2], halvings)[::-1]
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.blocks = nn.ModuleList(ConvBlock(width, context, dropout) for _ in range(halvings))
        self.norm = nn.GroupNorm(math.gcd(8, width), width)
        self.last = nn.Conv2d(width, 4 * outputs, 3, padding=1)

    def forward(
        self,
        z: Float[Tensor, "n inputs h w"],
        context: Float[Tensor, "n context"] | None = None,
        size: tuple[int, int] | None = None,
    ) -> Float[Tensor, "n outputs H W"]:
        """`size` is of the result, where it is another than that of the shape."""
        through = self.sizes if size is None else sizes(*size, len(self.blocks))[::-1]
        h = self.first(z)
        for size, block in zip(through[:-1], self.blocks, strict=True):
            if h.shape[-2:] != size:
                h = torch.nn.functional.interpolate(h, size=size, mode="nearest")
            h = block(h, context)
        out = torch.nn.functional.pixel_shuffle(self.last(silu(self.norm(h))), 2)
        height, breadth = through[-1]
        return out[..., :height, :breadth]


class TwoScales(nn.Module):
    """A coarse grid of vectors above a fine one: features (n, inputs, h, w) → both, and both → the decoder's input.

    The fine vectors are made of the features and of the coarse vectors as quantised (Razavi et al., 2019, arXiv
    1906.00446, algorithm 1).
    """

    def __init__(self, vector: int, inputs: int, places: Sequence[int], features: int) -> None:
        super().__init__()
        self.places = (places[0], places[1])
        self.small = sizes(*self.places, 1)[-1]
        self.coarse_places = self.small[0] * self.small[1]
        self.up = GridEncoder((inputs, *self.places), vector, inputs, 1)
        self.mix = nn.Conv2d(inputs + features, vector, 1)

    def coarse(self, h: Float[Tensor, "n inputs h w"]) -> Float[Tensor, "n places vector"]:
        with torch.autocast(h.device.type, enabled=False):  # few places; bf16 kernels that see padding alone give NaN
            return self.up(h.float()).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]

    def fine(
        self, h: Float[Tensor, "n inputs h w"], q: Float[Tensor, "n coarse vector"]
    ) -> Float[Tensor, "n places vector"]:
        return self.mix(torch.cat((h, self._grown(q)), 1)).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]

    def joined(self, vectors: Float[Tensor, "n places vector"]) -> Float[Tensor, "n twice h w"]:
        """Coarse and fine vectors in a row → the grid that a decoder takes."""
        fine = vectors[:, self.coarse_places :].transpose(1, 2).reshape(len(vectors), -1, *self.places)
        return torch.cat((fine, self._grown(vectors[:, : self.coarse_places])), 1)

    def _grown(self, q: Float[Tensor, "n coarse vector"]) -> Float[Tensor, "n vector h w"]:
        grid = q.transpose(1, 2).reshape(len(q), -1, *self.small)
        return nn.functional.interpolate(grid, size=self.places, mode="nearest")
