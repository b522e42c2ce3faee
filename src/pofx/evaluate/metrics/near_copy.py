"""Near copies: are samples closer to training items than held-out real items are? An exact test of the tail.

Pool the distances sample → nearest training item and held-out item → nearest training item. If samples are as new as
held-out items, the K smallest of the pool are a draw without replacement from both, so the number of samples among
them is hypergeometric. K = 0.5, 1, 2 and 5 % of the pool, Bonferroni over the four. It finds a few per cent of copies
among good samples, which averages over all distances (authenticity, C_T, mean distance ratios) do not.
"""

from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import hypergeom

from pofx.core.errors import UsageError
from pofx.evaluate.distances import nearest
from pofx.evaluate.measurement import half_sampling
from pofx.evaluate.metric import NoveltyMetric, Reading, ScoreInfo

SHARES = (0.005, 0.01, 0.02, 0.05)


def tail_test(samples: Float[np.ndarray, "n"], held: Float[np.ndarray, "m"]) -> tuple[float, dict[str, Any]]:
    """The p-value for nearest-training distances of samples (n,) and held-out items (m,), with the counts per K.

    Ties at the border go to the held-out items, so that data with true duplicates does not accuse a model.
    """
    n, m = len(samples), len(held)
    if min(n, m) < 1:
        raise UsageError("the near-copy test needs samples and held-out items")
    pool = np.concatenate((held, samples))  # a stable sort then puts held-out items first among equals
    mine = np.concatenate((np.zeros(m, bool), np.ones(n, bool)))[np.argsort(pool, kind="stable")]
    rows = []
    for k in sorted({max(int(np.ceil(share * (n + m))), 1) for share in SHARES}):
        hits = int(mine[:k].sum())
        rows.append({"k": k, "samples": hits, "expected": k * n / (n + m), "p": hypergeom.sf(hits - 1, n + m, n, k)})
    return float(min(min(row["p"] for row in rows) * len(rows), 1.0)), {"tails": rows}


def near_copies(
    samples: Float[np.ndarray, "n d"], held: Float[np.ndarray, "m d"], train: Float[np.ndarray, "t d"], shown: int = 16
) -> dict[str, Any]:
    """Features of samples (n, d), held-out (m, d) and training items (t, d) → p, ratio, and the nearest pairs.

    `ratio` is the median distance of samples to training items over that of held-out items (1: as new as real data);
    `exact` counts samples at distance 0; `closest` lists [sample, training item, distance], the most suspicious first.
    """
    gap, index = nearest(samples, train)
    return tails(gap, index, nearest(held, train)[0], shown)


def tails(
    gap: Float[np.ndarray, "n"], index: Int[np.ndarray, "n"], base: Float[np.ndarray, "m"], shown: int = 16
) -> dict[str, Any]:
    """`near_copies` from distances of samples (n,) and held-out items (m,) to their nearest training items."""
    p, found = tail_test(gap, base)
    order = np.argsort(gap, kind="stable")[:shown]
    return {
        "p": p,
        "ratio": _ratio(gap, base),
        "exact": int((gap == 0).sum()),
        "held_exact": int((base == 0).sum()),
        "closest": [[int(i), int(index[i]), float(gap[i])] for i in order],
        **found,
    }


class NearCopy(NoveltyMetric):
    """`near_copy`: the p-value of the tail test, with the nearest pairs."""

    scores: ClassVar = {
        "near_copy": ScoreInfo(
            "none",
            "Near-copy p",
            "p-value that samples are no nearer to training items than held-out items are; small: copies",
            "novelty",
            headline=True,
            writes="p-value",
        ),
        "exact_copies": ScoreInfo("lower", "Exact copies", "share of samples that equal a training item", "novelty"),
        "distance_ratio": ScoreInfo(
            "none",
            "Distance ratio",
            "median distance to training items, over that of held-out items; new: 1",
            "novelty",
            null=1.0,
            suspect="low",
        ),
    }
    halves: ClassVar = 20  # of the standard error of the ratio

    def read(
        self,
        samples: Float[np.ndarray, "n d"],
        held: Float[np.ndarray, "m d"],
        train: Float[np.ndarray, "t d"],
        seed: int = 0,
    ) -> Reading:
        gap, index = nearest(samples, train)
        base, _ = nearest(held, train)
        found = tails(gap, index, base)
        share = found["exact"] / len(gap)
        smooth = (found["exact"] + 1) / (len(gap) + 2)
        values = {"near_copy": found["p"], "exact_copies": share, "distance_ratio": found["ratio"]}
        extra = {
            "near_copy": found,
            "exact_copies": {
                "stderr": float(np.sqrt(smooth * (1 - smooth) / len(gap))),
                "held": found["held_exact"] / len(base),
            },
            "distance_ratio": {"stderr": half_sampling(_ratio, gap, base, self.halves, seed)} if len(base) > 3 else {},
        }
        return Reading(values, extra)


def _ratio(gap: np.ndarray, base: np.ndarray) -> float:
    scale = float(np.median(base))
    return float(np.median(gap)) / scale if scale > 0 else float("nan")
