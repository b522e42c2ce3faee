"""Paths of codes along which one known factor changes and the others stay, where codes are bent.

Factors are a smooth function of codes, f(z), fitted by ridge regression with Gaussian kernels (Saunders, Gammerman and
Vovk, 1998) whose width and ridge have the least leave-one-out error. A path takes the shortest steps, in units of the
codes' deviations, that lead f to its goal: dz = Jᵀ (J Jᵀ + λ)⁻¹ (goal - f), J its Jacobian. Where codes are straight
that is the direction of the factor's own part in the least squares.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

MOST = 500  # codes that carry a kernel
AXES = 32  # principal components within which paths lie, at most
WIDTHS = (0.5, 1.0, 2.0, 4.0)  # of the kernels, in units of the root of the axes
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
EDGE = 0.02  # share of the items beyond each end of a path
STEPS, FARTHEST = 12, 0.15  # of a path between two of its stops: so many at least, none longer, in deviations
MENDED = 4  # corrections by what is decoded, at a stop
SLACK = 1e-2  # λ, in factors of deviation 1


@dataclass(frozen=True)
class Bent:
    """Factors as a function of codes."""

    centre: Float[np.ndarray, "d"]
    axes: Float[np.ndarray, "a d"]  # of the codes, each as long as their deviation along it
    at: Float[np.ndarray, "n a"]  # of the kernels
    weights: Float[np.ndarray, "n k"]
    width: float
    middle: Float[np.ndarray, "k"]  # of the factors
    spread: Float[np.ndarray, "k"]
    ends: Float[np.ndarray, "2 k"]  # of what the items have, standardised

    @classmethod
    def of(cls, codes: Float[np.ndarray, "n d"], factors: Float[np.ndarray, "n k"]) -> "Bent":
        """Fitted to the codes of items of known factors; of many items to a random part."""
        some = np.random.default_rng(0).permutation(len(codes))[:MOST]
        centre = codes.mean(0).astype(np.float64)
        _, sizes, axes = np.linalg.svd(codes[some] - centre, full_matrices=False)
        used = sizes > 1e-3 * sizes[0]
        axes = (axes[used] * sizes[used, None] / np.sqrt(len(some)))[:AXES]
        x = codes[some].astype(np.float64)
        at = (x - centre) @ (axes / np.square(axes).sum(1, keepdims=True)).T
        middle, spread = factors.mean(0), np.maximum(factors.std(0), 1e-12)
        y = (factors[some] - middle) / spread
        best = (np.inf, WIDTHS[0], np.zeros_like(y))
        for unit in WIDTHS:
            width = unit * np.sqrt(at.shape[1])
            values, vectors = np.linalg.eigh(_kernel(at, at, width))
            turned = vectors.T @ y
            for ridge in RIDGES:
                shrunk = values / (values + ridge)
                hat = np.square(vectors) @ shrunk
                error = np.square((y - vectors @ (shrunk[:, None] * turned)) / (1 - hat)[:, None].clip(1e-6)).mean()
                if error < best[0]:
                    best = (error, width, vectors @ (turned / (values + ridge)[:, None]))
        ends = (np.quantile(factors, (EDGE, 1 - EDGE), axis=0) - middle) / spread
        return cls(centre, axes, at, best[2], float(best[1]), middle, spread, ends)

    def factors(self, codes: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """The factors of codes, in their own units."""
        return self._read(self._inside(codes))[0] * self.spread + self.middle

    def path(
        self,
        codes: Float[np.ndarray, "m d"],
        factor: int,
        goals: Float[np.ndarray, "stops"],
        again: Callable[[Float[np.ndarray, "m d"]], Float[np.ndarray, "m d"]] | None = None,
    ) -> Float[np.ndarray, "stops m d"]:
        """Codes led to where their factor has changed by each goal, one after the other, in the factor's own units and
        not beyond what nearly all items have, while the other factors are as they were.

        Args:
            again: the codes of the items that codes are decoded to; then it is these whose factors are led, for far
                from the codes of items a decoder makes something else of a code than the regression.
        """
        z = self._inside(codes)
        rest = codes - (self.centre + z @ self.axes)  # what no axis holds stays
        seen = None if again is None else again(codes)
        begun, found, done = self._read(z if seen is None else self._inside(seen))[0], [], 0.0
        for goal in goals / self.spread[factor]:
            for share in np.linspace(0, 1, max(STEPS, math.ceil(abs(goal - done) / FARTHEST)) + 1)[1:]:
                wanted = begun.copy()
                aim = begun[:, factor] + done + share * (goal - done)
                low, high = (np.sort((begun[:, factor], np.full(len(z), end)), 0) for end in self.ends[:, factor])
                wanted[:, factor] = np.clip(aim, low[0], high[1])
                z = z + self._step(z, wanted - self._read(z)[0])
            done = goal
            for _ in range(0 if again is None else MENDED):
                assert again is not None
                now = self._read(self._inside(again(self.centre + z @ self.axes + rest)))[0]
                z = z + self._step(z, wanted - now)
            found.append(self.centre + z @ self.axes + rest)
        return np.stack(found)

    def _step(self, z: Float[np.ndarray, "m a"], gain: Float[np.ndarray, "m k"]) -> Float[np.ndarray, "m a"]:
        """The shortest step by which the standardised factors gain so much."""
        slope = self._read(z)[1]
        gram = slope @ slope.transpose(0, 2, 1) + SLACK * np.eye(len(self.spread))
        return np.einsum("mka,mk->ma", slope, np.linalg.solve(gram, gain[..., None])[..., 0])

    def _inside(self, codes: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m a"]:
        return (codes - self.centre) @ (self.axes / np.square(self.axes).sum(1, keepdims=True)).T

    def _read(self, z: Float[np.ndarray, "m a"]) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, "m k a"]]:
        """Standardised factors, and their Jacobian."""
        kernel = _kernel(z, self.at, self.width)
        values = kernel @ self.weights
        slope = np.einsum("mn,nk,na->mka", kernel, self.weights, self.at, optimize=True)
        return values, (slope - values[:, :, None] * z[:, None]) / self.width**2


def _kernel(a: Float[np.ndarray, "m a"], b: Float[np.ndarray, "n a"], width: float) -> Float[np.ndarray, "m n"]:
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T
    return np.asarray(np.exp(-0.5 * squares.clip(0) / width**2))
