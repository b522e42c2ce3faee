"""Mutants of any length: insertions and deletions, for which an alignment has no column.

A `gpt` reads the sequences of the family without gaps, what is inserted against the focus included, and scores whole
sequences: log p of a mutant less that of the focus (as autoregressive models do in Notin et al., 2022, arXiv
2205.13760). Floors: tables of n-grams of the same sequences, and how much longer or shorter a mutant is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pofx.apps.ngram import NGram
from pofx.apps.sequence_family import RECIPES, resampled
from pofx.core.errors import DataError, UsageError
from pofx.data.alignments import RESIDUES, Alignment
from pofx.data.frames import rows_in

MODEL = "gpt"
ORDER = 3  # residues of the longest n-gram


def read_whole(path: str | Path, mutant: str = "mutant", score: str = "score") -> tuple[list[str], np.ndarray]:
    """Whole mutant sequences and their measured scores, of a .csv; rows without a score are left out.

    Raises:
        UsageError: no such columns.
        DataError: no sequences with a score, or letters that are no residues.
    """
    frame = rows_in(Path(path))
    for column in (mutant, score):
        if column not in frame.columns:
            raise UsageError(f"assay has no column '{column}': choose from {', '.join(map(str, frame.columns))}")
    values = pd.to_numeric(frame[score], errors="coerce").to_numpy(float)
    names = frame[mutant].fillna("").astype(str).str.strip().str.upper()
    good = np.isfinite(values) & (names != "").to_numpy()
    found = names[good].tolist()
    if not found:
        raise DataError(f"{path} has no sequences with a score: write them whole, residue by residue")
    other = next((s for s in found if set(s) - set(RESIDUES)), None)
    if other is not None:
        raise DataError(f"{path}: {other[:20]!r} is no whole sequence of residues: leave --whole out for V29A")
    return found, values[good]


def learn(alignment: Alignment, *, seed: int = 0, **options: Any) -> Any:
    """A run on the sequences of a family without gaps."""
    from pofx.runs.fitting import fit

    data = resampled(alignment, seed=seed, whole=True)
    return fit(data, MODEL, seed=seed, **{"represent": "characters", **RECIPES.get(MODEL, {}), **options})


def scores(runs: Sequence[Any], alignment: Alignment, sequences: Sequence[str]) -> dict[str, np.ndarray]:
    """Scores of whole sequences by name: of the runs, and of the floors."""
    focus = alignment.whole[0]
    table = NGram(alignment.whole, ORDER)
    grams = np.array([table.log_prob(s) for s in (focus, *sequences)])
    longest = max(map(len, sequences))
    found = {
        "length": -np.abs(np.array([len(s) for s in sequences]) - len(focus)).astype(float),
        f"{ORDER}-grams": grams[1:] - grams[0],
    }
    each = []
    for run in runs:
        if longest > run.representation.length:
            raise DataError(
                f"a mutant has {longest} residues, the run holds {run.representation.length}: pass -o length={longest}"
            )
        values = np.asarray(run.log_prob([focus, *sequences]))
        each.append(values[1:] - values[0])
    found[f"{MODEL} x {len(runs)}"] = np.mean(each, 0)
    return found
