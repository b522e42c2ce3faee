"""A generative model of sequences, steered to score high by an oracle: it draws, the oracle scores, it learns.

"cbas" (Brookes, Park and Listgarten, 2019, arXiv 1901.10060) raises a threshold to a quantile of the scores and fits
the model to what lies above it, importance-weighted by prior over model, so that it stays where the prior has mass.
"reinforce" moves log q to log p + sigma · score (Olivecrona et al., 2017, arXiv 1704.07555). Diversity is held by a
limit on how many items of one group (a scaffold) are learned from (Blaschke et al., 2020, arXiv 2002.07054).
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd

from pofx.artifact import Artifact
from pofx.core.errors import DataError, UsageError
from pofx.core.options import Count, OneOf, OpenUnit, Positive, Seed, checked
from pofx.runs.tuning import tune

RULES = ("cbas", "reinforce")
RATIO = 2.0  # nats at which the log of an importance weight is cut: those of whole sequences vary by tens
TRIES = 4  # draws per wanted new item, at most

Oracle = Callable[[Sequence[Any]], Any]
Clean = Callable[[Sequence[Any]], Sequence[Any | None]]


@dataclass(frozen=True)
class Steered:
    """The tuned run, and every scored item: columns item, score, round."""

    run: Artifact
    found: pd.DataFrame

    def best(self, n: int = 10) -> pd.DataFrame:
        return self.found.sort_values("score", ascending=False, kind="stable").head(n).reset_index(drop=True)


def identity(items: Sequence[Any]) -> Sequence[Any]:
    return items


def new_items(run: Artifact, n: int, known: set[Any], clean: Clean, seed: int) -> list[Any]:
    """At most n valid items of a run that are not known yet, in the form of `clean`."""
    found: dict[Any, None] = {}
    for attempt in range(TRIES):
        drawn = clean(run.sample(n, seed=seed + (attempt << 32)))
        found |= {x: None for x in drawn if x is not None and x not in known}
        if len(found) >= n:
            break
    return list(found)[:n]


@checked
def steer(
    run: Artifact,
    oracle: Any,
    *,
    rounds: Count = 5,
    calls: Count = 200,
    rule: Annotated[str, OneOf(*RULES)] = "cbas",
    keep: OpenUnit = 0.25,
    sigma: Positive = 20.0,
    steps: Count = 60,
    clean: Any = identity,
    group: Any = None,
    alike: Count = 10,
    seed: Seed = 0,
) -> Steered:
    """Rounds of drawing, scoring and learning.

    Args:
        run: an artifact of a model with a density.
        oracle: items → one score each, larger is better; NaN is never learned from.
        calls: items that the oracle scores in a round.
        keep: share of the scores above which "cbas" learns.
        sigma: nats per standard deviation of the score, of "reinforce".
        steps: of training in a round.
        clean: items → each in one form, or None where it is not valid.
        group: an item → what it is one of; at most `alike` of a group are learned from.

    Raises:
        DataError: no valid item is drawn.
    """
    prior, rows, threshold = run, [], -np.inf
    known: set[Any] = set()
    for number in range(rounds):
        items = new_items(run, calls, known, clean, seed + (number << 36))
        if not items:
            raise DataError("the run draws no valid new items: train it for longer, or stop after fewer rounds")
        scores = np.asarray(oracle(items), np.float64).reshape(-1)
        if len(scores) != len(items):
            raise UsageError(f"the oracle must return one score for each item (got {len(scores)} for {len(items)})")
        known |= set(items)
        rows += [{"item": x, "score": s, "round": number} for x, s in zip(items, scores, strict=True)]
        if number == rounds - 1:
            break
        if rule == "cbas":
            run, threshold = cbas_step(run, prior, pd.DataFrame(rows), threshold, keep, steps, group, alike, seed)
        else:
            there = np.isfinite(scores)
            chosen = [x for x, good in zip(items, there, strict=True) if good]
            z = (scores[there] - scores[there].mean()) / max(float(scores[there].std()), 1e-9)
            targets = prior.log_prob(chosen) + sigma * z * limited(chosen, group, alike)
            run = tune(run, chosen, targets, rule="augmented", steps=steps, seed=seed + number)
    return Steered(run, pd.DataFrame(rows))


def cbas_step(
    run: Artifact,
    prior: Artifact,
    found: pd.DataFrame,
    threshold: float,
    keep: float,
    steps: int,
    group: Callable[[Any], Hashable] | None,
    alike: int,
    seed: int,
) -> tuple[Artifact, float]:
    """The model fitted to what scores above a threshold that only rises; and that threshold."""
    last = found[found["round"] == found["round"].max()]["score"].to_numpy()
    last = last[np.isfinite(last)]
    if len(last):
        threshold = max(threshold, float(np.quantile(last, 1 - keep)))
    elite = found[found["score"] >= threshold].sort_values("score", ascending=False, kind="stable")
    if not len(elite):
        return run, threshold
    items = elite["item"].tolist()
    spread = limited(items, group, alike)
    items = [x for x, there in zip(items, spread, strict=True) if there]
    ratio = np.clip(prior.log_prob(items) - run.log_prob(items), -RATIO, RATIO)
    weight = np.exp(ratio - ratio.max())
    return tune(run, items, weight / weight.mean(), steps=steps, seed=seed + int(found["round"].max())), threshold


def limited(items: Sequence[Any], group: Callable[[Any], Hashable] | None, alike: int) -> np.ndarray:
    """1 for the first `alike` items of each group, 0 for the others: float (n,)."""
    if group is None:
        return np.ones(len(items))
    seen: Counter[Hashable] = Counter()
    found = np.ones(len(items))
    for i, item in enumerate(items):
        of = group(item)
        seen[of] += 1
        found[i] = float(seen[of] <= alike)
    return found
