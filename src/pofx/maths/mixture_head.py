"""Mixtures of normals with independent coordinates as the output of a network: density and draws of a real token.

Bishop (1994), "Mixture density networks"; one per token of a transformer: Tschannen et al. (2024), "GIVT: generative
infinite-vocabulary transformers", arXiv 2312.02116. A token of one number has the head of RNADE (Uria, Murray and
Larochelle, 2013, arXiv 1306.0186). Raw outputs of zero are components at evenly spread means, which differ from the
start.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pofx.maths.distributions import categorical_draw, normal_log_prob

NARROWEST = 7.0  # log of how much narrower than the data a component can be, and wider


class MixtureHead:
    """`components` normals of `numbers` coordinates, of `size` raw outputs; data are standardised."""

    def __init__(self, numbers: int, components: int) -> None:
        self.numbers, self.components = numbers, components
        self.size = components * (1 + 2 * numbers)

    def parts(
        self, raw: Float[Tensor, "*places size"]
    ) -> tuple[Float[Tensor, "*places k"], Float[Tensor, "*places k numbers"], Float[Tensor, "*places k numbers"]]:
        """Log-weights, means and log standard deviations."""
        k, m = self.components, self.numbers
        raw = raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw
        logits, means, free = raw.split((k, k * m, k * m), -1)
        spread = torch.special.ndtri((torch.arange(k, device=raw.device, dtype=raw.dtype) + 0.5) / k)
        means = means.unflatten(-1, (k, m)) + spread[:, None]
        log_std = NARROWEST * torch.tanh(free.unflatten(-1, (k, m)) / NARROWEST) - 0.5 * math.log(k)
        return logits.log_softmax(-1), means, log_std

    def log_prob(
        self,
        x: Float[Tensor, "*places numbers"],
        raw: Float[Tensor, "*places size"],
        there: Bool[Tensor, "*#places numbers"] | None = None,
    ) -> Float[Tensor, "*places"]:
        """log p of each token in nats; of those numbers alone that are `there`."""
        log_weight, means, log_std = self.parts(raw)
        each = normal_log_prob(x[..., None, :], means, log_std)
        if there is not None:
            each = each.masked_fill(~there[..., None, :], 0.0)
        return (log_weight + each.sum(-1)).logsumexp(-1)

    def losses(
        self,
        x: Float[Tensor, "*places numbers"],
        raw: Float[Tensor, "*places size"],
        there: Bool[Tensor, "*#places numbers"] | None = None,
    ) -> Float[Tensor, "*places"]:
        """What training descends for each token: -log p."""
        return -self.log_prob(x, raw, there)

    def draw(
        self,
        raw: Float[Tensor, "n size"],
        u: Float[Tensor, "n"],
        noise: Float[Tensor, "n numbers"],
        temperature: float = 1.0,
    ) -> Float[Tensor, "n numbers"]:
        """A token of each item, from uniform u and normal noise; the temperature scales the noise."""
        log_weight, means, log_std = self.parts(raw)
        chosen = categorical_draw(log_weight, u)
        row = torch.arange(len(raw), device=raw.device)
        return means[row, chosen] + temperature * log_std[row, chosen].exp() * noise

    def draw_given(
        self,
        raw: Float[Tensor, "n size"],
        u: Float[Tensor, "n"],
        noise: Float[Tensor, "n numbers"],
        x: Float[Tensor, "n numbers"],
        known: Bool[Tensor, "n numbers"],
        temperature: float = 1.0,
    ) -> Float[Tensor, "n numbers"]:
        """As `draw`, given the numbers of x that are `known`: components count by how well they explain these."""
        log_weight, means, log_std = self.parts(raw)
        fit = normal_log_prob(x[:, None, :], means, log_std).masked_fill(~known[:, None, :], 0.0).sum(-1)
        chosen = categorical_draw((log_weight + fit).log_softmax(-1), u)
        row = torch.arange(len(raw), device=raw.device)
        return torch.where(known, x, means[row, chosen] + temperature * log_std[row, chosen].exp() * noise)
