"""Rows with named fields, of a 🤗 Dataset or a torch Dataset of mappings: which is the item, its label, a condition.

A picture, a recording, an array or a text by its name and type is the item; otherwise all fields are a table. Names are
those that data sets of the field use. What is neither the item, its label nor a condition is left out with a warning.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.items import Items
from pofx.data.conditions import as_items, columns_of
from pofx.data.foreign import type_of
from pofx.data.kinds.table import table_of
from pofx.data.kinds.text import texts
from pofx.data.labels import with_labels
from pofx.data.listed import stacked
from pofx.data.numbers import some

PICTURES = ("image", "img", "picture", "pixels", "pixel_values", "x")
ARRAYS = (*PICTURES, "input_ids", "features", "inputs")
SOUNDS = ("audio", "sound", "speech")
TEXTS = ("text", "sentence", "content")
LABELS = ("label", "labels", "fine_label", "target", "y", "class")
TABLES = ("columns", "drop", "schema")  # options of reading
PROBED = 1000  # rows in which the first value of a field is looked for


class Fields(ABC):
    """Rows of named fields, one field after the other."""

    name: str
    names: Sequence[str]
    mend: str  # how rows are left out, after a colon

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def values(self, field: str) -> Sequence[Any]:
        """The values of a field in all rows."""

    def type_of(self, field: str) -> str:
        """What a field holds: picture, sound, words, array, value, or the name of another type."""
        column = self.values(field)
        return type_of(next((v for v in (column[i] for i in range(min(len(self), PROBED))) if v is not None), None))

    def classes(self, field: str) -> list[str] | None:
        """The names of the classes whose numbers a field holds, where it states them."""
        return None

    def items(self, field: str, kind: str, options: Mapping[str, Any]) -> Items:
        """A field of pictures, sound, texts or arrays as items."""
        values = [self._there(v, field, i) for i, v in enumerate(self.values(field))]
        return texts(values, name=self.name) if kind == "words" else stacked(values, None, self.name, options)

    def frame(self, fields: Sequence[str]) -> pd.DataFrame:
        """Fields of single values as a table; numbers of classes by name."""
        return pd.DataFrame({c: by_name(list(self.values(c)), self.classes(c)) for c in fields})

    def _there(self, value: Any, field: str, row: int) -> Any:
        if value is None:
            raise DataError(f"row {row} of {self.name} has no {field} (got None): {self.mend}")
        return value


class Rows(Fields):
    """Mappings in memory."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        self.rows, self.name, self.names = rows, name, [str(k) for k in rows[0]]
        self.mend = "leave such rows out"
        for i, row in enumerate(rows):
            if not isinstance(row, Mapping) or set(row) != set(rows[0]):
                got = ", ".join(map(str, row)) if isinstance(row, Mapping) else type(row).__name__
                raise DataError(f"{name} must yield mappings of {', '.join(self.names)} (row {i} is {got}): mend it")

    def __len__(self) -> int:
        return len(self.rows)

    def values(self, field: str) -> Sequence[Any]:
        return [row[field] for row in self.rows]

    def frame(self, fields: Sequence[str]) -> pd.DataFrame:
        return pd.DataFrame({c: [v.item() if np.ndim(v) == 0 and hasattr(v, "item") else v for v in self.values(c)]
                             for c in fields})  # fmt: skip


def items_of(fields: Fields, label: str | None, condition: Any, options: Mapping[str, Any]) -> tuple[Items, Any]:
    """The items of rows with their labels, and the condition, where it named fields what these hold.

    Raises:
        UsageError: no such field.
        DataError: rows without the item or the label, or fields that nothing here can model.
    """
    if label is not None and label not in fields.names:
        raise unknown(f"column of {fields.name}", label, fields.names)
    stated = columns_of(condition)
    if isinstance(condition, str) and stated is not None and condition not in fields.names:
        raise unknown(f"column of {fields.name}", condition, fields.names)
    given = stated if stated is not None and set(stated) <= set(fields.names) else []
    of_label = label or next((c for c in LABELS if c in fields.names and c not in given[1:]), None)
    types = {c: fields.type_of(c) for c in fields.names}
    item = _item(types, [c for c in fields.names if c != label and c not in given], of_label)
    if item is None:
        return _table(fields, types, label, condition, options), None
    kind = types[item]
    of_label = None if of_label == item else of_label
    found = fields.items(item, kind, {k: v for k, v in options.items() if k not in TABLES})
    found = _labelled(fields, found, of_label)
    used = {item, of_label, *given}
    others = [c for c in fields.names if c not in used]
    if others:
        warnings.warn(
            f"{fields.name}: the items are those of {item}; left out: {some(others)} (condition='{others[0]}' gives it "
            "to the model)",
            UserWarning,
            stacklevel=2,
        )
    if not given:
        return found, condition
    if given == [of_label]:
        return found, "label"
    return found, _condition(fields, types, given, options)


def _item(types: Mapping[str, str], free: Sequence[str], label: str | None) -> str | None:
    """The field that is the item; None where all are a table."""
    for kind, known in (("picture", PICTURES), ("sound", SOUNDS)):
        found = [c for c in (*known, *free) if c in free and types[c] == kind]
        if found:
            return found[0]
    alone = [c for c in free if c != label]
    named = [c for c in ARRAYS if c in alone and types[c] == "array"] + [c for c in TEXTS if c in alone]
    last = next((c for c in (*named, *(alone if len(alone) == 1 else ())) if types[c] in ("array", "words")), None)
    return last


def _labelled(fields: Fields, items: Items, field: str | None) -> Items:
    """Items with the labels in a field, by the names that it states; one that is wholly unknown labels nothing."""
    if field is None:
        return items
    if fields.type_of(field).startswith("lists"):
        raise DataError(f"{fields.name}: {field} must hold one class a row (got {fields.type_of(field)}): leave it out")
    labels = [v.item() if np.ndim(v) == 0 and hasattr(v, "item") else v for v in fields.values(field)]
    mend = f"{fields.mend}, or leave the column out"
    names = fields.classes(field)
    none = [i for i, v in enumerate(labels) if v is None or (names is not None and v == -1)]
    if len(none) == len(labels):
        warnings.warn(f"{fields.name}: {field} is unknown in every row: there are no labels", UserWarning, stacklevel=2)
        return items
    if none:
        got = "None" if labels[none[0]] is None else "-1, which is an unknown class"
        raise DataError(
            f"{fields.name}: {field} is unknown in {len(none)} rows (the first: {none[0]}, got {got}): {mend}"
        )
    if names is not None and all(isinstance(v, int | np.integer) and 0 <= v < len(names) for v in labels):
        codes: Any = np.asarray(labels, dtype=np.int64)
        return replace(items, labels=codes, facts={**items.facts, "label_names": list(names)})
    codes, facts = with_labels(labels, len(items), f"{fields.name}, {field}", dict(items.facts))
    return replace(items, labels=codes, facts=facts)


def _condition(fields: Fields, types: Mapping[str, str], given: Sequence[str], options: Mapping[str, Any]) -> Any:
    """Fields as conditions: one thing, or several parts."""
    plain = [c for c in given if types[c] in ("words", "value")]
    if len(plain) == len(given):
        return as_items(fields.frame(given))
    parts = {c: fields.items(c, types[c], {}) for c in given if c not in plain}
    if plain:
        parts[plain[0] if len(plain) == 1 else "table"] = as_items(fields.frame(plain))
    return next(iter(parts.values())) if len(parts) == 1 else parts


def _table(
    fields: Fields, types: Mapping[str, str], label: str | None, condition: Any, options: Mapping[str, Any]
) -> Items:
    chosen = {k: v for k, v in options.items() if k in TABLES}
    if len(chosen) < len(options):
        wrong = ", ".join(k for k in options if k not in chosen)
        raise UsageError(f"{wrong} change how pictures are read, and {fields.name} is a table: leave them out")
    dropped = options.get("drop") or ()
    dropped = [dropped] if isinstance(dropped, str) else list(dropped)
    only = options.get("columns")
    only = fields.names if only is None else [only] if isinstance(only, str) else list(only)
    other = [f"{c} ({types[c]})" for c in fields.names if types[c] not in ("words", "value")]
    wanted = [c for c in fields.names if types[c] in ("words", "value") or (c in only and c not in dropped)]
    if any(types[c] not in ("words", "value") for c in wanted):
        raise DataError(
            f"{fields.name} has columns of which a table has none: {some(other)}: give a column of arrays alone, as "
            f"pofx.images(numpy.stack(…)), pofx.points or pofx.tokens, or leave it out, drop=['{other[0].split()[0]}']"
        )
    chosen["drop"] = [c for c in dropped if c in wanted] or None
    return table_of(fields.frame(wanted), label, condition, fields.name, **chosen)


def by_name(values: list[Any], names: Sequence[str] | None) -> Any:
    """A column, numbers of classes by their names; -1 is the class that is not known."""
    known = [-1 if v is None else v for v in values]
    if names is None or len(set(names)) < len(names):
        return values
    if not all(isinstance(v, int | np.integer) and -1 <= v < len(names) for v in known):
        return values
    return pd.Categorical.from_codes([int(v) for v in known], categories=pd.Index(names))
