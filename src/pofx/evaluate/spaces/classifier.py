"""The penultimate layer of a small network that learned the training labels; it predicts classes, too."""

from typing import Any, ClassVar

import numpy as np

from pofx.core.errors import UsageError
from pofx.core.representation import Items
from pofx.data.vectors import Vectors
from pofx.evaluate.networks import Network, learned, train_classifier, width


class Classifier(Network):
    """`classifier`: the features of a small network that learned the labels."""

    name: ClassVar = "classifier"
    summary: ClassVar = "a small network that learned the labels"
    order: ClassVar = 10

    @classmethod
    def default_for(cls, train: Items) -> bool:
        return labelled(train)

    @classmethod
    def check(cls, train: Items, given: str = "") -> None:
        super().check(train, given)
        if train.labels is None:
            raise UsageError("a classifier space needs labels: use the spaces 'pca' and 'random'")

    @classmethod
    def learn(
        cls, x: np.ndarray, train: Items, vectors: Vectors, seed: int
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        labels = np.asarray(train.labels, np.int64)
        classes = int(max(labels.max() + 1, len(train.facts.get("label_names") or ())))
        net = train_classifier(x, labels, vectors.shape, width=width(len(x)), classes=classes, seed=seed)
        arrays, facts = learned(net, x)
        return arrays, {**facts, "classes": classes}


def labelled(train: Items) -> bool:
    """Whether items have labels of more than one class."""
    return train.labels is not None and np.ndim(train.labels) == 1 and len(set(train.labels)) > 1
