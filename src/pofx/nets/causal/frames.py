"""Frames → steps: a signal of a few frames as features of every step of a longer sequence.

Frames are mixed with their neighbours (they are given, so both sides may be seen), then interpolated linearly between
the middles of the stretches that they represent: the local conditioning of van den Oord et al., 2016, "WaveNet: a
generative model for raw audio", arXiv 1609.03499 (section 2.5), with a fixed kernel in place of a transposed
convolution.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Frames(nn.Module):
    """A signal (n, channels, frames) that spans `length` steps → features (n, steps, width) at any of its steps."""

    def __init__(self, channels: int, length: int, width: int = 32) -> None:
        super().__init__()
        self.length = length
        self.mix = nn.Conv1d(channels, width, 3, padding=1)

    def forward(self, signal: Float[Tensor, "n channels frames"]) -> Float[Tensor, "n frames width"]:
        """Features of the frames: (n, channels, frames) → (n, frames, width)."""
        mixed: Tensor = self.mix(signal.to(self.mix.weight.dtype))
        return mixed.transpose(1, 2)

    def at(
        self, features: Float[Tensor, "n frames width"], steps: Int[Tensor, "n steps"]
    ) -> Float[Tensor, "n steps width"]:
        """Features of frames → features of steps: (n, frames, width), int64 (n, steps) → (n, steps, width).

        Steps before the first and behind the last take the features of the outer frames.
        """
        last = features.shape[1] - 1
        place = ((steps + 0.5) * (features.shape[1] / self.length) - 0.5).clamp(0, last).to(features.dtype)
        low = place.floor()
        row = torch.arange(len(features), device=steps.device)[:, None]
        a, b = features[row, low.long()], features[row, (low.long() + 1).clamp(max=last)]
        return torch.lerp(a, b, (place - low)[..., None])
