"""Classifier two-sample test: can a classifier tell samples from real items?

Lopez-Paz and Oquab (2017, arXiv 1610.06545). The classifier is kernel ridge regression (Gaussian kernel, widths at half
the median distance and at the median distance, plus a linear term), cross-fitted. Being a linear smoother, its
prediction is a fixed matrix times the labels, so that the permutation null refits it a thousand times at the cost of
one matrix product. Labels are permuted within folds. The p-value is exact at every n; a z-test on folds would not be.
"""

from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import rankdata

from pofx.core.errors import UsageError
from pofx.evaluate.distances import squared
from pofx.evaluate.metric import Axis, FeatureMetric, ScoreInfo


def _folds(n: int, folds: int, generator: np.random.Generator) -> Int[np.ndarray, "{n}"]:
    return generator.permutation(np.arange(n) % folds)


def _auc(scores: Float[np.ndarray, "n p"], labels: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "p"]:
    """Area under the curve of scores (n, p) for labels in {0, 1} (n, p): (p,)."""
    ranks = rankdata(scores, axis=0)
    ones = labels.sum(0)
    return np.asarray(((ranks * labels).sum(0) - ones * (ones + 1) / 2) / (ones * (len(labels) - ones)))


def _kernel(z: Float[np.ndarray, "n d"], generator: np.random.Generator) -> Float[np.ndarray, "n n"]:
    gap = squared(z, z).astype(np.float64)
    some = generator.permutation(len(z))[:500]
    middle = float(np.median(gap[np.ix_(some, some)][np.triu_indices(len(some), 1)]))
    middle = middle if middle > 0 else 1.0
    linear = (z @ z.T) / max(float((z * z).sum(1).mean()), 1e-12)
    return np.asarray(np.exp(-gap / middle) + np.exp(-4 * gap / middle) + linear)


def c2st(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "m d"],
    *,
    folds: int = 5,
    ridge: float = 0.02,
    permutations: int = 499,
    seed: int = 0,
    most: int = 1000,
) -> tuple[float, float]:
    """Cross-fitted AUC of samples x (n, d) against real items y (m, d), and its permutation p-value.

    0.5: not told apart; 1: told apart always. At most `most` items a side are used. Features are standardised jointly.

    Raises:
        UsageError: fewer items on a side than folds.
    """
    generator = np.random.default_rng(seed)
    n = min(len(x), len(y), most)
    if n < 2 * folds:
        raise UsageError(f"{folds} folds need at least {2 * folds} items on each side (got {n})")
    x, y = x[generator.permutation(len(x))[:n]], y[generator.permutation(len(y))[:n]]
    z = np.concatenate((x, y)).astype(np.float64)
    scale = z.std(0)
    z = (z - z.mean(0)) / np.where(scale > 0, scale, 1.0)
    labels = np.repeat((1.0, 0.0), n)
    fold = np.concatenate((_folds(n, folds, generator), _folds(n, folds, generator)))
    nulls = np.tile(labels[:, None], (1, permutations + 1))
    for f in range(folds):
        inside = np.flatnonzero(fold == f)
        for j in range(1, permutations + 1):
            nulls[inside, j] = labels[generator.permutation(inside)]
    kernel = _kernel(z, generator)
    scores = np.empty_like(nulls)
    for f in range(folds):
        out, rest = fold == f, fold != f
        factor = cho_factor(kernel[np.ix_(rest, rest)] + ridge * n * np.eye(rest.sum()), overwrite_a=True)
        scores[out] = kernel[np.ix_(out, rest)] @ cho_solve(factor, nulls[rest] - nulls[rest].mean(0))
    areas = np.concatenate([_auc(scores[fold == f], nulls[fold == f])[None] for f in range(folds)]).mean(0)
    return float(areas[0]), float((areas >= areas[0] - 1e-12).mean())


class ClassifierTwoSample(FeatureMetric):
    """`c2st`: the cross-fitted AUC, with its permutation p-value."""

    scores: ClassVar = {
        "c2st": ScoreInfo(
            "lower",
            "C2ST",
            "AUC of a classifier between samples and real items; chance: 0.5",
            "samples",
            headline=True,
            axis=Axis(
                "detect",
                "Hard to detect",
                "two-sample AUC",
                need="samples most like the data",
                why="hardest to distinguish from real items: lowest two-sample AUC",
                chance=0.5,
                order=3,
            ),  # fmt: skip
        ),
    }
    source: ClassVar = "Lopez-Paz and Oquab, 2017, arXiv 1610.06545"
    spaces: ClassVar = ("pca",)
    halves: ClassVar = 10

    def values(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        return {"c2st": c2st(x, y, permutations=0, seed=seed)[0]}

    def details(
        self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0
    ) -> dict[str, dict[str, Any]]:
        permutations = 499 if len(x) <= 1000 else 199
        return {"c2st": {"p": c2st(x, y, seed=seed, permutations=permutations)[1], "permutations": permutations}}
