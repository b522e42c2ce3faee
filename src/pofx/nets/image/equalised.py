"""Layers of the style family: equalised learning rates, pixel norms, antialiased resizing, minibatch deviation.

Karras et al., 2018, "Progressive growing of GANs", arXiv 1710.10196 (sections 4.1, 3, 4.2); 2019, arXiv 1812.04948;
2020, "Analyzing and improving the image quality of StyleGAN", arXiv 1912.04958. Weights are N(0, 1) / rate and are
multiplied by rate · gain / √fan-in at run time, so that an adaptive optimiser moves all layers equally fast. Resizing
by two with the filter (1, 3, 3, 1) is plain PyTorch: upwards it is bilinear interpolation, whose phases are ¼ and ¾.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, leaky_relu, linear, pad

SLOPE = 0.2
GAIN = math.sqrt(2)  # of a leaky ReLU, so that unit variance goes on


def activate(h: Float[Tensor, "*places"]) -> Float[Tensor, "*places"]:
    """Leaky ReLU with its gain."""
    return leaky_relu(h, SLOPE) * GAIN


class EqualisedLinear(nn.Module):
    """y = W x · rate / √inputs + b · rate; `rate` slows the layer down (mapping networks learn at a hundredth)."""

    def __init__(self, inputs: int, outputs: int, *, rate: float = 1.0, bias: float | None = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = None if bias is None else nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale, self.rate = rate / math.sqrt(inputs), rate

    def forward(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        """x (n, inputs) → (n, outputs)."""
        bias = None if self.bias is None else self.bias.to(x.dtype) * self.rate
        return linear(x, self.weight.to(x.dtype) * self.scale, bias)


class EqualisedConv(nn.Module):
    """A convolution that keeps the size, with weights scaled by 1 / √fan-in at run time."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale, self.padding = 1 / math.sqrt(inputs * kernel**2), kernel // 2

    def forward(self, x: Float[Tensor, "n inputs H W"], gain: float = 1.0) -> Float[Tensor, "n outputs H W"]:
        """x (n, inputs, H, W) → gain times the convolution (n, outputs, H, W)."""
        bias = None if self.bias is None else (gain * self.bias).to(x.dtype)
        return conv2d(x, (self.weight * (gain * self.scale)).to(x.dtype), bias, padding=self.padding)


def activated(conv: nn.Module, x: Float[Tensor, "n inputs H W"]) -> Float[Tensor, "n outputs H W"]:
    """`activate` of an `EqualisedConv`, with its gain in the weights: a pass over the grid less."""
    return leaky_relu(conv(x, GAIN), SLOPE)


class ModulatedConv(nn.Module):
    """A convolution whose inputs are scaled by a style, and whose outputs are scaled back to unit variance.

    y = d · conv(s · x) with d_o = 1 / √(Σ (w_oi s_i)² + 1e-8): the demodulation of arXiv 1912.04958, equations 1 and 3,
    with the scales on activations instead of weights, so that one product serves the whole batch.
    """

    def __init__(self, inputs: int, outputs: int, style: int, kernel: int = 3, *, demodulate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.affine = EqualisedLinear(style, inputs, bias=1.0)
        self.scale, self.padding, self.demodulate = 1 / math.sqrt(inputs * kernel**2), kernel // 2, demodulate

    def forward(
        self,
        x: Float[Tensor, "n inputs H W"],
        w: Float[Tensor, "n style"],
        bias: Float[Tensor, "outputs"] | None = None,
        gain: float = 1.0,
    ) -> Float[Tensor, "n outputs H W"]:
        """x (n, inputs, H, W), w (n, style) → gain · (y + bias) (n, outputs, H, W)."""
        s, weight = self.affine(w), self.weight * self.scale
        y = conv2d(x * s.to(x.dtype)[:, :, None, None], weight.to(x.dtype), padding=self.padding)
        if not self.demodulate:
            return y if bias is None and gain == 1.0 else gain * (y + (0.0 if bias is None else bias[:, None, None]))
        energy = s.float().square() @ weight.float().square().sum((2, 3)).T
        factor = (gain * (energy + 1e-8).rsqrt()).to(y.dtype)[:, :, None, None]
        if bias is None:
            return y * factor
        return torch.addcmul((gain * bias).to(y.dtype)[:, None, None], y, factor)


def pixel_norm(x: Float[Tensor, "n channels *places"]) -> Float[Tensor, "n channels *places"]:
    """Every place has unit mean square over its channels (equation 2 of arXiv 1710.10196)."""
    return x * (x.float().square().mean(1, keepdim=True) + 1e-8).rsqrt().to(x.dtype)


def grow(x: Float[Tensor, "n channels h w"], size: tuple[int, int]) -> Float[Tensor, "n channels H W"]:
    """To a larger size through the filter (1, 3, 3, 1)."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return interpolate(x, size=size, mode="bilinear", align_corners=False)


def shrink(x: Float[Tensor, "n channels H W"]) -> Float[Tensor, "n channels h w"]:
    """To half the size, rounded up, through the filter (1, 3, 3, 1) / 8 on both axes; edges are repeated.

    On a processor in fp32: the gradient of a convolution channel by channel takes five times as long there in bf16.
    """
    if x.device.type == "cpu" and (x.dtype != torch.float32 or torch.is_autocast_enabled("cpu")):
        with torch.autocast("cpu", enabled=False):
            return shrink(x.float()).to(x.dtype)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device, dtype=x.dtype) / 8
    height, width = x.shape[-2:]
    x = pad(x, (1, 1 + width % 2, 1, 1 + height % 2), mode="replicate")
    channels = x.shape[1]
    rows = taps.reshape(1, 1, 4, 1).expand(channels, 1, 4, 1)
    columns = taps.reshape(1, 1, 1, 4).expand(channels, 1, 1, 4)
    x = conv2d(x, rows, stride=(2, 1), groups=channels)
    return conv2d(x, columns, stride=(1, 2), groups=channels)


class MinibatchDeviation(nn.Module):
    """One more channel: the standard deviation over a group of items, averaged over channels and places.

    A critic that sees it notices samples that are all alike (arXiv 1710.10196, section 3). Groups are of `size` items,
    or of the largest number up to it that divides the batch; item i is grouped with those n/G places further.
    """

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Float[Tensor, "n channels H W"]) -> Float[Tensor, "n channels+1 H W"]:
        """x (n, channels, H, W) → (n, channels + 1, H, W)."""
        n = len(x)
        group = next(g for g in range(min(self.size, n), 0, -1) if n % g == 0)
        y = x.reshape(group, n // group, *x.shape[1:]).float()
        variance = (y - y.mean(0)).square().mean(0)  # several times as fast as `var` over an outer axis
        deviation = (variance + 1e-8).sqrt().mean((1, 2, 3))
        channel = deviation.repeat(group)[:, None, None, None].to(x.dtype)
        return torch.cat((x, channel.expand(n, 1, *x.shape[2:])), 1)
