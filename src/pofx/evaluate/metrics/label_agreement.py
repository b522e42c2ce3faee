"""Label agreement: do conditional samples show the class they are conditioned on?

The share of conditional samples that a classifier assigns to that class. It errs on real items too, so
that for every class Fisher's exact test holds its errors on samples against its errors on held-out items of the class;
the least p-value, times the number of classes, catches two swapped classes among many that are right. Ravuri and
Vinyals (2019, arXiv 1905.10887) train a classifier on samples instead, which also needs many of them.
"""

from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import hypergeom

from pofx.evaluate.metric import ClassMetric, Reading, ScoreInfo


def disagreement(
    predicted: Int[np.ndarray, "n"],
    wanted: Int[np.ndarray, "n"],
    real: Int[np.ndarray, "m"],
    labels: Int[np.ndarray, "m"],
) -> tuple[float, dict[int, float]]:
    """The p-value that samples of some class are taken for others more often than real items, and those by class.

    Args:
        predicted, wanted: classes that a classifier sees in samples, and those they are conditioned on.
        real, labels: classes that it sees in held-out items, and their labels.
    """
    found = {}
    for c in np.intersect1d(wanted, labels).tolist():
        wrong, base = int((predicted[wanted == c] != c).sum()), int((real[labels == c] != c).sum())
        n, m = int((wanted == c).sum()), int((labels == c).sum())
        found[c] = float(hypergeom.sf(wrong - 1, n + m, wrong + base, n))
    return min(min(found.values(), default=1.0) * len(found), 1.0), found


class LabelAgreement(ClassMetric):
    """`label_agreement` of conditional samples, with its p-value and what held-out items read."""

    scores: ClassVar = {
        "label_agreement": ScoreInfo(
            "higher",
            "Label agreement",
            "share of conditional samples that show the class they were drawn for",
            "classes",
            headline=True,
            writes="share",
        ),
    }
    source: ClassVar = "Ravuri and Vinyals, 2019, arXiv 1905.10887, for the question"

    def read(
        self,
        samples: Float[np.ndarray, "n classes"],
        real: Float[np.ndarray, "m classes"],
        labels: Int[np.ndarray, "m"],
        shares: Float[np.ndarray, "classes"],
        wanted: Int[np.ndarray, "n"] | None = None,
    ) -> Reading:
        if wanted is None:
            return Reading({})
        predicted, seen, wanted = samples.argmax(1), real.argmax(1), wanted[: len(samples)]
        n, hits = len(predicted), int((predicted == wanted).sum())
        p, classes = disagreement(predicted, wanted, seen, labels)
        smoothed = (hits + 1) / (n + 2)  # an error of 0 at the ends would be too sure
        extra: dict[str, Any] = {
            "stderr": float(np.sqrt(smoothed * (1 - smoothed) / n)),
            "p": p,
            "held": float((seen == labels).mean()),
            "by_class": {str(c): float((predicted[wanted == c] == c).mean()) for c in classes},
        }
        return Reading({"label_agreement": hits / n}, {"label_agreement": extra})
