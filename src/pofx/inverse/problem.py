"""One inverse problem in the coordinates of a run: which events agree with the measurements, and how well.

Coordinates z are events in units of the spread of the data, so that a denoiser's noise is the same in all of them. A
linear operator seen through an affine view is linear in z: B z = W (A real(z) - A real(0)), in units of the noise, with
the normal equations solved by one singular value decomposition, or by conjugate gradients where it would be too large.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pofx.inverse.noise import Noise
from pofx.inverse.operator import Operator

LARGEST = 2_000_000  # numbers of a matrix that is decomposed
ITERATIONS, TOLERANCE = 200, 1e-6  # of conjugate gradients
CHUNK = 256  # rows of the identity at once


def flat(y: Tensor) -> Tensor:
    """Measurements (n, *out), real or complex → real (n, m)."""
    return torch.view_as_real(y.resolve_conj()).flatten(1) if y.is_complex() else y.flatten(1)


def decomposable(shape: Sequence[int], numbers: int) -> bool:
    """Whether the matrix from items of a shape to so many measured numbers is small enough to be decomposed."""
    return math.prod(shape) * numbers <= LARGEST


@dataclass(frozen=True)
class Problem:
    """Rows of flat measurements `y` (n, m), one for each event that is sought.

    Attributes:
        real: from coordinates (n, *shape) to items as real tensors.
        straight: whether `real` is affine, number by number.
        level: (n, 1): a factor on the deviation of the noise, where that is unknown.
    """

    operator: Operator
    noise: Noise
    y: Tensor
    shape: tuple[int, ...]
    real: Callable[[Tensor], Tensor]
    straight: bool
    level: Tensor
    shared: dict[str, Any] = field(default_factory=dict, repr=False)  # decompositions, by name, of all selections

    def rows(self, index: Tensor) -> "Problem":
        """The same for some of the rows, or for rows several times."""
        return replace(self, y=self.y[index], level=self.level[index])

    def at_level(self, level: Tensor) -> "Problem":
        return replace(self, level=level)

    @property
    def linear(self) -> bool:
        return self.operator.linear and self.straight

    @property
    def gaussian(self) -> bool:
        return self.noise.gain is None

    def seen(self, z: Tensor) -> Tensor:
        """Noise-free measurements of z: flat (n, m)."""
        return flat(self.operator.forward(self.real(z)))

    def log_likelihood(self, z: Tensor) -> Tensor:
        """log p(y | z) without a constant: (n,)."""
        if self.gaussian:
            gap = (self.y - self.seen(z)) / (self.deviation * self.level)
            return -0.5 * gap.square().sum(1) - self.y.shape[1] * self.level.log().sum(1)
        return self.noise.log_likelihood(self.y, self.seen(z))

    @property
    def deviation(self) -> Tensor:
        return self.noise.deviation(self.y)

    # ── linear problems ──

    @cached_property
    def origin(self) -> Tensor:
        """What z = 0 measures: (1, m)."""
        if "origin" not in self.shared:
            with torch.no_grad():
                self.shared["origin"] = self.seen(self.y.new_zeros(1, *self.shape))
        found: Tensor = self.shared["origin"]
        return found

    @property
    def slope(self) -> Tensor:
        """The derivative of an affine `real`, number by number: (1, *item)."""
        if "slope" not in self.shared:
            with torch.inference_mode(False), torch.enable_grad():
                z = torch.zeros(1, *self.shape, device=self.y.device, dtype=self.y.dtype).requires_grad_()
                (found,) = torch.autograd.grad(self.real(z).sum(), z)
            self.shared["slope"] = found
        slope: Tensor = self.shared["slope"]
        return slope

    @property
    def target(self) -> Tensor:
        """What B z should be: (n, m), in units of the noise at level 1."""
        return (self.y - self.origin) / self.deviation

    def applied(self, z: Tensor) -> Tensor:
        """B z: (n, m)."""
        return (self.seen(z) - self.origin) / self.deviation

    def transposed(self, u: Tensor) -> Tensor:
        """Bᵀ u: (n, *shape)."""
        y = (u / self.deviation).reshape(len(u), -1)
        complex_ = self._complex
        whole = torch.view_as_complex(y.reshape(len(u), *self.operator.out, 2).contiguous()) if complex_ else y
        back = self.operator.adjoint(whole.reshape(len(u), *self.operator.out))
        return back.reshape(len(u), *self.shape) * self.slope

    @property
    def _complex(self) -> bool:
        if "complex" not in self.shared:
            with torch.no_grad():
                probe = self.operator.forward(self.y.new_zeros(1, *self.operator.shape))
            self.shared["complex"] = probe.is_complex()
        return bool(self.shared["complex"])

    @property
    def decomposable(self) -> bool:
        """Whether one matrix of a size that can be decomposed serves all rows."""
        return self.linear and len(self.deviation) == 1 and decomposable(self.shape, self.y.shape[1])

    @property
    def matrix(self) -> Tensor:
        """B (m, d) in float64."""
        if "matrix" not in self.shared:
            d = int(torch.tensor(self.shape).prod())
            one = self.rows(torch.zeros(1, dtype=torch.int64, device=self.y.device))
            parts = []
            for i in range(0, d, CHUNK):
                basis = torch.zeros(min(CHUNK, d - i), d, device=self.y.device)
                basis[torch.arange(len(basis)), i + torch.arange(len(basis))] = 1.0
                with torch.no_grad():
                    parts.append(one.applied(basis.reshape(-1, *self.shape)).double())
            self.shared["matrix"] = torch.cat(parts).T.contiguous()
        matrix: Tensor = self.shared["matrix"]
        return matrix

    @property
    def decomposition(self) -> tuple[Tensor, Tensor, Tensor]:
        """B = U diag(s) V: U (m, r), s (r,), V (r, d)."""
        if "svd" not in self.shared:
            u, s, v = torch.linalg.svd(self.matrix, full_matrices=False)
            here = s > 1e-9 * s[0]
            self.shared["svd"] = tuple(part.to(self.y.dtype) for part in (u[:, here], s[here], v[here]))
        found: tuple[Tensor, Tensor, Tensor] = self.shared["svd"]
        return found

    def solved(self, right: Tensor, rho: Tensor | float) -> Tensor:
        """(Bᵀ B / level² + rho)⁻¹ right: (n, *shape)."""
        square = self.level.square()
        if self.decomposable:
            _, s, v = self.decomposition
            line = right.flatten(1)
            inside = line @ v.T
            changed = inside / (s.square() / square + rho) - inside / rho
            return (line / rho + changed @ v).reshape(right.shape)
        wide = square.reshape(-1, *[1] * len(self.shape))
        return self._descended(right * wide, wide * rho)

    def _descended(self, right: Tensor, rho: Tensor) -> Tensor:
        """(Bᵀ B + rho)⁻¹ right by conjugate gradients, each row by itself."""

        def dot(a: Tensor, b: Tensor) -> Tensor:
            return (a * b).flatten(1).sum(1).reshape(-1, *[1] * len(self.shape))

        x = right / (rho + 1.0)
        r = right - self.transposed(self.applied(x)) - rho * x
        p, size = r, dot(r, r)
        first = dot(right, right).clamp(min=1e-30)
        for _ in range(ITERATIONS):
            if bool((size <= TOLERANCE**2 * first).all()):
                break
            step = self.transposed(self.applied(p)) + rho * p
            length = size / dot(p, step).clamp(min=1e-30)
            x, r = x + length * p, r - length * step
            size, before = dot(r, r), size
            p = r + size / before.clamp(min=1e-30) * p
        return x

    def drawn(self, centre: Tensor, rho: Tensor | float, normal: Tensor, noise: Tensor) -> Tensor:
        """A draw of z ~ N(centre, 1 / rho) × N(y; B z): the solution of perturbed normal equations.

        Args:
            normal: standard normals like z.
            noise: standard normals like y.
        """
        rho = torch.as_tensor(rho, dtype=centre.dtype, device=centre.device)
        data = self.transposed((self.target + self.level * noise) / self.level.square())
        return self.solved(data + rho * centre + rho.sqrt() * normal, rho)

    def pulled(self, centre: Tensor, rho: Tensor | float) -> Tensor:
        """The mean of `drawn`."""
        return self.solved(self.transposed(self.target / self.level.square()) + rho * centre, rho)

    def residual(self, z: Tensor) -> Tensor:
        """The root mean square of (y - A z) / deviation: 1 is what noise alone leaves: (n,)."""
        with torch.no_grad():
            return ((self.y - self.seen(z)) / (self.deviation * self.level)).square().mean(1).sqrt()
