"""Maximum mean discrepancy: how far apart two clouds are in a kernel's eyes. Unbiased, so that it may be below zero.

MMD² = E k(x, x') + E k(y, y') - 2 E k(x, y), each over distinct pairs (Gretton et al., 2012, JMLR 13). `kid` has the
polynomial kernel (x·y / d + 1)³ of the kernel inception distance (Bińkowski et al., 2018, arXiv 1801.01401), over all
items rather than many small subsets, whose spread is not the standard error. That comes from the decomposition of the
U-statistic (Hoeffding, 1948; Sutherland et al., 2017, arXiv 1611.04488). `mmd` has the Gaussian kernel at the median
distance of real items, and a permutation p-value.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from pofx.core.errors import UsageError
from pofx.evaluate.distances import squared
from pofx.evaluate.metric import FeatureMetric, ScoreInfo

BLOCK = 1024  # rows and columns of a kernel matrix at a time: 4 MB in float32
MOST = 500  # items a side that are permuted
PERMUTATIONS = 499
Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


def polynomial(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """(a·b / d + 1)³."""
    inner = a @ b.T
    inner /= a.shape[1]
    inner += 1
    cube = inner * inner
    return np.multiply(cube, inner, out=cube)


def gaussian(real: Float[np.ndarray, "n d"], seed: int = 0) -> Kernel:
    """exp(-|a - b|² / median), the median being that of the squared distances between real items."""
    some = real[np.random.default_rng(seed).permutation(len(real))[:500]]
    middle = float(np.median(squared(some, some)[np.triu_indices(len(some), 1)]))
    scale = middle if middle > 0 else 1.0
    return lambda a, b: np.exp(-squared(a, b) / scale)


def discrepancy(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], kernel: Kernel = polynomial
) -> tuple[float, float]:
    """The unbiased squared discrepancy of (n, d) and (m, d), and its standard error.

    Raises:
        UsageError: fewer than 4 items on a side.
    """
    n, m = len(x), len(y)
    if min(n, m) < 4:
        raise UsageError(f"a kernel discrepancy needs at least 4 items on each side (got {n} and {m})")
    xx, yy, xy = _Sums(x, x, kernel, own=True), _Sums(y, y, kernel, own=True), _Sums(x, y, kernel, own=False)
    value = xx.mean + yy.mean - 2 * xy.mean
    # a kernel value is a constant, a part of each item, and a rest: the parts average over items, the rests over pairs
    of_x, of_y = (xx.of_rows - xy.of_rows).var(ddof=1), (yy.of_rows - xy.of_columns).var(ddof=1)
    items = 4 * (of_x - xx.rest / n - xy.rest / m) / n + 4 * (of_y - yy.rest / m - xy.rest / n) / m
    pairs = 2 * xx.rest / n**2 + 2 * yy.rest / m**2 + 4 * xy.rest / (n * m)
    return float(value), float(np.sqrt(max(items + pairs, pairs / 2)))


class _Sums:
    """A kernel matrix taken block by block: its mean, the means of rows and columns, the variance that neither has."""

    def __init__(self, a: np.ndarray, b: np.ndarray, kernel: Kernel, own: bool) -> None:
        rows, columns, squares = np.zeros(len(a)), np.zeros(len(b)), 0.0
        for i in range(0, len(a), BLOCK):
            for j in range(i if own else 0, len(b), BLOCK):  # k is symmetric: the tiles on and right of the diagonal
                k = kernel(a[i : i + BLOCK], b[j : j + BLOCK])
                if own and i == j:
                    np.fill_diagonal(k, 0)
                ones = np.ones(max(k.shape), k.dtype)  # a product is faster than a sum, and a tile's is exact enough
                of_rows, of_columns, square = k @ ones[: k.shape[1]], ones[: k.shape[0]] @ k, float(np.vdot(k, k))
                rows[i : i + BLOCK] += of_rows
                columns[j : j + BLOCK] += of_columns
                squares += square * (1 + (own and i != j))
                if own and i != j:
                    rows[j : j + BLOCK] += of_columns
        columns = rows if own else columns
        wide, high = len(b) - own, len(a) - own
        self.mean = float(rows.sum() / (len(a) * wide))
        self.of_rows, self.of_columns = rows / wide, columns / high
        spread = squares / (len(a) * wide) - self.mean**2
        self.rest = max(float(spread - self.of_rows.var() - self.of_columns.var()), 0.0)


def permuted(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], kernel: Kernel, seed: int) -> float:
    """The permutation p-value of the discrepancy of at most MOST items a side."""
    generator = np.random.default_rng(seed)
    n = min(len(x), len(y), MOST)
    both = np.concatenate((x[generator.permutation(len(x))[:n]], y[generator.permutation(len(y))[:n]]))
    k = kernel(both, both)
    np.fill_diagonal(k, 0)
    signs = np.tile(np.repeat((1.0, -1.0), n)[:, None], (1, PERMUTATIONS + 1))
    signs[:, 1:] = generator.permuted(signs[:, 1:], axis=0)
    # with equal sides, x'Kx + y'Ky and x'Ky differ from s'Ks, s = ±1, by what no permutation changes
    values = np.einsum("ip,ip->p", signs, k @ signs) / (n * (n - 1)) + _cross(signs, k, n)
    return float((values >= values[0] - 1e-12).mean())


def _cross(signs: Float[np.ndarray, "n p"], k: Float[np.ndarray, "n n"], n: int) -> Float[np.ndarray, "p"]:
    """What turns the mean over n (n - 1) mixed pairs into that over n²: 2 x'Ky (1 / (n (n - 1)) - 1 / n²)."""
    left = (signs + 1) / 2
    mixed = np.einsum("ip,ip->p", left, k @ (1 - left))
    return np.asarray(2 * mixed * (1 / (n * (n - 1)) - 1 / n**2))


class KernelInceptionDistance(FeatureMetric):
    """`kid`: the polynomial discrepancy, with its own standard error."""

    scores: ClassVar = {
        "kid": ScoreInfo("lower", "KID", "polynomial kernel distance, unbiased; 0: no difference", "samples"),
    }
    source: ClassVar = "Bińkowski et al., 2018, arXiv 1801.01401"
    halves: ClassVar = 0

    def values(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        return {"kid": discrepancy(x, y)[0]}

    def errors(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        return {"kid": discrepancy(x, y)[1]}


class MeanDiscrepancy(FeatureMetric):
    """`mmd`: the Gaussian discrepancy at the median distance, with its own standard error and a permutation test."""

    scores: ClassVar = {
        "mmd": ScoreInfo("lower", "MMD²", "Gaussian kernel distance, unbiased; 0: no difference", "samples"),
    }
    source: ClassVar = "Gretton et al., 2012, JMLR 13"
    halves: ClassVar = 0

    def values(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        return {"mmd": discrepancy(x, y, gaussian(y, seed))[0]}

    def errors(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        return {"mmd": discrepancy(x, y, gaussian(y, seed))[1]}

    def details(
        self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0
    ) -> dict[str, dict[str, Any]]:
        return {"mmd": {"p": permuted(x, y, gaussian(y, seed), seed), "permutations": PERMUTATIONS}}
