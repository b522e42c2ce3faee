"""How constraints of rows are read from texts: names of columns, which may hold signs, numbers, dates and words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pofx.apps.constraints import OPERATORS, Constraint, Inequality, Rule, Sum, Together, linear, ordered
from pofx.core.errors import DataError, UsageError, unknown
from pofx.data.kinds.table import numeric

FORMS = "'end >= start', 'total = net + tax', 'city, country', '18 <= age <= 90', 'plan in free | pro' or 'age > 17'"
SPELLED = {"==": "=", "≥": ">=", "≤": "<=", "≠": "!=", "<>": "!="}
COMPARISON = re.compile(r"\s*(>=|<=|==|!=|<>|≥|≤|≠|>|<|=)\s*")
PLACES, ALL = 6, 15  # decimals to which a computed number is rounded, at most; those of a number that is not
NUMBER = re.compile(r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+")


@dataclass
class Side:
    """One side of a comparison: columns times factors and a constant, or a text that is none of these."""

    text: str
    parts: dict[str, float] = field(default_factory=dict)
    constant: float = 0.0
    plain: bool = False  # whether it is a value, not columns and numbers

    @property
    def column(self) -> str | None:
        """Its only column, where it is nothing else."""
        return next(iter(self.parts)) if list(self.parts.values()) == [1.0] and self.constant == 0 else None


def constraints_of(texts: Sequence[str], frame: pd.DataFrame) -> list[Constraint]:
    """Constraints as texts, checked against real rows, in the order in which they are applied.

    Raises:
        UsageError: a text of another form, or a column that there is not.
        DataError: real rows that break a constraint.
    """
    found: list[Constraint] = []
    for text in texts:
        found += constraint_in(text, frame)
    for constraint in found:
        broken = np.flatnonzero(~constraint.holds(frame))
        if len(broken):
            raise DataError(
                f"the constraint '{constraint.text}' is broken by {len(broken):,} of {len(frame):,} real rows (row "
                f"{broken[0]} first): mend or drop these rows, or leave the constraint out"
            )
    return ordered(found)


def constraint_in(text: str, frame: pd.DataFrame) -> list[Constraint]:
    """The constraints that one text states.

    Raises:
        UsageError: a text of another form, or a column that there is not.
    """
    text, names = text.strip(), [str(c) for c in frame.columns]
    member = re.fullmatch(r"(.+?)\s+in\s+(.+)", text)
    if member and member[1] in names:
        return [_member(text, member[1], member[2], frame)]
    cut = _cut(text, names)
    if len(cut) == 1:
        parts = [p.strip() for p in text.split(",")]
        if len(parts) < 2:
            raise UsageError(f"a constraint must have one of the forms {FORMS} (got '{text}')")
        for p in parts:
            if p not in names:
                raise unknown("column in a constraint", p, names)
        return [Together(text, tuple(parts))]
    sides = [_side(part, names) for part in cut[::2]]
    found: list[Constraint] = []
    for left, operator, right in zip(sides, cut[1::2], sides[1:], strict=False):
        found.append(_comparison(text, left, SPELLED.get(operator, operator), right, frame))
    return found


def _cut(text: str, names: Sequence[str]) -> list[str]:
    """A text at its signs of comparison: sides and signs in turn. Names of columns are not cut."""
    held: list[str] = []
    for name in sorted((n for n in names if COMPARISON.search(n) and n in text), key=len, reverse=True):
        held.append(name)
        text = text.replace(name, f"\0{len(held) - 1}\0")
    return [re.sub("\0(\\d+)\0", lambda m: held[int(m[1])], part) for part in COMPARISON.split(text)]


def _side(text: str, names: Sequence[str]) -> Side:
    """Columns, factors and numbers joined by + and -; the longest name that fits is meant."""
    text = text.strip()
    if text in names:
        return Side(text, {text: 1.0})
    found, rest, sign, first = Side(text), text, 1.0, True
    while rest:
        mark = re.match(r"\s*([+-])\s*", rest)
        if mark:
            sign, rest = (1.0 if mark[1] == "+" else -1.0), rest[mark.end() :]
        elif not first:
            return Side(text, plain=True)
        first = False
        factor = 1.0
        product = re.match(rf"({NUMBER.pattern})\s*\*\s*", rest)
        if product:
            factor, rest = float(product[1]), rest[product.end() :]
        name = next((n for n in sorted(names, key=len, reverse=True) if n and _begins(rest, n)), None)
        number = NUMBER.match(rest)
        if name is not None:
            rest = rest[len(name) :].lstrip()
            times = re.match(rf"\*\s*({NUMBER.pattern})\s*", rest)
            if times:
                factor, rest = factor * float(times[1]), rest[times.end() :]
            found.parts[name] = found.parts.get(name, 0.0) + sign * factor
        elif number and not product:
            found.constant += sign * float(number[0])
            rest = rest[number.end() :].lstrip()
        else:
            return Side(text, plain=True)
    return found if text else Side(text, plain=True)


def _begins(text: str, name: str) -> bool:
    """Whether a text begins with a name, which ends there."""
    return text.startswith(name) and not re.match(r"\w", text[len(name) :])


def _comparison(text: str, left: Side, operator: str, right: Side, frame: pd.DataFrame) -> Constraint:
    names = [str(c) for c in frame.columns]
    if not left.parts and not right.parts:
        raise unknown("column in a constraint", left.text if left.plain else right.text, names)
    if left.plain or not left.parts:
        turned = {">=": "<=", "<=": ">=", ">": "<", "<": ">"}
        left, right, operator = right, left, turned.get(operator, operator)
    column = left.column
    if column is not None and not numeric(frame[column]):
        if right.column is not None:
            return _two(text, column, operator, right.column, frame)
        return _value(text, column, operator, right.text, frame)
    if right.plain:
        what = f"the number {column} with a number" if column is not None else "numbers with a number"
        if re.search(r"[A-Za-z_]", right.text) and re.search(r"[+*-]|^\w+$", right.text) and operator == "=":
            word = next((p.strip() for p in re.split(r"[+*-]", right.text) if p.strip() not in names), right.text)
            raise unknown("column in a constraint", word, names)
        raise UsageError(f"'{text}' must compare {what} (got '{right.text}')")
    for name in (*left.parts, *right.parts):
        if not numeric(frame[name]):
            raise UsageError(f"'{text}' computes with {name}, which holds no numbers: state columns of numbers")
    if column is not None and right.column is not None and operator in (">=", ">", "<=", "<"):
        return _two(text, column, operator, right.column, frame)
    if operator == "=" and len({*left.parts, *right.parts}) > 1:
        return _sum(text, left, right, frame)
    parts = {n: left.parts.get(n, 0.0) - right.parts.get(n, 0.0) for n in {**left.parts, **right.parts}}
    return Rule(text, tuple(parts), partial(_computed, parts, operator, right.constant - left.constant))


def _two(text: str, a: str, operator: str, b: str, frame: pd.DataFrame) -> Constraint:
    """Two columns of numbers, or of dates."""
    kinds = ["number" if numeric(frame[c]) else "date" if frame[c].dtype.kind == "M" else "word" for c in (a, b)]
    if operator in ("=", "!="):
        return Rule(text, (a, b), partial(_both, a, operator, b, "object"))
    if kinds[0] != kinds[1] or "word" in kinds:
        raise UsageError(f"'{text}' compares columns that are no numbers or dates: state two of the same type")
    low, high = (b, a) if operator[0] == ">" else (a, b)
    if (frame[low].isna() & frame[high].notna()).any():  # no gap could be modelled, and the value would be lost
        return Rule(text, (a, b), partial(_both, a, operator, b, None))
    return Inequality(text, low, high, len(operator) == 1)


def _sum(text: str, left: Side, right: Side, frame: pd.DataFrame) -> Sum:
    """A linear equation, solved for the column that is alone on its side, or the first."""
    total = left.column or right.column or next(iter(left.parts))
    parts = {n: left.parts.get(n, 0.0) - right.parts.get(n, 0.0) for n in {**left.parts, **right.parts}}
    of = -parts.pop(total)
    if of == 0:
        raise UsageError(f"'{text}' has {total} on both sides: state a column once")
    constant = (left.constant - right.constant) / of
    known = frame[total].dropna().to_numpy(float)
    near = [(np.abs(known.round(k) - known) <= 1e-9 * (1 + np.abs(known))).all() for k in range(PLACES + 1)]
    places = near.index(True) if True in near else ALL
    return Sum(text, total, {n: f / of for n, f in parts.items() if f}, constant, places)


def _value(text: str, column: str, operator: str, value: str, frame: pd.DataFrame) -> Rule:
    """A column of words or dates against a value."""
    if frame[column].dtype.kind == "M":
        return Rule(text, (column,), partial(_one, column, operator, _moment(text, column, value, frame)))
    if operator not in ("=", "!="):
        raise UsageError(f"'{text}' must compare words by = or != (got {operator})")
    return Rule(text, (column,), partial(_one, column, operator, value.strip("'\"")))


def _moment(text: str, column: str, value: str, frame: pd.DataFrame) -> Any:
    moment = pd.to_datetime(value.strip("'\""), errors="coerce")
    if pd.isna(moment):
        raise UsageError(f"'{text}' must compare the date {column} with a date (got '{value}'): write 2020-12-31")
    zone = getattr(frame[column].dtype, "tz", None)
    return moment.tz_localize(zone) if zone is not None and moment.tzinfo is None else moment


def _member(text: str, column: str, value: str, frame: pd.DataFrame) -> Rule:
    """A column in a list of words, a | b, or in a range, low..high."""
    low, dots, high = value.strip("[](){} ").partition("..")
    if dots:
        ends: list[Any] = [low.strip(), high.strip()]
        try:
            dated = frame[column].dtype.kind == "M"
            ends = [_moment(text, column, e, frame) for e in ends] if dated else [float(e) for e in ends]
        except ValueError as error:
            raise UsageError(f"'{text}' must have the ends of a range (got '{value}'): write 18..90") from error
        return Rule(text, (column,), partial(_between, column, *ends))
    words = [w.strip().strip("'\"") for w in re.split(r"[|,]", value.strip("[](){} "))]
    if numeric(frame[column]):
        try:
            numbers = [float(w) for w in words]
        except ValueError as error:
            raise UsageError(f"'{text}' must list numbers (got '{value}'): write 1 | 2 | 3") from error
        return Rule(text, (column,), partial(_among, column, numbers))
    return Rule(text, (column,), partial(_among, column, words))


# what rows obey is a partial application of the functions below, so that a synthesizer can be saved by joblib


def _computed(parts: Mapping[str, float], operator: str, value: float, rows: pd.DataFrame) -> pd.Series:
    return OPERATORS[operator](linear(rows, parts, 0.0), value)


def _both(a: str, operator: str, b: str, dtype: Any, rows: pd.DataFrame) -> pd.Series:
    sides = [rows[c] if dtype is None else rows[c].astype(dtype) for c in (a, b)]
    return OPERATORS[operator](*sides)


def _one(column: str, operator: str, value: Any, rows: pd.DataFrame) -> pd.Series:
    return OPERATORS[operator](rows[column].astype(str) if isinstance(value, str) else rows[column], value)


def _between(column: str, low: Any, high: Any, rows: pd.DataFrame) -> pd.Series:
    return rows[column].between(low, high)


def _among(column: str, values: list[Any], rows: pd.DataFrame) -> pd.Series:
    return (rows[column].astype(str) if isinstance(values[0], str) else rows[column]).isin(values)
