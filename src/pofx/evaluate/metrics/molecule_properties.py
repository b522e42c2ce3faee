"""How far the properties of generated molecules are from those of real ones: distances of one-dimensional laws.

W1 is the Wasserstein distance of the two samples, here over the standard deviation of the real values: 0.1 means that
an average molecule would have to move by a tenth of the usual spread. logP, QED, molecular weight and synthetic
accessibility are those of the MOSES benchmark (Polykovskiy et al., 2020, arXiv 1811.12823).
"""

from typing import ClassVar

import numpy as np
from jaxtyping import Float
from scipy.stats import wasserstein_distance

from pofx.core.errors import UsageError
from pofx.core.representation import Items
from pofx.data.chemistry import PROPERTIES, properties
from pofx.evaluate.metric import ItemMetric, Reading, ScoreInfo

MOST = 2000  # molecules a side whose properties are computed
SHIFT = {"logP": "w1_logp", "QED": "w1_qed", "weight": "w1_weight", "SA": "w1_sa"}


def shift(x: Float[np.ndarray, "n"], y: Float[np.ndarray, "m"]) -> float:
    """W1 of two samples over the standard deviation of the second."""
    return float(wasserstein_distance(x, y) / max(float(np.std(y)), 1e-12))


class MoleculeProperties(ItemMetric):
    """W1 over sigma of logP, QED, weight and SA of valid samples against real molecules."""

    scores: ClassVar = {
        name: ScoreInfo("lower", f"W1 {of}", f"Wasserstein distance of {of} over its standard deviation", "molecules")
        for of, name in SHIFT.items()
    }
    source: ClassVar = "Polykovskiy et al., 2020, arXiv 1811.12823"
    kinds: ClassVar = ("molecules",)

    def read(self, samples: Items, real: Items, train: Items, seed: int = 0) -> Reading:
        if not train.facts.get("molecules"):
            return Reading({})
        generator = np.random.default_rng(seed)
        try:
            x, y = (
                properties([str(s.values[i]) for i in generator.permutation(len(s))[:MOST]]).dropna()
                for s in (samples, real)
            )
        except UsageError:
            return Reading({})
        if min(len(x), len(y)) < 4:
            return Reading({})
        values, extra = {}, {}
        for of in PROPERTIES:
            a, b = x[of].to_numpy(), y[of].to_numpy()
            values[SHIFT[of]] = shift(a, b)
            thirds = [shift(a[i::3], b[i::3]) for i in range(3)]
            half = generator.permutation(len(b))
            extra[SHIFT[of]] = {
                "stderr": float(np.std(thirds, ddof=1) / 3**0.5),
                "floor": shift(b[half[::2]], b[half[1::2]]),
                "valid": len(a),
            }
        return Reading(values, extra)
