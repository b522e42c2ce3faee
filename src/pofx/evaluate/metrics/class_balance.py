"""Class balance: are the classes drawn as often as they occur? Total variation between two class histograms.

The classes of samples are those a classifier predicts; it errs, so its accuracy on held-out items is beside the
number, and so is what the distance reads on average for n perfect draws (it is biased upwards for small n). Its p-value
holds what the classifier sees in samples against what it sees in held-out items, so that its errors are on both sides.
"""

from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from pofx.evaluate.metric import ClassMetric, Reading, ScoreInfo


def histogram(labels: np.ndarray, classes: int) -> np.ndarray:
    """Shares of the classes 0, …, classes - 1, empty ones included: (classes,)."""
    return np.bincount(np.asarray(labels, np.int64), minlength=classes)[:classes] / max(len(labels), 1)


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Half the L1 distance of two histograms, in [0, 1]."""
    return float(np.abs(p - q).sum() / 2)


def total_variation_floor(reference: np.ndarray, n: int) -> float:
    """What the distance reads on average for n draws from the reference itself (normal approximation)."""
    return float(np.sqrt(2 / np.pi) * np.sqrt(reference * (1 - reference) / max(n, 1)).sum() / 2)


def same_classes(
    x: Int[np.ndarray, "n"], y: Int[np.ndarray, "m"], classes: int, draws: int = 1999, seed: int = 0
) -> float:
    """The permutation p-value for two lists of classes, over tables with the same margins.

    Twice the smaller of two: that of χ², which sees many small differences, and that of the largest standardised
    difference of one class, which sees a dropped class among many.
    """
    counts = np.stack([np.bincount(side, minlength=classes) for side in (x, y)])
    both, share = counts.sum(0), len(x) / (len(x) + len(y))
    tables = np.random.default_rng(seed).multivariate_hypergeometric(both, len(x), size=draws)
    gaps = np.square(np.concatenate((counts[:1], tables)) - share * both)
    scaled = gaps / np.maximum(both * (1 - both / both.sum()), 1e-12)
    found = (gaps / np.maximum(both, 1e-12)).sum(1), scaled.max(1)
    return min(2 * min(float((of >= of[0] * (1 - 1e-9)).mean()) for of in found), 1.0)


class ClassBalance(ClassMetric):
    """`class_tv`: predicted classes of samples against the shares of the data."""

    scores: ClassVar = {
        "class_tv": ScoreInfo(
            "lower",
            "Class TV",
            "total variation between the class frequencies of samples and of the data",
            "classes",
            headline=True,
        ),
    }

    def read(
        self,
        samples: Float[np.ndarray, "n classes"],
        real: Float[np.ndarray, "m classes"],
        labels: Int[np.ndarray, "m"],
        shares: Float[np.ndarray, "classes"],
        wanted: Int[np.ndarray, "n"] | None = None,
    ) -> Reading:
        predicted, classes = samples.argmax(1), len(shares)
        found = histogram(predicted, classes)
        generator = np.random.default_rng(0)
        halves = [generator.permutation(predicted)[: len(predicted) // 2] for _ in range(50)]
        error = np.std([total_variation(histogram(half, classes), shares) for half in halves], ddof=1)
        right = float((real.argmax(1) == labels).mean())
        extra = {
            "stderr": float(error),
            "p": same_classes(predicted, real.argmax(1), classes),
            "shares": found,
            "reference": shares,
            "floor": total_variation_floor(shares, len(predicted)),
            "classifier_accuracy": right,
            "note": f"classes as predicted by a classifier that is right on {right:.1%} of test items; biased upwards, "
            "see floor",
        }
        if wanted is not None:
            extra["agreement"] = float((predicted == wanted[: len(predicted)]).mean())
        return Reading({"class_tv": total_variation(found, shares)}, {"class_tv": extra})
