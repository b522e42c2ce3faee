"""Inception score: how sure a classifier is of each sample, times how many classes it sees.

exp of the mean KL divergence of p(class | x) from its average (Salimans et al., 2016, arXiv 1606.03498), with any
classifier. It knows no real data and no diversity within a class: read it beside what held-out items score.
"""

from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from pofx.evaluate.metric import ClassMetric, Reading, ScoreInfo


def inception_score(probabilities: Float[np.ndarray, "n classes"]) -> float:
    """The score of predicted probabilities (n, classes): 1 to the number of classes."""
    p = np.maximum(np.asarray(probabilities, np.float64), 1e-30)
    middle = np.maximum(p.mean(0), 1e-30)
    return float(np.exp((p * (np.log(p) - np.log(middle))).sum(1).mean()))


class InceptionScore(ClassMetric):
    """`inception_score`, with that of held-out items."""

    scores: ClassVar = {
        "inception_score": ScoreInfo(
            "none",
            "Inception score",
            "confidence times spread of the predicted classes; compare with held-out items",
            "classes",
        ),
    }
    source: ClassVar = "Salimans et al., 2016, arXiv 1606.03498"

    def read(
        self,
        samples: Float[np.ndarray, "n classes"],
        real: Float[np.ndarray, "m classes"],
        labels: Int[np.ndarray, "m"],
        shares: Float[np.ndarray, "classes"],
        wanted: Int[np.ndarray, "n"] | None = None,
    ) -> Reading:
        generator = np.random.default_rng(0)
        halves = [generator.permutation(len(samples))[: len(samples) // 2] for _ in range(20)]
        error = np.std([inception_score(samples[half]) for half in halves], ddof=1)
        extra = {"stderr": float(error), "held": inception_score(real), "classes": len(shares)}
        return Reading({"inception_score": inception_score(samples)}, {"inception_score": extra})
