"""Several parts of a condition as a product event: each part by the view that it has as a condition alone.

A label beside a picture, a text beside numbers: one dict of events, which networks embed part by part.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pofx.core import config
from pofx.core.companion import beneath
from pofx.core.errors import DataError, UsageError
from pofx.core.event import Continuous, Discrete, Event, count, each
from pofx.core.model import Density
from pofx.core.options import check_value, once
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation
from pofx.data.kind import joined, named
from pofx.data.several import Several
from pofx.data.sources import read_conditions
from pofx.represent.choose import view_of_condition
from pofx.represent.image import shape_of

EVENTS: tuple[type, ...] = (Discrete, Continuous, dict)  # of the parts, the preferred one first


class OfParts(Representation):
    """Parts by name, each by a view of its own."""

    kind = "several"
    parts: dict[str, Representation]

    @property
    def dims(self) -> int:
        return sum(view.dims for view in self.parts.values())

    def state(self) -> dict[str, Tensor]:
        return {f"{part}.{key}": value for part, view in self.parts.items() for key, value in view.state().items()}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        for part, view in self.parts.items():
            own = beneath(tensors, part)
            if own:
                view.load_state(own)

    def to(self, device: torch.device | str) -> Self:
        for view in self.parts.values():
            view.to(device)
        return self


class Product(OfParts):
    """Parts by name ↔ a dict of raw tensors, one for each part.

    Args:
        views: the representation of each part, as `config.representation_to_json` describes it.
        columns: of the table that parts come from, by part; empty for parts that were no columns.
    """

    name = "product"
    summary = "each part by a view of its own; only of conditions"
    conditional = True
    measure: ClassVar[str] = "that of the parts"
    volume = Density.NONE

    def __init__(self, views: dict[str, dict[str, Any]], columns: dict[str, list[str]] | None = None) -> None:
        check_value("views", views, dict[str, dict])
        if not views:
            raise UsageError("views must describe at least one part (got none): fit the condition again")
        self.views, self.columns = views, dict(columns or {})
        self._take({part: config.representation_from_json(view) for part, view in views.items()})

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        values: Several = items.values
        views, columns = {}, {}
        for part, of in values.parts.items():
            views[part] = view_of_condition(of, EVENTS, f"the part {part} of a condition is one of")
            if of.facts.get("columns"):
                columns[part] = [str(c) for c in of.facts["columns"]]
        self = cls.__new__(cls)
        self.views = {part: config.representation_to_json(view) for part, view in views.items()}
        self.columns = columns
        self._take(views)
        return self

    def _take(self, views: Mapping[str, Representation]) -> None:
        self.parts = dict(views)
        self.event: Event = {part: view.event for part, view in self.parts.items()}

    # items ↔ raw

    def as_batch(self, values: Any) -> Any:
        """Parts by name, each of one item or of several, or rows of all columns."""
        if isinstance(values, Several) or not isinstance(values, Mapping):
            return values
        return {part: self.parts[part].as_batch(of) for part, of in self._split(values).items()}

    def tensor(self, values: Any) -> Any:
        parts = self._split(values)
        found = {part: view.tensor(parts[part]) for part, view in self.parts.items()}
        n = max(count(raw) for raw in found.values())
        for part, raw in found.items():
            if count(raw) not in (1, n):
                raise DataError(
                    f"{part} of the condition must have 1 or {n} items (got {count(raw)}): give one for each"
                )
        return {
            part: raw if count(raw) == n else each(raw, lambda v: v.expand(n, *v.shape[1:]))
            for part, raw in found.items()
        }

    def _split(self, values: Any) -> dict[str, Any]:
        """Values of each part, from parts by name, rows of the columns that they were, or a list of such mappings."""
        if isinstance(values, list | tuple) and values and all(isinstance(row, Mapping) for row in values):
            values = _stacked(values)
        if isinstance(values, Several):
            frame = None if set(values.parts) == set(self.parts) else named(self.kind).columns(values)
            values = dict(values) if frame is None else frame
        if isinstance(values, pd.DataFrame):
            values = {str(name): values[name] for name in values.columns}
        if not isinstance(values, Mapping):
            raise DataError(f"the condition must be parts by name, {self._wanted} (got {type(values).__name__})")
        given, found = dict(values), {}
        for part in self.parts:
            names = self.columns.get(part, [])
            if part in given:
                value = given[part]
                found[part] = value.values if isinstance(value, Items) else value
            elif names and set(names) <= set(given):
                inside = {name: given[name] for name in names}
                found[part] = inside if len(names) > 1 else next(iter(inside.values()))
            else:
                raise DataError(f"the condition lacks the part {part}: give {self._wanted}")
            if isinstance(found[part], pd.Series):
                found[part] = found[part].reset_index(drop=True)
        return {part: _plain(v) for part, v in found.items()}

    @property
    def _wanted(self) -> str:
        return "{" + ", ".join(f"'{part}': …" for part in self.parts) + "}"

    def items(self, raw: Any) -> Any:
        found = {}
        for part, view in self.parts.items():
            facts = {"columns": self.columns[part]} if part in self.columns else {}
            found[part] = Items(view.kind, view.items(raw[part]), facts=facts)
        return Several(found)

    def unfamiliar(self, raw: Any) -> str:
        return "; ".join(note for part, view in self.parts.items() if (note := view.unfamiliar(raw[part])))

    def written(self, text: str, *, files: bool = False) -> Any:
        """Parts as label=3,text=a red square; where `files` is true, a part may be the path of a file of it."""
        names = [*self.parts, *(c for part in self.columns.values() for c in part)]
        keys = "|".join(re.escape(name) for name in sorted(set(names), key=len, reverse=True))
        marks = list(re.finditer(rf"(?:^|,)\s*({keys})\s*=", text))
        if not marks or marks[0].start() != 0:
            raise UsageError(f"the condition must be written {'=…,'.join(self.parts)}=… (got '{text}')")
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        pairs = [(m.group(1), text[m.end() : end].strip()) for m, end in zip(marks, ends, strict=True)]
        given: dict[str, Any] = once(pairs, "the condition")
        for part, view in self.parts.items():
            value = given.get(part)
            if value is None:
                continue
            if files and Path(value).is_file():
                given[part] = view.as_batch(read_conditions(Path(value), shape_of(view)).values)
            elif files and type(view).written is Representation.written:
                raise UsageError(f"{part} must be a file, {part}=FILE of {view.kind} items (got '{value}')")
            else:
                given[part] = view.written(value)
        found = self.tensor(self.as_batch(given))
        return [self.items(each(found, lambda v, i=i: v[i : i + 1])) for i in range(count(found))]

    # raw ↔ events

    def encode(self, raw: Any, generator: Streams) -> tuple[Any, Tensor]:
        parts = {part: view.encode(raw[part], generator)[0] for part, view in self.parts.items()}
        return parts, torch.zeros(count(raw), device=generator.device)

    def decode(self, x: Any) -> Any:
        return {part: view.decode(x[part]) for part, view in self.parts.items()}

    def draw(self, streams: Streams) -> Any:
        """Nothing: how parts occur together is not known."""
        return None


def _stacked(rows: Any) -> Any:
    """One mapping of parts for each item → values by name."""
    if all(isinstance(row, Several) for row in rows):
        return Several({part: joined([row.parts[part] for row in rows]) for part in rows[0].parts})
    return {str(key): [row[key] for row in rows] for key in rows[0]}


def _plain(values: Any) -> Any:
    """Columns as lists; a list of arrays of one shape as an array."""
    if isinstance(values, pd.Series):
        return values.tolist()
    if isinstance(values, list) and values and all(getattr(v, "ndim", 0) > 0 for v in values):
        return np.stack(values)
    return values
