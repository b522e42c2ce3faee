"""A toy family and representation for tests of the trainer and the contract: a Gaussian with a learned mean."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pofx.core.event import Continuous, Event
from pofx.core.model import Batch, Density, Explicit, OnePhase, Phase
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation
from pofx.maths.distributions import normal_log_prob, sum_event


class Gaussian(OnePhase, Explicit):
    """A Gaussian with learned mean and scale."""

    name, source, events, best_density = "toy-gaussian", "Gauss (1809)", (Continuous,), Density.EXACT

    def __init__(self, event: Event, condition: Event | None = None, *, scale: float = 1.0, poison: int = -1) -> None:
        super().__init__(event, condition)
        self.scale, self.poison = scale, poison
        self.mean = nn.Parameter(torch.zeros(event.shape))
        self.log_std = nn.Parameter(torch.zeros(event.shape))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def log_prob(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return sum_event(normal_log_prob(x * self.scale, self.mean, self.log_std))

    def loss(self, batch: Batch) -> Tensor:
        if self.training:
            self.seen += 1
        loss = -self.log_prob(batch.x).mean() + 0.01 * self.mean.sum() * torch.randn(())
        return loss * float("nan") if int(self.seen) == self.poison else loss

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("fit", tuple(self.parameters()), self.loss),)

    def sample(self, n: int, condition: Tensor | None = None, *, generator: Streams) -> Tensor:
        return self.mean + self.log_std.exp() * generator.normal(*self.event.shape)


class Plain(Representation):
    """Float vectors as they are."""

    kind: ClassVar[str] = "plain"
    name: ClassVar[str] = "plain"
    measure: ClassVar[str] = "Lebesgue"
    volume: ClassVar[Density] = Density.EXACT

    def __init__(self, width: int) -> None:
        self.width, self.event = width, Continuous((width,))

    @classmethod
    def fit(cls, items: Items, **options: Any) -> "Plain":
        return cls(items.values.shape[1])

    def tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32)

    def items(self, raw: Tensor) -> Any:
        return raw.numpy()

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return raw + 0.1 * generator.normal(self.width), torch.zeros(len(raw))

    def decode(self, x: Tensor) -> Tensor:
        return x

    @property
    def dims(self) -> int:
        return self.width
