"""What every flow shares: p(x | c) = N(f(x, c); 0, I) |det ∂f/∂x|, with f a chain of bijections.

A member builds its chain in the constructor; density, samples and codes follow. Codes times a temperature below 1 give
draws nearer to the modes (Kingma and Dhariwal, 2018, "Glow", arXiv 1807.03039, section 6), which leave p(x).
"""

from collections.abc import Callable, Iterable
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from pofx.core.event import Condition, Continuous
from pofx.core.generative import Decoding
from pofx.core.model import Batch, Density, Latent, OnePhase, Reparameterised, Tempered
from pofx.core.options import Temperature
from pofx.core.random import Streams
from pofx.families.flow.composition import Composition
from pofx.maths.distributions import zero_when_far
from pofx.nets.causal.masked import MaskedResidual
from pofx.nets.vector.conditioner import CONDITIONS
from pofx.nets.vector.mlp import ResidualMLP


class Flow(OnePhase, Reparameterised, Latent, Decoding, Tempered):
    """A model whose `flow` maps x to a standard normal code of the same shape."""

    events: ClassVar = (Continuous,)
    conditions: ClassVar = CONDITIONS
    best_density: ClassVar[Density] = Density.EXACT
    lossless = True

    flow: Composition

    @property
    def code(self) -> Continuous:  # type: ignore[override]
        """Codes have the shape of the event."""
        assert isinstance(self.event, Continuous)
        return Continuous(self.event.shape)

    @property
    def slow_decoding(self) -> bool:
        return any(part.slow_inverse for part in self.flow.bijections)

    def matrices(self) -> Iterable[nn.Parameter]:
        """The weights between hidden layers of perceptrons."""
        return [
            p for part in self.flow.modules() if isinstance(part, MaskedResidual | ResidualMLP) for p in part.matrices
        ]

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        return -self.flow.log_prob(batch.x, batch.condition).mean()

    def prepare(self, take: Callable[[int], Batch]) -> None:
        self.flow.start(take)

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        return zero_when_far(lambda near: self.flow.log_prob(near, condition), x)

    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        temperature: Temperature = 1.0,
    ) -> Float[Tensor, "{n} *event"]:
        """As `Model.sample`; codes are multiplied by the temperature, and at another than 1 the draws leave p(x)."""
        self.check_condition(n, condition)
        return self.flow.draw(condition, generator, temperature)

    def rsample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        return self.sample(n, condition, generator=generator)

    def encode(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        z: Tensor = self.flow(x, condition)[0]
        return z

    def decode(self, z: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        return self.flow.inverse(z, condition)

    def log_prior(self, z: Float[Tensor, "*items latent"]) -> Float[Tensor, "*items"]:
        return self.flow.base.log_prob(z).sum(-1)

    def prior_codes(self, n: int, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        return self.flow.base.draw(generator, self.flow.features).reshape(n, *self.code.shape)

    # ── the density of a model of codes ──

    @property
    def volume(self) -> Density:
        return self.density

    @property
    def random_codes(self) -> bool:
        return False

    def draw_code(
        self, x: Float[Tensor, "n *event"], condition: Condition | None = None, *, generator: Streams
    ) -> Float[Tensor, "n *event"]:
        return self.encode(x, condition)

    def weigh_code(
        self, x: Float[Tensor, "n *event"], condition: Condition | None = None, *, generator: Streams
    ) -> tuple[Float[Tensor, "n *event"], Float[Tensor, "n"]]:
        z, ladj = self.flow(x, condition)
        return z, ladj

    def draw_given(
        self, z: Float[Tensor, "n *event"], condition: Condition | None = None, *, generator: Streams
    ) -> Float[Tensor, "n *event"]:
        return self.decode(z, condition)


def by_size(d: int, dropout: float | None, octaves: int | None, few: int = 3) -> tuple[float, int]:
    """The dropout and octaves of conditioners for events of d dimensions, where they are left open: 0.2 from 16
    dimensions up, for such data overfits; 5 octaves up to `few`, for there edges must be sharp."""
    drop = dropout if dropout is not None else (0.2 if d >= 16 else 0.0)
    return drop, octaves if octaves is not None else (5 if d <= few else 0)
