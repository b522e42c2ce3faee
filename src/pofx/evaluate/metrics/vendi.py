"""Vendi ratio: the effective number of different items among samples, over that among as many real items.

exp of the entropy of the eigenvalues of K / n (Friedman and Dieng, 2023, arXiv 2210.02410), with a Gaussian kernel at
a quarter of the median distance of real items. A cosine kernel is blind to contraction and saturates off the origin;
the number itself grows with n: hence the kernel, and the ratio at equal n. Below 1: less diverse than the data.
"""

import math
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from pofx.core.errors import UsageError
from pofx.evaluate.distances import squared
from pofx.evaluate.metric import FeatureMetric, ScoreInfo
from pofx.evaluate.remembered import remembered

MOST = 400  # items a side: eigenvalues cost n³


def vendi(kernel: Float[np.ndarray, "n n"], order: float | int = 1) -> float:
    """The effective number of items of a kernel matrix (n, n) with ones on its diagonal, of a Rényi order.

    Raises:
        UsageError: an order below 0.
    """
    if order < 0:
        raise UsageError(f"order must be 0 or more (got {order})")
    shares = np.maximum(np.linalg.eigvalsh(kernel / len(kernel)), 0)
    shares = shares[shares > 1e-12]
    if order == 1:
        return float(np.exp(-(shares * np.log(shares)).sum()))
    if np.isinf(order):
        return float(1 / shares.max())
    return float((shares**order).sum() ** (1 / (1 - order)))


def left_out(kernel: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n"]:
    """The entropy of the eigenvalues of K / n with each item left out in turn: (n,), from one decomposition."""
    return _left_out(*np.linalg.eigh(kernel / len(kernel)))


def _left_out(shares: Float[np.ndarray, "n"], vectors: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n"]:
    """`left_out` from eigenvalues and eigenvectors of K / n.

    λ log λ - λ = ∫ λ / (1 + t) - log((λ + t) / t) dt over t > 0, and by the determinant lemma leaving item i out
    multiplies ∏ (λ_j + t) by Σ_j U_ij² t / (λ_j + t), U the eigenvectors: one integral per item.
    """
    n = len(shares)
    shares, parts = np.maximum(shares, 0), np.square(vectors)
    at = np.linspace(-28, 14, 253)  # log t
    t = np.exp(at)
    terms = np.log(parts @ (t / (shares[:, None] + t))) + 1 / n / (1 + t)
    lost = (terms * t).sum(1) * (at[1] - at[0])  # of Σ λ log λ - λ, whose Σ λ loses 1 / n
    rest = (shares * np.log(np.maximum(shares, 1e-300))).sum() - (lost + 1 / n)
    left = 1 - 1 / n
    return np.asarray(-rest / left + np.log(left))


@remembered()
def entropy(items: Float[np.ndarray, "n d"], scale: float) -> tuple[float, float]:
    """The entropy of the eigenvalues of exp(-|a - b|² / scale) / n, and its jackknife variance."""
    shares, vectors = np.linalg.eigh(np.exp(-squared(items, items) / scale) / len(items))
    seen = np.maximum(shares[shares > 1e-12], 1e-300)
    value = -float((seen * np.log(seen)).sum())
    return value, (len(items) - 1) * float(_left_out(shares, vectors).var())


class VendiRatio(FeatureMetric):
    """`vendi`: the effective number of samples over that of real items, at equal n."""

    scores: ClassVar = {
        "vendi": ScoreInfo(
            "none",
            "Vendi ratio",
            f"effective number of distinct samples over that of as many real items (at most {MOST}); best 1",
            "samples",
        ),
    }
    source: ClassVar = "Friedman and Dieng, 2023, arXiv 2210.02410"
    halves: ClassVar = 0  # the number at n/2 is another one, and varies less

    def values(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        (of_x, _), (of_y, _) = self._entropies(x, y, seed)
        return {"vendi": math.exp(of_x - of_y)}

    def errors(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        """The jackknife of both entropies."""
        (of_x, spread_x), (of_y, spread_y) = self._entropies(x, y, seed)
        return {"vendi": math.exp(of_x - of_y) * math.sqrt(spread_x + spread_y)}

    def details(
        self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0
    ) -> dict[str, dict[str, Any]]:
        return {"vendi": {"items": min(len(x), len(y), MOST)}}

    def _entropies(self, x: np.ndarray, y: np.ndarray, seed: int) -> tuple[tuple[float, float], tuple[float, float]]:
        generator = np.random.default_rng(seed)
        n = min(len(x), len(y), MOST)
        y = y[generator.permutation(len(y))[:n]]
        x = x[generator.permutation(len(x))[:n]]
        middle = float(np.median(squared(y, y)[np.triu_indices(n, 1)]))
        scale = middle / 4 if middle > 0 else 1.0
        return entropy(x, scale), entropy(y, scale)
