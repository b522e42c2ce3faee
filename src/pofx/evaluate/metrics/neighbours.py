"""Precision, recall, density and coverage: do samples lie among real items, and real items among samples?

A point's ball reaches to its k-th nearest neighbour in its own set. Precision: samples inside some real ball; recall:
real items inside some sample's ball (Kynkäänniemi et al., 2019, arXiv 1904.06991). Density counts the real balls a
sample lies in, over k; coverage is the share of real balls that hold a sample (Naeem et al., 2020, arXiv 2002.09797).
All need equally many items on both sides. Only recall sees a contraction; density above 1.5 is not interpretable.
"""

from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from pofx.core.errors import UsageError
from pofx.evaluate.distances import overlap
from pofx.evaluate.metric import Axis, FeatureMetric, ScoreInfo

K = 5


def neighbour_scores(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], k: int = K) -> dict[str, float]:
    """Samples x (n, d) against real items y (m, d): the four scores.

    Raises:
        UsageError: a side has k items or fewer.
    """
    if min(len(x), len(y)) <= k:
        raise UsageError(f"k = {k} neighbours need more than {k} items on each side (got {len(x)} and {len(y)})")
    found = overlap(x, y, k)
    return {
        "precision": float((found.balls > 0).mean()),
        "recall": float(found.recalled.mean()),
        "density": float(found.balls.mean() / k),
        "coverage": float((found.hits > 0).mean()),
    }


class Neighbours(FeatureMetric):
    """`precision`, `recall`, `density` and `coverage` with k = 5."""

    scores: ClassVar = {
        "precision": ScoreInfo(
            "higher",
            "Precision",
            "share of samples near a real item",
            "samples",
            headline=True,
            plane=("Precision and recall", "fidelity"),
        ),
        "recall": ScoreInfo(
            "higher",
            "Recall",
            "share of real items near a sample",
            "samples",
            headline=True,
            plane=("Precision and recall", "diversity"),
        ),
        "density": ScoreInfo(
            "none",
            "Density",
            "real neighbourhoods that contain a sample, over k; above 1.5 not interpretable",
            "samples",
        ),
        "coverage": ScoreInfo(
            "higher",
            "Coverage",
            "share of real items with a sample in their neighbourhood",
            "samples",
            headline=True,
            axis=Axis(
                "coverage",
                "Diversity",
                "coverage of real data",
                "nothing in the data left out",
                "highest coverage",
                order=2,
            ),
        ),
    }
    source: ClassVar = "Kynkäänniemi et al., 2019, arXiv 1904.06991; Naeem et al., 2020, arXiv 2002.09797"

    def values(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        return neighbour_scores(x, y, min(K, len(x) - 1, len(y) - 1))

    def details(
        self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0
    ) -> dict[str, dict[str, Any]]:
        return {name: {"k": K} for name in self.scores}
