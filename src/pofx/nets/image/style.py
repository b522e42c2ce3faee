"""Style-based generators: noise → w by a mapping network, w → an event by a synthesis network; and their critic.

`kind` chooses the synthesis. "style": a learned constant, convolutions, per-cell noise, and adaptive instance
normalisation by w (StyleGAN; Karras et al., 2019, arXiv 1812.04948). "style2": modulated and demodulated convolutions,
outputs of all sizes added up (StyleGAN2; Karras et al., 2020, arXiv 1912.04958, figures 2d and 7b). "progressive": no
styles, pixel norms, and sizes that fade in one after the other (Karras et al., 2018, arXiv 1710.10196, figure 2).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from pofx.nets.image.equalised import (
    GAIN,
    SLOPE,
    EqualisedConv,
    EqualisedLinear,
    MinibatchDeviation,
    ModulatedConv,
    activate,
    activated,
    grow,
    pixel_norm,
    shrink,
)
from pofx.nets.image.synthesis import channels, pyramid

MAPPING_RATE = 0.01
TOWARDS = 0.995  # decay of the running mean of w
NOISE_RATE = 0.1  # on strengths of noise, which start at 0: at the rate of equalised weights noise would lead


class Mapping(nn.Module):
    """(z, context) → w, through layers that learn at a hundredth of the rate; remembers the mean of w."""

    mean: Tensor

    def __init__(self, latent: int, width: int, layers: int, context: int = 0) -> None:
        super().__init__()
        sizes = [latent + context] + [width] * layers
        self.layers = nn.ModuleList(
            EqualisedLinear(a, b, rate=MAPPING_RATE) for a, b in zip(sizes, sizes[1:], strict=False)
        )
        self.register_buffer("mean", torch.zeros(width))

    def forward(
        self, z: Float[Tensor, "n latent"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n width"]:
        """z (n, latent), context (n, context) → w (n, width)."""
        h = pixel_norm(z)
        if context is not None:
            h = torch.cat((h, pixel_norm(context)), 1)
        for layer in self.layers:
            h = activate(layer(h))
        if self.training:
            self.mean.copy_(torch.lerp(h.detach().float().mean(0), self.mean, TOWARDS))
        return h


class StyleBlock(nn.Module):
    """One resolution: grow, two convolutions with noise per cell, each styled by its own w."""

    def __init__(
        self, kind: str, inputs: int, outputs: int, style: int, size: tuple[int, int], convolutions: int, noise: float
    ) -> None:
        super().__init__()
        self.kind, self.size, self.noise = kind, size, noise
        widths = [inputs] + [outputs] * convolutions
        pairs = list(zip(widths, widths[1:], strict=False))
        self.convs = nn.ModuleList(
            ModulatedConv(a, b, style) if kind == "style2" else EqualisedConv(a, b) for a, b in pairs
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(b)) for _, b in pairs) if kind == "style2" else None
        self.strengths = (
            nn.ParameterList(nn.Parameter(torch.zeros(b)) for _, b in pairs) if kind != "progressive" else None
        )
        self.affines = nn.ModuleList(EqualisedLinear(style, 2 * b) for _, b in pairs) if kind == "style" else None

    def forward(
        self, h: Float[Tensor, "n inputs h w"], ws: list[Tensor], noises: list[Tensor]
    ) -> Float[Tensor, "n outputs H W"]:
        """h, a style (n, width) and noise (n, cells) for each convolution → (n, outputs, H, W)."""
        h = grow(h, self.size)
        for i, conv in enumerate(self.convs):
            if self.biases is not None:  # the gain of the activation is in the factors: passes over the grid less
                h = conv(h, ws[i], self.biases[i], GAIN)
            else:
                h = conv(h, GAIN)
            if self.strengths is not None:
                noise = noises[i].reshape(-1, 1, *self.size).to(h.dtype)
                h = torch.addcmul(h, noise, (GAIN * self.noise * self.strengths[i]).to(h.dtype)[:, None, None])
            h = leaky_relu(h, SLOPE)
            if self.affines is not None:
                scale, shift = self.affines[i](ws[i])[:, :, None, None].chunk(2, 1)
                h = (1 + scale) * instance_norm(h) + shift
            elif self.kind == "progressive":
                h = pixel_norm(h)
        return h


def instance_norm(h: Float[Tensor, "n channels H W"]) -> Float[Tensor, "n channels H W"]:
    """Every channel of every item with mean 0 and variance 1 over its places."""
    variance, mean = torch.var_mean(h.float(), (2, 3), keepdim=True, unbiased=False)
    return ((h.float() - mean) * (variance + 1e-8).rsqrt()).to(h.dtype)


class StyleSynthesis(nn.Module):
    """Noise (n, inputs) → (n, C, H, W); `inputs` is `latent` plus one value per cell of every styled convolution.

    `stage` (from 0 to the number of sizes - 1, fractions fade in) limits "progressive" nets; None is the full size.
    """

    def __init__(
        self, shape: tuple[int, ...], latent: int = 64, width: int = 64, *, kind: str = "style2", mapping: int = 4,
        context: int = 0, saturated: bool = False,
    ) -> None:  # fmt: skip
        """`saturated`: outputs pass tanh, and noise strengthens slowly."""
        super().__init__()
        self.kind, self.latent, self.saturated = kind, latent, saturated
        self.sizes = pyramid(shape)[::-1]
        widths = [channels(size, width) for size in self.sizes]
        styled = kind != "progressive"
        self.mapping = Mapping(latent, width, mapping, context) if styled else None
        self.layers = [1 if styled and i == 0 else 2 for i in range(len(self.sizes))]
        self.cells = (
            [h * w for (h, w), k in zip(self.sizes, self.layers, strict=True) for _ in range(k)] if styled else []
        )
        self.inputs = latent + sum(self.cells)
        start = (widths[0], *self.sizes[0])
        self.constant = nn.Parameter(torch.randn(1, *start)) if styled else None
        self.first = None if styled else EqualisedLinear(latent + context, math.prod(start))
        self.start = start
        self.blocks = nn.ModuleList(
            StyleBlock(kind, a, b, width, size, k, NOISE_RATE if saturated else 1.0)
            for a, b, size, k in zip(widths[:1] + widths[:-1], widths, self.sizes, self.layers, strict=True)
        )
        heads = self.sizes if kind != "style" else self.sizes[-1:]
        self.heads = nn.ModuleList(
            ModulatedConv(c, shape[0], width, 1, demodulate=False)
            if kind == "style2"
            else EqualisedConv(c, shape[0], 1)
            for c in widths[-len(heads) :]
        )
        self.bias = nn.Parameter(torch.zeros(shape[0])) if kind == "style2" else None
        self.levels = sum(self.layers)  # of w that can be mixed

    def forward(
        self,
        z: Float[Tensor, "n inputs"],
        context: Float[Tensor, "n context"] | None = None,
        *,
        mixed: Float[Tensor, "n latent"] | None = None,
        span: tuple[int, int | None] = (0, None),
        truncation: float = 1.0,
        centre: Float[Tensor, "n width"] | None = None,
        shift: Float[Tensor, "width"] | None = None,
        stage: float | None = None,
    ) -> Float[Tensor, "n C H W"]:
        """z (n, inputs), context (n, context) → (n, C, H, W). In the style layers of `span`, w is that of `mixed`;
        every w is `centre` + `truncation` (w - `centre`) + `shift`; by default `centre` is the mean of all w."""
        code, *noises = z.split([self.latent, *self.cells], 1)
        if self.mapping is None:
            x = self._progressive(code, context, stage)
            return x.tanh() if self.saturated else x
        ws = [self.mapping(code, context)] * self.levels
        if mixed is not None:
            other = self.mapping(mixed, context)
            start, stop = span[0], self.levels if span[1] is None else span[1]
            ws = ws[:start] + [other] * (stop - start) + ws[stop:]
        if truncation != 1.0:
            middle = self.mapping.mean if centre is None else centre
            ws = [torch.lerp(middle.to(w.dtype), w, truncation) for w in ws]
        if shift is not None:
            ws = [w + shift.to(w.dtype) for w in ws]
        return self.synthesise(ws, noises)

    def synthesise(self, ws: list[Tensor], noises: list[Tensor]) -> Float[Tensor, "n C H W"]:
        """One w (n, width) and one noise (n, cells) per styled convolution → (n, C, H, W)."""
        x = self._styled(ws, noises)
        return x.tanh() if self.saturated else x

    def _styled(self, ws: list[Tensor], noises: list[Tensor]) -> Tensor:
        assert self.constant is not None
        h = self.constant.to(ws[0].dtype).expand(len(ws[0]), -1, -1, -1)
        x: Tensor | None = None
        at = 0
        for i, (block, k) in enumerate(zip(self.blocks, self.layers, strict=True)):
            h = block(h, ws[at : at + k], noises[at : at + k])
            at += k
            if self.kind == "style2":
                seen = self.heads[i](h, ws[at - 1])
                x = seen if x is None else grow(x, self.sizes[i]) + seen
        if x is None:
            return self.heads[-1](h)  # type: ignore[no-any-return]
        assert self.bias is not None
        return x + self.bias.to(x.dtype)[:, None, None]

    def _progressive(self, code: Tensor, context: Tensor | None, stage: float | None) -> Tensor:
        assert self.first is not None
        full = len(self.sizes) - 1
        stage = full if stage is None else min(max(stage, 0.0), full)
        h = pixel_norm(code) if context is None else torch.cat((pixel_norm(code), pixel_norm(context)), 1)
        h = activate(self.first(h)).reshape(-1, *self.start)
        x = before = None
        for i, (block, head) in enumerate(zip(self.blocks, self.heads, strict=True)):
            if i >= stage + 1:
                break
            h = block(h, [], [])
            before, x = x, head(h)
        assert x is not None
        fade = stage - math.floor(stage)
        if before is not None and 0 < fade < 1:
            x = torch.lerp(interpolate(before, size=x.shape[-2:], mode="nearest"), x, fade)
        return x if x.shape[-2:] == self.sizes[-1] else interpolate(x, size=self.sizes[-1], mode="nearest")


class StyleFeatures(nn.Module):
    """(n, C, H, W) → features (n, width): the critic of the family, residual unless `progressive`, antialiased."""

    def __init__(self, shape: tuple[int, ...], width: int = 64, *, progressive: bool = False, group: int = 4) -> None:
        super().__init__()
        self.progressive = progressive
        self.sizes = pyramid(shape)
        widths = [channels(size, width) for size in self.sizes]
        heads = widths if progressive else widths[:1]
        self.heads = nn.ModuleList(EqualisedConv(shape[0], c, 1) for c in heads)
        pairs = list(zip(widths, widths[1:], strict=False))
        self.inner = nn.ModuleList(EqualisedConv(a, a) for a, _ in pairs)
        self.outer = nn.ModuleList(EqualisedConv(a, b) for a, b in pairs)
        self.skips = (
            nn.ModuleList() if progressive else nn.ModuleList(EqualisedConv(a, b, 1, bias=False) for a, b in pairs)
        )
        self.deviation = MinibatchDeviation(group) if group > 1 else None
        self.tail = EqualisedConv(widths[-1] + (group > 1), widths[-1])
        self.last = EqualisedLinear(widths[-1] * math.prod(self.sizes[-1]), width)

    def forward(self, x: Float[Tensor, "n C H W"], *, stage: float | None = None) -> Float[Tensor, "n width"]:
        """x (n, C, H, W) → (n, width); `stage` as in `StyleSynthesis`."""
        full = len(self.sizes) - 1
        stage = full if stage is None or not self.progressive else min(max(stage, 0.0), full)
        start, fade = full - math.ceil(stage), stage - math.floor(stage)
        seen = x if start == 0 else interpolate(x, size=self.sizes[start], mode="area")
        h = activated(self.heads[start if self.progressive else 0], seen)
        for i in range(start, full):
            r = activated(self.outer[i], activated(self.inner[i], h))
            if self.progressive:
                h = shrink(r)
                if i == start and 0 < fade < 1:
                    old = activated(self.heads[i + 1], interpolate(x, size=self.sizes[i + 1], mode="area"))
                    h = torch.lerp(old, h, fade)
            else:
                h = shrink(r + self.skips[i](h)) / GAIN  # halved once: it costs more than a map of single places
        if self.deviation is not None:
            h = self.deviation(h)
        features: Tensor = self.last(activated(self.tail, h).flatten(1))
        return features
