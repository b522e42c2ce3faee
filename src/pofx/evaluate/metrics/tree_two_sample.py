"""Two-sample test by boosted trees: can trees distinguish generated from real rows?

The usual logistic test rates independent columns as indistinguishable from real rows, for it sees no interactions
(TabPC, 2026, arXiv 2603.23016, appendix); trees do. Equal numbers of both, out-of-fold predictions, AUC; chance is a
half. Lopez-Paz and Oquab, 2017, arXiv 1610.06545.
"""

from typing import ClassVar

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pofx.core.representation import Items
from pofx.data.kind import Kind, kind_of
from pofx.evaluate.metric import ItemMetric, Reading, ScoreInfo
from pofx.evaluate.table_codes import codes

MOST, FOLDS, LEAST = 4000, 3, 20  # rows a side, parts, and rows a side without which there is no test


def tree_auc(samples: pd.DataFrame, real: pd.DataFrame, seed: int = 0, most: int = MOST) -> tuple[float, float]:
    """The out-of-fold AUC of boosted trees between samples and real rows, and its standard error (Hanley and McNeil,
    1982); as many rows of both."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    generator = np.random.default_rng(seed)
    n = min(len(samples), len(real), most)
    sides = [side.iloc[generator.permutation(len(side))[:n]] for side in (samples, real)]
    (a, b), words = codes(sides, real)
    x, y = np.concatenate((a, b)), np.repeat((1, 0), n)
    trees = HistGradientBoostingClassifier(
        max_iter=60,
        learning_rate=0.15,
        max_leaf_nodes=15,
        categorical_features=words,
        early_stopping=False,
        random_state=seed,
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with threadpool_limits(1, "openmp"):
        p = cross_val_predict(trees, x, y, cv=folds, method="predict_proba")[:, 1]
    auc = float(roc_auc_score(y, p))
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (n - 1) * (q1 + q2 - 2 * auc**2)) / n**2
    return auc, float(np.sqrt(max(variance, 1e-12)))


class TreeTwoSample(ItemMetric):
    """`tree_c2st`: the AUC of boosted trees between generated and real rows."""

    scores: ClassVar = {
        "tree_c2st": ScoreInfo(
            "lower",
            "Tree C2ST",
            "AUC of boosted trees between generated and real rows; chance: 0.5",
            "columns",
            headline=True,
        ),
    }
    source: ClassVar = "Lopez-Paz and Oquab, 2017, arXiv 1610.06545; TabPC, 2026, arXiv 2603.23016"

    @classmethod
    def takes(cls, kind: Kind) -> bool:
        return kind.columnar

    def read(self, samples: Items, real: Items, train: Items, seed: int = 0) -> Reading:
        a, b = (kind_of(items).columns(items.values) for items in (samples, real))
        if a is None or b is None or min(len(a), len(b)) < LEAST:
            return Reading({})
        auc, error = tree_auc(a, b, seed)
        return Reading({"tree_c2st": auc}, {"tree_c2st": {"stderr": error}})
