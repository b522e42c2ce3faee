"""Normalizing flows: a chain of bijections carries x to a standard normal z, and log p(x) = log N(z) + log|det dz/dx|.

The bijections act on vectors; events of any shape are flattened. Change of variables: Dinh, Krueger and Bengio (2015),
"NICE", arXiv 1410.8516; ActNorm and LU-parametrised linear maps: Kingma and Dhariwal (2018), "Glow", arXiv 1807.03039.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pofx.core.event import Condition, Event, dims
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.maths.distributions import normal_log_prob
from pofx.nets.vector.conditioner import Conditioner

_LEAST_STD = 1e-6  # a feature that varies less than this is left at its scale


class Bijection(nn.Module, ABC):
    """An invertible map of vectors whose log-determinant is cheap."""

    autocasts: ClassVar[bool] = False  # whether it keeps the networks alone under a caller's autocast; else none of it
    slow_inverse: ClassVar[bool] = False  # whether the inverse takes a pass for each dimension, the map itself one

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """x (n, d) → y (n, d) and log|det dy/dx| (n,)."""

    @abstractmethod
    def inverse(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n d"]:
        """y (n, d) → x (n, d)."""

    def start(self, x: Float[Tensor, "n d"]) -> None:
        """Set data-dependent values from a first batch x (n, d). Default: nothing."""


class ActNorm(Bijection):
    """y = (x - shift) · exp(log_scale); `start` makes the first batch's mean 0 and standard deviation 1."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(features))
        self.log_scale = nn.Parameter(torch.zeros(features))

    def start(self, x: Float[Tensor, "n d"]) -> None:
        std = x.std(0, correction=0)  # 0, not NaN, for a batch of one
        with torch.no_grad():
            self.shift.copy_(x.mean(0))
            self.log_scale.copy_(torch.where(std > _LEAST_STD, -std.clamp(min=_LEAST_STD).log(), 0.0))

    def forward(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        return (x - self.shift) * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def inverse(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n d"]:
        return y * (-self.log_scale).exp() + self.shift


class LinearMap(Bijection):
    """y = P L U x + b: a fixed permutation, a unit lower and an upper triangular matrix; both start as the identity.

    The permutation is `order`: y_i starts as x_order[i].
    """

    order: Tensor
    back: Tensor

    def __init__(self, features: int, order: Int[Tensor, "{features}"]) -> None:
        super().__init__()
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort(), persistent=False)
        self.lower = nn.Parameter(torch.zeros(features, features))
        self.upper = nn.Parameter(torch.zeros(features, features))
        self.log_diagonal = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def _triangles(self, dtype: torch.dtype) -> tuple[Float[Tensor, "d d"], Float[Tensor, "d d"]]:
        eye = torch.eye(len(self.bias), dtype=dtype, device=self.bias.device)
        return self.lower.tril(-1) + eye, self.upper.triu(1) + self.log_diagonal.exp().diag().to(dtype)

    def forward(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        lower, upper = self._triangles(x.dtype)
        y = nn.functional.linear(x, (lower @ upper)[self.order], self.bias.to(x.dtype))
        return y, self.log_diagonal.sum().expand(len(x))

    def inverse(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n d"]:
        lower, upper = self._triangles(y.dtype)
        v = (y - self.bias)[:, self.back].T
        v = torch.linalg.solve_triangular(lower, v, upper=False, unitriangular=True)
        x: Tensor = torch.linalg.solve_triangular(upper, v, upper=True).T
        return x


class Base:
    """The distribution of codes, dimension by dimension: a standard normal."""

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return normal_log_prob(z)

    def draw(self, generator: Streams, d: int, temperature: float = 1.0) -> Float[Tensor, "n d"]:
        """One code (n, d) per stream, scaled by the temperature."""
        return temperature * generator.normal(d)


class Composition(nn.Module):
    """Bijections from x to a code of a simple distribution, given a condition; the density of an event of any shape.

    A condition is embedded once and handed to every bijection. Sums over dimensions are float32 at least, and no
    bijection runs under autocast, except those that declare that they can (`autocasts`).
    """

    def __init__(
        self, event: Event, condition: Event | None, context: int, parts: Iterable[Bijection], base: Base | None = None
    ) -> None:
        super().__init__()
        assert not isinstance(event, dict)
        self.shape = event.shape
        self.features = dims(event)
        self.base = base or Base()
        self.embed = Conditioner(condition, context)
        self.parts = nn.ModuleList(parts)

    @property
    def bijections(self) -> list[Bijection]:
        return [part for part in self.parts if isinstance(part, Bijection)]

    def forward(
        self,
        x: Float[Tensor, "n *event"],
        condition: Condition | None = None,
        drop: Bool[Tensor, "n"] | None = None,
    ) -> tuple[Float[Tensor, "n *event"], Float[Tensor, "n"]]:
        """x (n, *shape) → code (n, *shape) and log|det| (n,); `drop`: where the condition is not known, for flows that
        learn without it too."""
        device, wanted = x.device.type, torch.is_autocast_enabled(x.device.type)
        with torch.autocast(device, enabled=False):
            context = self.embed(condition, drop)
            z = _single(x).reshape(len(x), self.features)
            total = torch.zeros(len(x), dtype=z.dtype, device=x.device)
            for part in self.bijections:
                with torch.autocast(device, enabled=wanted and part.autocasts):
                    z, ladj = part(z, context)
                total = total + ladj
        return z.reshape(x.shape), total

    def inverse(self, z: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """code (n, *shape) → x (n, *shape)."""
        device, wanted = z.device.type, torch.is_autocast_enabled(z.device.type)
        with torch.autocast(device, enabled=False):
            context = self.embed(condition)
            x: Tensor = _single(z).reshape(len(z), self.features)
            for part in reversed(self.bijections):
                with torch.autocast(device, enabled=wanted and part.autocasts):
                    x = part.inverse(x, context)
        return x.reshape(z.shape)

    def log_prob(
        self,
        x: Float[Tensor, "n *event"],
        condition: Condition | None = None,
        drop: Bool[Tensor, "n"] | None = None,
    ) -> Float[Tensor, "n"]:
        """log p(x | condition) in nats: (n,)."""
        z, ladj = self(x, condition, drop)
        log_p: Tensor = self.base.log_prob(z.reshape(len(x), self.features)).sum(-1) + ladj
        return log_p

    def draw(
        self,
        condition: Condition | None,
        generator: Streams,
        temperature: float = 1.0,
    ) -> Float[Tensor, "n *event"]:
        """One x (n, *shape) per stream; codes are multiplied by the temperature."""
        z = self.base.draw(generator, self.features, temperature).reshape(generator.n, *self.shape)
        weight = next(self.parts.parameters())
        return self.inverse(z.to(weight.device, torch.promote_types(weight.dtype, z.dtype)), condition)

    def start(self, take: Callable[[int], Batch], items: int = 2048) -> None:
        """Let every bijection see a first batch, in turn."""
        batch = take(items)
        context = self.embed(batch.condition)
        z = batch.x.reshape(len(batch.x), self.features)
        for part in self.bijections:
            part.start(z)
            z, _ = part(z, context)


def _single(x: Tensor) -> Tensor:
    """In float32 at least, whatever the precision of the weights."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def shuffled(features: int, seed: int) -> Int[Tensor, "{features}"]:
    """A fixed random permutation: int64 (features,)."""
    return torch.randperm(features, generator=torch.Generator().manual_seed(seed))
