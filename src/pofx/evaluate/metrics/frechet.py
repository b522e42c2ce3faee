"""Fréchet distance between samples and real items in a feature space, with its bias: `maths.frechet` as a metric.

Heusel et al. (2017, arXiv 1706.08500). The bias at equality is computed and printed as the floor; the distance for
infinitely many items is extrapolated (Chong and Forsyth, 2020, arXiv 1911.07023).
"""

from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from pofx.evaluate.measurement import vanishing
from pofx.evaluate.metric import Axis, FeatureMetric, ScoreInfo
from pofx.maths.frechet import frechet_curve, frechet_distance, frechet_floor

SPLITS = 20  # of the standard error


class FrechetDistance(FeatureMetric):
    """`frechet_distance`, with its floor and its limit for infinitely many items."""

    scores: ClassVar = {
        "frechet_distance": ScoreInfo(
            "lower",
            "FD",
            "Fréchet distance to real data; biased upwards, compare with its floor",
            "samples",
            headline=True,
            axis=Axis(
                "quality",
                "Sample quality",
                "Fréchet distance",
                "samples most like the data",
                "smallest Fréchet distance",
                order=1,
            ),
        ),
    }
    source: ClassVar = "Heusel et al., 2017, arXiv 1706.08500"
    halves: ClassVar = 0

    def values(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        return {"frechet_distance": frechet_distance(x, y)}

    def errors(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        return vanishing(self.values, x, y, SPLITS, seed)

    def details(
        self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0
    ) -> dict[str, dict[str, Any]]:
        inverse, distances = frechet_curve(x, y, seed=seed)
        slope, infinity = np.polyfit(inverse, distances, 1)
        means = [[float(u), float(distances[inverse == u].mean())] for u in np.unique(inverse)]
        floor = frechet_floor(y, len(x), len(y))
        facts = {"floor": floor, "infinity": float(infinity), "slope": float(slope), "points": means}
        return {"frechet_distance": {**facts, "dims": x.shape[1]}}
