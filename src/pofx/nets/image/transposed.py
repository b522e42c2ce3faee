"""DCGAN: noise to an event by transposed convolutions, and a critic of strided ones that mirrors it.

Radford, Metz and Chintala, 2015, arXiv 1511.06434 (section 3): no pooling, batch normalisation, ReLU in the generator
and leaky ReLU in the critic. A kernel of 4 at stride 2 overlaps evenly, which keeps checkerboards small (Odena et al.,
2016, doi 10.23915/distill.00003). Sizes that are no power of two are cut to the next pyramid level. With
`norm="none"` no item sees another, as gradient penalties need.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, relu

from pofx.nets.image.synthesis import SLOPE, pyramid
from pofx.nets.vector.linear import Linear

WEIGHT_STD = 0.02  # of the initial weights, section 4 of the paper


def _initialised(module: nn.Module, *, normed: bool = True) -> None:
    """As in the paper where norms follow; without them signals would fade, so that variances are held (He et al.)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            if normed:
                nn.init.normal_(part.weight, std=WEIGHT_STD)
            else:
                nn.init.kaiming_normal_(part.weight, a=SLOPE)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, WEIGHT_STD)


def _norm(kind: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.Identity()


class TransposedSynthesis(nn.Module):
    """Noise (n, inputs) → (n, C, H, W), in [-1, 1] if `bounded`.

    `width` channels at the finest hidden level, twice as many at each coarser one.
    """

    def __init__(
        self, shape: tuple[int, ...], latent: int = 100, width: int = 32, *, context: int = 0, bounded: bool = True,
        resize: bool = False,
    ) -> None:  # fmt: skip
        """`resize`: grow by the nearest neighbour and convolve, in place of transposed convolutions."""
        super().__init__()
        self.resize = resize
        self.inputs, self.bounded = latent, bounded
        self.sizes = pyramid(shape)[::-1]
        widths = [width * 2**k for k in range(len(self.sizes))][::-1]
        self.start = (widths[0], *self.sizes[0])
        self.first = Linear(latent + context, math.prod(self.start))
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in widths)
        self.ups = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, bias=False)
            if resize
            else nn.ConvTranspose2d(a, b, 4, stride=2, padding=1, bias=False)
            for a, b in zip(widths, widths[1:], strict=False)
        )
        self.last = nn.Conv2d(widths[-1], shape[0], 3, padding=1)
        _initialised(self)

    def forward(
        self, z: Float[Tensor, "n inputs"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n C H W"]:
        """z (n, inputs) and context (n, context) → (n, C, H, W)."""
        h = self.first(z if context is None else torch.cat((z, context), 1)).reshape(-1, *self.start)
        h = relu(self.norms[0](h))
        for up, norm, (height, width) in zip(self.ups, self.norms[1:], self.sizes[1:], strict=True):
            if self.resize:
                h = relu(norm(up(interpolate(h, size=(height, width), mode="nearest"))))
            else:
                h = relu(norm(up(h)[:, :, :height, :width]))
        x: Tensor = self.last(h)
        return x.tanh() if self.bounded else x


class StridedFeatures(nn.Module):
    """(n, C, H, W) → features (n, outputs), before their activation."""

    def __init__(self, shape: tuple[int, ...], width: int = 32, outputs: int = 64, *, norm: str = "batch") -> None:
        super().__init__()
        sizes = pyramid(shape)
        widths = [width * 2**k for k in range(len(sizes))]
        self.first = nn.Conv2d(shape[0], widths[0], 3, padding=1)
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, padding=1, bias=norm != "batch")
            for a, b in zip(widths, widths[1:], strict=False)
        )
        self.norms = nn.ModuleList(_norm(norm, c) for c in widths[1:])
        height, wide = shape[1], shape[2]
        for _ in self.downs:
            height, wide = max(height // 2, 1), max(wide // 2, 1)
        self.last = Linear(widths[-1] * height * wide, outputs)
        _initialised(self, normed=norm == "batch")

    def forward(self, x: Float[Tensor, "n C H W"]) -> Float[Tensor, "n outputs"]:
        """x (n, C, H, W) → (n, outputs)."""
        h = leaky_relu(self.first(x), SLOPE)
        for down, norm in zip(self.downs, self.norms, strict=True):
            if min(h.shape[-2:]) < 2:  # a line: its thin side is doubled, for a kernel of 4 needs two cells
                h = h.repeat_interleave(2, 2) if h.shape[-2] < 2 else h.repeat_interleave(2, 3)
            h = leaky_relu(norm(down(h)), SLOPE)
        features: Tensor = self.last(h.flatten(1))
        return features
