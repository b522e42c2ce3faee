"""Residual nets between a noise vector and an event of shape (C, H, W): a synthesis net and the features of its critic.

They hold `width` channels up to 8×8 and half as many whenever the side doubles: every resolution costs about the same.
Resizing is interpolation, never a strided or transposed convolution, which draws checkerboards (Odena et al., 2016,
doi 10.23915/distill.00003). No normalisation: each residual branch starts at zero (Fixup; Zhang et al., 2019, arXiv
1901.09321), as in Huang et al., 2024 (arXiv 2501.05441). The code scales every branch, and one noise value per pixel
enters at each resolution, for detail that no global code should carry (Karras et al., 2019, arXiv 1812.04948).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu

from pofx.nets.vector.linear import Linear

SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))


def pyramid(shape: tuple[int, ...], coarsest: int = 7) -> list[tuple[int, int]]:
    """Sizes (H, W) from the finest down: halved, rounding up, until the longer side is at most `coarsest`."""
    sizes = [(shape[1], shape[2])]
    while max(sizes[-1]) > coarsest:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def channels(size: tuple[int, int], width: int) -> int:
    """`width` at 8×8 and below, less in proportion to the side above, in steps of 32 (what matrix units like)."""
    step = min(32, width)
    wanted = width * 8 / math.sqrt(size[0] * size[1])
    return max(step, min(width, round(wanted / step) * step))


def resize(h: Float[Tensor, "n c h w"], size: tuple[int, int]) -> Float[Tensor, "n c H W"]:
    """Bilinear interpolation of (n, c, h, w) to a size."""
    return interpolate(h, size=size, mode="bilinear", align_corners=False)


class Residual(nn.Module):
    """h + conv(act((1 + scale) · conv(act(h)) + shift)); scale and shift are linear in a style where there is one."""

    def __init__(self, width: int, style: int = 0) -> None:
        super().__init__()
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.outer = nn.Conv2d(width, width, 3, padding=1)
        self.style = Linear(style, 2 * width) if style else None
        nn.init.normal_(self.inner.weight, std=GAIN / math.sqrt(9 * width))
        for tensor in (self.inner.bias, self.outer.weight, self.outer.bias):
            nn.init.zeros_(tensor)  # type: ignore[arg-type]

    def forward(
        self, h: Float[Tensor, "n width H W"], style: Float[Tensor, "n style"] | None = None
    ) -> Float[Tensor, "n width H W"]:
        """h (n, width, H, W), style (n, style) → (n, width, H, W)."""
        r = self.inner(leaky_relu(h, SLOPE))
        if self.style is not None and style is not None:
            scale, shift = self.style(style)[:, :, None, None].chunk(2, 1)
            r = torch.addcmul(r + shift, r, scale)
        return h + self.outer(leaky_relu(r, SLOPE))


class Stage(nn.Module):
    """The residual blocks of one resolution."""

    def __init__(self, width: int, blocks: int, style: int = 0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Residual(width, style) for _ in range(blocks))

    def forward(
        self, h: Float[Tensor, "n width H W"], style: Float[Tensor, "n style"] | None = None
    ) -> Float[Tensor, "n width H W"]:
        """h (n, width, H, W), style (n, style) → (n, width, H, W)."""
        for block in self.blocks:
            h = block(h, style)
        return h


class Synthesis(nn.Module):
    """Noise (n, inputs) → (n, C, H, W); `inputs` is `latent` plus one value per pixel of every resolution."""

    def __init__(
        self, shape: tuple[int, ...], latent: int = 64, width: int = 128, blocks: int = 1, *, context: int = 0
    ) -> None:
        super().__init__()
        self.latent = latent
        self.sizes = pyramid(shape)[::-1]
        widths = [channels(size, width) for size in self.sizes]
        self.pixels = [h * w for h, w in self.sizes]
        self.inputs = latent + sum(self.pixels)
        self.mapping = nn.Sequential(
            Linear(latent + context, width), nn.LeakyReLU(SLOPE), Linear(width, width), nn.LeakyReLU(SLOPE)
        )
        self.first = Linear(latent + context, widths[0] * self.pixels[0])
        self.shapes = [(c, *size) for c, size in zip(widths, self.sizes, strict=True)]
        self.widen = nn.ModuleList(
            nn.Conv2d(a, b, 1, bias=False) if a != b else nn.Identity()
            for a, b in zip(widths[:1] + widths[:-1], widths, strict=True)
        )
        self.strengths = nn.ParameterList(nn.Parameter(torch.zeros(c, 1, 1)) for c in widths)
        self.stages = nn.ModuleList(Stage(c, blocks, width) for c in widths)
        self.last = nn.Conv2d(widths[-1], shape[0], 3, padding=1)

    def forward(
        self, z: Float[Tensor, "n inputs"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n C H W"]:
        """z (n, inputs) and context (n, context) → (n, C, H, W), not bounded."""
        code, *noises = z.split([self.latent, *self.pixels], 1)
        if context is not None:
            code = torch.cat((code, context), 1)
        style = self.mapping(code)
        h = self.first(code).reshape(-1, *self.shapes[0])
        for widen, size, noise, strength, stage in zip(
            self.widen, self.sizes, noises, self.strengths, self.stages, strict=True
        ):
            h = widen(h)
            if h.shape[-2:] != size:
                h = resize(h, size)
            h = stage(h + strength * noise.reshape(-1, 1, *size).to(h.dtype), style)
        return self.last(leaky_relu(h, SLOPE))


class ImageFeatures(nn.Module):
    """(n, C, H, W) → features (n, width): the mirror of `Synthesis`. No item sees another."""

    def __init__(self, shape: tuple[int, ...], width: int = 128, blocks: int = 1) -> None:
        super().__init__()
        self.sizes = pyramid(shape)
        widths = [channels(size, width) for size in self.sizes]
        self.first = nn.Conv2d(shape[0], widths[0], 3, padding=1)
        self.stages = nn.ModuleList(Stage(c, blocks) for c in widths)
        self.widen = nn.ModuleList(
            nn.Conv2d(a, b, 1, bias=False) if a != b else nn.Identity()
            for a, b in zip(widths, widths[1:] + widths[-1:], strict=True)
        )
        self.last = Linear(widths[-1] * math.prod(self.sizes[-1]), width)

    def forward(self, x: Float[Tensor, "n C H W"]) -> Float[Tensor, "n width"]:
        """x (n, C, H, W) → (n, width)."""
        h = self.first(x)
        for i, (stage, widen) in enumerate(zip(self.stages, self.widen, strict=True)):
            h = stage(h)
            if i + 1 < len(self.sizes):
                h = widen(avg_pool2d(h, 2, ceil_mode=True, count_include_pad=False))
        return self.last(leaky_relu(h, SLOPE).flatten(1))
