"""Rows as classes, one or two dimensions a column: what makes every model of discrete events one of mixed rows.

Categories and few whole numbers are classes by themselves, other numbers quantile intervals with a density inside
(see `represent/intervals`), a missing value is a class of its own. A column of very many categories has two dimensions,
its number in two digits, so that no table of the size of its vocabulary is ever held. The density of a row is exact,
P(classes) times the densities inside; where two digits have more codes than categories it lacks the mass of the others.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.event import Discrete
from pofx.core.model import Density
from pofx.core.random import Still, Streams
from pofx.core.representation import Items, Representation
from pofx.data.columns import listed
from pofx.data.described import check_schema
from pofx.data.schema import measure_of, numbers, restored
from pofx.data.support import SIMPLEX, outside, stated
from pofx.represent.intervals import Intervals, intervals_of
from pofx.represent.partial import Known, known_columns
from pofx.represent.table import described, matching

MOST = 256  # classes of a dimension
ROWS_EACH = 20  # training rows in an interval, at least, where intervals are not stated
MORE_EACH = 50  # in the more intervals of numbers on a grid


class Bins(Representation):
    """A DataFrame ↔ raw float64 (n, columns that vary), in steps of a grid or NaN ↔ classes (n, dimensions)."""

    kind = "table"
    name = "bins"
    summary = "every column as classes: categories, whole numbers, quantile intervals with a density inside"
    options = ("intervals", "leading")
    noisy = False
    measure: ClassVar[str]
    volume = Density.EXACT

    def __init__(
        self,
        columns: list[str],
        dtypes: list[str],
        schema: dict[str, Any],
        parts: list[dict[str, Any]],
        support: Any = None,
        left_out: Any = None,
        intervals: int | None = None,
        leading: Any = None,
    ) -> None:
        """Args:
        parts: the classes of each column that varies, in the order of the dimensions (see `intervals_of`).
        intervals: of a column of numbers, at most; None takes 2 n^(1/3), at most 100, or twice as many for numbers on a
            grid such as whole ones, of which single values matter.
        leading: columns that come first, given which the others can be drawn.
        """
        self.columns, self.dtypes, self.schema, self.parts = columns, dtypes, schema, parts
        self.support, self.left_out, self.intervals, self.leading = support, left_out, intervals, leading
        check_schema(schema, columns)
        self.varying = order_of(columns, schema, listed(leading))
        self._intervals = Intervals(parts)
        counts: list[int] = []
        self._base: list[int] = []  # of columns in two digits, else 0
        self.places: list[int] = []  # the first dimension of each column
        spare = False
        for classes in self._intervals.counts:
            base = math.isqrt(classes - 1) + 1 if classes > MOST else 0
            self.places.append(len(counts))
            counts += [-(-classes // base), base] if base else [classes]
            self._base.append(base)
            spare |= bool(base) and counts[-2] * base > classes
        self.event = Discrete((len(counts),), tuple(counts))
        self.measure = measure_of(schema)
        if spare:
            self.volume = Density.BOUND

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        frame, schema, left_out = described(items)
        count, leading = options.pop("intervals", None), listed(options.pop("leading", None))
        support = stated(items.facts.get("support"), list(frame.columns))
        if support == SIMPLEX:
            raise UsageError("a simplex cannot be seen as bins: choose a model of real vectors")
        for column in leading:
            if column not in frame.columns:
                raise unknown("column in leading", column, frame.columns)
        if count is not None and not 2 <= int(count) <= MOST - 20:
            raise UsageError(f"intervals must be 2 to {MOST - 20} (got {count}): pass intervals=64")
        if all(about["type"] == "constant" for about in schema.values()):
            raise DataError("every column is constant: there is nothing to learn; give columns that vary")
        varying = order_of(list(frame.columns), schema, leading)
        raw, _ = numbers(frame, {c: schema[c] for c in varying})
        n = len(frame)
        most = max(4, min(100, round(2 * n ** (1 / 3)), n // ROWS_EACH))
        whole = max(most, min(200, round(4 * n ** (1 / 3)), n // MORE_EACH))
        parts = [
            intervals_of(
                x, schema[c], count or (most if schema[c]["type"] == "real" else whole), (support or {}).get(c)
            )
            for c, x in zip(varying, raw.T, strict=True)
        ]
        dtypes = [str(d) for d in frame.dtypes]
        return cls(list(frame.columns), dtypes, schema, parts, support, left_out, count, leading or None)

    def _checked(self, values: Any) -> tuple[Tensor, dict[int, str]]:
        """Raw rows, and those that cannot occur with their reasons: possible values are in their place."""
        x, reasons = checked_rows(values, self.columns, self.schema, self.left_out, self.support, self.varying)
        if reasons:
            middle = torch.zeros(1, len(self.varying), dtype=torch.int64)
            x[list(reasons)] = self._intervals.values(middle, torch.full(middle.shape, 0.5))[0].numpy()
        return torch.from_numpy(x), reasons

    def tensor(self, values: Any) -> Tensor:
        return self._checked(values)[0]

    def impossible(self, values: Any) -> Mapping[int, str]:
        return self._checked(values)[1]

    def items(self, raw: Tensor) -> Any:
        return table_of(raw, self.columns, self.dtypes, self.schema, self.varying)

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        x, log_f = self.encode_columns(raw)
        return x, log_f.sum(1)

    def encode_columns(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Raw rows → classes (n, dimensions), and log f inside the class of each column: (n, columns)."""
        classes, log_f = self._intervals.classes(raw)
        return self._digits(classes), log_f

    def decode(self, x: Tensor) -> Tensor:
        return self.drawn(x, Still(0, len(x), device=x.device))

    def drawn(self, x: Tensor, generator: Streams) -> Tensor:
        classes = self._whole(x)
        return self._intervals.values(classes, generator.uniform(classes.shape[1]))

    def known(self, given: Any) -> Known:
        """Known values by column → raw rows, and which of their columns are known."""
        return known_columns(given, self.varying, self.schema)

    def known_classes(self, known: Known) -> Tensor:
        """Their classes: int64 (n, dimensions), -1 where nothing is known."""
        classes, _ = self._intervals.classes(known.raw)
        return self._digits(classes.masked_fill(~known.columns, -1))

    def known_event(self, known: Known, generator: Streams) -> tuple[Tensor, Tensor, Tensor]:
        """Classes of known rows, which of their dimensions are known, and log f inside these: (n, d), (n, d), (n,)."""
        classes = self.known_classes(known)
        _, inside = self._intervals.classes(known.raw)
        return classes.clamp(min=0), classes >= 0, inside.masked_fill(~known.columns, 0.0).sum(1)

    def _digits(self, classes: Tensor) -> Tensor:
        """Classes of columns (n, columns) → of dimensions (n, dimensions); -1 stays -1."""
        if not any(self._base):
            return classes
        found = []
        for value, base in zip(classes.T, self._base, strict=True):
            digits = [value] if not base else [value.div(base, rounding_mode="floor"), value % base]
            found += [digit.masked_fill(value < 0, -1) for digit in digits]
        return torch.stack(found, 1)

    def _whole(self, x: Tensor) -> Tensor:
        if not any(self._base):
            return x
        found = []
        for place, base, classes in zip(self.places, self._base, self._intervals.counts, strict=True):
            value = x[:, place] * base + x[:, place + 1] if base else x[:, place]
            found.append(value.clamp(max=classes - 1))
        return torch.stack(found, 1)

    @property
    def dims(self) -> int:
        return len(self.varying)


def order_of(columns: Sequence[str], schema: Mapping[str, Mapping[str, Any]], leading: Sequence[str]) -> list[str]:
    """The columns that vary in the order in which they are drawn."""
    varying = [c for c in columns if schema[c]["type"] != "constant"]
    return [*(c for c in leading if c in varying), *(c for c in varying if c not in leading)]


def checked_rows(
    values: Any,
    columns: list[str],
    schema: Mapping[str, Mapping[str, Any]],
    left_out: Mapping[str, str] | None,
    support: Any,
    varying: list[str],
) -> tuple[np.ndarray, dict[int, str]]:
    """The varying columns of a table as raw float64 (n, columns), and the rows that cannot occur with their reasons."""
    frame = matching(values, columns, left_out or {}, schema)
    x, reasons = numbers(frame, {c: schema[c] for c in columns})
    if support is not None:
        plain = np.stack(
            [pd.to_numeric(frame[c].astype(object), errors="coerce").to_numpy(np.float64) for c in columns], 1
        )
        reasons |= outside(plain, columns, support, np.ones(len(columns), bool))
    return x[:, [columns.index(c) for c in varying]], reasons


def table_of(
    raw: Tensor,
    columns: list[str],
    dtypes: list[str],
    schema: Mapping[str, Mapping[str, Any]],
    varying: list[str],
) -> pd.DataFrame:
    """Raw rows of the varying columns as a table, every column in its own type."""
    x = raw.detach().to("cpu", torch.float64).numpy()
    found = {}
    for column, dtype in zip(columns, dtypes, strict=True):
        at = varying.index(column) if column in varying else None
        found[column] = restored(np.zeros(len(x)) if at is None else x[:, at], schema[column], dtype)
    return pd.DataFrame(found)
