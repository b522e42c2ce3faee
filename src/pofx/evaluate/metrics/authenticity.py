"""Authenticity and the data-copying test: are samples, on the whole, as far from training items as new data is?

`authentic` is the share of samples that lie farther from their nearest training item than that item lies from its own
nearest other (Alaa et al., 2022, arXiv 2102.08921). `copying` is the Mann-Whitney Z of samples' against held-out items'
distances to training items (C_T of Meehan, Chaudhuri and Dasgupta, 2020, arXiv 2004.05675): far below 0 means copies.
Both are means over all samples, blind to a few per cent of copies (see `near_copy`), and both are read against what
held-out real items score, not against a constant.
"""

from typing import ClassVar

import numpy as np
from jaxtyping import Float

from pofx.evaluate.distances import nearest, own_gaps
from pofx.evaluate.metric import NoveltyMetric, Reading, ScoreInfo


def authenticity(samples: Float[np.ndarray, "n d"], train: Float[np.ndarray, "t d"]) -> float:
    """The share of samples (n, d) that are no nearer to training items (t, d) than those are to one another."""
    gap, index = nearest(samples, train)
    which, at = np.unique(index, return_inverse=True)  # only these training items need their own neighbour
    return float((gap > own_gaps(train, which)[at]).mean())


def copying(samples: Float[np.ndarray, "n"], held: Float[np.ndarray, "m"]) -> float:
    """The Z of the Mann-Whitney test for nearest-training distances of samples (n,) and held-out items (m,)."""
    from scipy.stats import rankdata

    n, m = len(samples), len(held)
    ranks = rankdata(np.concatenate((samples, held)))
    u = ranks[:n].sum() - n * (n + 1) / 2
    return float((u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12))


class Authenticity(NoveltyMetric):
    """`authentic` and `copying`, with what held-out items read as their null."""

    scores: ClassVar = {
        "authentic": ScoreInfo(
            "none",
            "Authentic",
            "share of samples that are no nearer to training items than these to one another",
            "novelty",
            suspect="low",
        ),
        "copying": ScoreInfo(
            "none",
            "C_T",
            "Z of samples' distances to training items against held-out items' distances; far below 0: copies",
            "novelty",
            suspect="low",
        ),
    }
    source: ClassVar = "Alaa et al., 2022, arXiv 2102.08921; Meehan et al., 2020, arXiv 2004.05675"

    def read(
        self,
        samples: Float[np.ndarray, "n d"],
        held: Float[np.ndarray, "m d"],
        train: Float[np.ndarray, "t d"],
        seed: int = 0,
    ) -> Reading:
        share, base = authenticity(samples, train), authenticity(held, train)
        error = float(np.sqrt(share * (1 - share) / len(samples) + base * (1 - base) / len(held)))
        z = copying(nearest(samples, train)[0], nearest(held, train)[0])
        return Reading(
            {"authentic": share, "copying": z},
            {"authentic": {"held": base, "stderr": error}, "copying": {"stderr": 1.0}},
        )
