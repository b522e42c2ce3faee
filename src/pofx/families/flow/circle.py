"""Circular variables: angles and times of day, whose density lives on a circle and not on a line.

Inside a flow every circle is [-bound, bound) with its ends joined. Splines turn it by a phase and bend it with equal
slopes at the ends, networks see its sine and cosine, and its base distribution is uniform. Rezende et al. (2020),
"Normalizing flows on tori and spheres", arXiv 2002.02428, sections 2.1 and 2.2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pofx.core.random import Streams
from pofx.families.flow.composition import Base, Bijection
from pofx.nets.vector.fourier import waves

SEEN = 8.0  # standard deviations: a network that saw farther would extrapolate, and one far item cost a million nats


@dataclass(frozen=True)
class Circle:
    """Which dimensions are circles [-bound, bound): `where` is bool (d,)."""

    where: Tensor
    bound: float

    def of(self, dimensions: Int[Tensor, "some"]) -> "Circle":
        """The same for some of the dimensions."""
        return Circle(self.where[dimensions.to(self.where.device)], self.bound)

    def mask(self, x: Float[Tensor, "n d"]) -> Tensor:
        return self.where.to(x.device)[None]

    def wrapped(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Circles brought back to [-bound, bound), lines as they are."""
        return torch.where(self.mask(x), torch.remainder(x + self.bound, 2 * self.bound) - self.bound, x)


def sight_size(octaves: int, circle: Circle | None) -> int:
    """The number of features by which a network sees one dimension."""
    return 1 + 2 * (octaves if circle is None else max(octaves, 1))


def sight(x: Float[Tensor, "n d"], octaves: int, circle: Circle | None) -> Float[Tensor, "n d features"]:
    """What a network sees of x (n, d): lines up to SEEN and with their waves, circles by sines and cosines alone."""
    if circle is None:
        near = (SEEN * torch.tanh(x / SEEN))[..., None]
        return torch.cat((near, waves(x, octaves)[..., 1:]), -1) if octaves else near
    count = max(octaves, 1)
    turns = (math.pi / circle.bound) * x[..., None] * 2.0 ** torch.arange(count, dtype=x.dtype, device=x.device)
    round_ = torch.cat((torch.zeros_like(x)[..., None], turns.sin(), turns.cos()), -1)
    return torch.where(circle.mask(x)[..., None], round_, waves(x, count))


class Wrap(Bijection):
    """Circles of the given periods → [-bound, bound); lines stay. A circle comes back in [-period / 2, period / 2)."""

    factor: Tensor

    def __init__(self, circle: Circle, periods: Sequence[float]) -> None:
        """`periods` has one entry per dimension, of which those of lines do not matter."""
        super().__init__()
        self.circle = circle
        factor = torch.where(circle.where, 2 * circle.bound / torch.tensor(periods, dtype=torch.float64), 1.0)
        self.register_buffer("factor", factor.float(), persistent=False)

    def forward(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        return self.circle.wrapped(x * self.factor), self.factor.log().sum().expand(len(x))

    def inverse(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n d"]:
        return self.circle.wrapped(y) / self.factor


class OnLines(Bijection):
    """A bijection of the dimensions that are lines; circles pass."""

    line: Tensor

    def __init__(self, circle: Circle, inner: Bijection) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("line", (~circle.where).nonzero()[:, 0], persistent=False)

    def start(self, x: Float[Tensor, "n d"]) -> None:
        self.inner.start(x[:, self.line])

    def forward(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        y, ladj = self.inner(x[:, self.line], context)
        return x.index_copy(1, self.line, y), ladj

    def inverse(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n d"]:
        return y.index_copy(1, self.line, self.inner.inverse(y[:, self.line], context))


class Torus(Base):
    """Uniform on circles, standard normal on lines; a circle's draw is the normal one's probability, as an angle."""

    def __init__(self, circle: Circle) -> None:
        self.circle = circle

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        uniform = torch.full_like(z, -math.log(2 * self.circle.bound))
        return torch.where(self.circle.mask(z), uniform, super().log_prob(z))

    def draw(self, generator: Streams, d: int, temperature: float = 1.0) -> Float[Tensor, "n d"]:
        """As `Base.draw`; a temperature has no meaning on a circle, which keeps its uniform base."""
        z = super().draw(generator, d)
        angle = self.circle.bound * torch.erf(z / math.sqrt(2))
        return torch.where(self.circle.mask(z), angle, temperature * z)
