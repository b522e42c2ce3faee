"""Classifier two-sample test: can a classifier distinguish samples from real items?

Lopez-Paz and Oquab (2017, arXiv 1610.06545). The classifier is kernel ridge regression (Gaussian kernels at half the
median distance and at the median distance, plus a linear term) on LANDMARKS random items (Nyström), cross-fitted: its
cost is linear in n. Being a linear smoother, its prediction is a fixed matrix times the labels, so that the permutation
null refits it hundreds of times at the cost of two matrix products. Labels are permuted within folds, and the statistic
is the correlation of predictions with labels; the p-value is exact at every n, where a z-test on folds would not be.
The standard error of the AUC is that of half-samples, which train anew: DeLong's leaves out what training adds.
"""

import itertools
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.stats import rankdata

from pofx.core.errors import UsageError
from pofx.evaluate.distances import squared
from pofx.evaluate.measurement import halved
from pofx.evaluate.metric import Axis, FeatureMetric, ScoreInfo
from pofx.evaluate.remembered import remembered

LANDMARKS = 256
FOLDS, RIDGE = 5, 0.02
PERMUTATIONS = 299
SPLITS, ROUGH = 12, 128  # of the standard error: half-samples, and landmarks


@remembered(64)
def c2st(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], *, permutations: int = PERMUTATIONS, seed: int = 0
) -> tuple[float, float]:
    """The cross-fitted AUC of samples x (n, d) against real items y (m, d), and its permutation p-value.

    An AUC of 0.5 is chance, 1 always right. Features are standardised jointly.

    Raises:
        UsageError: fewer items on a side than folds.
    """
    return _crossfit(*_features(x, y, LANDMARKS, seed), permutations, seed)


@remembered(64)
def c2st_error(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> float:
    """The half-sampling standard error of the AUC: each half trains and tests its own classifiers."""
    sides = _features(x, y, ROUGH, seed)
    found = halved(lambda a, b: {"c2st": _crossfit(a, b, 0, seed)[0]}, [sides], SPLITS, seed)
    return found["c2st"]


def _features(
    x: np.ndarray, y: np.ndarray, landmarks: int, seed: int
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "m k"]]:
    """Features of both sides whose inner products are the kernel, as far as the landmarks carry it; exact where all
    items are landmarks."""
    generator = np.random.default_rng(seed)
    z = np.concatenate((x, y)).astype(np.float64)
    scale = z.std(0)
    z = (z - z.mean(0)) / np.where(scale > 0, scale, 1.0)
    some = z[generator.permutation(len(z))[:landmarks]]
    gap = squared(some, some)
    middle = float(np.median(gap[np.triu_indices(len(some), 1)]))
    middle = middle if middle > 0 else 1.0
    size = max(float((z * z).sum(1).mean()), 1e-12)

    def kernel(a: np.ndarray, gaps: np.ndarray) -> np.ndarray:
        wide = np.exp(gaps * (-1 / middle))
        return np.asarray(wide + np.square(np.square(wide)) + (a @ some.T) / size)

    among = kernel(some, gap).astype(np.float64)
    root = cholesky(among + 1e-12 * np.trace(among) * np.eye(len(some)), lower=True)
    found = solve_triangular(root, kernel(z, squared(z, some)).T, lower=True).T
    return found[: len(x)], found[len(x) :]


def _crossfit(
    x: Float[np.ndarray, "n k"], y: Float[np.ndarray, "m k"], permutations: int, seed: int
) -> tuple[float, float]:
    """The AUC of ridge regression on features, and the p-value, at the smaller number of both sides."""
    generator = np.random.default_rng(seed)
    n = min(len(x), len(y))
    if n < 2 * FOLDS:
        raise UsageError(f"{FOLDS} folds need at least {2 * FOLDS} items on each side (got {n})")
    fold = np.concatenate([generator.permutation(np.arange(n) % FOLDS) for _ in range(2)])
    order = np.argsort(fold, kind="stable")  # rows fold by fold
    sides = [side[generator.permutation(len(side))[:n]] for side in (x, y)]
    features, labels = np.concatenate(sides)[order], np.repeat((1.0, 0.0), n)[order]
    edges = np.searchsorted(fold[order], np.arange(FOLDS + 1))
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    nulls = np.tile(labels[:, None], (1, permutations + 1))
    for part in parts:
        nulls[part, 1:] = generator.permuted(nulls[part, 1:], axis=0)
    grams = [features[part].T @ features[part] for part in parts]
    sums = [features[part].T @ (nulls[part] - 0.5) for part in parts]
    gram, total = sum(grams) + RIDGE * n * np.eye(features.shape[1]), sum(sums)
    statistic, areas = np.zeros(permutations + 1), []
    for part, own, target in zip(parts, grams, sums, strict=True):
        predicted = features[part] @ cho_solve(cho_factor(gram - own), total - target)
        areas.append(_area(predicted[:, 0], labels[part]))
        centred = predicted - predicted.mean(0)
        statistic += (centred * nulls[part]).sum(0) / np.maximum(np.linalg.norm(centred, axis=0), 1e-15)
    return float(np.mean(areas)), float((statistic >= statistic[0] - 1e-9).mean())


def _area(scores: Float[np.ndarray, "n"], labels: Float[np.ndarray, "n"]) -> float:
    """Area under the curve of scores for labels in {0, 1}."""
    ones = int(labels.sum())
    return float((rankdata(scores)[labels == 1].mean() - (ones + 1) / 2) / (len(labels) - ones))


class ClassifierTwoSample(FeatureMetric):
    """`c2st`: the cross-fitted AUC, with its half-sampling standard error and its permutation p-value."""

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
    once: ClassVar = True
    halves: ClassVar = 0

    def values(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        return {"c2st": c2st(x, y, permutations=0, seed=seed)[0]}

    def errors(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        return {"c2st": c2st_error(x, y, seed)}

    def tests(
        self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0
    ) -> dict[str, dict[str, Any]]:
        return {"c2st": {"p": c2st(x, y, seed=seed)[1], "permutations": PERMUTATIONS}}
