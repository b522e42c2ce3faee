"""Observation models p(x | z): of each scalar of x, given a decoder's outputs. Each sums or integrates to 1.

`outputs` numbers per scalar come in as (n, *shape, outputs); `start` turns the data's marginals into the biases with
which training begins, so that the decoder only has to learn the differences.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pofx.core.event import Bounded, Continuous, Discrete
from pofx.core.random import Streams
from pofx.maths import discretised_logistic
from pofx.maths.distributions import categorical_draw, categorical_log_prob, class_counts, normal_log_prob


class Categorical(nn.Module):
    """A softmax over the classes."""

    def __init__(self, event: Discrete) -> None:
        super().__init__()
        self.event, self.outputs = event, event.largest

    def start(self, x: Int[Tensor, "n *event"]) -> Float[Tensor, "*event outputs"]:
        counts = class_counts(x, self.event.largest).float()
        return ((counts + 0.1) / (counts + 0.1).sum(-1, keepdim=True)).log()

    def log_prob(self, raw: Float[Tensor, "n *event outputs"], x: Int[Tensor, "n *event"]) -> Float[Tensor, "n"]:
        return categorical_log_prob(raw, x).flatten(1).sum(1)

    def draw(self, raw: Float[Tensor, "n *event outputs"], generator: Streams) -> Int[Tensor, "n *event"]:
        return categorical_draw(raw.float(), generator.uniform(*self.event.shape))

    def mode(self, raw: Float[Tensor, "n *event outputs"]) -> Int[Tensor, "n *event"]:
        return raw.argmax(-1)

    def mean(self, raw: Float[Tensor, "n *event outputs"]) -> Float[Tensor, "n *event"]:
        return raw.float().softmax(-1) @ torch.arange(self.outputs, dtype=torch.float32, device=raw.device)


class LogisticMixture(nn.Module):
    """A mixture of discretised logistics: many ordered classes for few numbers."""

    def __init__(self, event: Discrete, components: int) -> None:
        super().__init__()
        self.event, self.components, self.outputs = event, components, 3 * components

    def start(self, x: Int[Tensor, "n *event"]) -> Float[Tensor, "*event outputs"]:
        scaled = 2.0 * x.float() / (self.event.largest - 1) - 1.0
        spread = torch.linspace(-1.0, 1.0, self.components + 2, dtype=torch.float32)[1:-1].to(x.device)
        means = scaled.mean(0)[..., None] + scaled.std(0, unbiased=False)[..., None] * spread
        log_scales = (scaled.std(0, unbiased=False)[..., None] * 0.5 + 1e-2).log().expand_as(means)
        return torch.cat((torch.zeros_like(means), means, log_scales), -1)

    def log_prob(self, raw: Float[Tensor, "n *event outputs"], x: Int[Tensor, "n *event"]) -> Float[Tensor, "n"]:
        return discretised_logistic.log_mass(raw, x, self.event.largest).flatten(1).sum(1)

    def draw(self, raw: Float[Tensor, "n *event outputs"], generator: Streams) -> Int[Tensor, "n *event"]:
        return discretised_logistic.draw(raw, generator.uniform(*self.event.shape, 2), self.event.largest)

    def mode(self, raw: Float[Tensor, "n *event outputs"]) -> Int[Tensor, "n *event"]:
        return discretised_logistic.mode(raw, self.event.largest)

    def mean(self, raw: Float[Tensor, "n *event outputs"]) -> Float[Tensor, "n *event"]:
        logits, means, _ = raw.float().chunk(3, -1)
        return ((logits.softmax(-1) * means.clamp(-1, 1)).sum(-1) + 1) * 0.5 * (self.event.largest - 1)


class Gaussian(nn.Module):
    """A normal with mean and log-scale from the decoder, in units of the data's own spread; the scale has a floor.

    On a Bounded event the little mass beyond [-1, 1] is lost to the density (which then integrates to less than 1, as a
    bound may), and draws are clamped.
    """

    lowest = -5.0

    def __init__(self, event: Continuous) -> None:
        super().__init__()
        self.event, self.outputs = event, 2
        self.spread: Tensor
        self.register_buffer("spread", torch.ones(event.shape))

    def start(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "*event outputs"]:
        self.spread.copy_(x.std(0, unbiased=False).clamp(min=1e-3))
        return torch.stack((x.mean(0) / self.spread, torch.full_like(self.spread, -0.5)), -1)

    def normal(self, raw: Float[Tensor, "n *event 2"]) -> tuple[Float[Tensor, "n *event"], Float[Tensor, "n *event"]]:
        """Mean and log-scale in the data's unit, the log-scale smoothly above its floor."""
        mean, free = raw.float().unbind(-1)
        log_std = self.lowest + torch.nn.functional.softplus(free - self.lowest)
        return mean * self.spread, log_std + self.spread.log()

    def log_prob(self, raw: Float[Tensor, "n *event outputs"], x: Float[Tensor, "n *event"]) -> Float[Tensor, "n"]:
        mean, log_std = self.normal(raw)
        return normal_log_prob(x, mean, log_std).flatten(1).sum(1)

    def draw(self, raw: Float[Tensor, "n *event outputs"], generator: Streams) -> Float[Tensor, "n *event"]:
        mean, log_std = self.normal(raw)
        x = mean + log_std.exp() * generator.normal(*self.event.shape)
        return x.clamp(-1.0, 1.0) if isinstance(self.event, Bounded) else x

    def mode(self, raw: Float[Tensor, "n *event outputs"]) -> Float[Tensor, "n *event"]:
        mean = self.normal(raw)[0]
        return mean.clamp(-1.0, 1.0) if isinstance(self.event, Bounded) else mean

    def mean(self, raw: Float[Tensor, "n *event outputs"]) -> Float[Tensor, "n *event"]:
        return self.mode(raw)


Observation = Categorical | LogisticMixture | Gaussian
