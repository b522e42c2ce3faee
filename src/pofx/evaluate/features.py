"""Feature spaces: where samples and real items are held against each other. Fitted on the training split alone.

`pca`: principal components of the vectors (99 % of the variance, at most 64). `classifier`: the penultimate layer of a
small network that learned the training labels. `random`: a network with fixed random weights, where there are no
labels. `logmel`: log-mel statistics of sound (see `logmel`). `inception=FILE`, `dinov2=FOLDER`, `clip=FOLDER`: networks
trained elsewhere (see `pretrained`). Each has a name and a hash of what was fitted or of its weights; fits and the
features of data splits are stored in a folder under the hash of what they came from, so that comparing many models fits
each space once.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pofx.core.errors import UsageError, unknown
from pofx.core.files import write
from pofx.core.representation import Items
from pofx.data.kind import digest
from pofx.data.vectors import Vectors
from pofx.evaluate.logmel import LogMel
from pofx.evaluate.networks import Features, apply, random_features, train_classifier
from pofx.evaluate.pretrained import HINTS, pretrained

NAMES = ("pca", "classifier", "random", "logmel", *HINTS)
VERSION = 1  # of the spaces; a change of their making must change it
DIMS = 64
Report = Callable[[str], None]


class Space:
    """A fitted map from items to features, float32 (n, dims). `label` is its name and the first digits of its hash."""

    def __init__(
        self,
        name: str,
        vectors: Vectors,
        arrays: dict[str, np.ndarray],
        facts: dict[str, Any],
        folder: Path | None,
        embed: Callable[[Any], np.ndarray] | None = None,
        digest: str = "",
    ) -> None:
        """`embed`, items → features, replaces what is fitted; `digest` is then its hash."""
        self.name, self.vectors, self.arrays, self.facts, self.folder = name, vectors, arrays, facts, folder
        content = b"".join(k.encode() + np.ascontiguousarray(v).tobytes() for k, v in sorted(arrays.items()))
        self.hash = digest or hashlib.sha256(content).hexdigest()[:16]
        self.embed = embed
        self.label = f"{name}-{self.hash[:8]}"
        self.classes: int = int(facts.get("classes", 0))  # 0: predicts none
        self._seen: dict[str, np.ndarray] = {}
        self._net: Features | None = None

    @property
    def dims(self) -> int:
        return int(self.facts["dims"])

    @property
    def about(self) -> dict[str, Any]:
        """What the protocol of a report has beside name, hash and dims."""
        return {key: value for key, value in self.facts.items() if key not in ("dims", "inputs")}

    def __call__(self, values: Any) -> np.ndarray:
        """Items in data space → features (n, dims)."""
        if self.embed is not None:
            return np.asarray(self.embed(values), np.float32)
        x = self.vectors(values)
        if self.name == "pca":
            return np.asarray((x - self.arrays["mean"]) @ self.arrays["components"].T)
        return apply(self.net, x) / float(self.arrays["rms"])

    def of(self, items: Items) -> np.ndarray:
        """The features of a data split, cached in memory and in the folder."""
        key = digest(items)
        if key not in self._seen:
            path = self.folder / f"{self.label}-items-{key}.npz" if self.folder else None
            kept = _read(path) if path else None
            if kept is None:
                kept = {"features": self(items.values)}
                if path:
                    _write(path, kept)
            self._seen[key] = kept["features"]
        return self._seen[key]

    def probabilities(self, values: Any) -> np.ndarray:
        """Predicted probabilities of the classes, float32 (n, classes).

        Raises:
            UsageError: the space knows no classes.
        """
        if not self.classes:
            raise UsageError(f"the space {self.label} predicts no classes: use 'classifier' on labelled data")
        return apply(self.net, self.vectors(values), classes=True)

    def predict(self, values: Any) -> np.ndarray:
        """Predicted classes, int64 (n,)."""
        return self.probabilities(values).argmax(1)

    @property
    def net(self) -> Features:
        if self._net is None:
            shape = self.vectors.shape
            net = Features(self.facts["inputs"], shape, self.dims, max(self.classes, 1))
            state = {k[4:]: torch.as_tensor(v) for k, v in self.arrays.items() if k.startswith("net.")}
            net.load_state_dict(state)
            self._net = net.eval()
        return self._net


def fit_spaces(
    train: Items,
    names: Sequence[str] | None = None,
    *,
    seed: int = 0,
    folder: Path | str | None = None,
    report: Report | None = None,
) -> list[Space]:
    """The feature spaces of a training split, read from `folder` where they were fitted before.

    Args:
        names: of `pca`, `classifier`, `random`, `logmel`, `inception=FILE`, `dinov2=FOLDER`, `clip=FOLDER`; by default
            pca and the classifier, or random without labels, and for sound logmel.

    Raises:
        UsageError: an unknown name, a classifier without labels, or a network without weights.
        DataError: weights that are missing or those of another network.
    """
    chosen = check_spaces(train, names)
    home = Path(folder) if folder is not None else None
    source = digest(train)
    return [_fit(name, train, source, seed, home, report) for name in chosen]


def check_spaces(train: Items, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """The names of the spaces that `fit_spaces` would fit; nothing is fitted.

    Raises:
        UsageError, DataError: as `fit_spaces` does.
    """
    if names is None:
        labelled = train.labels is not None and np.ndim(train.labels) == 1 and len(set(train.labels)) > 1
        return ("pca", "classifier" if labelled else "random", *(("logmel",) if train.kind == "audio" else ()))
    for text in names:
        name, _, given = text.partition("=")
        if name not in NAMES:
            raise unknown("feature space", name, NAMES)
        if name == "classifier" and train.labels is None:
            raise UsageError("a classifier space needs labels: use the spaces 'pca' and 'random'")
        if name in HINTS:
            pretrained(name, given, train)
        elif name == "logmel":
            LogMel.of(train)
        elif given:
            raise UsageError(f"the space '{name}' is fitted here and takes no weights: write '{name}'")
    return tuple(names)


def _fit(name: str, train: Items, source: str, seed: int, folder: Path | None, report: Report | None) -> Space:
    name, _, given = name.partition("=")
    if name in HINTS:
        if report is not None:
            report(f"loading the feature space {name} from {given}")
        network = pretrained(name, given, train)
        return Space(name, Vectors.fit(train), {}, dict(network.facts), folder, network, network.hash)
    if name == "logmel":
        sound = LogMel.of(train)
        return Space(name, Vectors.fit(train), {}, sound.facts, folder, sound, sound.hash)
    key = json.dumps([VERSION, name, source, len(train), seed, dict(train.facts)], default=str, sort_keys=True)
    path = folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz" if folder else None
    kept = _read(path) if path else None
    if kept is None:
        if report is not None:
            report(f"fitting the feature space {name} on {len(train)} training items")
        vectors = Vectors.fit(train)
        x = vectors(train.values)
        arrays, facts = _pca(x, seed) if name == "pca" else _network(name, train, vectors, x, seed)
        kept = {f"vectors.{k}": v for k, v in vectors.arrays.items()} | arrays
        kept["json"] = np.array(json.dumps({"plan": vectors.plan, "facts": facts}))
        if path:
            _write(path, kept)
    plain = json.loads(str(kept["json"]))
    vectors = Vectors(plain["plan"], {k[8:]: v for k, v in kept.items() if k.startswith("vectors.")})
    arrays = {k: v for k, v in kept.items() if k != "json" and not k.startswith("vectors.")}
    return Space(name, vectors, arrays, plain["facts"], folder)


def _pca(x: np.ndarray, seed: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The directions of 99 % of the variance, at most DIMS, each signed so that its largest entry is positive."""
    mean = x.mean(0, dtype=np.float64)
    if x.shape[1] <= 4096:
        some = x if len(x) <= 50_000 else x[np.random.default_rng(seed).permutation(len(x))[:50_000]]
        centred = some - mean.astype(np.float32)
        values, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(centred))
        values, vectors = values[::-1], vectors[:, ::-1]
    else:
        from sklearn.decomposition import TruncatedSVD

        svd = TruncatedSVD(DIMS, random_state=seed).fit(x - mean.astype(np.float32))
        values, vectors = svd.explained_variance_, svd.components_.T
        values = np.append(values, max(float(x.var(0).sum()) - values.sum(), 0))
    shares = np.cumsum(np.maximum(values, 0)) / max(float(np.maximum(values, 0).sum()), 1e-30)
    dims = int(min(np.searchsorted(shares, 0.99) + 1, DIMS, vectors.shape[1]))
    components = vectors[:, :dims].T
    peak = components[np.arange(dims), np.abs(components).argmax(1)]
    components = components * np.where(peak < 0, -1, 1)[:, None]
    arrays = {"mean": mean.astype(np.float32), "components": components.astype(np.float32)}
    return arrays, {"dims": dims, "variance": float(shares[dims - 1])}


def _network(
    name: str, train: Items, vectors: Vectors, x: np.ndarray, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    width = DIMS if len(x) >= 10_000 else DIMS // 2
    facts: dict[str, Any] = {"inputs": x.shape[1], "dims": width}
    if name == "classifier":
        labels = np.asarray(train.labels, np.int64)
        facts["classes"] = int(max(labels.max() + 1, len(train.facts.get("label_names") or ())))
        net = train_classifier(x, labels, vectors.shape, width=width, classes=facts["classes"], seed=seed)
    else:
        net = random_features(x.shape[1], vectors.shape, width, seed)
    features = apply(net, x[:10_000])
    arrays = {f"net.{k}": v.numpy() for k, v in net.state_dict().items()}
    arrays["rms"] = np.sqrt(((features - features.mean(0)) ** 2).mean()) + np.float32(1e-12)
    return arrays, facts


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a stored file; None where there is none or it is damaged (it is then made again)."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {k: kept[k] for k in kept.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write(path, lambda aside: (aside.write_bytes(buffer.getvalue()), None)[1])
