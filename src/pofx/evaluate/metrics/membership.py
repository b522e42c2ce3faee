"""Membership inference: can an attacker identify the items that a model was trained on?

Four attacks, each a score per item, higher for members.
`loss`: log p(x) (Yeom et al., 2018, arXiv 1709.01604). `calibrated`: log p(x) less that of a reference model that never
saw x (Watson et al., 2022, arXiv 2111.08440). `lira`: the z of log p(x) among several models trained without x (the
offline attack of Carlini et al., 2022, arXiv 2112.03570). `samples`: nearness to the closest sample, against nearness
to other real items (for models without a density). Reported as AUC with DeLong's interval and true positive rate at
1 % false positives with Clopper and Pearson's; an average over items hides the few that are exposed.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from scipy.stats import beta, norm, rankdata

from pofx.core.errors import Unsupported, UsageError
from pofx.core.model import Density
from pofx.data.dataset import Dataset, take
from pofx.evaluate.density import log_likelihood
from pofx.evaluate.distances import nearest
from pofx.evaluate.metric import ArtifactMetric, NoveltyMetric, Reading, ScoreInfo

FALSE_POSITIVES = 0.01
MOST, FEWEST = 1000, 12  # items a side that are scored; where the time buys fewer, nothing is measured


@dataclass(frozen=True)
class Attack:
    """What an attack achieves: AUC with its standard error, TPR at 1 % FPR with a 95 % interval."""

    auc: float
    stderr: float
    tpr: float
    low: float
    high: float

    @property
    def p(self) -> float:
        """One-sided p-value of AUC = ½."""
        return float(norm.sf((self.auc - 0.5) / max(self.stderr, 1e-12)))


def attack(members: Float[np.ndarray, "n"], others: Float[np.ndarray, "m"]) -> Attack:
    """How well scores separate members (n,) from others (m,); higher means member.

    Raises:
        UsageError: fewer than 2 items on a side.
    """
    n, m = len(members), len(others)
    if min(n, m) < 2:
        raise UsageError(f"membership inference needs at least 2 members and 2 others (got {n} and {m})")
    ranks = rankdata(np.concatenate((members, others)))
    below = (ranks[:n] - rankdata(members)) / m  # share of others below each member, ties half
    above = 1 - (ranks[n:] - rankdata(others)) / n
    auc = float(below.mean())
    error = float(np.sqrt(below.var(ddof=1) / n + above.var(ddof=1) / m))
    least = 0.5 / min(n, m) / np.sqrt(3)  # perfect separation is not certainty
    limit = np.quantile(others, 1 - FALSE_POSITIVES, method="higher")
    hits = int((members > limit).sum())
    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0
    return Attack(auc, max(error, float(least)), hits / n, low, high)


def calibrated(scores: Float[np.ndarray, "n"], reference: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """log p(x) less the reference's log p(x)."""
    return np.asarray(scores - reference)


def lira(scores: Float[np.ndarray, "n"], without: Float[np.ndarray, "models n"]) -> Float[np.ndarray, "n"]:
    """The z of each score among those of models trained without the item.

    Raises:
        UsageError: fewer than 4 models.
    """
    if len(without) < 4:
        raise UsageError(f"LiRA needs at least 4 models trained without the items (got {len(without)}): train 8")
    spread = without.std(0, ddof=1)
    pooled = np.sqrt(np.mean(np.square(spread)))  # few models: half of each item's own variance, half of all items'
    return np.asarray((scores - without.mean(0)) / np.sqrt((spread**2 + pooled**2) / 2 + 1e-24))


def nearness(
    items: Float[np.ndarray, "n d"], samples: Float[np.ndarray, "s d"], real: Float[np.ndarray, "r d"]
) -> Float[np.ndarray, "n"]:
    """How much nearer an item lies to a sample than to real items that are neither members nor itself."""
    return np.asarray(np.log(nearest(items, real)[0] + 1e-12) - np.log(nearest(items, samples)[0] + 1e-12))


def reading(found: Attack, name: str, n: int) -> Reading:
    """An attack on n members as the scores `name` (AUC) and `name`_tpr."""
    smooth = (found.tpr * n + 1) / (n + 2)
    rates = {"tpr": found.tpr, "tpr_interval": [found.low, found.high], "false_positives": FALSE_POSITIVES, "items": n}
    return Reading(
        {name: found.auc, f"{name}_tpr": found.tpr},
        {
            name: {"stderr": found.stderr, "p": found.p, **rates},
            f"{name}_tpr": {"stderr": float(np.sqrt(smooth * (1 - smooth) / n)), "interval": rates["tpr_interval"]},
        },
    )


class SamplesOnly(NoveltyMetric):
    """`mia_samples`: the AUC of the attack that has nothing but samples, in one feature space."""

    scores: ClassVar = {
        "mia_samples": ScoreInfo(
            "lower",
            "MIA samples",
            "AUC of identifying training items by their nearest sample; chance: 0.5",
            "novelty",
            null=0.5,
        ),
        "mia_samples_tpr": ScoreInfo(
            "lower",
            "MIA samples TPR",
            "true positives of that attack at 1 % false positives; chance: 1 %",
            "novelty",
            null=0.01,
        ),
    }
    source: ClassVar = "Yeom et al., 2018, arXiv 1709.01604"
    once: ClassVar = True

    def read(
        self,
        samples: Float[np.ndarray, "n d"],
        held: Float[np.ndarray, "m d"],
        train: Float[np.ndarray, "t d"],
        seed: int = 0,
    ) -> Reading:
        order = np.random.default_rng(seed)
        half = order.permutation(len(held))
        others, known = held[half[: len(held) // 2]], held[half[len(held) // 2 :]]
        members = train[order.permutation(len(train))[: len(others)]]
        found = attack(nearness(members, samples, known), nearness(others, samples, known))
        return reading(found, "mia_samples", len(members))


class LossAttack(ArtifactMetric):
    """`mia_loss`: the AUC of separating training items from test items by log p(x)."""

    scores: ClassVar = {
        "mia_loss": ScoreInfo(
            "lower",
            "MIA loss",
            "AUC of identifying training items by log p(x); chance: 0.5",
            "novelty",
            headline=True,
            null=0.5,
        ),
        "mia_loss_tpr": ScoreInfo(
            "lower",
            "MIA loss TPR",
            "true positives of that attack at 1 % false positives; chance: 1 %",
            "novelty",
            null=0.01,
        ),
    }
    source: ClassVar = "Yeom et al., 2018, arXiv 1709.01604"

    def read(self, artifact: Any, dataset: Dataset, *, seconds: float | int = 20.0, seed: int = 0) -> Reading:
        if artifact.density <= Density.NONE or artifact.model.condition is not None:
            return Reading({})
        generator = np.random.default_rng(seed)
        n = min(len(dataset.test), len(dataset.train), MOST)
        sides = [take(items, generator.permutation(len(items))[:n]) for items in (dataset.train, dataset.test)]
        try:
            others = log_likelihood(artifact, sides[1], seconds=seconds / 2, first=1)[0]
            if len(others) < FEWEST:
                return Reading({})
            members = log_likelihood(artifact, sides[0], seconds=seconds / 2)[0]
        except Unsupported:
            return Reading({})
        found = attack(members, others)
        return reading(found, "mia_loss", len(members))
