"""Fréchet distance: how far apart two clouds are if each is taken for a Gaussian.

|μ_r - μ_g|² + tr(Σ_r + Σ_g - 2 (Σ_r^½ Σ_g Σ_r^½)^½), after Heusel et al. (2017, arXiv 1706.08500), in any space.
The matrix root is taken by symmetric eigenvalues, which cannot turn complex. The estimate is biased upwards, more so in
many dimensions and for few items (Chong and Forsyth, 2020, arXiv 1911.07023); the bias at equality is computed and
printed, and `frechet_infinity` extrapolates it away.
"""

import numpy as np
from jaxtyping import Float

from pofx.core.errors import UsageError


def moments(x: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d d"]]:
    """Mean (d,) and unbiased covariance (d, d) of (n, d)."""
    if len(x) < 2:
        raise UsageError(f"a Fréchet distance needs at least 2 items on each side (got {len(x)})")
    x = np.asarray(x, np.float64)
    return x.mean(0), np.atleast_2d(np.cov(x, rowvar=False))


def root(matrix: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """The symmetric square root of a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)


def frechet_distance(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    """The squared Fréchet distance of items (n, d) and (m, d), in squared units of the features."""
    if max(len(x), len(y)) < x.shape[1]:
        return _narrow(x, y)
    (mx, cx), (my, cy) = moments(x), moments(y)
    r = root(cy)
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(r @ cx @ r), 0)).sum()
    return float(((mx - my) ** 2).sum() + np.trace(cx) + np.trace(cy) - 2 * cross)


def _narrow(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    """The same for fewer items than dimensions, without a matrix of d × d.

    With centred items A and B the eigenvalues of Σ_r Σ_g are the squared singular values of A Bᵀ over (n - 1) (m - 1).
    """
    if min(len(x), len(y)) < 2:
        raise UsageError(f"a Fréchet distance needs at least 2 items on each side (got {min(len(x), len(y))})")
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    mx, my = x.mean(0), y.mean(0)
    a, b = (x - mx) / np.sqrt(len(x) - 1), (y - my) / np.sqrt(len(y) - 1)
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(((mx - my) ** 2).sum() + (a * a).sum() + (b * b).sum() - 2 * cross)


def frechet_floor(y: Float[np.ndarray, "items d"], n: int, m: int) -> float:
    """What the distance reads on average when both sides, n and m items, are drawn from the Gaussian fitted to y.

    To second order (1/n + 1/m) [tr Σ + ½ Σ_ij λ_i λ_j / (λ_i + λ_j) + ¼ tr Σ], λ the eigenvalues of Σ; for the
    identity the covariance part is the familiar d (d + 1) / 4.
    """
    values = np.maximum(np.linalg.eigvalsh(moments(y)[1]), 0)
    values = values[values > values.max() * 1e-12] if values.max() > 0 else values[:0]
    pairs = (values[:, None] * values / (values[:, None] + values)).sum()
    return float((1 / n + 1 / m) * (values.sum() + pairs / 2 + values.sum() / 4))


def frechet_curve(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], points: int = 8, repeats: int = 3, seed: int = 0
) -> tuple[Float[np.ndarray, "draws"], Float[np.ndarray, "draws"]]:
    """1/n and the distance at growing shares of the items; `repeats` draws of each share but the whole; seeded.

    Both sides are subsampled to the same share, so that the bias of the reference is seen too.
    """
    generator = np.random.default_rng(seed)
    inverse, values = [], []
    for share in np.linspace(0.4, 1.0, points):
        for _ in range(repeats if share < 1 else 1):
            a = x[generator.permutation(len(x))[: max(int(share * len(x)), 2)]]
            b = y[generator.permutation(len(y))[: max(int(share * len(y)), 2)]]
            inverse.append((1 / len(a) + 1 / len(b)) / 2)
            values.append(frechet_distance(a, b))
    return np.array(inverse), np.array(values)


def frechet_infinity(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], points: int = 8, repeats: int = 3, seed: int = 0
) -> tuple[float, float]:
    """The distance extrapolated to infinitely many items, and the slope against 1/n: a line through `frechet_curve`."""
    slope, intercept = np.polyfit(*frechet_curve(x, y, points, repeats, seed), 1)
    return float(intercept), float(slope)
