"""Capabilities of some generative models: codes of a known distribution, normal components, a density under noise,
maps between noise and data, a posterior of classes, draws within intervals, samples that can be steered."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Float64, Shaped
from torch import Tensor

from pofx.core.errors import Unsupported
from pofx.core.event import Condition, Continuous
from pofx.core.model import Completing, Denoising, Encoding, Explicit, Factored, Latent, Model, Stepwise, X
from pofx.core.random import Streams


class Decoding(Encoding):
    """A model that draws by decoding a code of a known prior; by default the standard normal."""

    def log_prior(self, z: Float[Tensor, "*items latent"]) -> Float[Tensor, "*items"]:
        """log p(z) of flat codes over the last axis, differentiable."""
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)

    def prior_codes(self, n: int, *, generator: Streams) -> Float[Tensor, "{n} *code"]:
        """n draws of p(z)."""
        if not isinstance(self.code, Continuous):
            raise Unsupported(f"{self.label} has no real codes: choose a flow, a VAE or a GAN")
        return generator.normal(*self.code.shape)

    def expected(self, z: Float[Tensor, "n *code"], condition: Condition | None = None) -> X:
        """E[x | z], differentiable in z, and real where x is a class. By default `decode`."""
        return self.decode(z, condition)


class Emitting(Latent):
    """A model with a p(x | z) of which any dimensions can be summed out."""

    @abstractmethod
    def log_given(
        self, x: X, z: Shaped[Tensor, "n *code"], condition: Condition | None = None, *, known: X | None = None
    ) -> Float[Tensor, "n"]:
        """log p(x | z) in nats, of the dimensions that are `known` where these are stated: (n,)."""


class Forcing(Factored, Completing):
    """A model in one order of which any dimension can be given its value when its turn comes."""

    @abstractmethod
    def forced(
        self, n: int, condition: Condition | None = None, *, generator: Streams, known: Shaped[Tensor, "n *event"]
    ) -> X:
        """n events that equal `known` where it is not -1; the others are drawn given those before them alone. With the
        sum of the `log_prob_terms` of the known ones as a log-weight they are draws given these."""


@dataclass(frozen=True)
class Control:
    """A means of steering samples: lines of the same noise, each with its label and its options of sampling."""

    name: str
    lines: tuple[tuple[str, Mapping[str, Any]], ...]


class Steerable(Model):
    """A model whose samples can be steered after training."""

    @abstractmethod
    def controls(self) -> tuple[Control, ...]:
        """What of this instance can be steered, each with settings that show its effect; perhaps nothing."""


class NormalComponents(Explicit):
    """A model that is a finite mixture of normal distributions: posteriors of linear measurements are closed."""

    @abstractmethod
    def normals(
        self, condition: Shaped[Tensor, "1 *condition"] | None = None
    ) -> tuple[Float64[Tensor, "m"], Float64[Tensor, "m d"], Float64[Tensor, "m d d"]]:
        """Log-weights (m,), means (m, d) and covariance factors L, Σ = L Lᵀ, (m, d, d) of one condition."""


class Smoothed(Denoising, Explicit):
    """A denoising model that knows the density of items with a little Gaussian noise, beside that of the items."""

    @abstractmethod
    def log_prob_smoothed(
        self, x: X, noise: float, condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        """log p of x = item + noise · spread · ε and its error, as `log_prob_estimate`: (n,) nats, (n,) or None."""


class Noticing(Explicit):
    """A model that estimates how much noise there is in an item: what is unlike the training items seems noisy."""

    @abstractmethod
    def expected_noise(self, x: X, condition: Condition | None = None) -> Float[Tensor, "n"]:
        """The mean number of the level of noise, given the item: (n,), 0 for clean ones."""


class Leading(Denoising, Stepwise):
    """A denoising model with a map between any two times of its path, of which a few steps lead noise to data."""

    @abstractmethod
    def lead(self, z: X, start: Float[Tensor, "n"], stop: Float[Tensor, "n"], condition: Condition | None = None) -> X:
        """Where items z at the times `start` are at the times `stop`, earlier or later; differentiable in z.

        z = (1 - t) x + t noise of standardised items x; 1 is noise, 0 data. Before it was trained to, it need not lead
        to later times.
        """

    @abstractmethod
    def standardised(self, x: X) -> X:
        """Events → items of mean 0 and deviation 1: (x - mean) / `spread`."""

    @abstractmethod
    def restored(self, x: X) -> X:
        """The inverse of `standardised`."""


class Classifying(Explicit):
    """A model that knows the posterior of its condition, where that is one class, better than by one density each."""

    @abstractmethod
    def log_posterior(self, x: X) -> Float[Tensor, "n classes"]:
        """log p(class | x), classes as frequent as in training: (n, classes)."""


class Recalling(Model):
    """A model that leads a damaged item back to what it stores, without a code of it."""

    @abstractmethod
    def recall(self, x: X) -> X:
        """What the items x become: (n, *shape)."""


class Within(Model):
    """A model of real events that can draw them inside given intervals, dimension by dimension."""

    @abstractmethod
    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        low: Float[Tensor, "n *event"] | None = None,
        high: Float[Tensor, "n *event"] | None = None,
    ) -> X:
        """n events given low <= x <= high; equal ends are a value, infinite ones no knowledge.

        The dimensions of which something is known are the same in all events.
        """
