"""Couplings: some dimensions pass unchanged and tell a network how to transform the others, elementwise.

Dinh, Sohl-Dickstein and Bengio (2017), "Density estimation using Real NVP", arXiv 1605.08803, section 3.2. The
elementwise map is a `Transformer`: affine with a bounded scale, or a rational-quadratic spline.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pofx.families.flow.chain import Bijection
from pofx.families.flow.circle import Circle, sight, sight_size
from pofx.maths.splines import rational_quadratic_spline
from pofx.nets.mlp import ResidualMLP


class Transformer(ABC):
    """An elementwise bijection; `size` free parameters per dimension, all zero for the identity.

    Where `straight`, they are linear in a network's last hidden units, which no activation bends once more.
    """

    size: int
    straight: bool = False

    def of(self, dimensions: Int[Tensor, "some"]) -> "Transformer":
        """The same for some of the dimensions, where it treats them differently."""
        return self

    @abstractmethod
    def __call__(
        self, x: Float[Tensor, "*d"], raw: Float[Tensor, "*d size"], *, inverse: bool = False
    ) -> tuple[Float[Tensor, "*d"], Float[Tensor, "*d"]]:
        """x (…), raw (…, size) → y (…), log|dy/dx| (…)."""


class Additive(Transformer):
    """y = x + t."""

    size = 1

    def __call__(
        self, x: Float[Tensor, "*d"], raw: Float[Tensor, "*d size"], *, inverse: bool = False
    ) -> tuple[Float[Tensor, "*d"], Float[Tensor, "*d"]]:
        return (x - raw[..., 0] if inverse else x + raw[..., 0]), torch.zeros_like(x)


class Affine(Transformer):
    """y = x · exp(s) + t with |s| < bound, s = bound · tanh(raw / bound)."""

    size = 2

    def __init__(self, bound: float | int) -> None:
        self.bound = bound

    def __call__(
        self, x: Float[Tensor, "*d"], raw: Float[Tensor, "*d size"], *, inverse: bool = False
    ) -> tuple[Float[Tensor, "*d"], Float[Tensor, "*d"]]:
        shift, log_scale = raw[..., 0], self.bound * torch.tanh(raw[..., 1] / self.bound)
        if inverse:
            return (x - shift) * (-log_scale).exp(), -log_scale
        return x * log_scale.exp() + shift, log_scale


class Spline(Transformer):
    """A rational-quadratic spline of `bins` bins on [-bound, bound], the identity outside; circles turn before it."""

    straight = True

    def __init__(self, bins: int, bound: float, circle: Circle | None = None) -> None:
        self.bins, self.bound, self.circle = bins, bound, circle
        self.size = 3 * bins - 1 if circle is None else 3 * bins + 1

    def of(self, dimensions: Int[Tensor, "some"]) -> "Spline":
        return self if self.circle is None else Spline(self.bins, self.bound, self.circle.of(dimensions))

    def __call__(
        self, x: Float[Tensor, "*d"], raw: Float[Tensor, "*d size"], *, inverse: bool = False
    ) -> tuple[Float[Tensor, "*d"], Float[Tensor, "*d"]]:
        if self.circle is None:
            return rational_quadratic_spline(x, raw, self.bound, inverse=inverse)
        where = self.circle.mask(x)
        raw, phase = raw[..., :-1], raw[..., -1].masked_fill(~where, 0.0)
        if not inverse:
            x = self.circle.wrapped(x + phase)
        y, ladj = rational_quadratic_spline(x, raw, self.bound, inverse=inverse, circular=where)
        return (self.circle.wrapped(y - phase) if inverse else y), ladj


class Coupling(Bijection):
    """Transforms the dimensions where `moved` is true by a network of those where it is not (and of the context)."""

    moved: Tensor
    kept: Tensor
    back: Tensor

    def __init__(
        self,
        moved: Bool[Tensor, "d"],
        transformer: Transformer,
        width: int,
        blocks: int,
        *,
        context: int = 0,
        dropout: float = 0.0,
        octaves: int = 0,
        circle: Circle | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("moved", moved.nonzero()[:, 0], persistent=False)
        self.register_buffer("kept", (~moved).nonzero()[:, 0], persistent=False)
        self.register_buffer("back", torch.cat((self.kept, self.moved)).argsort(), persistent=False)
        self.transformer, self.octaves = transformer.of(self.moved), octaves
        self.circle = None if circle is None else circle.of(self.kept)
        inputs = max(len(self.kept) * sight_size(octaves, self.circle), 1)
        outputs = len(self.moved) * transformer.size
        self.net = ResidualMLP(
            inputs,
            outputs,
            width,
            blocks,
            context=context,
            zero=True,
            dropout=dropout,
            last_activation=not transformer.straight,
            by_unit=True,
        )

    def _raw(
        self, kept: Float[Tensor, "n kept"], context: Float[Tensor, "n context"] | None
    ) -> Float[Tensor, "n moved size"]:
        seen = sight(kept, self.octaves, self.circle).flatten(1)
        if kept.shape[1] == 0:  # one dimension: only the context can speak
            seen = kept.new_zeros(len(kept), 1)
        raw: Tensor = self.net(seen.to(self.net.first.weight.dtype), context)
        return raw.unflatten(1, (-1, self.transformer.size))

    def forward(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        kept, moved = x.T[self.kept], x.T[self.moved]  # dimension by dimension in memory, as the network's outputs
        y, ladj = self.transformer(moved.T, self._raw(kept.T, context))
        return torch.cat((kept, y.T))[self.back].T, ladj.sum(-1)

    def inverse(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n d"]:
        kept, moved = y.T[self.kept], y.T[self.moved]
        x, _ = self.transformer(moved.T, self._raw(kept.T, context), inverse=True)
        return torch.cat((kept, x.T))[self.back].T


def checkerboard(shape: tuple[int, ...], odd: int) -> Bool[Tensor, "dims"]:
    """Where the sum of the indices is even (odd = 0) or odd (odd = 1): bool (dims,). One dimension is always moved."""
    axes = torch.meshgrid(*(torch.arange(size) for size in shape), indexing="ij")
    colour = torch.stack(axes).sum(0).flatten() % 2
    return colour == odd if colour.numel() > 1 else torch.ones(1, dtype=torch.bool)
