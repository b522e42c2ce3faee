"""A critic beside the likelihood of an autoencoder: what decoders give must look like items, not like their averages.

VAE-GAN: Larsen et al., 2016, arXiv 1512.09300; VQ-GAN: Esser et al., 2021, arXiv 2012.09841. The critic has the hinge
loss on every place of a grid; distances between its features are added to the likelihood, which stays the model's
density. The weight follows the gradients of both terms at the decoder's last layer (Esser et al., eq. 7).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from pofx.core.event import Event
from pofx.maths.adversarial import LOSSES
from pofx.nets.vector.linear import Linear

WIDTH = 32  # channels of the first layer of the critic on grids
UNITS = 128
LARGEST = 1e4  # of the adaptive weight


class Adversary(nn.Module):
    """The critic of real items and means of p(x | z), both as the observation model's `plain` numbers."""

    def __init__(self, event: Event, inputs: int) -> None:
        super().__init__()
        grid = not isinstance(event, dict) and len(event.shape) == 3
        self.shape = event.shape if grid and not isinstance(event, dict) else (inputs,)
        self.layers = nn.ModuleList()
        if grid:
            halvings = max(1, min(3, int(math.log2(max(2, min(self.shape[1:]))))))
            channels = [self.shape[0], *(WIDTH << k for k in range(halvings))]
            for a, b in zip(channels[:-1], channels[1:], strict=True):
                self.layers.append(nn.Conv2d(a, b, 4, stride=2, padding=2))
            self.last: nn.Module = nn.Conv2d(channels[-1], 1, 1)
        else:
            self.layers.extend((Linear(inputs, UNITS), Linear(UNITS, UNITS)))
            self.last = Linear(UNITS, 1)

    def features(self, x: Float[Tensor, "n *numbers"]) -> list[Tensor]:
        """The outputs of every hidden layer."""
        h, found = x.reshape(-1, *self.shape), []
        for layer in self.layers:
            h = leaky_relu(layer(h), 0.2)
            found.append(h)
        return found

    def logits(self, features: list[Tensor]) -> Float[Tensor, "places"]:
        found: Tensor = self.last(features[-1])
        return found.flatten()

    def terms(
        self,
        fake: Float[Tensor, "n *numbers"],
        real: Float[Tensor, "n *numbers"],
        distortion: Float[Tensor, ""],
        last: Float[Tensor, "..."],
        weight: float,
    ) -> dict[str, Tensor]:
        """What the autoencoder descends: being taken for real, and the distance of features, weighted so that its
        gradient at the decoder's `last` weights is `weight` times that of the distortion."""
        seen = self.features(fake)
        with torch.no_grad():
            of_real = self.features(real)
        distance = sum((a - b).square().mean() for a, b in zip(seen, of_real, strict=True))
        taken = LOSSES["hinge"].generator(self.logits(of_real), self.logits(seen))
        term = taken + distance
        return {"adversary": weight * _share(distortion, term, last) * term}

    def critic_loss(self, real: Float[Tensor, "n *numbers"], fake: Float[Tensor, "m *numbers"]) -> Float[Tensor, ""]:
        return LOSSES["hinge"].critic(self.logits(self.features(real)), self.logits(self.features(fake)))


def _share(distortion: Tensor, term: Tensor, last: Tensor) -> float | Tensor:
    """|∂ distortion| / |∂ term| at the last weights; 1 where no gradients are taken."""
    if not (last.requires_grad and distortion.requires_grad and term.requires_grad):
        return 1.0
    slopes = [torch.autograd.grad(value, last, retain_graph=True)[0].norm() for value in (distortion, term)]
    return (slopes[0] / (slopes[1] + 1e-4)).clamp(max=LARGEST).detach()
