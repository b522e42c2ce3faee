"""Maximum mean discrepancy: a kernel distance between two sets of points. Unbiased, so that it may be below zero.

MMD² = E k(x, x') + E k(y, y') - 2 E k(x, y), each over distinct pairs (Gretton et al., 2012, JMLR 13). `kid` has the
polynomial kernel (x·y / d + 1)³ of the kernel inception distance (Bińkowski et al., 2018, arXiv 1801.01401), over all
items rather than many small subsets, whose spread is not the standard error. That comes from the decomposition of the
U-statistic (Hoeffding, 1948; Sutherland et al., 2017, arXiv 1611.04488). `mmd` has the Gaussian kernel at the median
distance of real items, and a permutation p-value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from pofx.core.errors import UsageError
from pofx.evaluate.distances import squared
from pofx.evaluate.metric import FeatureMetric, ScoreInfo
from pofx.evaluate.remembered import remembered

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


@dataclass(frozen=True)
class Gaussian:
    """exp(-|a - b|² / scale)."""

    scale: float

    def __call__(self, a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
        gap = squared(a, b)
        gap *= -1 / self.scale
        return np.exp(gap, out=gap)


@remembered()
def gaussian(real: Float[np.ndarray, "n d"], seed: int = 0) -> Gaussian:
    """The Gaussian kernel at the median of the squared distances between real items."""
    some = real[np.random.default_rng(seed).permutation(len(real))[:500]]
    middle = float(np.median(squared(some, some)[np.triu_indices(len(some), 1)]))
    return Gaussian(middle if middle > 0 else 1.0)


@remembered()
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
    xx, yy, xy = _within(x, kernel), _within(y, kernel), _sums(x, y, kernel, own=False)
    value = xx.mean + yy.mean - 2 * xy.mean
    # a kernel value is a constant, a part of each item, and a rest: the parts average over items, the rests over pairs
    of_x, of_y = (xx.of_rows - xy.of_rows).var(ddof=1), (yy.of_rows - xy.of_columns).var(ddof=1)
    items = 4 * (of_x - xx.rest / n - xy.rest / m) / n + 4 * (of_y - yy.rest / m - xy.rest / n) / m
    pairs = 2 * xx.rest / n**2 + 2 * yy.rest / m**2 + 4 * xy.rest / (n * m)
    return float(value), float(np.sqrt(max(items + pairs, pairs / 2)))


@dataclass(frozen=True)
class Sums:
    """Of a kernel matrix: its mean, the means of rows and columns, the variance that neither has."""

    mean: float
    of_rows: Float[np.ndarray, "n"]
    of_columns: Float[np.ndarray, "m"]
    rest: float


@remembered()
def _within(a: np.ndarray, kernel: Kernel) -> Sums:
    return _sums(a, a, kernel, own=True)


def _sums(a: np.ndarray, b: np.ndarray, kernel: Kernel, own: bool) -> Sums:
    """The sums of a kernel matrix taken block by block, without its diagonal where it is that of `own` items."""
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
    mean = float(rows.sum() / (len(a) * wide))
    of_rows, of_columns = rows / wide, columns / high
    spread = squares / (len(a) * wide) - mean**2
    return Sums(mean, of_rows, of_columns, max(float(spread - of_rows.var() - of_columns.var()), 0.0))


def permuted(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], kernel: Kernel, seed: int) -> float:
    """The permutation p-value of the discrepancy of at most MOST items a side."""
    generator = np.random.default_rng(seed)
    n = min(len(x), len(y), MOST)
    both = np.concatenate((x[generator.permutation(len(x))[:n]], y[generator.permutation(len(y))[:n]]))
    k = kernel(both, both)
    np.fill_diagonal(k, 0)
    signs = np.tile(np.repeat(np.array((1.0, -1.0), k.dtype), n)[:, None], (1, PERMUTATIONS + 1))
    signs[:, 1:] = generator.permuted(signs[:, 1:], axis=0)
    product, sums = k @ signs, k.sum(1, dtype=np.float64)
    form = np.einsum("ip,ip->p", signs, product, dtype=np.float64)
    # with equal sides, x'Kx + y'Ky and x'Ky differ from s'Ks, s = ±1, by what no permutation changes; x'Ky = (1'K1 -
    # s'Ks) / 4 turns the mean over n (n - 1) mixed pairs into that over n²
    mixed = (float(sums.sum()) - form) / 4
    values = form / (n * (n - 1)) + 2 * mixed * (1 / (n * (n - 1)) - 1 / n**2)
    return float((values >= values[0] - 1e-9 * abs(values[0])).mean())


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

    def tests(
        self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0
    ) -> dict[str, dict[str, Any]]:
        return {"mmd": {"p": permuted(x, y, gaussian(y, seed), seed), "permutations": PERMUTATIONS}}
