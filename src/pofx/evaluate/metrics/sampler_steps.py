"""What more steps of a sampler buy: the Fréchet distance of samples drawn with fewer and with more of them.

A `Stepwise` run is sampled at several numbers of steps, from the same seeds: `enough_steps` is the least number whose
distance (in `pca`) lies within two standard errors of the least distance. The curve belongs to this model as it is
trained; where it still falls at its end, the model samples with too few steps. (Karras et al., 2022, arXiv 2206.00364,
compare samplers by it.)
"""

import copy
import dataclasses
import time
from typing import Any, ClassVar

from pofx.core.model import Stepwise
from pofx.data.dataset import Dataset, take
from pofx.evaluate.arrangement import arrange
from pofx.evaluate.conditions import drawn
from pofx.evaluate.features import main_space
from pofx.evaluate.metric import ArtifactMetric, Reading, ScoreInfo
from pofx.evaluate.metrics.frechet import FrechetDistance

SHARES = (0.125, 0.25, 0.5, 1, 2)  # of the model's own number of steps
ITEMS = 500


def at_steps(artifact: Any, steps: int) -> Any:
    """The same weights, sampled in another number of steps."""
    model = copy.copy(artifact.model)
    model.steps = steps
    return dataclasses.replace(artifact, model=model)


class Effort(ArtifactMetric):
    """`enough_steps`, with the curve: distance, its standard error and seconds per 1,000 samples by steps."""

    scores: ClassVar = {
        "enough_steps": ScoreInfo(
            "lower",
            "Enough steps",
            "fewest sampling steps whose samples are no farther from the data than with more steps",
            "sampling",
        ),
    }
    source: ClassVar = "Karras et al., 2022, arXiv 2206.00364"

    def read(self, artifact: Any, dataset: Dataset, *, seconds: float | int = 20.0, seed: int = 0) -> Reading:
        """From as many samples as fit into about `seconds`; nothing where that is fewer than 50."""
        model = artifact.model
        if not isinstance(model, Stepwise):
            return Reading({})
        own = model.steps
        steps = sorted({max(round(share * own), 1) for share in SHARES})
        plan = arrange(dataset, None, seed)
        start = time.perf_counter()
        drawn(artifact, dataset.test, 16, seed=seed)
        each = (time.perf_counter() - start) / 16 / own
        n = int(min(ITEMS, plan.n, seconds / max(each * sum(steps), 1e-9)))
        if n < 50:
            return Reading({})
        space = main_space(dataset.train, seed=seed)
        pool = dataset.train if plan.from_train else dataset.test
        real = space.of(take(pool, plan.reference[0]))
        metric, curve = FrechetDistance(), []
        for number in steps:
            start = time.perf_counter()
            samples = drawn(at_steps(artifact, number), dataset.test, n, seed=seed).values
            spent = (time.perf_counter() - start) / n * 1000
            features = space(samples)
            error = metric.errors(features, real, seed)["frechet_distance"]
            curve.append((number, metric.values(features, real, seed)["frechet_distance"], error, spent))
        best = min(curve, key=lambda point: point[1])
        enough = next(number for number, distance, error, _ in curve if distance <= best[1] + 2 * max(error, best[2]))
        facts = {"option": "steps", "own": own, "curve": [list(point) for point in curve], "items": n}
        return Reading({"enough_steps": float(enough)}, {"enough_steps": facts})
