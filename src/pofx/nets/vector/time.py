"""A time in [0, 1] → a vector (Vaswani et al., 2017, arXiv 1706.03762, as in Ho et al., 2020, arXiv 2006.11239).

Times are multiplied by a rate first, by default 1000: unscaled, the sinusoids of all times in [0, 1] are nearly the
same vector. Where outputs are differentiated in the time the rate must be small (Lu and Song, 2024, arXiv 2410.11081).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.nets.vector.linear import Linear


def sinusoids(t: Float[Tensor, "n"], width: int, rate: float = 1000.0) -> Float[Tensor, "n {width}"]:
    """t (n,) in [0, 1] → (n, width): cosines and sines of rate · t at frequencies from 1 down to 1/10000."""
    half = width // 2
    frequency = torch.exp(-math.log(10_000.0) * torch.arange(half, device=t.device) / half)
    phase = rate * t[:, None].float() * frequency
    return torch.cat((phase.cos(), phase.sin()), -1)


class TimeEmbedding(nn.Module):
    """Sinusoids, then a perceptron: t (n,) → (n, width)."""

    def __init__(self, width: int, frequencies: int = 64, rate: float = 1000.0) -> None:
        super().__init__()
        self.frequencies, self.rate = frequencies, rate
        self.layers = nn.Sequential(Linear(frequencies, width), nn.SiLU(), Linear(width, width))

    def forward(self, t: Float[Tensor, "n"]) -> Float[Tensor, "n width"]:
        embedded: Tensor = self.layers(sinusoids(t, self.frequencies, self.rate))
        return embedded
