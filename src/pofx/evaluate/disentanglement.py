"""Codes against known factors of variation: a table of factors, one row per item in the order of the data's file.

The scores are those of `metrics/factors.py`; numbers of many values are cut at their deciles first. They presume that
factors vary on their own; the scores of random codes of the same size are reported too.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from pofx.core.errors import DataError, UsageError
from pofx.core.model import Encoding
from pofx.core.representation import Items
from pofx.data.dataset import take
from pofx.data.frames import rows_in
from pofx.evaluate.measurement import Measurement
from pofx.evaluate.metric import ScoreInfo
from pofx.evaluate.metrics.factors import dci, factor_vote, mig, sap

MOST = 5000  # items that are encoded
VALUES = 20  # above this a factor of numbers is cut
SCORES = {
    name: ScoreInfo("higher", title, help, "codes")
    for name, title, help in (
        ("mig", "MIG", "gap in mutual information between the two codes that know most about a factor"),
        ("sap", "SAP", "gap in accuracy between the two codes that predict a factor best"),
        ("disentanglement", "DCI disentanglement", "whether each code follows a single factor"),
        ("completeness", "DCI completeness", "whether each factor is followed by a single code"),
        ("informativeness", "DCI informativeness", "held-out accuracy of factors predicted from the codes"),
        ("factor_vote", "FactorVAE", "accuracy of naming the fixed factor by the code of least variance"),
    )
}


def read_factors(path: Path) -> pd.DataFrame:
    """The table of factors in a .csv file with a header line.

    Raises:
        DataError: no file, or no table.
    """
    return rows_in(path)


def factor_table(frame: pd.DataFrame) -> Int[np.ndarray, "n k"]:
    """Columns of any kind as class numbers; numbers of more than 20 values as the decile they fall in.

    Raises:
        DataError: an empty table, or one with missing values.
    """
    if frame.empty or frame.isna().any().any():
        raise DataError(f"factors must be a table without gaps (got shape {frame.shape}): fill or drop the gaps")
    columns = []
    for name in frame.columns:
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column) and column.nunique() > VALUES:
            edges = np.unique(np.quantile(column, np.linspace(0.1, 0.9, 9)))
            columns.append(np.searchsorted(edges, column.to_numpy(float), side="right"))
        else:
            columns.append(pd.factorize(column, sort=True)[0])
    return np.stack(columns, 1).astype(np.int64)


def scores(codes: Float[np.ndarray, "n d"], factors: Int[np.ndarray, "n k"], seed: int = 0) -> dict[str, float]:
    """Every score of codes (n, d) against factors (n, k), by name."""
    found = {"mig": mig(codes, factors), "sap": sap(codes, factors, seed), **dci(codes, factors, seed)}
    return {**found, "factor_vote": factor_vote(codes, factors, seed=seed)}


def disentanglement(artifact: Any, items: Items, factors: pd.DataFrame | Path, *, seed: int = 0) -> list[Measurement]:
    """The scores of an artifact's codes of all items, each with what random codes read (`chance`).

    Args:
        factors: a column per factor and a row per item, in the order of the data's file; or such a .csv file.

    Raises:
        UsageError: the model has no codes of numbers, or there is not one row of factors per item.
    """
    model = artifact.model
    if not isinstance(model, Encoding):
        raise UsageError(f"{artifact.name} has no codes to hold against factors: choose a VAE or a flow")
    if isinstance(factors, Path):
        factors = read_factors(factors)
    if len(factors) != len(items):
        raise UsageError(
            f"there must be one row of factors per item, in the order of the data's file: {len(items)} items, "
            f"{len(factors)} rows"
        )
    generator = np.random.default_rng(seed)
    at = generator.permutation(len(items))[:MOST]
    some = take(items, at)
    given = some.condition if model.condition is not None else None
    codes = np.asarray(artifact.encode(some.values, given), np.float64).reshape(len(some), -1)
    known = factor_table(factors.iloc[at])
    found = scores(codes, known, seed)
    chance = scores(generator.normal(size=codes.shape), known, seed)
    facts = {"codes": codes.shape[1], "factors": [str(c) for c in factors.columns]}
    return [
        Measurement(name, value, None, "higher", None, len(some), SCORES[name].help, {**facts, "chance": chance[name]})
        for name, value in found.items()
    ]
