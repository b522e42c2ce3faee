"""Conditions in an evaluation: those of the items, or for samples labels as often as they occur in training."""

from typing import Any

import numpy as np

from pofx.core.errors import UsageError
from pofx.core.items import Items
from pofx.core.random import Streams
from pofx.data.dataset import Dataset
from pofx.data.kind import take
from pofx.data.sources import given


def with_conditions(artifact: Any, dataset: Dataset) -> Dataset:
    """The data set whose items have the conditions that an artifact needs, found as they were in training.

    Raises:
        UsageError: they were given beside the training data and are not in the data set.
    """
    present = dataset.train.condition
    if artifact.conditioning is None or (present is not None and present.kind == artifact.conditioning.kind):
        return dataset
    if present is not None and artifact.condition_source is None:
        return dataset
    if artifact.condition_source is None:
        raise UsageError(
            f"{artifact.name} was trained with conditions beside its data: pass a Dataset whose items have conditions, "
            "as pofx.data.sources.load(data, condition=…) makes it"
        )
    return given(dataset, artifact.condition_source)


def drawn(artifact: Any, items: Items, n: int, *, seed: int, **options: Any) -> Items:
    """n samples of an artifact; of conditional models under labels as often as in training, or else the conditions of
    these items in turn."""
    condition = None
    if artifact.conditioning is not None and artifact.conditioning.draw(Streams(0, 1)) is None:
        if items.condition is None:
            raise UsageError(f"{artifact.name} takes conditions and the data has none: see pofx.data.sources.load")
        condition = take(items.condition, np.resize(np.arange(len(items)), n))
    found: Items = artifact.draw(n, condition, seed=seed, **options)
    return found
