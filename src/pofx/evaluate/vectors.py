"""Items of any kind → float vectors: what every feature space starts from.

Images become their pixels in [0, 1]; numbers are standardised by the training items; categories become one-hot; strings
and sequences of strings become character 1- to 3-gram counts with idf weights; integer sequences are joined first;
clips of sound become their spectrogram in a few bands and stretches of time.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError
from pofx.core.representation import Items

HASHED = 1024  # dimensions of the hashed n-gram counts
CATEGORIES = 20  # one-hot columns of a category column; the rest share one


def digest(items: Items) -> str:
    """A hash of the values and labels of items: 16 hexadecimal digits."""
    values = items.values
    if isinstance(values, pd.DataFrame):
        content = pd.util.hash_pandas_object(values, index=False).to_numpy().tobytes()
        content += json.dumps([str(c) for c in values.columns]).encode()
    elif isinstance(values, np.ndarray) and values.dtype != object:
        content = f"{values.dtype}{values.shape}".encode() + np.ascontiguousarray(values).tobytes()
    else:
        content = json.dumps([str(value) for value in values if not isinstance(value, np.ndarray)]).encode()
        content += b"".join(np.ascontiguousarray(v).tobytes() for v in values if isinstance(v, np.ndarray))
    if items.labels is not None:
        content += np.asarray(items.labels, np.int64).tobytes()
    return hashlib.sha256(items.kind.encode() + content).hexdigest()[:16]


def ngrams(values: Sequence[Any]) -> np.ndarray:
    """Strings, or sequences of tokens, → log-scaled hashed n-gram counts, unit length: (n, HASHED)."""
    from sklearn.feature_extraction.text import HashingVectorizer

    texts = [v if isinstance(v, str) else " ".join(map(str, np.asarray(v).ravel())) for v in values]
    words = not isinstance(values[0], str)  # tokens are whole words, letters are letters
    hashed = HashingVectorizer(
        analyzer="word" if words else "char",
        ngram_range=(1, 2) if words else (1, 3),
        n_features=HASHED,
        alternate_sign=False,
        token_pattern=r"\S+" if words else None,
        lowercase=False,
    )
    return np.asarray(hashed.transform(texts).toarray(), np.float32)


class Vectors:
    """The map from items like the training items to vectors: `vectors(values)` is float32 (n, d).

    `shape` is (channels, height, width) for images and None otherwise. The state is plain arrays and JSON values.
    """

    def __init__(self, plan: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.plan, self.arrays = plan, arrays
        self.shape: tuple[int, ...] | None = tuple(plan["shape"]) if plan.get("shape") else None

    @classmethod
    def fit(cls, items: Items) -> "Vectors":
        """Learn scales, categories and weights from the training items.

        Raises:
            DataError: there are no items.
        """
        values = items.values
        if len(items) == 0:
            raise DataError("there are no items to fit a feature space to")
        if items.kind == "image":
            pixels = channels_first(np.asarray(values[:1]))
            levels = int(items.facts.get("levels") or 256)
            return cls({"kind": "image", "levels": levels, "shape": list(pixels.shape[1:])}, {})
        if items.kind == "audio":
            vectors = cls({"kind": "sound"}, {})
        elif isinstance(values, pd.DataFrame):
            columns: list[list[Any]] = []
            for name in values.columns:
                column = values[name]
                if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
                    columns.append([name, None])
                else:
                    columns.append([name, column.astype(str).value_counts().index[:CATEGORIES].tolist()])
            vectors = cls({"kind": "frame", "columns": columns}, {})
        elif isinstance(values, np.ndarray) and np.issubdtype(values.dtype, np.floating):
            vectors = cls({"kind": "numbers"}, {})
        elif isinstance(values, np.ndarray) and values.dtype != object and values.dtype.kind in "iub":
            high = int(values.max()) + 1
            fits = high * int(np.prod(values.shape[1:])) <= 4096
            vectors = cls({"kind": "onehot", "classes": high} if fits else {"kind": "ngrams"}, {})
        else:
            vectors = cls({"kind": "ngrams"}, {})
        raw = vectors.raw(values)
        if vectors.plan["kind"] == "ngrams":
            seen = (raw > 0).sum(0)
            vectors.arrays["weight"] = (np.log((1 + len(raw)) / (1 + seen)) + 1).astype(np.float32)
        else:
            scale = np.nanstd(raw, 0)
            vectors.arrays["mean"] = np.nanmean(raw, 0).astype(np.float32)
            vectors.arrays["scale"] = np.where(scale > 1e-12, scale, 1).astype(np.float32)
        return vectors

    def raw(self, values: Any) -> np.ndarray:
        kind = self.plan["kind"]
        if kind == "frame":
            parts = []
            for name, categories in self.plan["columns"]:
                if categories is None:
                    parts.append(pd.to_numeric(values[name], errors="coerce").to_numpy(np.float32)[:, None])
                else:
                    text = values[name].astype(str).to_numpy()
                    parts.append((text[:, None] == np.array(categories, dtype=object)[None]).astype(np.float32))
            return np.concatenate(parts, 1)
        if kind == "ngrams":
            return ngrams(values)
        if kind == "sound":
            return np.stack([bands(clip) for clip in values])
        flat = np.asarray(values).reshape(len(values), -1)
        if kind == "onehot":
            hot = flat[:, :, None] == np.arange(self.plan["classes"])
            return np.asarray(hot.reshape(len(flat), -1), np.float32)
        return np.asarray(flat, np.float32)

    def __call__(self, values: Any) -> np.ndarray:
        """Items in data space → float32 (n, d); missing numbers take the training mean."""
        if self.plan["kind"] == "image":
            pixels = channels_first(np.asarray(values)).astype(np.float32)
            return np.asarray(pixels.reshape(len(pixels), -1) / max(self.plan["levels"] - 1, 1), np.float32)
        raw = self.raw(values)
        if self.plan["kind"] == "ngrams":
            weighted = raw * self.arrays["weight"]
            return np.asarray(weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12))
        centred = (raw - self.arrays["mean"]) / self.arrays["scale"]
        return np.asarray(np.where(np.isfinite(centred), centred, 0), np.float32)


def bands(clip: np.ndarray, count: int = 32, stretches: int = 16, window: int = 256) -> np.ndarray:
    """A clip (samples,) → decibels in bands over equal stretches of its time, and the log of its length.

    Bands are narrow below and wide above, as on the mel scale; levels are cut 80 dB below full scale.
    """
    samples = np.asarray(clip, np.float64)
    padded = np.pad(samples, (0, max(window * 2 - len(samples), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[:: window // 2]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2 / (window / 4) ** 2
    edges = np.geomspace(3, power.shape[1] + 2, count + 1) - 3  # in bins of the spectrum
    mixed = np.stack([np.interp(edges, np.arange(power.shape[1] + 1), total) for total in _running(power)])
    energy = np.diff(mixed, axis=1)
    at = (np.arange(stretches + 1) * len(energy) / stretches).round().astype(int)
    starts = np.minimum(at[:-1], len(energy) - 1)
    parts = [energy[a : max(b, a + 1)].mean(0) for a, b in zip(starts, at[1:], strict=True)]
    decibels = 10 * np.log10(np.stack(parts) + 1e-8)
    return np.append(decibels.ravel(), np.log1p(len(samples))).astype(np.float32)


def _running(power: np.ndarray) -> np.ndarray:
    return np.concatenate((np.zeros((len(power), 1)), power.cumsum(1)), 1)


def channels_first(images: np.ndarray) -> np.ndarray:
    """(n, h, w) or (n, h, w, c) → (n, c, h, w)."""
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
