"""Residual generators and critics whose layers keep a spectral norm of 1: SNGAN, SAGAN, BigGAN.

Miyato et al., 2018, arXiv 1802.05957 (appendix B.4: blocks of two 3×3 convolutions, batch normalisation in the
generator alone); Zhang et al., 2019, arXiv 1805.08318 (self-attention whose gain starts at 0, spectral norms on both
sides); Brock et al., 2019, arXiv 1809.11096 (each block reads its own part of the noise beside the class embedding,
which scale and shift its normalisation; orthogonal start). Features are summed over places.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu, scaled_dot_product_attention
from torch.nn.utils.parametrizations import spectral_norm

from pofx.nets.image.synthesis import channels, pyramid
from pofx.nets.vector.linear import Linear

Wrap = Callable[[nn.Module], nn.Module]


def _plain(layer: nn.Module) -> nn.Module:
    return layer


def _conv(inputs: int, outputs: int, kernel: int, wrap: Wrap) -> nn.Module:
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.orthogonal_(layer.weight)
    return wrap(layer)


class StyledNorm(nn.Module):
    """Batch normalisation, scaled and shifted by a linear map of a vector where there is one."""

    def __init__(self, channels: int, style: int = 0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=style == 0)
        self.style = Linear(style, 2 * channels) if style else None
        if self.style is not None:
            nn.init.normal_(self.style.weight, std=0.02)
            nn.init.zeros_(self.style.bias)

    def forward(
        self, h: Float[Tensor, "n channels H W"], style: Float[Tensor, "n style"] | None = None
    ) -> Float[Tensor, "n channels H W"]:
        """h (n, channels, H, W), style (n, style) → the same shape."""
        h = self.norm(h)
        if self.style is None or style is None:
            return h
        scale, shift = self.style(style)[:, :, None, None].chunk(2, 1)
        return h * (1 + scale) + shift


class PlaceAttention(nn.Module):
    """h + gain · attention over all places; queries and keys have an eighth of the channels, the gain starts at 0."""

    def __init__(self, channels: int, wrap: Wrap = _plain) -> None:
        super().__init__()
        inner = max(channels // 8, 1)
        self.query, self.key = (_conv(channels, inner, 1, wrap) for _ in range(2))
        self.value, self.out = _conv(channels, channels // 2, 1, wrap), _conv(channels // 2, channels, 1, wrap)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, h: Float[Tensor, "n channels H W"]) -> Float[Tensor, "n channels H W"]:
        """h (n, channels, H, W) → the same shape."""
        q, k, v = (f(h).flatten(2).transpose(1, 2) for f in (self.query, self.key, self.value))
        mixed = scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(len(h), -1, *h.shape[2:])
        return h + self.gain * self.out(mixed)


class UpBlock(nn.Module):
    """Normalise, ReLU, grow by the nearest neighbour, convolve; normalise, ReLU, convolve; plus a grown skip."""

    def __init__(self, inputs: int, outputs: int, style: int, wrap: Wrap) -> None:
        super().__init__()
        self.before, self.between = StyledNorm(inputs, style), StyledNorm(outputs, style)
        self.first, self.second = _conv(inputs, outputs, 3, wrap), _conv(outputs, outputs, 3, wrap)
        self.skip = _conv(inputs, outputs, 1, wrap)

    def forward(
        self, h: Float[Tensor, "n inputs h w"], size: tuple[int, int], style: Float[Tensor, "n style"] | None
    ) -> Float[Tensor, "n outputs H W"]:
        """h (n, inputs, h, w) → (n, outputs, *size)."""

        def grown(x: Tensor) -> Tensor:
            return x if x.shape[-2:] == size else interpolate(x, size=size, mode="nearest")

        r = self.first(grown(relu(self.before(h, style))))
        r = self.second(relu(self.between(r, style)))
        result: Tensor = r + grown(self.skip(h))
        return result


class DownBlock(nn.Module):
    """ReLU, convolve, ReLU, convolve, average to half the size; plus a pooled skip. A first block has no first ReLU."""

    def __init__(self, inputs: int, outputs: int, wrap: Wrap, *, first: bool = False, shrink: bool = True) -> None:
        super().__init__()
        self.is_first, self.shrink = first, shrink
        self.inner, self.outer = _conv(inputs, outputs, 3, wrap), _conv(outputs, outputs, 3, wrap)
        self.skip = _conv(inputs, outputs, 1, wrap) if inputs != outputs or shrink else nn.Identity()

    def forward(self, h: Float[Tensor, "n inputs H W"]) -> Float[Tensor, "n outputs h w"]:
        """h (n, inputs, H, W) → (n, outputs, h, w), half the size rounded up where the block shrinks."""

        def pooled(x: Tensor) -> Tensor:
            return avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False) if self.shrink else x

        r = self.outer(relu(self.inner(h if self.is_first else relu(h))))
        result: Tensor = pooled(r) + (self.skip(pooled(h)) if self.is_first else pooled(self.skip(h)))
        return result


class ResidualSynthesis(nn.Module):
    """Noise (n, inputs) → (n, C, H, W) in [-1, 1] if `bounded`.

    split: every block reads its own share of the noise with the context (BigGAN); else the context alone; attention: a
    layer of it where the longer side first exceeds 8; spectral: spectral norms on all layers (SAGAN, BigGAN); tapered:
    fewer channels than `width` at finer resolutions, as `synthesis.channels` has them.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int = 128,
        width: int = 64,
        *,
        context: int = 0,
        bounded: bool = True,
        split: bool = False,
        attention: bool = False,
        spectral: bool = False,
        tapered: bool = False,
    ) -> None:
        super().__init__()
        wrap: Wrap = spectral_norm if spectral else _plain
        self.inputs, self.bounded = latent, bounded
        self.sizes = pyramid(shape)[::-1]
        widths = [channels(size, width) if tapered else width for size in self.sizes]
        stages = len(self.sizes)
        self.parts = [latent // (stages + 1)] * stages if split else [0] * stages
        code = latent - sum(self.parts)
        self.start = (widths[0], *self.sizes[0])
        cells = self.sizes[0][0] * self.sizes[0][1]
        self.first = wrap(Linear(code + context, widths[0] * cells))
        style = context + (self.parts[0] if split else 0)
        self.blocks = nn.ModuleList(
            UpBlock(a, b, style, wrap) for a, b in zip(widths[:1] + widths[:-1], widths, strict=True)
        )
        at = next((i for i, size in enumerate(self.sizes) if max(size) > 8), -1) if attention else -1
        self.attention = nn.ModuleDict({str(at): PlaceAttention(widths[at], wrap)} if at >= 0 else {})
        self.norm = nn.BatchNorm2d(widths[-1])
        self.last = _conv(widths[-1], shape[0], 3, wrap)

    def forward(
        self, z: Float[Tensor, "n inputs"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n C H W"]:
        """z (n, inputs) and context (n, context) → (n, C, H, W)."""
        code, *parts = z.split([self.inputs - sum(self.parts), *self.parts], 1)
        seen = code if context is None else torch.cat((code, context), 1)
        h = self.first(seen).reshape(-1, *self.start)
        for i, (block, size, part) in enumerate(zip(self.blocks, self.sizes, parts, strict=True)):
            style = part if context is None else torch.cat((part, context), 1)
            h = block(h, size, style if style.shape[1] else None)
            if str(i) in self.attention:
                h = self.attention[str(i)](h)
        x: Tensor = self.last(relu(self.norm(h)))
        return x.tanh() if self.bounded else x


class ResidualFeatures(nn.Module):
    """(n, C, H, W) → features (n, width), summed over places; every layer has a spectral norm of 1 if `spectral`.

    `tapered` as in `ResidualSynthesis`.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 64,
        *,
        attention: bool = False,
        spectral: bool = True,
        tapered: bool = False,
    ) -> None:
        super().__init__()
        wrap: Wrap = spectral_norm if spectral else _plain
        sizes = pyramid(shape)
        widths = [channels(size, width) if tapered else width for size in sizes]
        self.blocks = nn.ModuleList(
            DownBlock(a, b, wrap, first=i == 0, shrink=i + 1 < len(sizes))
            for i, (a, b) in enumerate(zip([shape[0], *widths[:-1]], widths, strict=True))
        )
        self.tail = DownBlock(widths[-1], width, wrap, shrink=False)
        self.attention = PlaceAttention(widths[0], wrap) if attention and len(sizes) > 1 else nn.Identity()

    def forward(self, x: Float[Tensor, "n C H W"]) -> Float[Tensor, "n width"]:
        """x (n, C, H, W) → (n, width)."""
        h = x
        for i, block in enumerate(self.blocks):
            h = block(h)
            if i == 0:
                h = self.attention(h)
        return relu(self.tail(h)).sum((2, 3))
