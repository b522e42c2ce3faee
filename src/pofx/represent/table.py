"""Rows as standardised real vectors: y = (x - mean) / std, with log|det| = -sum log std.

Columns on a grid (whole numbers, decimals, lattices, truth values, categories, dates; see `pofx.data.schema`) are
counted in steps k and dequantised (k + u, u uniform in (0, 1)), so that a density gives a lower bound on the log-mass
of a value and never grows without limit on the grid. Columns that never vary are set aside and put back. A support that
the user states is opened to the whole space first, so that every model of real vectors keeps it, with an exact
Jacobian; that of truth values and categories is known. A row that cannot occur has probability zero, not an error.

A missing value, and one that many rows of a real column have, is a value of its own: the column has a second one, its
state (0: as any other, 1, 2, …: such a value), which is dequantised like a category. Where a state gives the value, the
number in its place is noise u ~ N(0, 1), whose log-density is subtracted: the mean over u of p(y, u) / q(u) is the
probability of the rest (the bound of variational dequantisation; Ho et al., 2019, arXiv 1902.00275).
"""

import math
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pofx.core.errors import DataError, Unsupported
from pofx.core.event import Continuous
from pofx.core.model import Density
from pofx.core.options import short
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation
from pofx.data.described import check_schema
from pofx.data.kinds.table import check_table
from pofx.data.numbers import check_points
from pofx.data.schema import GRIDS, LEFT_OUT, describe, measure_of, numbers, restored
from pofx.data.support import SIMPLEX, check_support, outside, stated
from pofx.represent.partial import NUMBERS, Known, known_columns
from pofx.represent.states import States
from pofx.represent.support import REAL, Opening, kept_inside

EDGE = 2.0**-11  # noise keeps this far from its ends, so that float32 does not round k + u up to k + 1
UNBOUNDED = {"type": "whole", "low": -(2**62), "high": 2**62, "offset": 0}  # of runs that hold no schema


class Columns(Representation):
    """What tables and points share: raw float64 (n, d) of the varying columns ↔ standardised float32 (n, d + states).

    Raw values of a column on a grid are whole numbers of steps, NaN where they are missing; decimals is -1 where there
    is no grid. They come back exactly while their standard deviation is below about 400,000 steps, the limit of
    float32. mean, std and decimals also have those of the states, behind those of the columns.
    """

    unit = "nats"
    options = ("support",)

    def __init__(
        self,
        columns: list[str],
        dtypes: list[str],
        constants: dict[str, Any],
        mean: list[float],
        std: list[float],
        decimals: list[int],
        support: Any = None,
        schema: Any = None,
        left_out: Any = None,
    ) -> None:
        """mean and std are those of the unbounded values; support is in plain form (see `data/support.py`)."""
        self.columns, self.dtypes, self.constants = columns, dtypes, constants
        self.mean, self.std, self.decimals, self.support, self.schema = mean, std, decimals, support, schema
        self.left_out = left_out
        self.varying = [c for c in columns if c not in constants]
        self._check()
        self._about: dict[str, Any] = schema or _schema_of(columns, constants, decimals)
        self._states = States([self._about[c] for c in self.varying])
        self._opening = _opening(support, self._about, self.varying, self._states, decimals)
        self.event = Continuous((self._opening.dims,))
        self._shift, self._scale = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
        self._grid = torch.tensor(decimals) != REAL
        self._gridded = bool(self._grid.any())
        self._atoms = {c: about["atoms"] for c, about in self._about.items() if about.get("atoms")}
        if self._opening.simplex:
            self.measure = f"Lebesgue on the first {self.width} coordinates"
        if bool(self._grid.any()):
            self.volume = Density.BOUND
            self.measure = measure_of(self._about)
        words = any(self._about[c]["type"] in ("category", "bool") for c in self.varying)
        self.mixed = words or self._states.count > 0
        if self._atoms:
            self.volume = min(self.volume, Density.ESTIMATE)

    def _check(self) -> None:
        """Refuse values, read from a file, that do not fit each other.

        Raises:
            DataError: which do not.
        """
        if len(set(self.columns)) != len(self.columns) or not set(self.constants) <= set(self.columns):
            raise DataError(f"columns must differ, and constants be among them (got {short(self.columns)})")
        if len(self.dtypes) != len(self.columns) or len(self.mean) != len(self.std):
            raise DataError(
                f"dtypes and std must be as many as columns and mean (got {len(self.dtypes)}, {len(self.std)})"
            )
        for dtype in self.dtypes:
            try:
                pd.api.types.pandas_dtype(dtype)
            except TypeError as error:
                raise DataError(f"dtypes must be types of numpy or pandas (got {short(dtype)})") from error
        if not all(value > 0 for value in self.std):
            raise DataError(f"std must be above 0 (got {short(self.std)})")
        if self.schema:
            check_schema(self.schema, self.columns, self.constants)
        stated(self.support, self.columns)

    @classmethod
    def _statistics(cls, frame: pd.DataFrame, schema: dict[str, Any], support: Any) -> dict[str, Any]:
        columns = list(frame.columns)
        support = stated(support, columns)
        if all(about["type"] == "constant" for about in schema.values()):
            raise DataError("every column is constant: there is nothing to learn; give columns that vary")
        fixed = {c: about["value"] for c, about in schema.items() if about["type"] == "constant"}
        if support == SIMPLEX:
            if fixed:
                raise DataError(
                    f"column {next(iter(fixed))} of a simplex never varies: leave it out and divide each row of the "
                    "others by its sum"
                )
            schema = {c: {"type": "real"} for c in columns}
        varying = [c for c in columns if c not in fixed]
        states = States([schema[c] for c in varying])
        decimals = [_decimals(schema[c]) for c in varying] + [0] * states.count
        grid = np.asarray(decimals) != REAL
        if support is not None:
            check_support(_plain(frame, schema), columns, support, _closed(columns, varying, grid))
        raw, _ = numbers(frame, {c: schema[c] for c in varying})
        inner, given = states.apart(torch.from_numpy(raw))
        opening = _opening(support, schema, varying, states, decimals)
        typical = inner.masked_fill(given, torch.nan).nanmedian(0).values.nan_to_num(0.0)
        middle = torch.where(given, typical, inner) + torch.from_numpy(0.5 * grid)
        y = opening.forward(middle)[0]
        if opening.simplex:
            mean, std = y.mean(0).numpy(), y.std(0, correction=0).numpy()
        else:
            there = (~given).double()
            count = there.sum(0).clamp(min=1.0)
            center = (y * there).sum(0) / count
            width = (opening.slopes(middle).square() * there).sum(0) / count * torch.from_numpy(grid)
            mean, std = center.numpy(), (((y - center).square() * there).sum(0) / count + width / 12).sqrt().numpy()
        atoms = {c: about["atoms"] for c, about in schema.items() if about.get("atoms")}
        if atoms:
            some = ", ".join(list(atoms)[:4]) + (f" and {len(atoms) - 4} others" if len(atoms) > 4 else "")
            what, have = (f"column {some}: ", "it has") if len(atoms) == 1 else (f"columns {some}: up to ", "they have")
            warnings.warn(
                f"{what}{max(atoms.values()):.0%} of the values repeat, so {have} no density; log_prob grows without "
                "limit there and is rated an estimate: round to a grid, or drop",
                stacklevel=2,
            )
        return {
            "columns": columns,
            "dtypes": [str(d) for d in frame.dtypes],
            "constants": fixed,
            "mean": mean.tolist(),
            "std": np.where(std > 0, std, 1.0).tolist(),
            "decimals": decimals,
            "support": support,
            "schema": schema,
        }

    def _checked(self, frame: pd.DataFrame) -> tuple[Tensor, dict[int, str]]:
        """Raw rows, and those that cannot occur with their reasons: a typical row is in their place."""
        reasons: dict[int, str] = {}
        if self.support is not None:
            plain = _plain(frame[self.columns], self._about)
            closed = _closed(self.columns, self.varying, self._grid.numpy())
            reasons |= outside(plain, self.columns, self.support, closed)
        x, found = numbers(frame[self.columns], {c: self._about[c] for c in self.columns})
        x = x[:, [self.columns.index(c) for c in self.varying]]
        reasons = {**found, **reasons}
        if reasons:
            typical = self.decode(torch.zeros(1, self.width))[0].numpy()
            x[list(reasons)] = typical
        return torch.from_numpy(x), reasons

    def _columns(self, raw: Tensor) -> dict[str, Any]:
        """Every column again, in its own type."""
        values = raw.detach().to("cpu", torch.float64).numpy()
        grid = self._grid.numpy()[: values.shape[1]]
        filled = np.array([not self._about[c].get("missing") for c in self.varying])
        lost = ((np.isinf(values) | (np.isnan(values) & filled)) & grid).any(1)
        if lost.any():
            raise DataError(
                f"{int(lost.sum())} of {len(lost)} rows that the model draws are not finite, which no whole number or "
                "category can be: train it again with a smaller lr"
            )
        found = {}
        for column, dtype in zip(self.columns, self.dtypes, strict=True):
            about = self._about[column]
            x = np.zeros(len(values)) if column in self.constants else values[:, self.varying.index(column)]
            ends = [0.0, None] if self._opening.simplex else (self.support or {}).get(column)
            inside = about["type"] == "real" and ends is not None and not self._states.of(about)
            found[column] = kept_inside(x, dtype, *ends) if inside else restored(x, about, dtype)
        return found

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        x, own, given = self._terms(raw, generator)
        if not self._states.count:
            return x.float(), own.sum(-1) - self._scale.log().sum()
        own = own - self._scale.to(raw.device).log()
        u = generator.normal(self.width).double()
        instead = 0.5 * u.square() + 0.5 * math.log(2 * math.pi)
        return torch.where(given, u, x).float(), torch.where(given, instead, own).sum(-1)

    def _terms(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised events, log|det| of each dimension but for its scale, and which numbers are states."""
        inner, given = self._states.apart(raw)
        shift, scale = self._shift.to(raw.device), self._scale.to(raw.device)
        noise_ladj: Tensor | float = 0.0
        if self._gridded:
            grid = self._grid.to(raw.device)
            if self._states.count:
                inner = torch.where(given, self._typical.to(raw.device), inner)
            edge = (scale / self._opening.slopes(inner + 0.5 * grid) * 2.0**-20).clamp(EDGE, 0.4) * grid
            noise = edge + (1 - 2 * edge) * generator.uniform(self.width)
            noise_ladj = (-2 * edge).log1p()  # the noise has the density 1 / (1 - 2 edge)
            inner = inner + noise * grid
        z, ladj = self._opening.forward(inner)
        return (z - shift) / scale, ladj + noise_ladj, given

    def known_event(self, known: Known, generator: Streams) -> tuple[Tensor, Tensor, Tensor]:
        """Events of known rows, which of their dimensions are known, and log|det| of these: (n, d), (n, d), (n,)."""
        typical = self.decode(torch.zeros(1, self.width))
        x, own, given = self._terms(torch.where(known.columns, known.raw, typical), generator)
        there = torch.cat((known.columns, known.columns[self._states.at])) & ~given
        own = torch.where(there, own - self._scale.log(), 0.0)
        return x.float(), there.expand(x.shape), own.sum(-1)

    @property
    def _typical(self) -> Tensor:
        """A possible number of every column and state."""
        inner = self.back(torch.zeros(1, self.width, dtype=torch.float64))[0]
        return torch.where(self._grid, inner.floor(), inner)

    def decode(self, x: Tensor) -> Tensor:
        inner = self.back(x.double())[0]
        return self._states.together(torch.where(self._grid.to(x.device), inner.floor(), inner))

    def back(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Events in their own type → raw items (and states) with their fractions of a step, and log|det d raw/d event|.

        Differentiable, as `decode` is not on a grid.
        """
        scale = self._scale.to(x.device, x.dtype)
        raw, ladj = self._opening.back(x * scale + self._shift.to(x.device, x.dtype))
        return raw, ladj + scale.log().sum()

    @property
    def straight(self) -> bool:  # type: ignore[override]
        return not self._opening.bounded

    def real(self, x: Tensor) -> Tensor:
        """The varying columns in their own units; those on a grid in its steps."""
        if self._states.count:
            raise Unsupported("rows with missing or repeated values are no real numbers: use `pofx impute`")
        return self.back(x)[0]

    @property
    def about(self) -> Mapping[str, Mapping[str, Any]]:
        """The schema of the columns, also where the run holds none."""
        return self._about

    def known(self, given: Any) -> Known:
        """Known values by column → raw rows, and which of their columns are known."""
        if self._opening.simplex:
            raise Unsupported("the parts of a simplex are not known one by one: sample whole rows")
        return known_columns(given, self.varying, self._about)

    def known_intervals(self, known: Known) -> tuple[Tensor, Tensor]:
        """The least and the greatest events of known rows: equal for real numbers, infinite where nothing is known."""
        inner, given = self._states.apart(known.raw)
        there = torch.cat((known.columns, known.columns[self._states.at]))
        y = [
            (self._opening.forward(inner.masked_fill(given, 0.5) + end * self._grid)[0] - self._shift) / self._scale
            for end in (0.0, 1.0)
        ]
        free = given | ~there
        return y[0].masked_fill(free, -torch.inf).float(), y[1].masked_fill(free, torch.inf).float()

    @property
    def dims(self) -> int:
        return self.width - self._states.count  # as many as in any other view of these rows

    @property
    def width(self) -> int:
        """The numbers of an event: of the columns, and of their states."""
        return self._opening.dims


def _closed(columns: Any, varying: list[str], grid: np.ndarray) -> np.ndarray:
    """Where the ends of a support belong to it: on grids, and where a column never varies."""
    return np.array([c not in varying or bool(grid[varying.index(c)]) for c in columns])


def _decimals(about: Mapping[str, Any]) -> int:
    return int(about.get("places", 0)) if about["type"] in GRIDS else REAL


def _schema_of(columns: list[str], constants: Mapping[str, Any], decimals: list[int]) -> dict[str, Any]:
    """The schema of a run that holds none."""
    found: dict[str, Any] = {c: {"type": "constant", "value": constants[c]} for c in columns if c in constants}
    for c, places in zip([c for c in columns if c not in constants], decimals, strict=True):
        found[c] = (
            {"type": "real"} if places == REAL else {"type": "decimal", "places": places} if places else dict(UNBOUNDED)
        )
    return found


def _opening(
    support: Any, schema: Mapping[str, Mapping[str, Any]], varying: list[str], states: States, decimals: list[int]
) -> Opening:
    """The opening of the varying columns and of the states behind them."""
    inner = _in_steps(support, schema)
    if states.count:
        inner = (inner or {}) | {f"state {i}": [0, k] for i, k in enumerate(states.sizes)}
    return Opening(inner, [*varying, *(f"state {i}" for i in range(states.count))], decimals)


def _in_steps(support: Any, schema: Mapping[str, Mapping[str, Any]]) -> Any:
    """The support that opens the raw columns: as stated, and what truth values and categories have by themselves."""
    if support == SIMPLEX:
        return support
    found: dict[str, Any] = {}
    for column, about in schema.items():
        ends = (support or {}).get(column)
        if about["type"] == "bool":
            found[column] = [0, 1]
        elif about["type"] == "category":
            found[column] = [0, len(about["categories"]) - 1]
        elif ends is not None:
            offset, step = about.get("offset", 0), about.get("step", 1)
            found[column] = [None if end is None else (end - offset) / step for end in ends]
    return found or None


def _plain(frame: pd.DataFrame, schema: Mapping[str, Mapping[str, Any]]) -> np.ndarray:
    """The numbers of a table, NaN for what is none or a value of its own: float64 (n, d)."""
    found = []
    for c in frame.columns:
        x = pd.to_numeric(frame[c].astype(object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
        found.append(np.where(np.isin(x, schema[c].get("heavy", ())), np.nan, x))
    return np.stack(found, 1)


class Table(Columns):
    """Tables, standardised; columns on a grid, categories and dates dequantised."""

    kind = "table"
    name = "standard"
    summary = "columns standardised; whole numbers, decimal grids, categories and dates dequantised"
    measure: ClassVar[str] = "Lebesgue"  # replaced where there are columns on a grid
    volume = Density.EXACT

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        support = options.pop("support", items.facts.get("support"))
        frame, schema, left_out = described(items)
        return cls(**cls._statistics(frame, schema, support), left_out=left_out, **options)

    def tensor(self, values: Any) -> Tensor:
        return self._checked(self._table(values))[0]

    def impossible(self, values: Any) -> Mapping[int, str]:
        return self._checked(self._table(values))[1]

    def _table(self, values: Any) -> pd.DataFrame:
        return matching(values, self.columns, self.left_out or {}, self._about)

    def items(self, raw: Tensor) -> Any:
        return pd.DataFrame(self._columns(raw))


def described(items: Items) -> tuple[pd.DataFrame, dict[str, Any], dict[str, str] | None]:
    """The table of training items, checked, its schema, and the columns that are left out."""
    frame = check_table(items.values, "table")
    schema = items.facts.get("schema")
    if schema is None or not set(schema) >= set(frame.columns):
        schema = describe(frame, items.facts.get("stated"))
    out = dict(items.facts.get("left_out") or {})
    for column in frame.columns:
        if schema[column]["type"] in LEFT_OUT:
            raise DataError(
                f"column {column} holds an id or free text, of which nearly every value is different: drop it, or "
                f"state schema={{'{column}': 'category'}}"
            )
    return frame, {c: dict(schema[c]) for c in frame.columns}, out or None


def matching(
    values: Any, columns: list[str], left_out: Mapping[str, str], schema: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """A table with the columns of training, in their order.

    Raises:
        DataError: other columns, or numbers in training that are words here.
    """
    frame = check_table(values, "table", {c: "number" for c in columns if schema[c]["type"] in NUMBERS})
    missing, extra = set(columns) - set(frame.columns), set(frame.columns) - set(columns) - set(left_out)
    if missing or extra:
        raise DataError(
            f"the table must have the columns it was trained on (missing: {', '.join(sorted(missing)) or 'none'}; "
            f"unknown: {', '.join(sorted(extra)) or 'none'}): add, drop or rename columns"
        )
    given = values if isinstance(values, pd.DataFrame) else frame
    for c in columns:
        if schema[c]["type"] in NUMBERS and frame[c].isna().all() and not given.rename(columns=str)[c].isna().all():
            raise DataError(f"column {c} held numbers in training, here it holds words: give numbers")
    return frame[columns]


class Points(Columns):
    """Points of real coordinates, standardised."""

    kind = "points"
    name = "standard"
    summary = "coordinates standardised"
    measure: ClassVar[str] = "Lebesgue"
    volume = Density.EXACT

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        support = options.pop("support", items.facts.get("support"))
        frame = _frame(check_points(items.values, "points"))
        return cls(
            **cls._statistics(frame, {c: _real(a, frame[c]) for c, a in describe(frame).items()}, support), **options
        )

    def tensor(self, values: Any) -> Tensor:
        return self._checked(self._points(values))[0]

    def impossible(self, values: Any) -> Mapping[int, str]:
        return self._checked(self._points(values))[1]

    def _points(self, values: Any) -> pd.DataFrame:
        array = check_points(values, "points")
        if array.shape[1] != len(self.columns):
            raise DataError(f"points must have shape (n, {len(self.columns)}) (got {array.shape})")
        return _frame(array)

    def items(self, raw: Tensor) -> Any:
        found = self._columns(raw)
        return np.stack([np.asarray(found[c], dtype=self.dtypes[0]) for c in self.columns], 1)


def _real(about: dict[str, Any], column: pd.Series) -> dict[str, Any]:
    """A coordinate is real whatever its values: where they repeat as those of a grid do, they are atoms."""
    if about["type"] == "constant":
        return about
    repeated = float(column.duplicated(keep=False).mean())
    odd = about["type"] != "real" or "heavy" in about
    atoms = repeated if odd and len(column) >= 20 else about.get("atoms", 0)
    return {"type": "real", **({"atoms": round(atoms, 3)} if atoms > 0.1 else {})}


def _frame(array: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])
