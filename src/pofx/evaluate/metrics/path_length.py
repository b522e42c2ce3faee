"""Path length: do decoded items change evenly between two codes, or in leaps and detours?

For pairs of held-out items, two neighbouring points on the path between their codes are decoded; their squared distance
over the squared step is the path length (after Karras et al., 2020, arXiv 1912.04958, without its network), in the
space of vectors. Reported relative to the straight line between the decoded endpoints; a linear code scores 1, the
minimum. Steps are a tenth of the path, for decoded items are rounded.
"""

import time
from typing import Any, ClassVar

import numpy as np

from pofx.core.errors import Unsupported
from pofx.core.items import Items
from pofx.core.model import Encoding
from pofx.data.dataset import Dataset, take
from pofx.data.kind import kind_of
from pofx.data.vectors import Vectors
from pofx.evaluate.metric import ArtifactMetric, Reading, ScoreInfo
from pofx.evaluate.metrics.codes import path_length

STEP = 0.1
PAIRS = 200


def has_distances(items: Items) -> bool:
    """Whether distances of items' vectors are distances of the items: not so for counts of n-grams or spectra."""
    kind = kind_of(items)
    return kind.columnar or kind.flat(kind.take(items.values, np.arange(1))) is not None


class PathLength(ArtifactMetric):
    """`path_length`: squared speed of decoded items on paths between codes, over that of the straight line."""

    scores: ClassVar = {
        "path_length": ScoreInfo(
            "lower", "Path length", "squared speed of decoded items between two codes; 1: linear in the data", "codes"
        ),
    }
    source: ClassVar = "Karras et al., 2020, arXiv 1912.04958"

    def read(self, artifact: Any, dataset: Dataset, *, seconds: float | int = 20.0, seed: int = 0) -> Reading:
        model = artifact.model
        if not isinstance(model, Encoding) or model.condition is not None or not has_distances(dataset.train):
            return Reading({})
        generator = np.random.default_rng(seed)
        pairs = min(PAIRS, len(dataset.test) // 2)
        if pairs < 20:
            return Reading({})
        order, steps = generator.permutation(len(dataset.test)), round(1 / STEP) + 1
        first, second = (take(dataset.test, at).values for at in (order[:4], order[4:8]))
        try:
            start = time.perf_counter()
            artifact.interpolate(first, second, steps)
            pairs = max(min(pairs, int(4 * seconds / max(time.perf_counter() - start, 1e-9))), 20)
            starts, ends = (take(dataset.test, at).values for at in (order[:pairs], order[pairs : 2 * pairs]))
            decoded = artifact.interpolate(starts, ends, steps)
        except Unsupported:  # discrete codes, between which there is nothing
            return Reading({})
        x = Vectors.fit(dataset.train)(decoded).reshape(pairs, steps, -1).astype(np.float64)
        at = generator.integers(steps - 1, size=pairs)
        rows = np.arange(pairs)
        value, error = path_length(x[rows, at], x[rows, at + 1], STEP)
        straight = float(np.square(x[:, -1] - x[:, 0]).sum(-1).mean())
        if not straight > 0:
            return Reading({})
        extra = {"stderr": error / straight, "straight": straight, "step": STEP, "items": 2 * pairs}
        return Reading({"path_length": value / straight}, {"path_length": extra})
