"""Molecules under given properties: how well draws have them, and the nearest of several draws of each.

Properties that RDKit computes are compared as they are; measured ones are predicted by a random forest on fingerprints,
whose own error is printed beside.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError
from pofx.data import chemistry
from pofx.data.dataset import Dataset


def given(run: Any, data: Dataset, n: int, seed: int) -> dict[str, Any]:
    """The condition of n samples as keywords: properties of held-out molecules."""
    if run.conditioning is None or data.test.condition is None:
        return {}
    at = np.random.default_rng(seed).integers(len(data.test), size=n)
    return {"condition": data.test.condition.values.iloc[at].reset_index(drop=True)}


def obedience(
    run: Any, data: Dataset, *, n: int = 500, seed: int = 0, tries: int = 1, draw: Any = None
) -> pd.DataFrame:
    """Whether samples have the properties that they were given: mean absolute errors, in the property's own unit.

    `ignored` is the error if the condition had no effect: that against other rows' targets. Measured properties are
    predicted by a random forest; `judge` is its own error on held-out molecules. With `tries` of each the nearest one
    counts, drawn by `draw` where it is given (`nearest`).
    """
    condition = given(run, data, n, seed)["condition"]
    drawn = chemistry.canonical(nearest(run, condition, data, tries, seed=seed, draw=draw))
    there = np.array([s is not None for s in drawn])
    strings = [s for s in drawn if s is not None]
    if len(strings) < 2:
        raise DataError("fewer than two samples are molecules: train the model for longer")
    targets = condition[there].reset_index(drop=True)
    mixed = np.roll(np.arange(len(strings)), 1)
    rows = {}
    for column in condition.columns:
        wanted = targets[column].to_numpy()
        judge = np.nan
        if column in chemistry.PROPERTIES:
            have = chemistry.properties(strings, [column])[column].to_numpy()
        else:
            predict, judge = predictor(data, column, seed)
            have = predict(strings)
        rows[column] = {
            "error": float(np.abs(have - wanted).mean()),
            "ignored": float(np.abs(have - wanted[mixed]).mean()),
            "judge": judge,
        }
    found = pd.DataFrame(rows).T
    found["ratio"] = found["ignored"] / found["error"]
    return found


def nearest(
    run: Any, condition: pd.DataFrame, data: Dataset, tries: int, *, seed: int = 0, draw: Any = None
) -> list[str]:
    """Of `tries` draws under each row of a condition the one whose properties are nearest, in standard deviations of
    the training molecules; what is no molecule comes last. With more than one these are no draws of p(x | condition).

    Args:
        condition: properties by column, a row for each molecule that is wanted.
        draw: from a condition and a seed to strings; by default the run's own draws.

    Raises:
        UsageError: no try.
    """
    if tries < 1:
        raise UsageError(f"tries must be 1 or more (got {tries})")
    draw = draw or (lambda of, k: run.sample(len(of), of, seed=k, with_condition=False))
    if tries == 1:
        return list(draw(condition, seed))
    drawn = [list(draw(condition, seed + (k << 32))) for k in range(tries)]
    assert data.train.condition is not None
    spread = data.train.condition.values[list(condition.columns)].std().to_numpy(float)
    wanted = condition.to_numpy(float)
    judges = {c: predictor(data, c, seed)[0] for c in condition.columns if c not in chemistry.PROPERTIES}
    off = np.full((tries, len(condition)), np.inf)
    for k, strings in enumerate(drawn):
        good = {i: s for i, s in enumerate(chemistry.canonical(strings)) if s is not None}
        at, some = list(good), list(good.values())
        if not at:
            continue
        computed = chemistry.properties(some, [c for c in condition.columns if c not in judges])
        have = np.stack(
            [judges[c](some) if c in judges else computed[c].to_numpy(float) for c in condition.columns], axis=1
        )
        off[k, at] = np.square((have - wanted[at]) / np.maximum(spread, 1e-12)).sum(1)
    return [drawn[k][i] for i, k in enumerate(off.argmin(0))]


def stated(names: Sequence[str]) -> tuple[list[str], dict[str, float]]:
    """Properties by name, and the values that are stated as NAME=VALUE; of all of them or of none.

    Raises:
        UsageError: no number, or a value of some properties alone.
    """
    found: dict[str, float] = {}
    for text in names:
        name, sign, value = text.partition("=")
        if not sign:
            continue
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise UsageError(f"a stated property must be NAME=NUMBER (got '{text}'): such as logP=2.5") from None
    columns = [text.partition("=")[0].strip() for text in names]
    if found and len(found) < len(columns):
        raise UsageError(f"state values of all given properties or of none: {', '.join(c + '=…' for c in columns)}")
    return columns, found


def reached(strings: Sequence[str], wanted: dict[str, float], data: Dataset, seed: int = 0) -> pd.DataFrame:
    """What draws under stated values have: by property the value, their mean and spread, and those of held-out ones."""
    good, rows = list(chemistry.valid(strings)), {}
    assert data.test.condition is not None
    for name, value in wanted.items():
        if name in chemistry.PROPERTIES:
            have = chemistry.properties(good, [name])[name].to_numpy()
        else:
            have = predictor(data, name, seed)[0](good) if good else np.zeros(0)
        real = data.test.condition.values[name].to_numpy(float)
        spread = {
            "spread": float(np.std(have)),
            "of held-out ones": float(real.mean()),
            "their spread": float(real.std()),
        }
        rows[name] = {"stated": value, "mean": float(np.mean(have)) if len(have) else np.nan, **spread}
    return pd.DataFrame(rows).T


def predictor(data: Dataset, column: str, seed: int = 0) -> tuple[Any, float]:
    """A random forest from fingerprints to a measured property, and its error on held-out molecules."""
    from sklearn.ensemble import RandomForestRegressor

    assert data.train.condition is not None and data.test.condition is not None
    forest = RandomForestRegressor(200, min_samples_leaf=2, n_jobs=1, random_state=seed)
    forest.fit(chemistry.fingerprints(data.train.values), data.train.condition.values[column])

    def predict(strings: Sequence[str]) -> np.ndarray:
        return np.asarray(forest.predict(chemistry.fingerprints(strings)))

    return predict, float(np.abs(predict(data.test.values) - data.test.condition.values[column]).mean())
