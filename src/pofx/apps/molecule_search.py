"""Molecules of a high score: a run that is steered to them, or a search in the codes of a run, beside fair floors.

As many draws of the run before are the floor of what a steered one draws, and as many calls of the oracle on random
draws that of a search (`steered`, `latent_design`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import UsageError
from pofx.core.items import Items
from pofx.data import chemistry
from pofx.data.chemistry import oracle_of
from pofx.data.dataset import Dataset


def plain(items: Items) -> Items:
    """Molecules without their properties."""
    return replace(items, condition=None)


def some(items: Items, n: int) -> list[str]:
    return [str(s) for s in items.values[:n]]


def optimise(run: Any, oracle: Any, data: Dataset, *, seed: int = 0, **options: Any) -> tuple[Any, pd.DataFrame]:
    """The run steered to a high score, and a table: the model before and after, and the training molecules.

    Of as many new draws of each: mean score, the best of them, novelty, diversity.

    Args:
        oracle: molecules → scores, or the name of a property.
        options: of `steered.steer`.
    """
    from pofx.apps.steered import steer

    of = oracle_of(oracle) if isinstance(oracle, str) else oracle
    steered = steer(run, of, clean=chemistry.canonical, group=chemistry.scaffold_of, seed=seed, **options)
    calls = len(steered.found)
    n = min(calls, 500)
    train = plain(data.train)
    known = set(chemistry.valid(train.values))
    rows = {"training molecules": summary_of(some(train, n), of, set())}
    for name, one in (("model before", run), ("model after", steered.run)):
        drawn = [s for s in chemistry.canonical(one.sample(n, seed=seed + 7)) if s is not None]
        rows[name] = {"valid": len(drawn) / n, **summary_of(drawn, of, known)}
    rows[f"best of {calls} draws before"] = {
        "best": float(np.nanmax(of([s for s in chemistry.canonical(run.sample(calls, seed=seed + 8)) if s])))
    }
    rows[f"best of {calls} calls, steered"] = {"best": float(steered.found["score"].max())}
    return steered, pd.DataFrame(rows).T


def explore(run: Any, oracle: Any, *, rounds: int = 5, calls: int = 100, seed: int = 0) -> tuple[Any, pd.DataFrame]:
    """A search for a high score in the code space of a run, such as a `vae` of SELFIES; at most a fifth of a round has
    one scaffold. A table beside random draws of the run at as many calls of the oracle, with the diversity of the best.

    Args:
        oracle: molecules → scores, or the name of a property.
        calls: of the oracle, in a round.
    """
    from pofx.apps.latent_design import Codes, searched
    from pofx.evaluate.metrics.molecules import internal_diversity

    of = oracle_of(oracle) if isinstance(oracle, str) else oracle
    options: dict[str, Any] = {"clean": chemistry.canonical, "group": chemistry.scaffold_of}
    space = Codes(run, features=chemistry.fingerprints, **options)
    loop, table = searched(space, of, rounds=rounds, batch=calls, seed=seed)
    best = [loop.best(50)["item"].tolist(), _best_of(space.first(len(loop.trials), seed + 1), of, 50)]
    table["diversity"] = [
        internal_diversity((chemistry.fingerprints(found) > 0).astype(float)) for found in reversed(best)
    ]
    return loop, table.rename(columns={"groups of fifty": "scaffolds of fifty"})


def _best_of(strings: Sequence[str], oracle: Any, n: int) -> list[str]:
    order = np.argsort(-np.nan_to_num(np.asarray(oracle(list(strings)), float), nan=-np.inf), kind="stable")
    return [strings[i] for i in order[:n]]


def summary_of(strings: Sequence[str], oracle: Any, known: set[str]) -> dict[str, float]:
    """Mean and best score of molecules, the share that is new among the different ones, their diversity."""
    from pofx.evaluate.metrics.molecules import internal_diversity

    if not strings:
        return {}
    different = sorted(set(strings))
    scores = np.asarray(oracle(list(strings)), np.float64)
    found = {"mean": float(np.nanmean(scores)), "best": float(np.nanmax(scores))}
    if known:
        found["novel"] = float(np.mean([s not in known for s in different]))
    found["unique"] = len(different) / len(strings)
    found["diversity"] = internal_diversity((chemistry.fingerprints(list(strings)[:500]) > 0).astype(float))
    return found


def function(name: str) -> Any:
    """An oracle by the name of a property, or in a file: molecules → a score each.

    Raises:
        UsageError: no such property, file or function.
    """
    from pofx.core.config import function_in_file

    if ":" not in name:
        return oracle_of(name)
    of = function_in_file(name, "an oracle of molecules")

    def scored(strings: Sequence[str]) -> np.ndarray:
        try:
            found = np.asarray(of(list(strings)), np.float64).reshape(-1)
        except Exception as error:  # whatever a user's function raises
            raise UsageError(
                f"{name} failed on {len(strings)} molecules ({type(error).__name__}: {error}): it must return a number "
                "for each SMILES, NaN where it gives nothing"
            ) from error
        if len(found) != len(strings):
            raise UsageError(f"{name} must return a number for each of {len(strings)} SMILES (got {len(found)})")
        return found

    return scored
