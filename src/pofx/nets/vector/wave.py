"""Signals of one axis from noise, and the features of a critic that cannot hear their phase.

WaveGAN (Donahue, McAuley and Puckette, 2019, arXiv 1802.04208): long kernels (25) at stride 4, upwards by growing the
signal and convolving, downwards by strided convolutions. Upsampling leaves a tone whose phase is always the same, by
which a critic would recognise samples; phase shuffle (section 3.3) moves every item by a few places at random between
the critic's layers, with reflected ends.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv1d, leaky_relu, relu

from pofx.nets.vector.linear import Linear

KERNEL, STRIDE, COARSEST = 25, 4, 16
SLOPE = 0.2


def lengths(length: int) -> list[int]:
    """From the whole length down by quarters, rounding up, to at most COARSEST."""
    found = [length]
    while found[-1] > COARSEST:
        found.append(-(-found[-1] // STRIDE))
    return found


def shuffled(h: Float[Tensor, "n channels length"], most: int) -> Float[Tensor, "n channels length"]:
    """Every item moved by a whole number of places in [-most, most], its own; ends are reflected."""
    n, channels, length = h.shape
    most = min(most, length - 1)
    if most < 1:
        return h
    moves = torch.randint(-most, most + 1, (n, 1), device=h.device)
    at = (torch.arange(length, device=h.device) + moves).abs()
    at = torch.where(at > length - 1, 2 * (length - 1) - at, at)
    return h.gather(2, at[:, None].expand(n, channels, length))


class GrowingConv(nn.Conv1d):
    """A convolution of a signal that was grown by the nearest neighbour.

    Taps that meet the same place are added up first, one short kernel for each of STRIDE phases: the same numbers in 7
    products for 25.
    """

    taps: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, KERNEL, padding=KERNEL // 2)
        reach = -(-(KERNEL // 2) // STRIDE)  # places to either side
        place = torch.arange(STRIDE)[:, None] + torch.arange(KERNEL) - KERNEL // 2
        met = place.div(STRIDE, rounding_mode="floor")[:, None] == torch.arange(-reach, reach + 1)[:, None]
        self.register_buffer("taps", met.float(), persistent=False)  # (phases, places, taps)

    def grown(self, h: Float[Tensor, "n inputs short"], size: int) -> Float[Tensor, "n outputs long"]:
        """h (n, inputs, length) → the first `size` of STRIDE · length places: (n, outputs, size)."""
        n, _, length = h.shape
        kernel = torch.einsum("oik,pck->poic", self.weight, self.taps).flatten(0, 1)
        assert self.bias is not None
        y = conv1d(h, kernel, self.bias.repeat(STRIDE), padding=kernel.shape[2] // 2)
        return y.reshape(n, STRIDE, -1, length).permute(0, 2, 3, 1).flatten(2)[..., :size]


class WaveSynthesis(nn.Module):
    """Noise (n, inputs) → (n, length), in [-1, 1] if `bounded`."""

    def __init__(
        self, length: int, latent: int = 100, width: int = 32, *, context: int = 0, bounded: bool = True
    ) -> None:
        super().__init__()
        self.inputs, self.bounded = latent, bounded
        self.lengths = lengths(length)[::-1]
        widths = [min(width * 2**k, 8 * width) for k in range(len(self.lengths))][::-1]
        self.start = (widths[0], self.lengths[0])
        self.first = Linear(latent + context, widths[0] * self.lengths[0])
        self.ups = nn.ModuleList(GrowingConv(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.last = nn.Conv1d(widths[-1], 1, KERNEL, padding=KERNEL // 2)

    def forward(
        self, z: Float[Tensor, "n inputs"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n length"]:
        """z (n, inputs), context (n, context) → (n, length)."""
        h = relu(self.first(z if context is None else torch.cat((z, context), 1)).reshape(-1, *self.start))
        for up, size in zip(self.ups, self.lengths[1:], strict=True):
            h = relu(up.grown(h, size))  # type: ignore[operator]
        x: Tensor = self.last(h)[:, 0]
        return x.tanh() if self.bounded else x


class WaveFeatures(nn.Module):
    """(n, length) → features (n, outputs), with phase shuffle while training."""

    def __init__(self, length: int, width: int = 32, outputs: int = 64, *, shuffle: int = 2) -> None:
        super().__init__()
        self.shuffle = shuffle
        sizes = lengths(length)
        widths = [min(width * 2**k, 8 * width) for k in range(len(sizes))]
        self.first = nn.Conv1d(1, widths[0], KERNEL, padding=KERNEL // 2)
        self.downs = nn.ModuleList(
            nn.Conv1d(a, b, KERNEL, stride=STRIDE, padding=KERNEL // 2)
            for a, b in zip(widths, widths[1:], strict=False)
        )
        self.last = Linear(widths[-1] * sizes[-1], outputs)

    def forward(self, x: Float[Tensor, "n length"]) -> Float[Tensor, "n outputs"]:
        """x (n, length) → (n, outputs)."""
        h = leaky_relu(self.first(x[:, None]), SLOPE)
        for down in self.downs:
            h = leaky_relu(down(h), SLOPE)
            if self.training and self.shuffle:
                h = shuffled(h, self.shuffle)
        features: Tensor = self.last(h.flatten(1))
        return features
