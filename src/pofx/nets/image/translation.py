"""Networks from image to image: a U-Net that reads an image and noise, and a critic of overlapping patches.

Isola et al., 2017, arXiv 1611.07004: skips carry what input and output share; a critic that judges patches one by one
(section 3.2.2) leaves the whole to another loss. There, dropout at sampling is the noise; here it is one more channel,
so that a seed fixes the sample and items are not coupled.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from pofx.nets.image.synthesis import SLOPE
from pofx.nets.image.unet import UNet

NEAR = 0.97  # of a bounded image that is added to: the inverse of tanh at 1 is infinite


def to_size(x: Float[Tensor, "n channels h w"], size: tuple[int, int]) -> Float[Tensor, "n channels H W"]:
    """Images at another size, by bilinear interpolation."""
    return x if tuple(x.shape[-2:]) == tuple(size) else interpolate(x, size=size, mode="bilinear", align_corners=False)


class Translator(nn.Module):
    """Image (n, inputs, h, w), noise (n, cells), context (n, context) → (n, C, H, W), in [-1, 1] if `bounded`."""

    def __init__(
        self, shape: tuple[int, ...], given: int = 0, width: int = 32, *, context: int = 0, bounded: bool = True
    ) -> None:
        """`given`: channels of the image that is translated; 0 makes images of noise alone."""
        super().__init__()
        outputs, height, breadth = shape
        self.size, self.bounded, self.given = (height, breadth), bounded, given
        self.inputs = height * breadth
        self.context = max(context, 1)
        wide = -(-width // 16) * 16
        net = UNet((given + 1, height, breadth), outputs, self.context, width=wide, blocks=1, smallest=4)
        self.net = net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as loaded weights are

    def forward(
        self,
        z: Float[Tensor, "n cells"],
        context: Float[Tensor, "n context"] | None = None,
        image: Float[Tensor, "n given h w"] | None = None,
        *,
        plus: Float[Tensor, "n channels h w"] | None = None,
    ) -> Float[Tensor, "n C H W"]:
        """z (n, H · W), context (n, context), image (n, given, h, w) → (n, C, H, W), an image that is added before the
        bounds where there is one: the net starts near it. Of another number of channels it is added as grey."""
        x = z.reshape(-1, 1, *self.size)
        if image is not None:
            x = torch.cat((to_size(image.to(x.dtype), self.size), x), 1)
        given = x.new_ones(len(x), self.context) if context is None else context
        y: Tensor = self.net(x, given)
        if plus is not None:
            plus = to_size(plus.float(), self.size)
            plus = plus if plus.shape[1] == y.shape[1] else plus.mean(1, keepdim=True)
            y = y.float() + ((NEAR * plus.clamp(-1, 1)).atanh() if self.bounded else plus)
        return y.tanh() if self.bounded else y


class PatchFeatures(nn.Module):
    """(n, channels, H, W) → features of patches (n · places, width), item by item: each sees about 22 × 22 cells."""

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width // 2, 4, stride=2, padding=1)
        self.second = nn.Conv2d(width // 2, width, 4, stride=2, padding=1)
        self.third = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "n channels H W"]) -> Float[Tensor, "n places width"]:
        """x (n, channels, H, W) → (n, places, width)."""
        h = leaky_relu(self.first(_at_least_two(x)), SLOPE)
        h = leaky_relu(self.second(_at_least_two(h)), SLOPE)
        features: Tensor = self.third(h)
        return features.flatten(2).transpose(1, 2)


def _at_least_two(h: Tensor) -> Tensor:
    """A side of one cell is doubled, for a kernel of 4 needs two."""
    for axis in (2, 3):
        h = h.repeat_interleave(2, axis) if h.shape[axis] < 2 else h
    return h
