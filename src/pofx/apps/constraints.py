"""Constraints of rows, by construction where they can be, else by rejection.

    "end >= start"           the gap is modelled, which is never negative; "a <= b <= c" is two of them
    "total = net + tax"      one column is left out of the model, and computed; "total - tax = net" is the same
    "city, country"          fixed combinations: pairs are one category, so that only pairs that were seen occur
    "18 <= age <= 90"        a range; rows outside are drawn again
    "age > 17", "kind = box", "day >= 2020-02-01", "plan in free | pro", "net >= 0.1 * total"  likewise

Constraints are checked on the real rows first: one that they break is refused, for nothing could be learned under it.
How texts are read is in `constraint_texts`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import pandas as pd

from pofx.core.errors import UsageError

GAP = "{} less {}"
SLACK = 1e-6  # relative rounding of a sum
DAY = 86400
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
    def builds(self) -> tuple[str, ...]: ...  # columns that are left out of the model, and obey by construction
    @property
    def names(self) -> tuple[str, ...]: ...  # of all columns that it reads
    def forward(self, frame: pd.DataFrame) -> pd.DataFrame: ...
    def backward(self, frame: pd.DataFrame) -> pd.DataFrame: ...
    def holds(self, frame: pd.DataFrame) -> np.ndarray: ...


@dataclass(frozen=True)
class Inequality:
    """high >= low (or >): the column high is modelled as its gap above low."""

    text: str
    low: str
    high: str
    strict: bool

    @property
    def gap(self) -> str:
        return GAP.format(self.high, self.low)

    @property
    def builds(self) -> tuple[str, ...]:
        return (self.high,)

    @property
    def names(self) -> tuple[str, ...]:
        return self.low, self.high

    def forward(self, frame: pd.DataFrame) -> pd.DataFrame:
        gap = frame[self.high] - frame[self.low]
        if pd.api.types.is_timedelta64_dtype(gap.dtype):
            gap = gap.dt.total_seconds() / DAY
        return frame.drop(columns=self.high).assign(**{self.gap: gap})

    def backward(self, frame: pd.DataFrame) -> pd.DataFrame:
        gap = frame[self.gap]
        low = frame[self.low]
        if pd.api.types.is_datetime64_any_dtype(low.dtype):
            gap = pd.to_timedelta((gap * DAY).round(), unit="s")
        return frame.drop(columns=self.gap).assign(**{self.high: low + gap})

    def holds(self, frame: pd.DataFrame) -> np.ndarray:
        missing = frame[self.low].isna() | frame[self.high].isna()
        good = frame[self.high] > frame[self.low] if self.strict else frame[self.high] >= frame[self.low]
        return np.asarray(missing | good, dtype=bool)


@dataclass(frozen=True)
class Sum:
    """total = a sum of parts and a constant, each part times a factor: it is computed, to its own decimals."""

    text: str
    total: str
    parts: Mapping[str, float]
    constant: float
    places: int

    @property
    def builds(self) -> tuple[str, ...]:
        return (self.total,)

    @property
    def names(self) -> tuple[str, ...]:
        return self.total, *self.parts

    def _computed(self, frame: pd.DataFrame) -> pd.Series:
        return linear(frame, self.parts, self.constant)

    def forward(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.drop(columns=self.total)

    def backward(self, frame: pd.DataFrame) -> pd.DataFrame:
        found = self._computed(frame)
        return frame.assign(**{self.total: found if found.dtype.kind in "iu" else found.round(self.places)})

    def holds(self, frame: pd.DataFrame) -> np.ndarray:
        apart = (self._computed(frame).round(self.places) - frame[self.total]).abs() / (1 + frame[self.total].abs())
        return np.asarray((apart <= SLACK) | apart.isna(), dtype=bool)


class Together:
    """Columns whose combinations are fixed: one category, so that only those that were seen occur."""

    def __init__(self, text: str, columns: tuple[str, ...]) -> None:
        self.text, self.names = text, columns
        self.name = " with ".join(columns)
        self.seen = pd.DataFrame()

    @property
    def builds(self) -> tuple[str, ...]:
        return self.names

    def forward(self, frame: pd.DataFrame) -> pd.DataFrame:
        own = frame[list(self.names)]
        if self.seen.empty:
            codes = own.groupby(list(self.names), dropna=False, sort=True, observed=True).ngroup()
            self.seen = own.assign(code=codes).drop_duplicates("code").set_index("code").sort_index()
        else:
            known = {
                tuple(row): code for code, row in zip(self.seen.index, self.seen.astype(str).to_numpy(), strict=True)
            }
            codes = pd.Series([known[tuple(row)] for row in own.astype(str).to_numpy()], index=frame.index)
        return frame.drop(columns=list(self.names)).assign(**{self.name: "c" + codes.astype(str)})

    def backward(self, frame: pd.DataFrame) -> pd.DataFrame:
        code = frame[self.name].astype(str).str[1:].astype(int)
        found = self.seen.loc[code].reset_index(drop=True).set_index(frame.index)
        return pd.concat([frame.drop(columns=self.name), found], axis=1)

    def holds(self, frame: pd.DataFrame) -> np.ndarray:
        if self.seen.empty:
            return np.ones(len(frame), bool)
        known = set(map(tuple, self.seen.astype(str).to_numpy()))
        return np.array([tuple(row) in known for row in frame[list(self.names)].astype(str).to_numpy()], bool)


@dataclass(frozen=True)
class Rule:
    """Rows that break it are drawn again: a comparison of columns, numbers, dates or words."""

    text: str
    names: tuple[str, ...]
    obeys: Callable[[pd.DataFrame], Any]
    builds: tuple[str, ...] = ()

    def forward(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame

    def backward(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame

    def holds(self, frame: pd.DataFrame) -> np.ndarray:
        missing = frame[list(self.names)].isna().any(axis=1).to_numpy()
        return np.asarray(missing | np.asarray(self.obeys(frame).fillna(False), dtype=bool), dtype=bool)


def linear(frame: pd.DataFrame, parts: Mapping[str, float], constant: float) -> pd.Series:
    """The sum of columns, each times a factor, and a constant; whole where all are."""
    whole = float(constant).is_integer()
    found: Any = int(constant) if whole else constant
    for name, factor in parts.items():
        column = frame[name]
        if column.dtype.kind in "ub":
            column = column.astype(np.int64)
        found = found + column * (int(factor) if float(factor).is_integer() else factor)
    return found if isinstance(found, pd.Series) else pd.Series(found, index=frame.index)


def ordered(found: Sequence[Constraint]) -> list[Constraint]:
    """Constraints so that each reads its columns before another leaves one of them out. Of those that would build the
    same column, or each other's, inequalities are met by rejection instead.

    Raises:
        UsageError: two sums or combinations that build the same column.
    """
    built: set[str] = set()
    exact: list[Constraint] = []
    others: list[Constraint] = []
    for constraint in sorted(found, key=lambda c: isinstance(c, Inequality)):
        clash = sorted(built & set(constraint.builds))
        if not clash and not (constraint.builds and _circle([*exact, constraint])):
            built |= set(constraint.builds)
            (exact if constraint.builds else others).append(constraint)
        elif isinstance(constraint, Inequality):
            others.append(Rule(constraint.text, constraint.names, partial(_obeys, constraint)))
        else:
            column = clash[0] if clash else constraint.builds[0]
            raise UsageError(f"column {column} is part of two constraints that are built in: state one of them")
    done: list[Constraint] = []
    while len(done) < len(exact):
        left = [c for c in exact if c not in done]
        done.append(next(c for c in left if not any(set(c.builds) & set(o.names) for o in left if o is not c)))
    return [*done, *others]


def _obeys(constraint: Constraint, frame: pd.DataFrame) -> pd.Series:
    return pd.Series(constraint.holds(frame), index=frame.index)


def _circle(constraints: Sequence[Constraint]) -> bool:
    """Whether no order lets each constraint read its columns before they are left out."""
    left = list(constraints)
    while left:
        free = [c for c in left if not any(set(c.builds) & set(o.names) for o in left if o is not c)]
        if not free:
            return True
        left = [c for c in left if c not in free]
    return False
