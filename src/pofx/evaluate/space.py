"""A feature space: a map from items to vectors, in which samples and real items are compared.

One class, one file in `evaluate/spaces`. `Space` is a fixed map (statistics of a clip, a network trained elsewhere);
`FittedSpace` is learned from the training split alone and stored. Each has a hash of what it is made of, under which
the features of data splits are stored, so that comparing many models computes each of them once.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from pofx.core.errors import UsageError
from pofx.core.items import Items
from pofx.data.arrays import stored_arrays, write_arrays
from pofx.data.kind import digest, kind_of
from pofx.data.vectors import Vectors


class Space(ABC):
    """A map from items to features, float32 (n, dims). `label` is its name and the first digits of its hash."""

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    source: ClassVar[str] = ""
    kinds: ClassVar[tuple[str, ...]] = ()  # kinds of items that it takes; empty: all
    items: ClassVar[str] = ""  # these kinds in a message: "sound"
    needs: ClassVar[str] = ""  # what must be given behind "name=" (a file of weights); empty: nothing may be
    order: ClassVar[float] = 50  # the first of those in use is the main one, in which some metrics are measured only
    version: ClassVar[int] = 1  # a change of its making must change it
    classes: int = 0  # that `probabilities` predicts; 0: none

    def __init__(self, facts: Mapping[str, Any], hash: str = "", folder: Path | None = None) -> None:
        """Args:
        facts: plain JSON values; `dims` is the number of features, the rest is stated in the protocol.
        hash: of what the features depend on; by default that of the facts and the version.
        folder: where features of data splits are stored.
        """
        content = json.dumps([self.name, self.version, dict(facts)], sort_keys=True, default=str)
        self.facts, self.folder = dict(facts), folder
        self.hash = hash or hashlib.sha256(content.encode()).hexdigest()[:16]
        self.label = f"{self.name}-{self.hash[:8]}"
        self._seen: dict[str, np.ndarray] = {}

    @classmethod
    def default_for(cls, train: Items) -> bool:
        """Whether it is used for such items where no spaces are named."""
        return False

    @classmethod
    def check(cls, train: Items, given: str = "") -> None:
        """Refuse items, or what is given behind "name=", without fitting anything.

        Raises:
            UsageError: other kinds of items, or nothing is given where something is needed.
            DataError: what is given is missing or of another type.
        """
        if cls.kinds and not set(kind_of(train).names) & set(cls.kinds):
            wanted = cls.items or " or ".join(cls.kinds)
            raise UsageError(f"the space '{cls.name}' is one of {wanted} (got {train.kind} items): use 'pca'")
        if cls.needs and not given:
            raise UsageError(
                f"the space '{cls.name}' needs weights, which are never fetched unasked: {cls.name}={cls.needs}"
            )
        if given and not cls.needs:
            raise UsageError(f"the space '{cls.name}' is fitted here and takes no weights: write '{cls.name}'")

    @classmethod
    @abstractmethod
    def fit(cls, train: Items, *, given: str = "", seed: int = 0, folder: Path | None = None) -> Self:
        """The space for items like these training items; a stored one is read from the folder."""

    @abstractmethod
    def features(self, values: Any) -> np.ndarray:
        """Items in data space → features (n, dims)."""

    @property
    def dims(self) -> int:
        return int(self.facts["dims"])

    @property
    def about(self) -> dict[str, Any]:
        """What the protocol of a report states beside name, hash and dims."""
        return {key: value for key, value in self.facts.items() if key not in ("dims", "inputs")}

    def __call__(self, values: Any) -> np.ndarray:
        return np.asarray(self.features(values), np.float32)

    def of(self, items: Items) -> np.ndarray:
        """The features of a data split, cached in memory and in the folder."""
        key = digest(items)
        if key not in self._seen:
            path = self.folder / f"{self.label}-items-{key}.npz" if self.folder else None
            stored = stored_arrays(path) if path else None
            if stored is None:
                stored = {"features": self(items.values)}
                if path:
                    write_arrays(path, stored)
            self._seen[key] = stored["features"]
        return self._seen[key]

    def classify(self, features: np.ndarray) -> np.ndarray:
        """Features (n, dims) → predicted probabilities of the classes, float32 (n, classes).

        Raises:
            UsageError: the space knows no classes.
        """
        raise UsageError(f"the space {self.label} predicts no classes: use 'classifier' on labelled data")

    def probabilities(self, values: Any) -> np.ndarray:
        """Predicted probabilities of the classes of items in data space, float32 (n, classes)."""
        return self.classify(self(values))

    def predict(self, values: Any) -> np.ndarray:
        """Predicted classes, int64 (n,)."""
        return np.asarray(self.probabilities(values).argmax(1))


class FittedSpace(Space):
    """A space that is learned from the vectors of the training items (`pofx.data.vectors`): arrays and facts."""

    def __init__(
        self, vectors: Vectors, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any], folder: Path | None = None
    ) -> None:
        content = b"".join(k.encode() + np.ascontiguousarray(v).tobytes() for k, v in sorted(arrays.items()))
        super().__init__(facts, hashlib.sha256(content).hexdigest()[:16], folder)
        self.vectors, self.arrays = vectors, dict(arrays)
        self.classes = int(self.facts.get("classes", 0))

    @classmethod
    @abstractmethod
    def learn(
        cls, x: np.ndarray, train: Items, vectors: Vectors, seed: int
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and plain facts, with `dims`, from the vectors x float32 (n, d) of the training items."""

    @abstractmethod
    def embed(self, x: np.ndarray) -> np.ndarray:
        """Vectors (n, d) → features (n, dims)."""

    def features(self, values: Any) -> np.ndarray:
        return self.embed(self.vectors(values))

    @classmethod
    def fit(cls, train: Items, *, given: str = "", seed: int = 0, folder: Path | None = None) -> Self:
        key = json.dumps([cls.version, cls.name, digest(train), len(train), seed, dict(train.facts)], default=str,
                         sort_keys=True)  # fmt: skip
        path = folder / f"{cls.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz" if folder else None
        stored = stored_arrays(path) if path else None
        if stored is None:
            vectors = Vectors.fit(train)
            arrays, facts = cls.learn(vectors(train.values), train, vectors, seed)
            stored = {f"vectors.{k}": v for k, v in vectors.arrays.items()} | arrays
            stored["json"] = np.array(json.dumps({"plan": vectors.plan, "facts": facts}))
            if path:
                write_arrays(path, stored)
        plain = json.loads(str(stored["json"]))
        vectors = Vectors(plain["plan"], {k[8:]: v for k, v in stored.items() if k.startswith("vectors.")})
        arrays = {k: v for k, v in stored.items() if k != "json" and not k.startswith("vectors.")}
        return cls(vectors, arrays, plain["facts"], folder)
