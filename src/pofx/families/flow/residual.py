"""Residual flows: y = x + g(x) with a perceptron g whose Lipschitz constant is below 1, so that the sum is invertible.

Behrmann et al., 2019, "Invertible residual networks", arXiv 1811.00995 (the map, the fixed-point inverse); Chen et al.,
2019, "Residual flows for invertible generative modeling", arXiv 1906.02735 (the unbiased log-determinant, eqs. 6 to 8).
Up to `EXACT_DIMS` numbers log|det(I + J)| comes from the whole Jacobian. Beyond, it is the power series

    log det(I + J) = Σ_k (-1)^(k+1) / k · E[v·J^k v],

whose first terms are always summed and whose tail ends at a random place, its terms divided by the probability to reach
them: an estimate without bias. Noise of training is new in each step; that of an answer is a function of the item.
"""

import math
import warnings
from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.event import Condition, Continuous, Event, dims
from pofx.core.model import Batch, Density
from pofx.core.options import Depth, OpenUnit, Range, Width
from pofx.core.random import Streams
from pofx.families.flow.composition import ActNorm, Bijection, Composition
from pofx.families.flow.flow import Flow
from pofx.maths.distributions import near_items, normal_log_prob
from pofx.maths.estimates import standard_error
from pofx.nets.vector.lipschitz import LipschitzMLP

EXACT_DIMS = 16  # up to here the log-determinant is exact
_GOES_ON = 0.5  # probability that the tail of the series has one more term (Chen et al., section 5: geometric, 1/2)
_LONGEST = 64  # terms of a tail; the probability of a longer one is 2^-64


class ResidualBlock(Bijection):
    """y = x + g(x, context)."""

    def __init__(self, features: int, width: int, depth: int, coefficient: float, *, context: int = 0) -> None:
        super().__init__()
        self.features, self.coefficient = features, coefficient
        self.net = LipschitzMLP(features, width, depth, coefficient, context=context)

    def forward(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """y and log|det dy/dx|, from the whole Jacobian."""
        eye = torch.eye(self.features, dtype=x.dtype, device=x.device)
        g, columns = self.net(x, context, eye[:, None, :].expand(-1, len(x), -1))
        jacobian = eye + columns.permute(1, 2, 0)
        if self.features == 1:
            return x + g, jacobian[:, 0, 0].log()
        if self.features == 2:
            return x + g, torch.det(jacobian).log()
        return x + g, torch.linalg.slogdet(jacobian)[1]

    def estimate(
        self,
        x: Float[Tensor, "n d"],
        context: Float[Tensor, "n context"] | None,
        probes: Float[Tensor, "k n d"],
        tails: Float[Tensor, "k n"],
        terms: int,
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "k n"]]:
        """y, and for each probe v an unbiased estimate of log|det dy/dx|.

        Args:
            probes: (k, n, d) of independent entries with mean 0 and variance 1.
            tails: (k, n), uniform in (0, 1); they determine where each series ends.
            terms: of the series that are always summed.

        Its gradient is unbiased too, by another series: ∂ log det(I + J) = E[v·(∂J) Σ_k (-J)^k v] (eq. 8).
        """
        weights = self.net.weights()
        with torch.no_grad():
            length = (tails.log() / math.log(_GOES_ON)).floor().clamp(max=_LONGEST)  # P(length ≥ j) = _GOES_ON^j
            value = torch.zeros_like(tails)
            power, summed = probes, probes.clone()
            for k in range(1, terms + int(length.max()) + 1 if tails.numel() else 1):
                j = max(0, k - terms)
                alive = (length >= j).to(x.dtype) / _GOES_ON**j
                power = self.net(x, context, power, weights)[1]
                value = value + alive * ((-1) ** (k + 1) / k) * (power * probes).sum(-1)
                summed = summed + (-1) ** k * alive[..., None] * power
        g, turned = self.net(x, context, summed, weights)
        surrogate = (turned * probes).sum(-1)
        return x + g, value + (surrogate - surrogate.detach())

    def inverse(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n d"]:
        """The fixed point of x = y - g(x); every item stops where it no longer moves, whatever the others do.

        Warns:
            RuntimeWarning: some items did not come to rest within the steps that the coefficient promises.
        """
        weights = self.net.weights()
        rest = 8 * torch.finfo(y.dtype).eps
        most = math.ceil(math.log(rest) / math.log(self.coefficient)) + 8
        x, moving = y, torch.ones(len(y), dtype=torch.bool, device=y.device)
        for _ in range(most):
            found = torch.where(moving[:, None], y - self.net(x, context, None, weights)[0], x)
            scale = found.detach().abs().amax(1).clamp(min=1.0) if y.numel() else y.new_ones(len(y))
            moving = moving & ((found - x).detach().abs().amax(1) > rest * scale) if y.numel() else moving
            x = found
            if not bool(moving.any()):
                return x
        off = (self.net(x, context, None, weights)[0] + x - y).detach().abs().amax(1)
        if float(off.max()) > 100 * rest * float(y.detach().abs().amax().clamp(min=1.0)):
            late = int(moving.sum())
            warnings.warn(f"the inverse of {late} items is known to ±{float(off.max()):.2g} only", RuntimeWarning)
        return x


class ResidualFlow(Flow):
    """Flow of residual blocks x + g(x): exact density in few dimensions, an unbiased estimate beyond; exact codes.

    Args:
        layers: residual blocks, each after an ActNorm.
        width, depth: of the perceptrons; depth counts hidden layers.
        coefficient: largest Lipschitz constant of a g; below 1.
        terms: of the log-determinant's series that are always summed where it is estimated.
        probes: random vectors per item and block in `log_prob`, where it is estimated; training takes one.
        context: width of the condition's embedding.
    """

    name = "residual-flow"
    source = "Chen et al., 2019, arXiv 1906.02735; Behrmann et al., 2019, arXiv 1811.00995"
    adjustable = ("terms", "probes")
    trains_with = {"lr": 3e-3}
    small = {"layers": 3, "width": 24, "depth": 2}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        layers: Depth = 16,
        width: Width = 64,
        depth: Depth = 3,
        coefficient: OpenUnit = 0.97,
        terms: Annotated[int, Range(1, 64)] = 4,
        probes: Depth = 8,
        context: Width = 64,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.layers, self.width, self.depth, self.coefficient = layers, width, depth, coefficient
        self.terms, self.probes, self.context = terms, probes, context
        d, size = dims(event), context if condition is not None else 0
        self.exact = d <= EXACT_DIMS
        parts: list[Bijection] = []
        for _ in range(layers):
            parts += [ActNorm(d), ResidualBlock(d, width, depth, coefficient, context=size)]
        self.flow = Composition(event, condition, context, [*parts, ActNorm(d)])

    @property
    def density(self) -> Density:
        return Density.EXACT if self.exact else Density.ESTIMATE

    def prepare(self, take: Callable[[int], Batch]) -> None:
        batch = take(2048)
        context = self.flow.embed(batch.condition)
        z = batch.x.reshape(len(batch.x), self.flow.features)
        for part in self.flow.bijections:
            part.start(z)
            z = self._map(part, z, context)

    def _map(
        self, part: Bijection, z: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None
    ) -> Float[Tensor, "n d"]:
        """One bijection, without the log-determinant of a block."""
        if isinstance(part, ResidualBlock):
            return z + part.net(z, context)[0]
        return part(z, context)[0]

    def encode(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        with torch.autocast(x.device.type, enabled=False):
            context, z = self.flow.embed(condition), x.reshape(len(x), self.flow.features)
            for part in self.flow.bijections:
                z = self._map(part, z, context)
        return z.reshape(x.shape)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        if self.exact:
            return super().loss(batch)
        x, blocks = batch.x, self.layers
        probes = 2.0 * torch.randint(0, 2, (blocks, 1, len(x), self.flow.features), device=x.device).to(x.dtype) - 1.0
        tails = torch.rand(blocks, 1, len(x), dtype=x.dtype, device=x.device).clamp(min=1e-30)
        return -self._estimates(x, batch.condition, probes, tails).mean()

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        return -self.log_prob(batch.x, batch.condition).mean()

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        return self.log_prob_estimate(x, condition)[0]

    def log_prob_estimate(
        self, x: Float[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """log p(x | condition) in nats and its standard error over the probes: 0 where the density is exact.

        The noise is a function of the item: the same x has the same answer, in any batch. One probe has no error: nan.
        """
        if self.exact:
            exact = super().log_prob(x, condition)
            return exact, torch.zeros_like(exact)
        x, far = near_items(x)
        streams, blocks, d = Streams.of_items(0, x), self.layers, self.flow.features
        signs = streams.integers(2, blocks, self.probes, d).movedim(0, 2).to(x.dtype)
        tails = streams.uniform(blocks, self.probes).movedim(0, 2).to(x.dtype)
        each = self._estimates(x, condition, 2.0 * signs - 1.0, tails)
        return each.mean(0).masked_fill(far, -math.inf), standard_error(each)

    def _estimates(
        self,
        x: Float[Tensor, "n *event"],
        condition: Condition | None,
        probes: Float[Tensor, "blocks k n d"],
        tails: Float[Tensor, "blocks k n"],
    ) -> Float[Tensor, "k n"]:
        """An estimate of log p(x | condition) for each probe."""
        with torch.autocast(x.device.type, enabled=False):
            context, z = self.flow.embed(condition), x.reshape(len(x), self.flow.features)
            total, at = torch.zeros_like(tails[0]), 0
            for part in self.flow.bijections:
                if isinstance(part, ResidualBlock):
                    z, ladj = part.estimate(z, context, probes[at], tails[at], self.terms)
                    at += 1
                else:
                    z, ladj = part(z, context)
                total = total + ladj
            return total + normal_log_prob(z).sum(-1)
