"""Sliced Wasserstein distance: the mean squared distance of sorted projections, over random directions.

`mind` is 3 d times the mean of the squared one-dimensional Wasserstein-2 distances over directions of the unit sphere,
the scale that makes a shift of all d coordinates by s read 3 s² d (as the peers' "MIND" does; Bonneel et al., 2015, for
the sliced distance). No covariance is inverted, so that few items suffice; its bias falls as 1/n.
"""

from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from pofx.core.errors import UsageError
from pofx.evaluate.measurement import vanishing
from pofx.evaluate.metric import FeatureMetric, ScoreInfo
from pofx.evaluate.remembered import remembered

DIRECTIONS = 500
SPLITS, ROUGH = 24, 100  # of the standard error: half-samples, and directions
QUANTILES = 1000  # at which sides of unequal n are compared


def sliced_wasserstein(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], directions: int = DIRECTIONS, seed: int = 0
) -> float:
    """The mean over directions of the squared Wasserstein-2 distance of the projections of (n, d) and (m, d).

    Raises:
        UsageError: a side is empty.
    """
    if min(len(x), len(y)) < 1:
        raise UsageError("a Wasserstein distance needs items on both sides")
    return _apart(projected(x, directions, seed), projected(y, directions, seed))


@remembered(16)
def projected(items: Float[np.ndarray, "n d"], directions: int, seed: int) -> Float[np.ndarray, "directions n"]:
    """The projections of items on random directions, sorted along each."""
    axes = np.random.default_rng(seed).normal(size=(items.shape[1], directions))
    axes /= np.linalg.norm(axes, axis=0)
    return np.sort(np.ascontiguousarray((items @ axes.astype(items.dtype)).T), 1)


def _apart(a: Float[np.ndarray, "directions n"], b: Float[np.ndarray, "directions m"]) -> float:
    n, m = a.shape[1], b.shape[1]
    if n != m:
        at = (np.arange(QUANTILES) + 0.5) / QUANTILES
        a, b = (side[:, np.minimum((at * side.shape[1]).astype(int), side.shape[1] - 1)] for side in (a, b))
    gap = (a - b).ravel()
    return float(np.vdot(gap, gap)) / gap.size


class Mind(FeatureMetric):
    """`mind`: 3 d times the sliced squared Wasserstein-2 distance."""

    scores: ClassVar = {
        "mind": ScoreInfo(
            "lower",
            "MIND",
            "3 d × sliced squared Wasserstein distance; biased upwards, compare with its floor",
            "samples",
        ),
    }
    source: ClassVar = "Bonneel et al., 2015, JMIV 51"
    halves: ClassVar = 0

    def values(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        return {"mind": 3 * x.shape[1] * sliced_wasserstein(x, y, seed=seed)}

    def errors(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        """From fewer directions: all see the same items."""
        d = x.shape[1]
        values = lambda a, b: {"mind": 3 * d * sliced_wasserstein(a, b, ROUGH, seed)}  # noqa: E731
        return vanishing(values, x, y, SPLITS, seed)

    def details(
        self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0
    ) -> dict[str, dict[str, Any]]:
        """`floor`: what two halves of the real items read, brought to the full n."""
        half = np.random.default_rng(seed).permutation(len(y))
        a, b = y[half[: len(y) // 2]], y[half[len(y) // 2 : 2 * (len(y) // 2)]]
        return {"mind": {"floor": self.values(a, b, seed)["mind"] / 2, "directions": DIRECTIONS}}
