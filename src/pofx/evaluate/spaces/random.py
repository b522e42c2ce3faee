"""A network with fixed random weights: features of unlabelled items that no training has shaped (He et al., 2015)."""

from typing import Any, ClassVar

import numpy as np

from pofx.core.representation import Items
from pofx.data.vectors import Vectors
from pofx.evaluate.networks import Network, learned, random_features, width
from pofx.evaluate.spaces.classifier import labelled


class Random(Network):
    """`random`: a network with random weights, where there are no labels."""

    name: ClassVar = "random"
    summary: ClassVar = "a small network with random weights"
    order: ClassVar = 20

    @classmethod
    def default_for(cls, train: Items) -> bool:
        return not labelled(train)

    @classmethod
    def learn(
        cls, x: np.ndarray, train: Items, vectors: Vectors, seed: int
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return learned(random_features(x.shape[1], vectors.shape, width(len(x)), seed), x)
