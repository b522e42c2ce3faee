"""Points of the plane with a known density, the usual toys of density estimation.

All but `checkerboard` are mixtures of Gaussians, so that log p(x) is exact; moons and spirals set equal Gaussians one
standard deviation apart along their curves, which leaves a ripple of relative size 2 exp(-2 pi²) at most.
Entropies are integrals of -p log p by the trapezoid rule, which converges faster than any power for such densities.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from scipy.special import i0e, logsumexp

from pofx.core.errors import unknown
from pofx.data.dataset import Dataset, Source, dataset
from pofx.data.kinds.points import points

SIZES = {"train": 20_000, "validation": 4_000, "test": 10_000}


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians in the plane: weights (k,), means (k, 2), covariances (k, 2, 2), classes (k,)."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    classes: np.ndarray

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """log p(x) in nats: (n, 2) → (n,)."""
        x = np.asarray(x, dtype=np.float64)
        inverse = np.linalg.inv(self.covariances)
        constant = np.log(self.weights) - 0.5 * np.linalg.slogdet(self.covariances)[1] - math.log(2 * math.pi)
        blocks = []
        for part in np.array_split(x, max(1, len(x) // 10_000)):
            d = part[:, None] - self.means
            a, b, c = inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]
            square = a * d[..., 0] ** 2 + 2 * b * d[..., 0] * d[..., 1] + c * d[..., 1] ** 2
            blocks.append(logsumexp(constant - 0.5 * square, axis=1))
        return np.concatenate(blocks)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """n points and their classes."""
        part = rng.choice(len(self.weights), size=n, p=self.weights)
        factor = np.linalg.cholesky(self.covariances)
        x = self.means[part] + np.einsum("nij,nj->ni", factor[part], rng.standard_normal((n, 2)))
        return x, self.classes[part]

    @property
    def entropy(self) -> float:
        """-E log p(x) in nats."""
        widest = np.sqrt(np.linalg.eigvalsh(self.covariances))
        step = float(widest.min()) / 2
        low, high = (self.means.min(0) - 9 * widest.max(), self.means.max(0) + 9 * widest.max())
        axes = [np.arange(a, b + step, step) for a, b in zip(low, high, strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        log_p = self.log_prob(grid)
        return float(-(np.exp(log_p) * log_p).sum() * step**2)


@dataclass(frozen=True)
class Checkerboard:
    """Uniform on eight of the sixteen squares of side 2 in [-4, 4]²; its entropy is log 32."""

    @staticmethod
    def log_prob(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, dtype=np.float64)
        inside = (np.abs(x) <= 4).all(1)
        dark = (np.floor(x / 2).sum(1) % 2) == 0
        return np.where(inside & dark, -math.log(32), -np.inf)

    @staticmethod
    def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, None]:
        column = rng.integers(-2, 2, n)
        row = 2 * rng.integers(-1, 1, n) + column % 2
        return 2 * (np.stack([column, row], 1) + rng.random((n, 2))), None

    @property
    def entropy(self) -> float:
        return math.log(32)


@dataclass(frozen=True)
class Rings:
    """Concentric rings of equal mass: a radius uniform among `radii`, a uniform angle, Gaussian noise.

    The angle integrates out to a Bessel function: p(x) = mean over r of exp(-(s² + r²) / 2v) I0(s r / v) / (2 pi v)
    with s = |x| and v = std² (the Rice distribution).
    """

    radii: tuple[float, ...]
    std: float

    def _log_radial(self, s: np.ndarray) -> np.ndarray:
        r, v = np.asarray(self.radii), self.std**2
        z = s[:, None] * r / v
        parts = -((s[:, None] - r) ** 2) / (2 * v) + np.log(i0e(z))
        return np.asarray(logsumexp(parts, axis=1) - math.log(2 * math.pi * v * len(r)))

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """log p(x) in nats: (n, 2) → (n,)."""
        return self._log_radial(np.linalg.norm(np.asarray(x, dtype=np.float64), axis=1))

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """n points and the number of their ring."""
        ring, angle = rng.integers(0, len(self.radii), n), 2 * np.pi * rng.random(n)
        on = np.asarray(self.radii)[ring, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        return on + self.std * rng.standard_normal((n, 2)), ring

    @property
    def entropy(self) -> float:
        s = np.linspace(0, max(self.radii) + 12 * self.std, 20_001)
        log_p = self._log_radial(s)
        return float(np.trapezoid(-np.exp(log_p) * log_p * 2 * np.pi * s, s))


Truth = Mixture | Checkerboard | Rings


def gaussians8() -> Mixture:
    """Eight Gaussians on a circle of radius 2 sqrt(2), standard deviation sqrt(2) / 4."""
    angle = 2 * np.pi * np.arange(8) / 8
    means = 2 * math.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], 1)
    return _round(means, math.sqrt(2) / 4, np.arange(8))


def gaussians25() -> Mixture:
    """25 Gaussians on a 5 x 5 grid of spacing 2, standard deviation 0.05: on which duels lose modes."""
    at = 2.0 * np.arange(-2, 3)
    means = np.stack(np.meshgrid(at, at, indexing="ij"), -1).reshape(-1, 2)
    return _round(means, 0.05, np.arange(25))


def gmm2d() -> Mixture:
    """Four correlated Gaussians of unequal weight, two of which overlap."""
    angle, long, short = np.array([0.3, 1.2, 2.2, 0.9]), np.array([1.0, 0.8, 1.2, 0.4]), np.array([0.3, 0.2, 0.4, 0.2])
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(4, 2, 2)
    spread = np.stack([long, short], 1)[:, None] ** 2
    means = np.array([[-2.0, 0.0], [2.0, 1.5], [1.0, -2.0], [2.2, -1.2]])
    return Mixture(np.array([0.4, 0.25, 0.25, 0.1]), means, (turn * spread) @ turn.transpose(0, 2, 1), np.arange(4))


def rings() -> Rings:
    """Four concentric rings of radius 0.75 to 3, equal mass, standard deviation 0.08."""
    return Rings((0.75, 1.5, 2.25, 3.0), 0.08)


def moons() -> Mixture:
    """Two interleaving half circles of radius 1, standard deviation 0.1."""
    upper = (lambda t: np.stack([np.cos(t), np.sin(t)], 1), np.pi)
    lower = (lambda t: np.stack([1 - np.cos(t), 0.5 - np.sin(t)], 1), np.pi)
    return _curves([upper, lower], 0.1)


def spirals() -> Mixture:
    """Two spirals of one and a half turns, out to radius 3, standard deviation 0.1."""

    def arm(t: np.ndarray, sign: float) -> np.ndarray:
        return np.asarray(sign * (t / np.pi)[:, None] * np.stack([-np.cos(t), np.sin(t)], 1))

    return _curves([(partial(arm, sign=s), 3 * np.pi) for s in (1.0, -1.0)], 0.1)


Curve = tuple[Callable[[np.ndarray], np.ndarray], float]


def _curves(curves: list[Curve], std: float) -> Mixture:
    """Equal mass per curve (position at t, end of t), Gaussians one std apart in arc length."""
    means, weights, classes = [], [], []
    for i, (curve, end) in enumerate(curves):
        t = np.linspace(0, end, 20_001)
        length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve(t), axis=0), axis=1))])
        count = math.ceil(length[-1] / std) + 1
        at = np.interp(np.linspace(0, length[-1], count), length, t)
        means.append(curve(at))
        weights.append(np.full(count, 1 / (count * len(curves))))
        classes.append(np.full(count, i))
    return _round(np.concatenate(means), std, np.concatenate(classes), np.concatenate(weights))


def _round(means: np.ndarray, std: float, classes: np.ndarray, weights: np.ndarray | None = None) -> Mixture:
    k = len(means)
    weights = np.full(k, 1 / k) if weights is None else weights
    return Mixture(weights / weights.sum(), means, np.tile(std**2 * np.eye(2), (k, 1, 1)), classes)


TRUTHS: dict[str, Callable[[], Truth]] = {
    "gaussians8": gaussians8,
    "gaussians25": gaussians25,
    "checkerboard": Checkerboard,
    "rings": rings,
    "moons": moons,
    "spirals": spirals,
    "gmm2d": gmm2d,
}


@cache
def truth(name: str) -> Truth:
    """The true density of a built-in set of points: `log_prob(x)` and `entropy`, both in nats.

    Raises:
        UsageError: nobody knows the density of that name.
    """
    if name not in TRUTHS:
        raise unknown("density", name, TRUTHS)
    return TRUTHS[name]()


def load(seed: int, *, name: str) -> Dataset:
    """Three independent draws of a density; labels are the mode, ring, moon or arm that a point came from."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(name.encode())]))
    drawn = {part: truth(name).draw(n, rng) for part, n in SIZES.items()}
    items = {part: points(x.astype(np.float32), labels=y, name=name) for part, (x, y) in drawn.items()}
    return dataset(
        items["train"],
        items["validation"],
        items["test"],
        name,
        source="drawn by pofx from a known density",
        licence="MIT",
        summary=_summary(name),
        facts={"entropy": truth(name).entropy},
        count_overlaps=False,
    )


def _summary(name: str) -> str:
    return (TRUTHS[name].__doc__ or "").strip().split("\n")[0]


SOURCES = tuple(
    Source(name, "points", sum(SIZES.values()), _summary(name), partial(load, name=name)) for name in TRUTHS
)
