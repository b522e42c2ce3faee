"""Items of several parts as one event: a table beside a picture, a picture beside its caption, modelled together.

Every part has a view of its own kind. What the views make classes of lies side by side as classes, a count for each
dimension, and what they make numbers of as numbers: one discrete event, or {"classes": …, "numbers": …}. The density
is that of the parts together, of the kind that the weakest of the views has.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core import config
from pofx.core.errors import DataError, Unsupported, UsageError, unknown
from pofx.core.event import Continuous, Discrete, Event, each
from pofx.core.model import Density
from pofx.core.options import check_value
from pofx.core.random import Still, Streams
from pofx.core.representation import Items, Representation
from pofx.data.several import Several
from pofx.represent.choose import view_of_part
from pofx.represent.several import OfParts
from pofx.represent.table_bins import Bins
from pofx.represent.table_heads import Heads
from pofx.represent.tokens import Tokens

KINDS: Mapping[bool, tuple[type, ...]] = {False: (Discrete, dict, Continuous), True: (dict, Continuous, Discrete)}
Leaf = tuple[str, str | None, Continuous | Discrete]  # a plain event: its part, and its key where the part has several


class Together(OfParts):
    """Parts by name ↔ raw float64 (n, numbers of all parts) ↔ classes, or classes beside numbers."""

    name = "together"
    summary = "every part by a view of its own: classes side by side, and numbers beside them"
    options = ("as_numbers",)
    measure: ClassVar[str] = "that of the parts"

    def __init__(self, views: dict[str, dict[str, Any]], as_numbers: bool = False) -> None:
        """Args:
        views: the representation of each part, as `config.representation_to_json` describes it.
        as_numbers: whether numbers of a part stay numbers; else those of a table become classes, intervals of them.
        """
        check_value("views", views, dict[str, dict])
        check_value("as_numbers", as_numbers, bool)
        if not views:
            raise UsageError("views must describe at least one part (got none): give parts by name")
        self.views, self.as_numbers = views, as_numbers
        self._take({part: config.representation_from_json(view) for part, view in views.items()})

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        as_numbers = bool(options.pop("as_numbers", False))
        views = {
            part: view_of_part(of, KINDS[as_numbers], f"the part {part} of an event is one of")
            for part, of in items.values.parts.items()
        }
        self = cls.__new__(cls)
        self.views = {part: config.representation_to_json(view) for part, view in views.items()}
        self.as_numbers = as_numbers
        self._take(views)
        return self

    def _take(self, views: Mapping[str, Representation]) -> None:
        self.parts = dict(views)
        self._leaves = [leaf for part, view in views.items() for leaf in _leaves(part, view.event)]
        counts = [k for _, _, event in self._leaves if isinstance(event, Discrete) for k in event.counts]
        numbers = sum(math.prod(event.shape) for _, _, event in self._leaves if isinstance(event, Continuous))
        kinds: dict[str, Event] = {}
        if numbers:
            kinds["numbers"] = Continuous((numbers,))
        if counts:
            kinds["classes"] = Discrete((len(counts),), tuple(counts))
        self.event: Event = kinds if len(kinds) > 1 else next(iter(kinds.values()))
        raws = {part: view.decode(_nothing(view.event)) for part, view in self.parts.items()}
        self._raw = {part: (tuple(raw.shape[1:]), raw.dtype) for part, raw in raws.items()}
        ended = any(isinstance(event, Discrete) and event.end is not None for _, _, event in self._leaves)
        self.volume = min([view.volume for view in self.parts.values()] + ([Density.BOUND] if ended else []))
        self.noisy = any(view.noisy and view.volume is Density.BOUND for view in self.parts.values())

    @property
    def sizes(self) -> list[int]:
        """How many classes side by side each part has, in their order."""
        counted = [(part, math.prod(event.shape)) for part, _, event in self._leaves if isinstance(event, Discrete)]
        return [sum(size for part, size in counted if part == name) for name in dict.fromkeys(p for p, _ in counted)]

    # items ↔ raw

    def tensor(self, values: Any) -> Tensor:
        if not isinstance(values, Mapping) or set(values) != set(self.parts):
            raise DataError(
                f"items must have the parts {', '.join(self.parts)} (got {_names(values)}): give all of them"
            )
        rows = {part: view.tensor(values[part]) for part, view in self.parts.items()}
        if len({len(row) for row in rows.values()}) > 1:
            raise DataError(
                f"parts must be one of each for every item (got {', '.join(f'{k}: {len(v)}' for k, v in rows.items())})"
            )
        return self._joined(rows)

    def _split(self, raw: Tensor) -> dict[str, Tensor]:
        found, start = {}, 0
        for part, (shape, dtype) in self._raw.items():
            end = start + math.prod(shape)
            found[part] = raw[:, start:end].to(dtype).reshape(len(raw), *shape)
            start = end
        return found

    def _joined(self, parts: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([parts[part].reshape(len(parts[part]), -1).double() for part in self.parts], 1)

    def items(self, raw: Tensor) -> Any:
        rows = self._split(raw)
        return Several({part: Items(view.kind, view.items(rows[part])) for part, view in self.parts.items()})

    def impossible(self, values: Any) -> Mapping[int, str]:
        found: dict[int, str] = {}
        for part, view in self.parts.items():
            found |= {row: f"{part}: {why}" for row, why in view.impossible(values[part]).items()}
        return found

    # raw ↔ events

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Any, Tensor]:
        found, ladj = {}, torch.zeros(len(raw), dtype=torch.float64, device=raw.device)
        for part, row in self._split(raw).items():
            found[part], own = self.parts[part].encode(row, generator)
            ladj = ladj + own
        return self.flat(found), ladj

    def decode(self, x: Any) -> Tensor:
        return self._joined({part: self.parts[part].decode(of) for part, of in self.apart(x).items()})

    def drawn(self, x: Any, generator: Streams) -> Tensor:
        return self._joined({part: self.parts[part].drawn(of, generator) for part, of in self.apart(x).items()})

    def flat(self, parts: Mapping[str, Any]) -> Any:
        """Events of the parts → the event: classes side by side, and numbers."""
        kinds: dict[str, list[Tensor]] = {"numbers": [], "classes": []}
        for part, key, event in self._leaves:
            x = parts[part] if key is None else parts[part][key]
            kinds["classes" if isinstance(event, Discrete) else "numbers"].append(x.reshape(len(x), -1))
        found = {kind: torch.cat(of, 1) for kind, of in kinds.items() if of}
        return found if len(found) > 1 else next(iter(found.values()))

    def apart(self, x: Any) -> dict[str, Any]:
        """The inverse of `flat`."""
        found: dict[str, Any] = {}
        starts = {"numbers": 0, "classes": 0}
        for part, key, event in self._leaves:
            kind, size = "classes" if isinstance(event, Discrete) else "numbers", math.prod(event.shape)
            of = (x[kind] if isinstance(x, dict) else x)[:, starts[kind] : starts[kind] + size]
            starts[kind] += size
            of = of.reshape(len(of), *event.shape)
            found[part] = of if key is None else {**found.get(part, {}), key: of}
        return found

    # partial items

    def known(self, given: Mapping[str, Any]) -> "Given":
        """What is known of items: parts by name, of a table some columns, of sequences of classes what is not -1.

        Raises:
            UsageError: a part that the event does not have.
            DataError: values that cannot occur.
        """
        for part in given:
            if part not in self.parts:
                raise unknown("part", part, list(self.parts))
        found = {
            part: _known(view, given[part]) if part in given else _unknown(view) for part, view in self.parts.items()
        }
        n = max(len(of.ladj) for of in found.values())
        for part, of in found.items():
            if len(of.ladj) not in (1, n):
                raise DataError(f"{part} must be one item or {n} of them (got {len(of.ladj)}): give one for each")
        each_part = {part: of.expanded(n) for part, of in found.items()}
        return Given(
            self.flat({part: of.x for part, of in each_part.items()}),
            self.flat({part: of.known for part, of in each_part.items()}),
            torch.stack([of.ladj for of in each_part.values()]).sum(0),
            self._joined({part: of.raw for part, of in each_part.items()}),
            torch.cat([of.stated.reshape(n, -1) for of in each_part.values()], 1),
        )


@dataclass(frozen=True)
class Given:
    """Partial items: events and which of their dimensions are known, log|det d event / d item| of what is known, NaN
    where that has none; raw items, and which of their numbers are known. What is unknown holds a possible value."""

    x: Any
    known: Any
    ladj: Tensor
    raw: Tensor
    stated: Tensor

    def expanded(self, n: int) -> "Given":
        """One item for all."""
        return self._of_each(lambda t: t.expand(n, *t.shape[1:]))

    def to(self, device: torch.device) -> "Given":
        return self._of_each(lambda t: t.to(device))

    def _of_each(self, change: Callable[[Tensor], Tensor]) -> "Given":
        return Given(*(each(v, change) for v in (self.x, self.known, self.ladj, self.raw, self.stated)))


def _unknown(view: Representation) -> Given:
    x = _nothing(view.event)
    raw = view.decode(x)
    nowhere = each(x, lambda v: torch.zeros_like(v, dtype=torch.bool))
    return Given(x, nowhere, torch.zeros(1, dtype=torch.float64), raw, torch.zeros_like(raw, dtype=torch.bool))


def _known(view: Representation, value: Any) -> Given:
    """What is known of one part."""
    columns = getattr(value, "columns", value if isinstance(value, Mapping) else None)
    if columns is not None and isinstance(view, Bins | Heads) and not set(view.columns) <= set(map(str, columns)):
        rows = view.known(value)
        x: Any
        known: Any
        if isinstance(view, Heads):
            x, known = view.known_parts(rows)
            ladj = torch.full((len(rows.raw),), torch.nan, dtype=torch.float64)
        else:
            classes = view.known_classes(rows)
            x, known = classes.clamp(min=0), classes >= 0
            ladj = view.encode_columns(rows.raw)[1].masked_fill(~rows.columns, 0.0).sum(1)
        return Given(x, known, ladj, rows.raw, rows.columns.expand(len(rows.raw), -1))
    if isinstance(view, Tokens):
        y, event = view.prefix(value), view.event
        assert isinstance(event, Discrete)
        if bool((y >= torch.tensor(event.counts)).any()):
            raise DataError(f"classes must lie in 0 to {event.largest - 1}, or be -1 (got {int(y.max())})")
        return Given(y.clamp(min=0), y >= 0, torch.zeros(len(y), dtype=torch.float64), y.clamp(min=0), y >= 0)
    value = view.as_batch(value)
    if isinstance(value, np.ndarray) and value.ndim == 1 and view.decode(_nothing(view.event)).ndim == 2:  # a point
        value = value[None]
    raw = view.tensor(value)
    x, ladj = view.encode(raw, Still(0, len(raw)))
    everywhere = each(x, lambda v: torch.ones_like(v, dtype=torch.bool))
    return Given(x, everywhere, ladj.double(), raw, torch.ones_like(raw, dtype=torch.bool))


def _leaves(part: str, event: Event) -> list[Leaf]:
    """The plain events of a part."""
    if not isinstance(event, dict):
        return [(part, None, event)]
    found: list[Leaf] = []
    for key, of in event.items():
        if isinstance(of, dict):
            raise Unsupported(f"{part} has parts that have parts: choose another view of it")
        found.append((part, key, of))
    return found


def _nothing(event: Event) -> Any:
    """One event of zeros."""
    if isinstance(event, dict):
        return {key: _nothing(part) for key, part in event.items()}
    return torch.zeros(1, *event.shape, dtype=torch.int64 if isinstance(event, Discrete) else torch.float32)


def _names(values: Any) -> str:
    return ", ".join(map(str, values)) if isinstance(values, Mapping) else type(values).__name__
