"""Elementary invertible steps: few parameters, a log-determinant in closed form, an inverse that solves for one number.

Planar and radial: Rezende and Mohamed, 2015, "Variational inference with normalizing flows", arXiv 1505.05770, eqs. 10
to 14 and appendix A. Sylvester with Householder reflections: van den Berg et al., 2018, "Sylvester normalizing flows
for variational inference", arXiv 1803.05649, eqs. 8 to 15. A step's parameters are one free vector, which the step
itself maps into the region where it is invertible: one vector for all items (a density), or one each (a posterior).
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from pofx.core.errors import UsageError, unknown
from pofx.maths.roots import rising_root

_MARGIN = 1e-3  # by which slopes stay above 0, so that float32 can invert them


class Step(ABC):
    """An invertible map of vectors with `size` free parameters; all zero, they make it the identity."""

    size: int

    @abstractmethod
    def __call__(
        self, x: Float[Tensor, "*items d"], raw: Float[Tensor, "*#items size"]
    ) -> tuple[Float[Tensor, "*items d"], Float[Tensor, "*items"]]:
        """x (…, d) → y (…, d) and log|det dy/dx| (…)."""

    @abstractmethod
    def inverse(self, y: Float[Tensor, "*items d"], raw: Float[Tensor, "*#items size"]) -> Float[Tensor, "*items d"]:
        """y (…, d) → x (…, d)."""


class Planar(Step):
    """y = x + u tanh(w·x + b), with u bent so that w·u > -1."""

    def __init__(self, features: int) -> None:
        self.features, self.size = features, 2 * features + 1

    def _parts(
        self, raw: Float[Tensor, "*items size"]
    ) -> tuple[Float[Tensor, "*items d"], Float[Tensor, "*items d"], Float[Tensor, "*items"], Float[Tensor, "*items"]]:
        """u, w, w·u and b."""
        w, u, b = raw.split((self.features, self.features, 1), -1)
        dot, square = (w * u).sum(-1), (w * w).sum(-1).clamp(min=1e-12)
        bent = _above(dot, torch.full_like(dot, 1.0 - _MARGIN))
        u = u + ((bent - dot) / square)[..., None] * w
        return u, w, bent, b[..., 0]

    def __call__(
        self, x: Float[Tensor, "*items d"], raw: Float[Tensor, "*#items size"]
    ) -> tuple[Float[Tensor, "*items d"], Float[Tensor, "*items"]]:
        u, w, dot, b = self._parts(raw)
        h = ((w * x).sum(-1) + b).tanh()
        return x + u * h[..., None], torch.log1p(dot * (1.0 - h * h))

    def inverse(self, y: Float[Tensor, "*items d"], raw: Float[Tensor, "*#items size"]) -> Float[Tensor, "*items d"]:
        u, w, dot, b = self._parts(raw)
        target = (w * y).sum(-1) + b  # s + w·u tanh(s) = w·y + b for s = w·x + b
        s = _bent_root(dot.expand_as(target), torch.ones_like(target), torch.zeros_like(target), target)
        return y - u * s.tanh()[..., None]


class Radial(Step):
    """y = x + beta (x - c) / (alpha + |x - c|), with alpha > 0 and beta > -alpha."""

    def __init__(self, features: int) -> None:
        self.features, self.size = features, features + 2

    def _parts(
        self, raw: Float[Tensor, "*items size"]
    ) -> tuple[Float[Tensor, "*items d"], Float[Tensor, "*items 1"], Float[Tensor, "*items 1"]]:
        """The centre, alpha and beta."""
        center, a, b = raw.split((self.features, 1, 1), -1)
        alpha = softplus(a) + _MARGIN
        return center, alpha, _above(b, alpha * (1.0 - _MARGIN))

    def __call__(
        self, x: Float[Tensor, "*items d"], raw: Float[Tensor, "*#items size"]
    ) -> tuple[Float[Tensor, "*items d"], Float[Tensor, "*items"]]:
        center, alpha, beta = self._parts(raw)
        away = x - center
        r = (away.square().sum(-1, keepdim=True) + torch.finfo(x.dtype).tiny).sqrt()  # a gradient at 0 too
        across = beta / (alpha + r)
        along = beta * alpha / (alpha + r) ** 2
        ladj = (self.features - 1) * torch.log1p(across) + torch.log1p(along)
        return x + across * away, ladj[..., 0]

    def inverse(self, y: Float[Tensor, "*items d"], raw: Float[Tensor, "*#items size"]) -> Float[Tensor, "*items d"]:
        """Along the ray, R = r (1 + beta / (alpha + r)) is quadratic in r, with one root that is not negative."""
        center, alpha, beta = self._parts(raw)
        away = y - center
        far = (away.square().sum(-1, keepdim=True) + torch.finfo(y.dtype).tiny).sqrt()
        half = (alpha + beta - far) / 2
        root = (half.square() + alpha * far).sqrt()
        r = torch.where(half > 0, alpha * far / (half.abs() + root), root - half)  # without cancellation
        return center + away / (1.0 + beta / (alpha + r))


class Sylvester(Step):
    """y = x + Q A tanh(B Qᵀ x + b): Q with `rank` orthonormal columns, A and B upper triangular with A_ii B_ii > -1.

    Q is the product of `reflections` Householder reflections, of which the first `rank` columns are used; the diagonals
    of A and B are between -1 and 1.
    """

    def __init__(self, features: int, rank: int, reflections: int) -> None:
        self.features, self.rank, self.reflections = features, rank, reflections
        self.upper = rank * (rank - 1) // 2
        self._split = (2 * self.upper, 3 * rank, reflections * features)
        self.size = sum(self._split)

    def _parts(
        self, raw: Float[Tensor, "*items size"]
    ) -> tuple[
        Float[Tensor, "*items d rank"],
        Float[Tensor, "*items rank rank"],
        Float[Tensor, "*items rank rank"],
        Float[Tensor, "*items rank"],
    ]:
        """Q, A, B and b."""
        above, diagonal, normals = raw.split(self._split, -1)
        row, column = torch.triu_indices(self.rank, self.rank, 1, device=raw.device)
        on = torch.arange(self.rank, device=raw.device)
        slopes, biases = diagonal.split((2 * self.rank, self.rank), -1)
        slopes = (1.0 - _MARGIN) * slopes.tanh()
        triangles = []
        for part, slope in zip(above.chunk(2, -1), slopes.chunk(2, -1), strict=True):
            flat = raw.new_zeros(*raw.shape[:-1], self.rank * self.rank)
            flat = flat.index_copy(-1, row * self.rank + column, part)
            flat = flat.index_copy(-1, on * (self.rank + 1), slope)
            triangles.append(flat.unflatten(-1, (self.rank, self.rank)))
        q = torch.eye(self.features, self.rank, dtype=raw.dtype, device=raw.device)
        q = q.expand(*raw.shape[:-1], -1, -1)
        for normal in normals.unflatten(-1, (self.reflections, self.features)).unbind(-2):
            unit = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-12)
            q = q - 2.0 * unit[..., :, None] * (unit[..., None, :] @ q)
        return q, triangles[0], triangles[1], biases

    def __call__(
        self, x: Float[Tensor, "*items d"], raw: Float[Tensor, "*#items size"]
    ) -> tuple[Float[Tensor, "*items d"], Float[Tensor, "*items"]]:
        q, a, b, bias = self._parts(raw)
        h = (_times(b, _times(q.mT, x)) + bias).tanh()
        slopes = (1.0 - h * h) * a.diagonal(dim1=-2, dim2=-1) * b.diagonal(dim1=-2, dim2=-1)
        return x + _times(q, _times(a, h)), torch.log1p(slopes).sum(-1)

    def inverse(self, y: Float[Tensor, "*items d"], raw: Float[Tensor, "*#items size"]) -> Float[Tensor, "*items d"]:
        """In the columns of Q, from the last number to the first: each is the root of a rising function."""
        q, a, b, bias = self._parts(raw)
        inside = _times(q.mT, y)
        found: list[Tensor] = []  # numbers rank - 1, rank - 2, … of Qᵀ x, and their tanh
        bent: list[Tensor] = []
        for i in range(self.rank - 1, -1, -1):
            target, shift = inside[..., i], bias[..., i].expand_as(inside[..., i])
            for j, (z, h) in enumerate(zip(found, bent, strict=True)):
                at = self.rank - 1 - j
                target, shift = target - a[..., i, at] * h, shift + b[..., i, at] * z
            z = _bent_root(a[..., i, i].expand_as(target), b[..., i, i].expand_as(target), shift, target)
            found.append(z)
            bent.append((b[..., i, i] * z + shift).tanh())
        return y - _times(q, _times(a, torch.stack(bent[::-1], -1)))


def _above(free: Float[Tensor, "*items"], depth: Float[Tensor, "*items"]) -> Float[Tensor, "*items"]:
    """free → a rising function of it that is 0 at 0 and never below -depth: a shifted softplus."""
    return softplus(free + depth + torch.log(-torch.expm1(-depth))) - depth


def _times(matrix: Float[Tensor, "*#items a b"], x: Float[Tensor, "*items b"]) -> Float[Tensor, "*items a"]:
    """matrix @ x for every item; items that share a matrix along their last axis are one product."""
    if matrix.ndim > 2 and matrix.shape[-3] == 1:
        return x @ matrix[..., 0, :, :].mT
    return (matrix @ x[..., None])[..., 0]


def _bent_root(
    a: Float[Tensor, "*items"], b: Float[Tensor, "*items"], shift: Float[Tensor, "*items"], y: Float[Tensor, "*items"]
) -> Float[Tensor, "*items"]:
    """The z with z + a tanh(b z + shift) = y, where a b > -1."""

    def function(z: Tensor) -> tuple[Tensor, Tensor]:
        h = (b * z + shift).tanh()
        return z + a * h - y, 1.0 + a * b * (1.0 - h * h)

    return rising_root(function, y - a.abs(), y + a.abs())


STEPS = ("planar", "radial", "sylvester")


def step_of(name: str, features: int, *, rank: int = 0, reflections: int = 0) -> Step:
    """The step of a name; rank 0 is every dimension, at most 32, and reflections 0 as many as the rank."""
    if name == "planar":
        return Planar(features)
    if name == "radial":
        return Radial(features)
    if name != "sylvester":
        raise unknown("step", name, STEPS)
    rank = rank or min(features, 32)
    if rank > features:
        raise UsageError(f"rank must be at most the number of dimensions, {features} (got {rank}): pass rank=0")
    return Sylvester(features, rank, reflections or rank)
