"""Closest records: the share of samples that lie nearer to training items than to as many held-out items. A smell test.

As many training as held-out items are drawn, for the nearer side is else simply the larger one; samples exactly between
both count half to each side (copies of a record in both, for example). Half is what samples that know nothing of
single training items read. A share near a half proves nothing: data that passes has been attacked with success (Yao et
al., 2025, arXiv 2505.01524, "The DCR Delusion"), and a memoriser whose record was not drawn passes for half of its
copies. Privacy is measured by membership inference, copies by `near_copy`.
"""

from typing import ClassVar

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from pofx.data.kind import Kind
from pofx.evaluate.distances import nearest
from pofx.evaluate.metric import NoveltyMetric, Reading, ScoreInfo

DRAWS = 10  # of training items: what is drawn moves the share
SLACK = 1e-5  # relative difference of two distances that rounding leaves between equal ones
NOTE = "a smell test only: near ½ proves no privacy (arXiv 2505.01524); read near_copy and membership inference"


def closest_share(
    samples: Float[np.ndarray, "n d"], held: Float[np.ndarray, "m d"], train: Float[np.ndarray, "t d"], seed: int = 0
) -> tuple[float, float]:
    """The share of samples (n, d) nearer to training (t, d) than to held-out items (m, d), equal numbers of both, ties
    half; and its standard error where samples are new."""
    generator = np.random.default_rng(seed)
    size = min(len(held), len(train))
    scale = float(np.abs(train).max())
    shares, found = [], (np.zeros(len(train)), np.zeros(len(held)))  # how many samples each item is closest to
    for _ in range(DRAWS):
        drawn = [generator.permutation(len(s))[:size] for s in (train, held)]
        (a, i), (b, j) = (nearest(samples, s[at]) for s, at in zip((train, held), drawn, strict=True))
        tie = np.abs(a - b) <= SLACK * np.maximum(np.maximum(a, b), scale)
        won = np.where(tie, 0.5, a < b)
        shares.append(float(won.mean()))
        np.add.at(found[0], drawn[0][i], won / DRAWS)
        np.add.at(found[1], drawn[1][j], (1 - won) / DRAWS)
    # of a new sample's closest items either may be the one that was trained on: each is a coin weighted by its samples
    error = 0.5 * np.sqrt(sum(float(np.square(of).sum()) for of in found)) / len(samples)
    return float(np.mean(shares)), max(float(error), 1e-9)


class ClosestRecord(NoveltyMetric):
    """`closest_record`: the share of samples nearer to training than to held-out rows; ½ for new rows."""

    scores: ClassVar = {
        "closest_record": ScoreInfo(
            "none",
            "DCR share",
            "share of rows nearer to a training row than to a held-out row; new rows: 0.5",
            "novelty",
            null=0.5,
            suspect="high",
        ),
    }
    source: ClassVar = "Yao et al., 2025, arXiv 2505.01524, on what it does not show"
    once: ClassVar = True

    @classmethod
    def takes(cls, kind: Kind) -> bool:
        return kind.columnar

    def read(
        self,
        samples: Float[np.ndarray, "n d"],
        held: Float[np.ndarray, "m d"],
        train: Float[np.ndarray, "t d"],
        seed: int = 0,
    ) -> Reading:
        share, error = closest_share(samples, held, train, seed)
        p = float(norm.sf((share - 0.5) / error))
        extra = {"stderr": error, "p": p, "note": NOTE, "a_side": min(len(held), len(train))}
        return Reading({"closest_record": share}, {"closest_record": extra})
