"""Autoregressive bijections: each dimension is transformed elementwise, given those before it in an order.

One masked network computes the parameters of all dimensions at once, so that one direction costs one pass. The other
goes dimension by dimension through the hidden units of one degree after the other, or, for many dimensions, by sweeps:
x ← transformer⁻¹(y; parameters of x) for all dimensions at once, which is exact after d sweeps and converged much
sooner. Papamakarios, Pavlakou and Murray (2017), "Masked autoregressive flow", arXiv 1705.07057; the sweeps are the
Jacobi iterations of Song et al. (2021), "Accelerating feedforward computation via parallel nonlinear equation solving",
arXiv 2002.03629.
"""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pofx.families.flow.circle import Circle, sight, sight_size
from pofx.families.flow.composition import Bijection
from pofx.families.flow.coupling import Elementwise
from pofx.nets.causal.masked import MaskedResidual

SWEPT = 48  # dimensions from which sweeps are faster than going one by one
ROUNDING = 4  # units in the last place by which a converged value may still move


class Triangular(Bijection):
    """y_i = transformer(x_i; parameters that depend on the x_j that come before x_i), whatever network computes them.

    `order` lists the dimensions as they come; None is their own order.
    """

    slow_inverse = True
    order: Tensor
    back: Tensor

    def __init__(self, features: int, order: Int[Tensor, "{features}"] | None, transformer: Elementwise) -> None:
        super().__init__()
        self.natural = order is None
        order = torch.arange(features) if order is None else order
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.argsort(), persistent=False)
        self.transformer = transformer.of(order)

    @abstractmethod
    def _raw(self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None) -> Float[Tensor, "n d size"]:
        """The parameters of all dimensions, each from those before it; x is in order."""

    @abstractmethod
    def one_by_one(self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None) -> Float[Tensor, "n d"]:
        """The inverse of y, both in order, dimension by dimension: the work of one pass in many steps."""

    def sweeps(self) -> bool:
        """Whether the inverse goes by sweeps."""
        return len(self.order) >= SWEPT

    def forward(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        y, ladj = self._map(self._ordered(x), context)
        return self._restored(y), ladj.sum(-1)

    def inverse(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n d"]:
        y = self._ordered(y)
        with torch.no_grad():
            x = self.by_sweeps(y, context) if self.sweeps() else self.one_by_one(y, context)
        if torch.is_grad_enabled():
            x = self._differentiable(x, y, context)
        return self._restored(x)

    def by_sweeps(self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None) -> Float[Tensor, "n d"]:
        """The inverse of y, both in order, by sweeps over all dimensions. An item stops when it moves no more, whatever
        the others do, so that it does not depend on the batch."""
        x, rows = y.clone(), torch.arange(len(y), device=y.device)
        least = ROUNDING * torch.finfo(y.dtype).eps
        for _ in range(y.shape[1]):
            before, given = x[rows], None if context is None else context[rows]
            found, _ = self.transformer(y[rows], self._raw(before, given), inverse=True)
            x[rows] = found
            moved = ((found - before).abs() > least * (1 + found.abs())).any(1)
            rows = rows[moved]
            if not len(rows):
                break
        return x

    def _ordered(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Dimensions as they come, each for all items in one run of memory."""
        return (x.T.contiguous() if self.natural else x.T[self.order]).T

    def _restored(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return x if self.natural else x.T[self.back].T

    def _map(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        return self.transformer(x, self._raw(x, context))

    def _differentiable(
        self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None
    ) -> Float[Tensor, "n d"]:
        """x again, as a function of y, the context and the parameters."""
        start = x.detach().requires_grad_()
        again, ladj = self._map(start, context)
        found: Tensor = _Root.apply(again - y, start, again, ladj.detach().exp())
        return found


class Autoregressive(Triangular):
    """One masked residual network computes the parameters of all dimensions."""

    def __init__(
        self,
        features: int,
        order: Int[Tensor, "{features}"] | None,
        transformer: Elementwise,
        width: int,
        blocks: int,
        *,
        context: int = 0,
        dropout: float = 0.0,
        octaves: int = 0,
        circle: Circle | None = None,
    ) -> None:
        super().__init__(features, order, transformer)
        self.octaves, self.circle = octaves, None if circle is None else circle.of(self.order)
        seen, size = sight_size(octaves, circle), transformer.size
        self.net = MaskedResidual(
            features,
            seen,
            size,
            width,
            blocks,
            context=context,
            dropout=dropout,
            activation=nn.functional.relu,  # smooth ones learn the sharp columns of tables late or never
            pre_activation=False,
            last_activation=not transformer.straight,
        )
        for parameter in self.net.last.parameters():  # the identity at first
            nn.init.zeros_(parameter)
        if self.net.context_last is not None:
            nn.init.zeros_(self.net.context_last.weight)

    def one_by_one(self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None) -> Float[Tensor, "n d"]:
        x, cache = torch.zeros_like(y), self.net.begin(len(y), context)
        for i in range(y.shape[1]):
            at = torch.tensor([i])
            raw = cache.advance(i, i)[:, None]
            found, _ = self.transformer.of(at)(y[:, i : i + 1], raw, inverse=True)
            cache.put(i, sight(found, self.octaves, None if self.circle is None else self.circle.of(at))[:, 0])
            x[:, i : i + 1] = found
        return x

    def _raw(self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None) -> Float[Tensor, "n d size"]:
        seen = sight(x, self.octaves, self.circle).to(self.net.first.weight.dtype)
        raw: Tensor = self.net(seen, context=context)
        return raw


class _Root(torch.autograd.Function):
    """The root x of f(x) - y = 0 given the residual: dx = -J⁻¹ d(residual), with J = df/dx.

    J is triangular, so v = J⁻ᵀ g follows by iterations v ← v + (g - Jᵀ v) / diag J, again exact after d of them: the
    implicit function theorem instead of a graph of d passes.
    """

    @staticmethod
    def forward(
        ctx: Any,
        residual: Float[Tensor, "n d"],
        x: Float[Tensor, "n d"],
        again: Float[Tensor, "n d"],
        slope: Float[Tensor, "n d"],
    ) -> Float[Tensor, "n d"]:
        ctx.x, ctx.again, ctx.slope = x, again, slope
        return x.detach().clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], None, None, None]:
        v = g / ctx.slope
        least = ROUNDING * torch.finfo(g.dtype).eps * (1 + float(v.abs().max()))
        for _ in range(g.shape[1]):
            (back,) = torch.autograd.grad(ctx.again, ctx.x, v, retain_graph=True)
            step = (g - back) / ctx.slope
            v = v + step
            if float(step.abs().max()) <= least:
                break
        return -v, None, None, None


class Inverted(Bijection):
    """Another bijection reversed: its inverse is the fast direction of the one inside, and the reverse."""

    def __init__(self, inner: Bijection) -> None:
        super().__init__()
        self.inner = inner

    def forward(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        z = self.inner.inverse(x, context)
        return z, -self.inner(z, context)[1]

    def inverse(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n d"]:
        x: Tensor = self.inner(y, context)[0]
        return x
