"""Constraints of rows, by construction where they can be, else by rejection.

    "end >= start"           the gap is modelled, which is never negative
    "total = net + tax"      the sum is left out of the model, and computed
    "city, country"          fixed combinations: pairs are one category, so that only pairs that were seen occur
    "18 <= age <= 90"        a range; rows outside are drawn again
    "age > 17", "kind = box" a bound or a value; likewise

Constraints are checked on the real rows first: one that they break is refused, for nothing could be learned under it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError, unknown

FORMS = "'end >= start', 'total = net + tax', 'city, country', '18 <= age <= 90' or 'age > 17'"
GAP, JOIN = "{} less {}", "{} with {}"
SLACK = 1e-6  # relative rounding of a sum
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


class Constraint(Protocol):
    """Rows to what is modelled and back, and which rows obey; a row with a missing value obeys."""

    @property
    def text(self) -> str: ...
    @property
    def exact(self) -> bool: ...  # whether rows obey by construction
    def forward(self, frame: pd.DataFrame) -> pd.DataFrame: ...
    def backward(self, frame: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame: ...
    def holds(self, frame: pd.DataFrame) -> np.ndarray: ...


@dataclass(frozen=True)
class Inequality:
    """high >= low (or >): the column high is modelled as its gap above low."""

    text: str
    low: str
    high: str
    strict: bool
    exact: bool = True

    @property
    def gap(self) -> str:
        return GAP.format(self.high, self.low)

    def forward(self, frame: pd.DataFrame) -> pd.DataFrame:
        gap = frame[self.high] - frame[self.low]
        if pd.api.types.is_timedelta64_dtype(gap.dtype):
            gap = gap.dt.total_seconds() / 86400  # days
        return frame.drop(columns=self.high).assign(**{self.gap: gap})

    def backward(self, frame: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
        gap = frame[self.gap]
        low = frame[self.low]
        if pd.api.types.is_datetime64_any_dtype(low.dtype):
            gap = pd.to_timedelta((gap * 86400).round(), unit="s")
        return frame.drop(columns=self.gap).assign(**{self.high: low + gap})

    def holds(self, frame: pd.DataFrame) -> np.ndarray:
        missing = frame[self.low].isna() | frame[self.high].isna()
        good = frame[self.high] > frame[self.low] if self.strict else frame[self.high] >= frame[self.low]
        return np.asarray(missing | good)


@dataclass(frozen=True)
class Sum:
    """total = the sum of parts, which is computed."""

    text: str
    total: str
    parts: tuple[str, ...]
    exact: bool = True

    def forward(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.drop(columns=self.total)

    def backward(self, frame: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
        return frame.assign(**{self.total: frame[list(self.parts)].sum(axis=1, skipna=False)})

    def holds(self, frame: pd.DataFrame) -> np.ndarray:
        whole = frame[list(self.parts)].sum(axis=1, skipna=False)
        apart = (whole - frame[self.total]).abs() / (1 + frame[self.total].abs())
        return np.asarray((apart <= SLACK) | apart.isna())


class Together:
    """Columns whose combinations are fixed: one category, so that only those that were seen occur."""

    exact = True

    def __init__(self, text: str, columns: tuple[str, ...]) -> None:
        self.text, self.columns = text, columns
        self.name = " with ".join(columns)
        self.seen = pd.DataFrame()

    def forward(self, frame: pd.DataFrame) -> pd.DataFrame:
        own = frame[list(self.columns)]
        codes = own.groupby(list(self.columns), dropna=False, sort=True, observed=True).ngroup()
        self.seen = own.assign(code=codes).drop_duplicates("code").set_index("code").sort_index()
        return frame.drop(columns=list(self.columns)).assign(**{self.name: "c" + codes.astype(str)})

    def backward(self, frame: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
        code = frame[self.name].astype(str).str[1:].astype(int)
        found = self.seen.loc[code].reset_index(drop=True).set_index(frame.index)
        return pd.concat([frame.drop(columns=self.name), found], axis=1)

    def holds(self, frame: pd.DataFrame) -> np.ndarray:
        if self.seen.empty:
            return np.ones(len(frame), bool)
        known = set(map(tuple, self.seen.astype(str).to_numpy()))
        return np.array([tuple(row) in known for row in frame[list(self.columns)].astype(str).to_numpy()], bool)


@dataclass(frozen=True)
class Bound:
    """A column against a value: rows that break it are drawn again."""

    text: str
    column: str
    operator: str
    value: Any
    exact: bool = False

    def forward(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame

    def backward(self, frame: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
        return frame

    def holds(self, frame: pd.DataFrame) -> np.ndarray:
        column = frame[self.column]
        good = OPERATORS[self.operator](column.astype(str) if isinstance(self.value, str) else column, self.value)
        return np.asarray(good | column.isna())


def constraints_of(texts: Sequence[str], frame: pd.DataFrame) -> list[Constraint]:
    """Constraints as texts, checked against real rows.

    Raises:
        UsageError: a text of another form, or a column that there is not.
        DataError: real rows that break a constraint.
    """
    found: list[Constraint] = []
    for text in texts:
        found += _read(text.strip(), frame)
    for constraint in found:
        broken = np.flatnonzero(~constraint.holds(frame))
        if len(broken):
            raise DataError(
                f"the constraint '{constraint.text}' is broken by {len(broken):,} of {len(frame):,} real rows (row "
                f"{broken[0]} first): mend or drop these rows, or leave the constraint out"
            )
    touched = [c for k in found if k.exact for c in _columns(k)]
    twice = sorted({c for c in touched if touched.count(c) > 1})
    if twice:
        raise UsageError(f"column {twice[0]} is part of two constraints that are built in: state one of them")
    return found


def _columns(constraint: Constraint) -> tuple[str, ...]:
    """The columns that a constraint builds."""
    if isinstance(constraint, Inequality):
        return (constraint.high,)
    return (constraint.total,) if isinstance(constraint, Sum) else tuple(getattr(constraint, "columns", ()))


def _read(text: str, frame: pd.DataFrame) -> list[Constraint]:
    names = list(frame.columns)
    parts = [p.strip() for p in text.split(",")]
    if len(parts) > 1 and not re.search(r"[<>=]", text):
        for p in parts:
            _known(p, names)
        return [Together(text, tuple(parts))]
    double = re.fullmatch(r"(.+?)\s*<=\s*(.+?)\s*<=\s*(.+)", text)
    if double:
        low, column, high = double.groups()
        return [_bound(text, column, ">=", low, frame), _bound(text, column, "<=", high, frame)]
    match = re.fullmatch(r"(.+?)\s*(>=|<=|!=|>|<|=)\s*(.+)", text)
    if match is None:
        raise UsageError(f"a constraint must have one of the forms {FORMS} (got '{text}')")
    left, operator, right = (p.strip() for p in match.groups())
    terms = [t.strip() for t in right.split("+")]
    if operator == "=" and len(terms) > 1:
        for name in (left, *terms):
            _known(name, names)
        return [Sum(text, left, tuple(terms))]
    if left in names and right in names and operator in (">=", ">", "<=", "<"):
        low, high = (right, left) if operator[0] == ">" else (left, right)
        if not all(pd.api.types.is_numeric_dtype(frame[c]) or frame[c].dtype.kind == "M" for c in (low, high)):
            raise UsageError(f"'{text}' compares columns that are no numbers or dates: state numbers")
        return [Inequality(text, low, high, len(operator) == 1)]
    return [_bound(text, left, operator, right, frame)]


def _known(name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise unknown("column in a constraint", name, names)


def _bound(text: str, column: str, operator: str, value: str, frame: pd.DataFrame) -> Bound:
    column = column.strip()
    _known(column, list(frame.columns))
    if pd.api.types.is_numeric_dtype(frame[column]):
        try:
            return Bound(text, column, operator, float(value))
        except ValueError as error:
            raise UsageError(f"'{text}' must compare the number {column} with a number (got '{value}')") from error
    if operator not in ("=", "!="):
        raise UsageError(f"'{text}' must compare words by = or != (got {operator})")
    return Bound(text, column, operator, value.strip())
