"""Couplings: some dimensions pass unchanged and are the input of a network that transforms the others, elementwise.

Dinh, Sohl-Dickstein and Bengio (2017), "Density estimation using Real NVP", arXiv 1605.08803, section 3.2. The
elementwise map is a `Elementwise`: affine with a bounded scale, or a rational-quadratic spline.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pofx.families.flow.circle import Circle, sight, sight_size
from pofx.families.flow.composition import Bijection
from pofx.maths.splines import rational_quadratic_spline
from pofx.nets.vector.mlp import ResidualMLP


class Elementwise(ABC):
    """An elementwise bijection; `size` free parameters per dimension, all zero for the identity.

    Where `straight`, they are linear in a network's last hidden units, which no activation bends once more.
    """

    size: int
    straight: bool = False

    def of(self, dimensions: Int[Tensor, "some"]) -> "Elementwise":
        """The same for some of the dimensions, where it treats them differently."""
        return self

    @abstractmethod
    def __call__(
        self, x: Float[Tensor, "*d"], raw: Float[Tensor, "*d size"], *, inverse: bool = False
    ) -> tuple[Float[Tensor, "*d"], Float[Tensor, "*d"]]:
        """x (…), raw (…, size) → y (…), log|dy/dx| (…)."""


class Additive(Elementwise):
    """y = x + t."""

    size = 1

    def __call__(
        self, x: Float[Tensor, "*d"], raw: Float[Tensor, "*d size"], *, inverse: bool = False
    ) -> tuple[Float[Tensor, "*d"], Float[Tensor, "*d"]]:
        return (x - raw[..., 0] if inverse else x + raw[..., 0]), torch.zeros_like(x)


class Affine(Elementwise):
    """y = x · exp(s) + t with |s| < bound, s = bound · tanh(raw / bound)."""

    size = 2

    def __init__(self, bound: float) -> None:
        self.bound = bound

    def __call__(
        self, x: Float[Tensor, "*d"], raw: Float[Tensor, "*d size"], *, inverse: bool = False
    ) -> tuple[Float[Tensor, "*d"], Float[Tensor, "*d"]]:
        shift, free = raw.unbind(-1)
        log_scale = self.bound * torch.tanh(free / self.bound)
        if inverse:
            log_scale = -log_scale
            return (x - shift) * log_scale.exp(), log_scale
        return x * log_scale.exp() + shift, log_scale


class Spline(Elementwise):
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


class AffineSpline(Elementwise):
    """A spline of numbers that were shifted and stretched first, so that its box lies where they are."""

    straight = True

    def __init__(self, scale_bound: float, bins: int, bound: float) -> None:
        self.affine, self.spline = Affine(scale_bound), Spline(bins, bound)
        self.size = self.affine.size + self.spline.size

    def __call__(
        self, x: Float[Tensor, "*d"], raw: Float[Tensor, "*d size"], *, inverse: bool = False
    ) -> tuple[Float[Tensor, "*d"], Float[Tensor, "*d"]]:
        parts = [(self.affine, raw[..., : self.affine.size]), (self.spline, raw[..., self.affine.size :])]
        total = torch.zeros_like(x)
        for part, own in reversed(parts) if inverse else parts:
            x, ladj = part(x, own, inverse=inverse)
            total = total + ladj
        return x, total


class Coupling(nn.Module):
    """Transforms some dimensions by a network of the others (and of the context).

    It is fastest where every dimension lies in one run of memory, as the networks' outputs do.
    """

    def __init__(
        self,
        moved: Int[Tensor, "moved"],
        kept: Int[Tensor, "kept"],
        transformer: Elementwise,
        width: int,
        blocks: int,
        *,
        context: int = 0,
        dropout: float = 0.0,
        octaves: int = 0,
        circle: Circle | None = None,
    ) -> None:
        super().__init__()
        self.transformer, self.octaves = transformer.of(moved), octaves
        self.circle = None if circle is None else circle.of(kept)
        self.net = ResidualMLP(
            max(len(kept) * sight_size(octaves, self.circle), 1),
            len(moved) * transformer.size,
            width,
            blocks,
            context=context,
            zero=True,
            dropout=dropout,
            last_activation=not transformer.straight,
            by_unit=True,
        )

    def forward(
        self,
        moved: Float[Tensor, "n moved"],
        fixed: Float[Tensor, "n fixed"],
        context: Float[Tensor, "n context"] | None = None,
        *,
        inverse: bool = False,
    ) -> tuple[Float[Tensor, "n moved"], Float[Tensor, "n moved"]]:
        """moved (n, moved), fixed (n, fixed) → the moved ones transformed and the logarithms of their slopes."""
        seen = sight(fixed, self.octaves, self.circle).flatten(1)
        if fixed.shape[1] == 0:  # one dimension: only the context can speak
            seen = fixed.new_zeros(len(fixed), 1)
        raw = self.net(seen.to(self.net.first.weight.dtype), context).unflatten(1, (-1, self.transformer.size))
        return self.transformer(moved, raw, inverse=inverse)


class Couplings(Bijection):
    """`count` couplings that take turns: the first moves the dimensions where `moved` is true, the next the others."""

    order: Tensor
    back: Tensor

    def __init__(
        self, count: int, moved: Bool[Tensor, "d"], transformer: Elementwise, width: int, blocks: int, **options: Any
    ) -> None:
        """Options are those of a `Coupling`."""
        super().__init__()
        first, second = moved.nonzero()[:, 0], (~moved).nonzero()[:, 0]
        self.turns = nn.ModuleList(
            Coupling(*((second, first) if i % 2 else (first, second)), transformer, width, blocks, **options)
            for i in range(count)
        )
        self.sizes = [len(first), len(second)]
        self.register_buffer("order", torch.cat((first, second)), persistent=False)
        self.register_buffer("back", self.order.argsort(), persistent=False)

    def forward(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        halves = self._halves(x)
        total: Tensor | float = 0.0
        for i, coupling in enumerate(self.turns):
            halves[i % 2], ladj = coupling(halves[i % 2], halves[1 - i % 2], context)
            total = total + ladj.sum(1)
        assert isinstance(total, Tensor)
        return self._whole(halves), total

    def inverse(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n d"]:
        halves = self._halves(y)
        for i, coupling in reversed(list(enumerate(self.turns))):
            halves[i % 2], _ = coupling(halves[i % 2], halves[1 - i % 2], context, inverse=True)
        return self._whole(halves)

    def _halves(self, x: Float[Tensor, "n d"]) -> list[Tensor]:
        """The dimensions of each turn, every one for all items in one run of memory."""
        return list(x.T[self.order].T.split(self.sizes, 1))

    def _whole(self, halves: list[Tensor]) -> Float[Tensor, "n d"]:
        return torch.cat([half.T for half in halves])[self.back].T


def checkerboard(shape: tuple[int, ...], odd: int) -> Bool[Tensor, "dims"]:
    """Where the sum of the indices is even (odd = 0) or odd (odd = 1): bool (dims,). One dimension is always moved."""
    axes = torch.meshgrid(*(torch.arange(size) for size in shape), indexing="ij")
    colour = torch.stack(axes).sum(0).flatten() % 2
    return colour == odd if colour.numel() > 1 else torch.ones(1, dtype=torch.bool)
