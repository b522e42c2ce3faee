"""Couplings: some dimensions pass unchanged and tell a network how to transform the others, elementwise.

Dinh, Sohl-Dickstein and Bengio (2017), "Density estimation using Real NVP", arXiv 1605.08803, section 3.2. The
elementwise map is a `Transformer`: affine with a bounded scale, or a rational-quadratic spline.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pofx.families.flow.chain import Bijection
from pofx.maths.splines import rational_quadratic_spline
from pofx.nets.mlp import ResidualMLP
from pofx.nets.waves import waves


class Transformer(ABC):
    """An elementwise bijection; `size` free parameters per dimension, all zero for the identity."""

    size: int

    @abstractmethod
    def __call__(
        self, x: Float[Tensor, "n d"], raw: Float[Tensor, "n d size"], *, inverse: bool = False
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """x (n, d), raw (n, d, size) → y (n, d), log|dy/dx| (n, d)."""


class Affine(Transformer):
    """y = x · exp(s) + t with |s| < bound, s = bound · tanh(raw / bound)."""

    size = 2

    def __init__(self, bound: float) -> None:
        self.bound = bound

    def __call__(
        self, x: Float[Tensor, "n d"], raw: Float[Tensor, "n d size"], *, inverse: bool = False
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        shift, log_scale = raw[..., 0], self.bound * torch.tanh(raw[..., 1] / self.bound)
        if inverse:
            return (x - shift) * (-log_scale).exp(), -log_scale
        return x * log_scale.exp() + shift, log_scale


class Spline(Transformer):
    """A rational-quadratic spline of `bins` bins on [-bound, bound], the identity outside."""

    def __init__(self, bins: int, bound: float) -> None:
        self.size, self.bound = 3 * bins - 1, bound

    def __call__(
        self, x: Float[Tensor, "n d"], raw: Float[Tensor, "n d size"], *, inverse: bool = False
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        return rational_quadratic_spline(x, raw, self.bound, inverse=inverse)


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
    ) -> None:
        super().__init__()
        self.register_buffer("moved", moved.nonzero()[:, 0], persistent=False)
        self.register_buffer("kept", (~moved).nonzero()[:, 0], persistent=False)
        self.register_buffer("back", torch.cat((self.kept, self.moved)).argsort(), persistent=False)
        self.transformer, self.octaves = transformer, octaves
        inputs, outputs = max(len(self.kept), 1) * (1 + 2 * octaves), len(self.moved) * transformer.size
        self.net = ResidualMLP(inputs, outputs, width, blocks, context=context, zero=True, dropout=dropout)

    def _raw(
        self, kept: Float[Tensor, "n kept"], context: Float[Tensor, "n context"] | None
    ) -> Float[Tensor, "n moved size"]:
        if kept.shape[1] == 0:  # one dimension: only the context can speak
            kept = kept.new_zeros(len(kept), 1)
        raw: Tensor = self.net(waves(kept, self.octaves).flatten(1), context)
        return raw.reshape(len(kept), -1, self.transformer.size)

    def forward(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        kept = x[:, self.kept]
        y, ladj = self.transformer(x[:, self.moved], self._raw(kept, context))
        return torch.cat((kept, y), -1)[:, self.back], ladj.sum(-1)

    def inverse(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n d"]:
        kept = y[:, self.kept]
        x, _ = self.transformer(y[:, self.moved], self._raw(kept, context), inverse=True)
        return torch.cat((kept, x), -1)[:, self.back]


def checkerboard(shape: tuple[int, ...], odd: int) -> Bool[Tensor, "dims"]:
    """Where the sum of the indices is even (odd = 0) or odd (odd = 1): bool (dims,). One dimension is always moved."""
    axes = torch.meshgrid(*(torch.arange(size) for size in shape), indexing="ij")
    colour = torch.stack(axes).sum(0).flatten() % 2
    return colour == odd if colour.numel() > 1 else torch.ones(1, dtype=torch.bool)
