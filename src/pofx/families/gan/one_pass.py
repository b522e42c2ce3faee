"""Generators whose samples are one pass from plain noise: what every duel and drift without further controls shares."""

from jaxtyping import Float
from torch import Tensor

from pofx.core.event import Condition
from pofx.core.model import Tempered
from pofx.core.random import Streams
from pofx.families.gan.inversion import Inverting
from pofx.families.gan.players import Generator


class OnePass(Tempered, Inverting):
    """A model whose `generator` maps noise and a condition to an event."""

    generator: Generator
    latest: dict[str, Tensor]

    def telemetry(self) -> dict[str, Tensor]:
        return self.latest

    def sample(
        self, n: int, condition: Condition | None = None, *, generator: Streams, temperature: float = 1.0
    ) -> Float[Tensor, "{n} *event"]:
        """One pass, cut to the bounds of a bounded event; `temperature` is a factor on the noise."""
        self.check_condition(n, condition)
        z = generator.normal(self.generator.inputs) * temperature
        return self.bounded(self.generator(z, condition))
