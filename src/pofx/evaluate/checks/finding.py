"""The result of a check: ok, warning or failed, with evidence and a remedy."""

import time
from typing import Any

import numpy as np

from pofx.core.representation import Items
from pofx.data.dataset import take

N = 200  # items that most checks look at
PATIENCE = 4.0  # seconds that a check may spend on scoring them
Finding = dict[str, str]


def finding(check: str, result: str, seen: str, mend: str = "") -> Finding:
    """One row of an audit; with a remedy where something is wrong."""
    return {"check": check, "result": result, "seen": seen, "mend": "" if result == "ok" else mend}


def some(items: Items, n: int, seed: int) -> Items:
    """At most n items, drawn with the seed: the first ones of a file may be its easy ones."""
    return take(items, np.random.default_rng(seed).permutation(len(items))[:n])


def affordable(artifact: Any, items: Items, seed: int) -> Items:
    """N items, or as many as can be scored in PATIENCE seconds (at least 20): densities may be slow."""
    few = some(items, 10, seed)
    start = time.perf_counter()
    artifact.score(few)
    each = (time.perf_counter() - start) / len(few)
    return some(items, min(N, max(int(PATIENCE / max(each, 1e-9)), 20)), seed)
