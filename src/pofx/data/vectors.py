"""Items of any kind → float vectors: what every feature space starts from.

A kind defines how items become numbers (`Kind.plan`, `Kind.raw`); here these are scaled by the training items: to mean
0 and deviation 1, or by inverse document frequencies to unit length. Missing numbers take the training mean.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pofx.core.errors import DataError
from pofx.core.items import Items
from pofx.data.kind import kind_of, named


class Vectors:
    """The map from items like the training items to vectors: `vectors(values)` is float32 (n, d).

    `shape` is (channels, height, width) for images and None otherwise. The state is plain JSON values and arrays.
    """

    def __init__(self, plan: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self.plan, self.arrays = dict(plan), dict(arrays)
        self.kind = named(plan["kind"])
        self.shape: tuple[int, ...] | None = tuple(plan["shape"]) if plan.get("shape") else None

    @classmethod
    def fit(cls, items: Items) -> "Vectors":
        """Learn scales, categories and weights from the training items.

        Raises:
            DataError: there are no items.
        """
        if len(items) == 0:
            raise DataError("there are no items to fit a feature space to")
        kind = kind_of(items)
        vectors = cls({"kind": kind.name, **kind.plan(items)}, {})
        if vectors.plan["scaling"] == "idf":
            raw = kind.raw(items.values, vectors.plan)
            seen = (raw > 0).sum(0)
            vectors.arrays["weight"] = (np.log((1 + len(raw)) / (1 + seen)) + 1).astype(np.float32)
        elif vectors.plan["scaling"] == "standard":
            raw = kind.raw(items.values, vectors.plan).astype(np.float64)
            there = np.isfinite(raw)
            count = np.maximum(there.sum(0), 1)
            mean = np.where(there, raw, 0).sum(0) / count
            scale = np.sqrt(np.where(there, (raw - mean) ** 2, 0).sum(0) / count)
            vectors.arrays["mean"] = mean
            vectors.arrays["scale"] = np.where(scale > 1e-6 * np.abs(mean) + 1e-12, scale, 1)
        return vectors

    def __call__(self, values: Any) -> np.ndarray:
        """Items in data space → float32 (n, d)."""
        raw = self.kind.raw(values, self.plan)
        if self.plan["scaling"] == "none":
            return raw
        if self.plan["scaling"] == "idf":
            weighted = raw * self.arrays["weight"]
            return np.asarray(weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12))
        centred = (raw - self.arrays["mean"]) / self.arrays["scale"]
        return np.asarray(np.where(np.isfinite(centred), centred, 0), np.float32)
