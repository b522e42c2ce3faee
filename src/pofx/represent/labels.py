"""Class names as class numbers: the simplest condition. What a label means is decided here, for every verb alike.

A value is looked up among the names of the classes: a text by its characters, a number by its value. Only where no name
is a number is a whole number the position of a class, from 0.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.event import Discrete
from pofx.core.model import Density
from pofx.core.options import short
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation
from pofx.data.numbers import from_tensor

TYPES = ("str", "int64", "bool")  # of the labels that `items` returns


class Labels(Representation):
    """Class names ↔ int64 (n,).

    Args:
        names: of the classes, in the order of their numbers.
        counts: training items of each class.
        dtype: of the labels as a user has them: "str", "int64" or "bool".
        column: of the table that they came from; empty where there was none.
    """

    kind = "label"
    name = "classes"
    summary = "class names as class numbers"
    measure: ClassVar[str] = "counting"
    volume = Density.EXACT

    def __init__(self, names: list[str], counts: list[int], dtype: str = "str", column: str = "") -> None:
        if len(set(names)) != len(names) or len(counts) != len(names) or not names:
            raise DataError(f"labels must have different names with a count each (got {len(names)}, {len(counts)})")
        if dtype not in TYPES:
            raise UsageError(f"dtype of labels must be one of {', '.join(TYPES)} (got {dtype!r})")
        self.names, self.counts, self.dtype, self.column = list(names), list(counts), dtype, column
        self.event = Discrete((), len(names))
        self._numbers = {name: i for i, name in enumerate(self.names)}
        self._values = {_number(name): i for i, name in reversed(list(enumerate(self.names)))}
        self._words = not any(_reads_as_number(name) for name in self.names)

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        facts = items.facts
        names = [str(name) for name in facts["label_names"]]
        made = cls(names, [0] * len(names), str(facts.get("dtype", "str")), str(facts.get("column", "")))
        counts = np.bincount(made.tensor(items.values).numpy(), minlength=len(names))
        return cls(names, counts.tolist(), made.dtype, made.column)

    def as_batch(self, values: Any) -> Any:
        if isinstance(values, dict) or np.ndim(values) > 0:
            return values
        return [values.item() if hasattr(values, "item") else values]

    def written(self, text: str) -> Any:
        """Labels with commas between them, or one that has a comma in its name."""
        key, sign, value = text.partition("=")
        if sign and text not in self._numbers and key.strip() == (self.column or "label"):
            text = value  # label=3, as a part of several is written
        return [text] if text in self._numbers else text.split(",")

    def tensor(self, values: Any) -> Tensor:
        known: dict[Any, int] = {}
        found = []
        for value in _listed(values, self.column):
            key = (type(value), value)
            if key not in known:
                known[key] = self.number(value)
            found.append(known[key])
        if not found:
            raise DataError("there are no labels: give at least one")
        return torch.tensor(found, dtype=torch.int64)

    def number(self, value: Any) -> int:
        """The class number of a label.

        Raises:
            UsageError: no class is called so; the nearest names are in the message.
        """
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, bool | np.bool_):
            if self._words and str(bool(value)) not in self._numbers:  # True is no second class of names
                raise unknown("label", str(bool(value)), self.names)
            value = str(bool(value)) if str(bool(value)) in self._numbers else int(value)
        if isinstance(value, str):
            text = value.strip()
            if value in self._numbers or text in self._numbers:
                return self._numbers.get(value, self._numbers.get(text, 0))
            alike = [i for i, name in enumerate(self.names) if name.casefold() == text.casefold()]
            if len(alike) == 1:
                return alike[0]
            if self._words and text.isascii() and text.isdigit() and int(text) < len(self.names):
                return int(text)
        elif value is not None and _number(value) is not None:
            number = _number(value)
            if number in self._values:
                return self._values[number]
            if self._words and number == int(number or 0) and 0 <= int(number) < len(self.names):
                return int(number)
        raise unknown("label", value if isinstance(value, str) else short(value), self.names)

    def unfamiliar(self, raw: Tensor) -> str:
        missing = [self.names[k] for k in raw.unique().tolist() if self.counts[k] == 0]
        if not missing:
            return ""
        return f"no training item has the label {', '.join(missing)}: the model has learned nothing about it"

    def draw(self, streams: Streams) -> Tensor:
        """Labels as often as they occur in the training items."""
        edges = torch.tensor(np.cumsum(self.counts) / max(np.sum(self.counts), 1), dtype=torch.float32)
        found = torch.bucketize(streams.uniform().cpu(), edges)
        return found.clamp(max=len(self.names) - 1)

    def items(self, raw: Tensor) -> Any:
        names = np.array(self.names, dtype=object)[raw.cpu().numpy()]
        if self.dtype == "int64":
            return names.astype(np.int64)
        return names == "True" if self.dtype == "bool" else names

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return raw.long(), torch.zeros(len(raw), device=raw.device)

    def decode(self, x: Tensor) -> Tensor:
        return x.long()

    @property
    def dims(self) -> int:
        return 1


def _listed(values: Any, column: str) -> Sequence[Any]:
    """Labels one by one; those of a table are in the column that they came from, or in its only one."""
    if hasattr(values, "columns"):  # a DataFrame
        values = {str(name): values[name] for name in values.columns}
    if isinstance(values, dict):
        stated = [name for name in (column, "label") if name in values]
        if not stated and (column or len(values) != 1):
            raise DataError(f"the condition must have the column '{column}' (got {', '.join(values)})")
        values = values[stated[0]] if stated else next(iter(values.values()))
        values = values if np.ndim(values) else [values]
    if hasattr(values, "detach"):
        values = from_tensor(values)
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    if listed and isinstance(listed[0], list | tuple):
        raise DataError(f"labels must be one per item (got shape {np.shape(listed)})")
    return listed  # type: ignore[no-any-return]


def _reads_as_number(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


def _number(value: Any) -> float | int | None:
    """The number that a value is, or that a name spells out as a number is written ("01" is none)."""
    if isinstance(value, str):
        try:
            number = float(value)
            whole = int(number) if math.isfinite(number) and number == int(number) else None
        except ValueError:
            return None
        if whole is not None and value == str(whole):
            return whole
        return number if value == str(number) and math.isfinite(number) else None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    return int(value) if number == int(number) else number
