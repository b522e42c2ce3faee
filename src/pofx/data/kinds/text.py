"""Texts: a list of strings; of running text, its passages (see `pofx.data.passages`)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pofx.core.errors import DataError
from pofx.core.items import Items
from pofx.data.kind import Kind, Shown, lines_of, npz
from pofx.data.labels import with_labels
from pofx.data.passages import PASSAGE, Passages
from pofx.data.reading_options import TEXTS
from pofx.data.text import read_text

PUBLIC = ("texts",)

HASHED = 1024  # dimensions of the hashed n-gram counts
REPEATS = 0.1  # the largest share of lines that repeat others for them to count as copies


def texts(x: Any, labels: Any = None, name: str = "texts") -> Items:
    """Texts: a list of strings, or one string of running text, whose items are consecutive passages.

    Raises:
        DataError: empty, or not strings.
    """
    if isinstance(x, str):
        if not x.strip():
            raise DataError(f"{name} holds no text: give running text, or a list of strings")
        return Items("text", Passages(x), *with_labels(labels, 1, name, {"characters": len(x), "passage": PASSAGE}))
    if hasattr(x, "tolist") and not isinstance(x, list | tuple):  # an array or a Series of strings
        x = x.tolist()
    if not are_strings(x):
        other = next((type(v).__name__ for v in x if not isinstance(v, str)), "") if isinstance(x, list | tuple) else ""
        got = f"{type(x).__name__}{f' with {other}' if other else ''}"
        raise DataError(f"{name} must be a list of strings, not empty (got {got}): give one per item")
    if not any(x):
        raise DataError(f"{name} holds no character (every text is empty): give texts")
    return Items("text", list(x), *with_labels(labels, len(x), name, {}))


def are_strings(x: Any) -> bool:
    return isinstance(x, list | tuple) and len(x) > 0 and all(isinstance(v, str) for v in x)


class Text(Kind):
    name = "text"
    summary = "texts: a line an item, or running text"
    hashed_as = "tokens"
    reads: ClassVar[tuple[str, ...]] = (".txt",)
    reading: ClassVar = {"encoding": TEXTS["encoding"]}
    outputs: ClassVar[tuple[str, ...]] = (".txt", ".json", ".csv", ".npz")

    def read(self, path: Path, **options: Any) -> Items:
        return texts(read_text(path, **options), name=path.name)

    def of_object(self, value: Any, name: str) -> Items | None:
        return texts(value, name=name) if are_strings(value) else None

    def distinct(self, items: Items) -> tuple[Items, dict[str, Any]]:
        """Lines without those that repeat an earlier one: a copy in the test split flatters every model.

        Where more than a tenth of the lines repeat others they stay: the frequency of a line is the distribution.
        """
        if isinstance(items.values, Passages):
            return items, {}
        first = list(dict.fromkeys(items.values))
        repeats = len(items) - len(first)
        if repeats > REPEATS * len(items) or items.labels is not None:
            return items, {"repeats_removed": 0}
        return replace(items, values=first), {"repeats_removed": repeats}

    def take(self, values: Any, at: np.ndarray) -> Any:
        return values.taken(at) if isinstance(values, Passages) else [values[i] for i in at]

    def join(self, parts: Sequence[Any]) -> Any:
        return [v for part in parts for v in part]

    def update(self, hash: Any, values: Any) -> None:
        hash.update("\x1e".join(map(str, values)).encode("utf-8", "surrogatepass"))

    def exact_keys(self, values: Any) -> list[Any]:
        return list(values)

    def same(self, a: Any, b: Any) -> np.ndarray:
        return np.array([x == y for x, y in zip(a, b, strict=True)], bool)

    def sequential(self, values: Any) -> bool:
        return isinstance(values, Passages)

    def divided(self, values: Any, validation: float, test: float) -> tuple[Any, Any, Any]:
        return values.divided(validation, test)

    def byte_sizes(self, values: Any) -> np.ndarray | None:
        return np.array([len(v.encode("utf-8", "surrogatepass")) for v in values], np.int64)

    def noised(self, values: Any, known: Any, level: float, generator: np.random.Generator) -> Any:
        pool = [c for v in known[:1000] for c in v]
        drawn = [[pool[generator.integers(len(pool))] if generator.random() < level else c for c in v] for v in values]
        return ["".join(d) for d in drawn]

    def shuffled(self, values: Any, n: int, generator: np.random.Generator) -> Any:
        """Characters are shuffled by position; each text keeps the length of one of the texts."""
        lengths = [len(values[i]) for i in generator.integers(len(values), size=n)]
        at = [[v[p] for v in values if len(v) > p] for p in range(max(map(len, values)))]
        return ["".join(at[p][generator.integers(len(at[p]))] for p in range(length)) for length in lengths]

    def plan(self, items: Items) -> dict[str, Any]:
        """Counts of 1- to 3-grams of characters."""
        return {"scaling": "idf"}

    def raw(self, values: Any, plan: Mapping[str, Any]) -> np.ndarray:
        return ngrams(list(values), words=False)

    def shown(self, values: Any, facts: Mapping[str, Any]) -> Shown:
        return Shown(columns=[self.name], lines=[[v] for v in values])

    def preview(self, items: Items, width: int = 80, n: int = 5) -> str:
        return separated(list(items.values[:n]))

    def describe(self, items: Items) -> str:
        if isinstance(items.values, Passages):
            return f"running text of {len(items.values.text):,} characters"
        return f"{len(items):,} texts of at most {max(map(len, items.values))} characters"

    def content(self, items: Items, ending: str, columns: int | None = None) -> bytes:
        if ending == ".txt":
            return separated(list(items.values)).encode("utf-8", "surrogatepass")
        if ending == ".npz":
            extra = {"y": items.labels} if items.labels is not None else {}
            return npz({"x": np.array(list(items.values), dtype=str), **extra})
        return lines_of([{"text": v} for v in items.values], ending)

    def to_json(self, values: Any) -> Any:
        return values.to_json() if isinstance(values, Passages) else list(values)

    def from_json(self, plain: Any, facts: Mapping[str, Any]) -> Any:
        return Passages.from_json(plain) if isinstance(plain, Mapping) else list(plain)

    def pack(self, values: Any) -> dict[str, np.ndarray]:
        if isinstance(values, Passages):
            plain = {"text": _bytes(values.text), "starts": values.starts, "ends": values.ends}
        else:
            plain = {"texts": _bytes("".join(values)), "sizes": np.array([len(v) for v in values], np.int64)}
        return plain

    def unpack(self, arrays: Mapping[str, np.ndarray]) -> Any:
        if "text" in arrays:
            return Passages(_string(arrays["text"]), arrays["starts"], arrays["ends"])
        whole, ends = _string(arrays["texts"]), np.cumsum(arrays["sizes"]).tolist()
        return [whole[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def separated(values: list[str]) -> str:
    """Texts one a line, or where any has a line break under lines `=== 1 ===`."""
    if any("\n" in v for v in values):
        return "".join(f"=== {i + 1} ===\n{v}\n" for i, v in enumerate(values))
    return "".join(f"{v}\n" for v in values)


def ngrams(values: Sequence[str], *, words: bool) -> np.ndarray:
    """Strings → log-scaled hashed counts of 1- to 3-grams of characters, or 1- to 2-grams of words: (n, HASHED)."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashed = HashingVectorizer(
        analyzer="word" if words else "char",
        ngram_range=(1, 2) if words else (1, 3),
        n_features=HASHED,
        alternate_sign=False,
        token_pattern=r"\S+" if words else None,
        lowercase=False,
    )
    return np.asarray(hashed.transform([v.encode("utf-8", "replace").decode() for v in values]).toarray(), np.float32)


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)


def _string(array: np.ndarray) -> str:
    return array.tobytes().decode("utf-8", "surrogatepass")
