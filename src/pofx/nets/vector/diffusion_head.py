"""Heads of real tokens: a mixture of normals, or a small diffusion given what a network makes of the other tokens.

Li, Tian, Li, Deng and He, 2024, "Autoregressive image generation without vector quantization", arXiv 2406.11838:
a token is drawn by a perceptron that takes its noise away, given the outputs of a transformer at its place. Here the
outputs also have a normal distribution of the token, whose residual the diffusion learns: of unit variance, so that
noise and token are of one size everywhere, and a start that is a model already. Its log p is the variational bound in
continuous time (`maths.noise_bound`), of which every draw of a level and a noise is an unbiased estimate.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pofx.core.random import Streams
from pofx.maths.distributions import normal_log_prob
from pofx.maths.mixture_head import NARROWEST, MixtureHead
from pofx.maths.noise_bound import FIRST, SPAN, likelihood_angles
from pofx.nets.vector.fourier import waves
from pofx.nets.vector.mlp import ResidualMLP
from pofx.nets.vector.time import TimeEmbedding

HEADS = ("mixture", "diffusion")
FEW, OCTAVES = 3, 3  # numbers of a token up to which the perceptron sees waves of them


class DiffusionHead(nn.Module):
    """A token of `numbers` given `size` raw outputs: features, a mean and a log standard deviation.

    Args:
        steps: of Heun's method for a draw, along the probability flow.
        noises: draws of a level and a noise for each token in training.
    """

    def __init__(self, numbers: int, width: int, depth: int, *, steps: int = 12, noises: int = 4) -> None:
        super().__init__()
        self.numbers, self.width, self.steps, self.noises = numbers, width, steps, noises
        self.size = width + 2 * numbers
        self.octaves = OCTAVES if numbers <= FEW else 0
        self.time = TimeEmbedding(width)
        self.net = ResidualMLP(numbers * (1 + 2 * self.octaves), numbers, width, depth, context=width, zero=True)

    def parts(
        self, raw: Float[Tensor, "*places size"]
    ) -> tuple[Float[Tensor, "*places width"], Float[Tensor, "*places numbers"], Float[Tensor, "*places numbers"]]:
        """Features, the mean and the log standard deviation."""
        features, mean, free = raw.split((self.width, self.numbers, self.numbers), -1)
        return features, mean.float(), NARROWEST * torch.tanh(free.float() / NARROWEST)

    def velocity(
        self, z: Float[Tensor, "*places numbers"], phi: Float[Tensor, "*places"], features: Float[Tensor, "*places w"]
    ) -> Float[Tensor, "*places numbers"]:
        """d z / d angle of the probability flow of residuals."""
        seen = waves(z.reshape(-1, self.numbers), self.octaves).flatten(1)
        known = self.time(phi.reshape(-1) * (2 / math.pi)) + features.reshape(-1, self.width)
        out: Tensor = self.net(seen, nn.functional.silu(known))
        return out.float().reshape(z.shape)

    def _error(
        self,
        y: Float[Tensor, "*places numbers"],
        phi: Float[Tensor, "*places"],
        noise: Float[Tensor, "*places numbers"],
        features: Float[Tensor, "*places w"],
        there: Bool[Tensor, "*places numbers"],
    ) -> Float[Tensor, "*places numbers"]:
        cos, sin = phi.cos()[..., None], phi.sin()[..., None]
        error = self.velocity(cos * y + sin * noise, phi, features) - (cos * noise - sin * y)
        return error.masked_fill(~there, 0.0)

    def losses(
        self,
        x: Float[Tensor, "*places numbers"],
        raw: Float[Tensor, "*places size"],
        there: Bool[Tensor, "*#places numbers"] | None = None,
    ) -> Float[Tensor, "*places"]:
        """What training descends for each token: -log of its normal density, and the squared error of the velocity of
        its residual, at angles that are uniform in one half and near the data in the other."""
        features, mean, log_std = self.parts(raw)
        known = _all(x) if there is None else there.expand(x.shape)
        normal = normal_log_prob(x, mean, log_std).masked_fill(~known, 0.0).sum(-1)
        y = ((x - mean) * (-log_std).exp()).detach().masked_fill(~known, 0.0)
        total = torch.zeros_like(normal)
        for k in range(self.noises):
            u = torch.rand(y.shape[:-1], dtype=y.dtype, device=y.device)
            phi = likelihood_angles(u) if k % 2 else u * (math.pi / 2)
            noise = torch.randn_like(y).masked_fill(~known, 0.0)
            total = total + self._error(y, phi, noise, features, known).square().sum(-1)
        return total / self.noises - normal

    def estimates(
        self,
        x: Float[Tensor, "n tokens numbers"],
        raw: Float[Tensor, "n tokens size"],
        there: Bool[Tensor, "*#n tokens numbers"] | None,
        streams: Streams,
        draws: int,
    ) -> Float[Tensor, "{draws} n tokens"]:
        """Estimates of the bound on log p of each token in nats, from noises that are the item's own."""
        known = _all(x) if there is None else there.expand(x.shape)
        start, found = streams.uniform(x.shape[1]), []
        for k in range(draws):
            noise = streams.normal(x.shape[1], self.numbers)
            found.append(self.bound(x, raw, known, (start + k) / draws, noise))
        return torch.stack(found)

    def bound(
        self,
        x: Float[Tensor, "*places numbers"],
        raw: Float[Tensor, "*places size"],
        there: Bool[Tensor, "*#places numbers"],
        u: Float[Tensor, "*places"],
        noise: Float[Tensor, "*places numbers"],
    ) -> Float[Tensor, "*places"]:
        """An unbiased estimate of the bound on log p of each token, from u in (0, 1) and a normal noise."""
        features, mean, log_std = self.parts(raw)
        there = there.expand(x.shape)
        y = ((x - mean) * (-log_std).exp()).masked_fill(~there, 0.0)
        phi, noise = likelihood_angles(u), noise.masked_fill(~there, 0.0)
        count = there.sum(-1)
        error = self._error(y, phi, noise, features, there).square().sum(-1)
        error = error - phi.cos().square() * (noise.square().sum(-1) - count)  # near the data the noise itself: mean 0
        ends = -0.5 * math.log(2 * math.pi * math.e) - math.log(math.tan(FIRST))
        return count * ends - SPAN * error - log_std.masked_fill(~there, 0.0).sum(-1)

    def draw(
        self,
        raw: Float[Tensor, "n size"],
        u: Float[Tensor, "n"],
        noise: Float[Tensor, "n numbers"],
        temperature: float = 1.0,
    ) -> Float[Tensor, "n numbers"]:
        """A token of each item from normal noise, which the temperature scales; u is not used."""
        return self._walked(raw, noise, None, None, temperature)

    def draw_given(
        self,
        raw: Float[Tensor, "n size"],
        u: Float[Tensor, "n"],
        noise: Float[Tensor, "n numbers"],
        x: Float[Tensor, "n numbers"],
        known: Bool[Tensor, "n numbers"],
        temperature: float = 1.0,
    ) -> Float[Tensor, "n numbers"]:
        """As `draw`, where the numbers of x that are `known` follow the line from their noise to what they are: their
        influence on the others is approximate."""
        if not bool(known.any()):
            return self.draw(raw, u, noise, temperature)
        return self._walked(raw, noise, x, known, temperature)

    def _walked(
        self, raw: Tensor, noise: Tensor, x: Tensor | None, known: Tensor | None, temperature: float
    ) -> Float[Tensor, "n numbers"]:
        features, mean, log_std = self.parts(raw)
        y = None if x is None else (x - mean) * (-log_std).exp()

        def held(z: Tensor, phi: Tensor) -> Tensor:
            return z if y is None or known is None else torch.where(known, phi.cos() * y + phi.sin() * noise, z)

        every = (math.pi / 2) * torch.linspace(1.0, 0.0, self.steps + 1, device=raw.device).square()  # short at the end
        z, n = temperature * noise, len(raw)
        for k in range(self.steps):
            here, there = every[k], every[k + 1]
            slope = self.velocity(held(z, here), here.expand(n), features)
            guess = z + (there - here) * slope
            if k < self.steps - 1:
                second = self.velocity(held(guess, there), there.expand(n), features)
                guess = z + 0.5 * (there - here) * (slope + second)
            z = guess
        made = mean + log_std.exp() * z
        return made if x is None or known is None else torch.where(known, x, made)


TokenHead = MixtureHead | DiffusionHead


def token_head(kind: str, numbers: int, components: int, width: int, depth: int, noises: int) -> TokenHead:
    """The head of tokens of so many numbers."""
    if kind == "mixture":
        return MixtureHead(numbers, components)
    return DiffusionHead(numbers, width, depth, noises=noises)


def _all(x: Tensor) -> Tensor:
    return torch.ones_like(x, dtype=torch.bool)
