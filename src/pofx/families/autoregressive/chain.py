"""The chain rule: log p(x) = sum over d of log p(x_d | x_1, …, x_{d-1}), exactly, for every order of the dimensions."""

from abc import abstractmethod
from typing import ClassVar

from jaxtyping import Float, Shaped
from torch import Tensor

from pofx.core.event import dims
from pofx.core.model import Batch, Density, Explicit, OnePhase
from pofx.maths.distributions import sum_event


class Chain(OnePhase, Explicit):
    """A model that knows log p(x_d | x_1, …, x_{d-1}) for each dimension d."""

    density: ClassVar[Density] = Density.EXACT

    @abstractmethod
    def log_prob_terms(
        self, x: Shaped[Tensor, "n *event"], condition: Shaped[Tensor, "n *condition"] | None = None
    ) -> Float[Tensor, "n *event"]:
        """log p(x_d | the dimensions before d) in nats, in the place of x_d: (n, *event.shape)."""

    def log_prob(
        self, x: Shaped[Tensor, "n *event"], condition: Shaped[Tensor, "n *condition"] | None = None
    ) -> Float[Tensor, "n"]:
        """log p(x | condition) in nats: (n,)."""
        return sum_event(self.log_prob_terms(x, condition))

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats per dimension."""
        return -self.log_prob(batch.x, batch.condition).mean() / dims(self.event)
