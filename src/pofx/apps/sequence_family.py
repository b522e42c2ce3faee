"""A family of proteins as data: relatives down-weighted, clusters in one split each, and the recipes of its models."""

import warnings
from typing import Any

import numpy as np

from pofx.core.errors import DataError
from pofx.data.alignments import Alignment, clusters
from pofx.data.dataset import Dataset, dataset
from pofx.data.kinds.proteins import proteins as as_proteins

IDENTITY, CLOSEST = 0.6, 0.95  # shared residues of a cluster; of a family of near relatives, at most
LEAST = 10  # clusters beside that of the focus
HELD = 0.1  # share of the clusters that are held out
RECIPES: dict[str, dict[str, Any]] = {
    "vae": {"latent": 30, "width": 256, "depth": 2, "prior": "normal", "dropout": 0.2, "lr": 1e-3, "validations": 12},
    "gpt": {"batch_size": 16},
    "masked-diffusion": {"batch_size": 16},
}


def resampled(alignment: Alignment, *, seed: int = 0, size: int | None = None, whole: bool = False) -> Dataset:
    """Sequences drawn as often as their weights, clusters of relatives in one split each.

    The validation and test splits hold a tenth of the clusters each, their sequences once. With `whole` sequences have
    no gaps, and what is inserted.
    """
    of, identity = clusters(alignment.sequences), IDENTITY
    while of.max() < LEAST and identity < CLOSEST:  # a family of near relatives
        identity += 0.1
        of = clusters(alignment.sequences, identity)
    if identity > IDENTITY:
        warnings.warn(
            f"the sequences are near relatives: those that share more than {identity:.0%} of their residues are held "
            "out together, so that held-out ones are much like training ones",
            stacklevel=2,
        )
    generator = np.random.default_rng(seed)
    order = generator.permutation(of.max() + 1)
    order = order[order != of[0]]  # the focus is always trained on
    held = max(1, round(HELD * len(order))) if len(order) > 2 else 0
    splits = {"validation": order[:held], "test": order[held : 2 * held]}
    parts = {name: np.flatnonzero(np.isin(of, chosen)) for name, chosen in splits.items()}
    rest = np.setdiff1d(np.arange(len(of)), np.concatenate(list(parts.values())))
    if not held or not len(rest):
        raise DataError(
            f"the alignment has {of.max() + 1} clusters of relatives, too few to hold some out: add sequences"
        )
    weight = alignment.weights[rest] / alignment.weights[rest].sum()
    drawn = generator.choice(rest, size or max(2 * len(rest), 2000), p=weight)
    items = {"train": drawn, **parts}
    rows = alignment.whole if whole else alignment.sequences
    made = {name: as_proteins([rows[i] for i in at]) for name, at in items.items()}
    facts = {"effective": alignment.effective, "dropped": alignment.dropped, "clusters": int(of.max() + 1)}
    about: dict[str, Any] = {"source": "alignment", "licence": "unknown", "facts": facts, "count_overlaps": False}
    return dataset(made["train"], made["validation"], made["test"], "alignment", **about)
