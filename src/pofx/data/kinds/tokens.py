"""Tokens: sequences of equal length of class numbers, int64 (n, length); the fact `classes` is their number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pofx.core.errors import DataError
from pofx.core.items import Items
from pofx.core.options import Size, checked
from pofx.data.kind import Facts, Kind, Shown, lines_of
from pofx.data.kinds.text import are_strings, ngrams, texts
from pofx.data.labels import with_labels
from pofx.data.numbers import as_array

PUBLIC = ("tokens",)

BLOCK = 1 << 22  # tokens read at once
MOST = 1 << 22  # classes
ONE_HOT = 4096  # dimensions up to which vectors are one-hot


@checked
def tokens(x: Any, classes: Size | list[Size] | None = None, labels: Any = None, name: str = "tokens") -> Items:
    """Sequences of equal length of class numbers (an integer array (n, length)); or texts, as `texts` takes them.

    `classes` is the size of the alphabet of an integer array, or a list with one size for each place; by default one
    more than its largest value.

    Raises:
        DataError: empty, of another type, or values out of range.
    """
    if isinstance(x, str) or are_strings(x):
        return texts(x, labels=labels, name=name)
    array = as_array(x, name)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer) or array.size == 0:
        got = f"{array.dtype} {array.shape}"
        raise DataError(f"{name} must be a list of strings or an integer array (n, length), not empty (got {got})")
    size = int(array.max()) + 1 if classes is None else classes
    if isinstance(size, list) and len(size) != array.shape[1]:
        raise DataError(f"classes must be one number or one for each of {array.shape[1]} places (got {len(size)})")
    if array.min() < 0:
        raise DataError(f"{name} must be class numbers from 0 (got {array.min()}): shift them")
    if (array >= np.array(size)).any():
        most = size if isinstance(size, int) else max(size)
        raise DataError(f"{name} must lie in 0 to {most - 1} (got {array.min()} to {array.max()}): pass classes=…")
    if isinstance(size, list) and len(set(size)) == 1:
        size = size[0]
    _check_size(size if isinstance(size, int) else max(size), name)
    return Items("tokens", array.astype(np.int64), *with_labels(labels, len(array), name, {"classes": size}))


def _check_size(size: int, name: str) -> None:
    """Refuse numbers that name things instead of counting classes: a network has a row for each."""
    if size > MOST:
        raise DataError(
            f"{name} must have at most {MOST:,} classes (got {size - 1:,} as a class number): number those that occur, "
            "numpy.unique(x, return_inverse=True)[1].reshape(x.shape)"
        )


@dataclass(frozen=True)
class TokenFacts(Facts):
    classes: int | list[int] = 2  # size of the alphabet, or of that of each place


class Tokens(Kind):
    name = "tokens"
    summary = "sequences of class numbers"
    outputs = (".npz", ".npy", ".csv")
    facts_type: ClassVar = TokenFacts

    def of_values(self, array: np.ndarray, labels: Any, name: str, facts: Mapping[str, Any]) -> Items | None:
        return tokens(array, labels=labels, name=name) if array.ndim == 2 and array.dtype.kind in "iu" else None

    def on_disk(self, values: Any, labels: Any, name: str, facts: Mapping[str, Any]) -> Items:
        """The largest of all tokens states the size of the alphabet: the file is read once, in blocks."""
        if values.ndim != 2 or values.dtype.kind not in "iu":
            raise DataError(f"{name} must hold whole numbers in one or two axes (got {values.dtype} {values.shape})")
        block = max(BLOCK // values.shape[1], 1)
        ends = [(part.min(), part.max()) for part in (values[i : i + block] for i in range(0, len(values), block))]
        low, high = int(min(a for a, _ in ends)), int(max(b for _, b in ends))
        if low < 0:
            raise DataError(f"{name} must hold tokens from 0 (got {low}): shift them")
        _check_size(high + 1, name)
        return Items("tokens", values, *with_labels(labels, len(values), name, {"classes": high + 1}))

    def noised(self, values: Any, known: Any, level: float, generator: np.random.Generator) -> Any:
        drawn = np.take_along_axis(known, generator.integers(len(known), size=values.shape), 0)
        return np.where(generator.random(values.shape) < level, drawn, values).astype(values.dtype)

    def plan(self, items: Items) -> dict[str, Any]:
        """One-hot where this is small, else counts of 1- and 2-grams."""
        classes = int(items.values.max()) + 1
        if classes * items.values.shape[1] <= ONE_HOT:
            return {"scaling": "standard", "classes": classes}
        return {"scaling": "idf"}

    def raw(self, values: Any, plan: Mapping[str, Any]) -> np.ndarray:
        array = np.asarray(values)
        if "classes" in plan:
            hot = array[:, :, None] == np.arange(plan["classes"])
            return np.asarray(hot.reshape(len(array), -1), np.float32)
        return ngrams([" ".join(map(str, row)) for row in array.tolist()], words=True)

    def shown(self, values: Any, facts: Mapping[str, Any]) -> Shown:
        return Shown(columns=[self.name], lines=[[" ".join(map(str, row))] for row in np.asarray(values).tolist()])

    def preview(self, items: Items, width: int = 80, n: int = 5) -> str:
        return "".join(f"{line[0][:width]}\n" for line in self.shown(items.values[:n], items.facts).lines)

    def describe(self, items: Items) -> str:
        classes = self.facts(items).classes
        shown = classes if isinstance(classes, int) else f"{min(classes)} to {max(classes)}"
        return f"{len(items):,} sequences of {items.values.shape[1]} of {shown} classes"

    def content(self, items: Items, ending: str, columns: int | None = None) -> bytes:
        if ending == ".csv":
            return lines_of([{f"x{i}": v for i, v in enumerate(row)} for row in items.values.tolist()], ending)
        return super().content(items, ending, columns)

    def from_json(self, plain: Any, facts: Mapping[str, Any]) -> Any:
        return np.asarray(plain, np.int64)
