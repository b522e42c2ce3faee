"""Path length: do items change evenly along the way between two codes, or in leaps and detours?

For pairs of held-out items, two points near each other on the way between their codes are decoded; their squared
distance over the squared step is the path length (after Karras et al., 2020, arXiv 1912.04958, without its network), in
the space of vectors. It is told over that of the straight line between the decoded ends, which is what a code that is
linear in the data reads: 1 is as short as can be. Steps are a tenth of the way, for decoded items are rounded.
"""

from typing import Any, ClassVar

import numpy as np

from pofx.core.errors import Unsupported
from pofx.core.model import Encoding
from pofx.data.dataset import Dataset, take
from pofx.evaluate.metric import ArtifactMetric, Reading, ScoreInfo
from pofx.evaluate.metrics.codes import path_length
from pofx.evaluate.vectors import Vectors

STEP = 0.1
PAIRS = 200


class PathLength(ArtifactMetric):
    """`path_length`: squared speed of decoded items along ways between codes, over that of the straight line."""

    scores: ClassVar = {
        "path_length": ScoreInfo(
            "lower", "Path length", "squared speed of decoded items between two codes; 1: linear in the data", "codes"
        ),
    }
    source: ClassVar = "Karras et al., 2020, arXiv 1912.04958"

    def read(self, artifact: Any, dataset: Dataset, *, seconds: float | int = 20.0, seed: int = 0) -> Reading:
        model = artifact.model
        if not isinstance(model, Encoding) or model.condition is not None or dataset.train.kind == "audio":
            return Reading({})
        generator = np.random.default_rng(seed)
        pairs = min(PAIRS, len(dataset.test) // 2)
        if pairs < 20:
            return Reading({})
        order = generator.permutation(len(dataset.test))[: 2 * pairs]
        starts, ends = (take(dataset.test, at).values for at in (order[:pairs], order[pairs:]))
        steps = round(1 / STEP) + 1
        try:
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
