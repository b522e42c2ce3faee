"""Usefulness of generated rows: train on synthetic rows, test on real ones (TSTR), against training on real rows.

Gradient-boosted trees predict the labels of conditional samples, or else the last column of the table, from all other
columns: a class if the target has at most 20 values (accuracy), else a number (R², the share of variance explained).
All are tested on real test rows. The same learner trained on as many real training rows (TRTR) is the ceiling, the most
frequent class or the mean (`dummy`) the floor. Each of several seeds draws four fifths of either side anew. Esteban,
Hyland and Rätsch, 2017, arXiv 1706.02633.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped
from threadpoolctl import threadpool_limits

from pofx.core.representation import Items
from pofx.data.dataset import Dataset
from pofx.data.dated import in_days
from pofx.evaluate.metric import DatasetMetric, Reading, ScoreInfo
from pofx.evaluate.remembered import remembered
from pofx.evaluate.table_codes import classes_of, codes

SEEDS = 3
CLASSES = 20  # values up to which a column is one of classes
MOST = 5000  # rows a side that are learnt from, and that are judged
LEAST = 40

Rows = tuple[Float[np.ndarray, "_ d"], Shaped[np.ndarray, "_"]]


@remembered(32)
def merits(
    train: Rows, test: Rows, classes: bool, words: tuple[bool, ...] = (), seed: int = 0
) -> Float[np.ndarray, "m"]:
    """What each test row adds to the accuracy (1 or 0) or to R² (its part of 1 - squared error / variance)."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    (x, y), (z, w) = train, test
    if len(set(y.tolist())) < 2:  # nothing to learn
        said = np.full(len(z), y[0])
    else:
        learner = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        leaf = int(np.clip(len(x) // 50, 2, 20))
        trees = learner(
            max_iter=40,
            learning_rate=0.2,
            max_leaf_nodes=15,
            min_samples_leaf=leaf,
            early_stopping=False,
            categorical_features=np.array(words) if any(words) else None,
            random_state=seed,
        )
        with threadpool_limits(1, "openmp"):  # threads cost more than so few rows
            said = trees.fit(x, y).predict(z)
    return _merits(said, w, classes)


def _merits(said: np.ndarray, true: np.ndarray, classes: bool) -> np.ndarray:
    if classes:
        return np.asarray(said == true, np.float64)
    return np.asarray(1 - (said - true) ** 2 / max(float(np.var(true)), 1e-30), np.float64)


def task(samples: Items, dataset: Dataset) -> tuple[list[Rows], bool, str, tuple[bool, ...]]:
    """Samples, training and test rows as (inputs, target), whether the target is one of classes, its name, and which
    inputs are categories."""
    sides = (samples, dataset.train, dataset.test)
    frames = [pd.DataFrame(s.values) for s in sides]
    if samples.labels is not None and dataset.train.labels is not None and np.ndim(dataset.train.labels) == 1:
        inputs, words = codes(frames, frames[1])
        rows = [(x, np.asarray(s.labels)) for x, s in zip(inputs, sides, strict=True)]
        return rows, True, "label", tuple(words.tolist())
    name = frames[1].columns[-1]
    rows, classes, categories = predicted(frames, frames[1], name)
    return rows, classes, str(name), categories


def predicted(
    frames: Sequence[pd.DataFrame], reference: pd.DataFrame, name: Any
) -> tuple[list[Rows], bool, tuple[bool, ...]]:
    """Tables as (inputs, target) for the prediction of a column, whether it is one of classes, and which inputs are
    categories. Rows without a number to predict are left out; no value among classes is a class."""
    *frames, reference = in_days([*frames, reference], reference)
    targets = [frame[name] for frame in frames]
    inputs, words = codes([f.drop(columns=[name]) for f in frames], reference.drop(columns=[name]))
    classes = classes_of(targets, reference[name], CLASSES)
    if classes is not None:
        return list(zip(inputs, classes, strict=True)), True, tuple(words.tolist())
    numbers = [pd.to_numeric(t, errors="coerce").to_numpy(np.float64, na_value=np.nan) for t in targets]
    rows = [(x[~np.isnan(y)], y[~np.isnan(y)]) for x, y in zip(inputs, numbers, strict=True)]
    return rows, False, tuple(words.tolist())


class Usefulness(DatasetMetric):
    """`tstr` and `tstr_gap`, with TRTR and the dummy beside it."""

    scores: ClassVar = {
        "tstr": ScoreInfo(
            "higher",
            "TSTR",
            "accuracy or R² on real test rows of a model trained on generated rows",
            "columns",
            headline=True,
        ),
        "tstr_gap": ScoreInfo(
            "lower", "TSTR gap", "accuracy or R² that training on as many real rows would add", "columns"
        ),
    }
    source: ClassVar = "Esteban, Hyland and Rätsch, 2017, arXiv 1706.02633"
    kinds: ClassVar = ("table",)

    def read(self, samples: Items, dataset: Dataset, seed: int = 0) -> Reading:
        (synthetic, real, test), classes, target, words = task(samples, dataset)
        if synthetic[0].shape[1] < 1 or min(len(synthetic[1]), len(real[1])) < LEAST or len(test[1]) < 2:
            return Reading({})
        generator = np.random.default_rng(seed)
        kept = generator.permutation(len(test[1]))[:MOST]
        test = (test[0][kept], test[1][kept])
        size = int(0.8 * min(len(synthetic[1]), len(real[1]), MOST))
        found: dict[str, list[np.ndarray]] = {"tstr": [], "trtr": []}
        for name, (x, y) in (("tstr", synthetic), ("trtr", real)):
            draw = np.random.default_rng(seed)
            for s in range(SEEDS):
                rows = draw.permutation(len(y))[:size]
                found[name].append(merits((x[rows], y[rows]), test, classes, words, seed + s))
        tstr, trtr = np.stack(found["tstr"]), np.stack(found["trtr"])
        values, counts = np.unique(real[1], return_counts=True)
        guess = values[counts.argmax()] if classes else real[1].mean()
        about: dict[str, Any] = {
            "trtr": float(trtr.mean()),
            "dummy": float(_merits(np.full(len(test[1]), guess), test[1], classes).mean()),
            "target": target,
            "measure": "accuracy" if classes else "R²",
            "learnt_from": size,
            "items": len(test[1]),
        }
        means = {"tstr": tstr, "tstr_gap": trtr - tstr}
        extra = {name: {**about, "stderr": _error(of), "seeds": of.mean(1).tolist()} for name, of in means.items()}
        return Reading({name: float(of.mean()) for name, of in means.items()}, extra)


def _error(merit: Float[np.ndarray, "seeds m"]) -> float:
    """The standard error of the mean: the test rows are a sample, and so are the rows learnt from."""
    rows = merit.mean(0).std(ddof=1) / np.sqrt(merit.shape[1])
    return float(np.hypot(rows, merit.mean(1).std(ddof=1) / np.sqrt(len(merit))))
