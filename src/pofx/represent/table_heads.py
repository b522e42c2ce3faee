"""Rows as a product event, numbers beside classes: what gives a model a head of its own for every column.

Categories, truth values and grids of few values are classes, as in `table_bins`; every other number is brought to a
standard normal by its margin (`maths.margins`), so that a normal head begins at the independent density, exactly. A
missing value, and one that many rows have, is a class of the column's state. Where it gives the value, the number in
its place is noise from N(0, 1), whose log-density is subtracted, and numbers on a grid are dequantised: both give the
bound of variational dequantisation (Ho et al., 2019, arXiv 1902.00275), on Lebesgue × counting measure.
"""

import math
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import DataError, UsageError
from pofx.core.event import Continuous, Discrete, Event
from pofx.core.model import Density
from pofx.core.options import check_value
from pofx.core.random import Still, Streams
from pofx.core.representation import Items, Representation
from pofx.data.described import check_schema
from pofx.data.schema import measure_of, numbers
from pofx.data.support import SIMPLEX, stated
from pofx.maths.margins import Margins, margins
from pofx.represent.intervals import intervals_of
from pofx.represent.partial import Known, known_columns
from pofx.represent.states import States
from pofx.represent.table import EDGE, described
from pofx.represent.table_bins import Bins, checked_rows, table_of

MOST = 100  # classes of a column on a grid
OFTEN = 0.05  # share of the rows from which on a value of a column on a grid is one of its own
KNOTS = 100  # of a margin
ALWAYS = ("bool", "category", "levels")


class Heads(Representation):
    """A DataFrame ↔ raw float64 (n, columns that vary) ↔ {"numbers": (n, k) real, "classes": (n, m)}, as there are."""

    kind = "table"
    name = "columns"
    summary = "a part for numbers, brought to normal margins, and one for classes: a head for every column"
    options = ("as_classes",)
    measure: ClassVar[str]
    volume = Density.EXACT

    def __init__(
        self,
        columns: list[str],
        dtypes: list[str],
        schema: dict[str, Any],
        parts: list[dict[str, Any]],
        margins: list[dict[str, Any]],
        support: Any = None,
        left_out: Any = None,
        as_classes: int = MOST,
    ) -> None:
        """Args:
        parts: the classes of each column of classes (see `intervals_of`), by `column`.
        margins: knots, shares, tails and own values of each column of numbers, by `column`.
        as_classes: values of a column on a grid, up to which they are classes; 0 makes all of them numbers.
        """
        self.columns, self.dtypes, self.schema = columns, dtypes, schema
        self.parts, self.margins, self.support, self.left_out = parts, margins, support, left_out
        self.as_classes = as_classes
        check_schema(schema, columns)
        self.varying = [c for c in columns if schema[c]["type"] != "constant"]
        named = [part.get("column") for part in (*parts, *margins)]
        if sorted(map(str, named)) != sorted(self.varying):
            raise DataError("the columns of parts and margins must be those of the table that vary: save the run anew")
        self._numbers = [self.varying.index(m["column"]) for m in margins]
        self._classes = [self.varying.index(p["column"]) for p in parts]
        counts: list[int] = []
        self.volume, self.noisy = Density.EXACT, False
        if parts:
            of = [self.varying[i] for i in self._classes]
            plain = [{k: v for k, v in part.items() if k != "column"} for part in parts]
            self._bins = Bins(of, [""] * len(of), {c: schema[c] for c in of}, plain)
            assert isinstance(self._bins.event, Discrete)
            counts, self.volume = list(self._bins.event.counts), self._bins.volume
        self._own = States([_states(m["own"]) for m in margins])
        counts += [size + 1 for size in self._own.sizes]
        self.event: Event = {}
        if margins:
            self.event["numbers"] = Continuous((len(margins),))
            self._laws = _laws(margins)
            self._grid = torch.tensor([schema[m["column"]]["type"] != "real" for m in margins])
            if bool(self._grid.any()) or self._own.count:
                self.volume, self.noisy = min(self.volume, Density.BOUND), True
            if any(schema[m["column"]].get("atoms") for m in margins):
                self.volume = Density.ESTIMATE
        if counts:
            self.event["classes"] = Discrete((len(counts),), tuple(counts))
        self.measure = measure_of(schema)

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        frame, schema, left_out = described(items)
        most = int(options.pop("as_classes", MOST))
        if not 0 <= most <= 1000:
            raise UsageError(f"as_classes must be 0 to 1000 (got {most}): pass as_classes=100")
        support = stated(items.facts.get("support"), list(frame.columns))
        if support == SIMPLEX:
            raise UsageError("a simplex cannot be seen as columns: choose a model of real vectors")
        if all(about["type"] == "constant" for about in schema.values()):
            raise DataError("every column is constant: there is nothing to learn; give columns that vary")
        varying = [c for c in frame.columns if schema[c]["type"] != "constant"]
        raw, _ = numbers(frame, {c: schema[c] for c in varying})
        cells = max(4, min(100, round(2 * len(frame) ** (1 / 3))))
        parts, laws = [], []
        for c, x in zip(varying, raw.T, strict=True):
            about, ends = schema[c], (support or {}).get(c)
            known = x[~np.isnan(x)]
            few = about["type"] != "real" and len(np.unique(known)) <= most
            if about["type"] in ALWAYS or few or ends is not None:
                parts.append({"column": c, **intervals_of(x, about, max(cells, most if few else 0), ends)})
            else:
                laws.append({"column": c, **_law(known, about)})
        dtypes = [str(d) for d in frame.dtypes]
        return cls(list(frame.columns), dtypes, schema, parts, laws, support, left_out, most)

    def _checked(self, values: Any) -> tuple[Tensor, dict[int, str]]:
        x, reasons = checked_rows(values, self.columns, self.schema, self.left_out, self.support, self.varying)
        if reasons:
            x[list(reasons)] = self.decode(self._typical)[0].numpy()
        return torch.from_numpy(x), reasons

    @property
    def _typical(self) -> dict[str, Tensor]:
        kinds = {"numbers": torch.float32, "classes": torch.int64}
        assert isinstance(self.event, dict)
        return {key: torch.zeros(1, *part.shape, dtype=kinds[key]) for key, part in self.event.items()}  # type: ignore[union-attr]

    def tensor(self, values: Any) -> Tensor:
        return self._checked(values)[0]

    def impossible(self, values: Any) -> dict[int, str]:
        return self._checked(values)[1]

    def items(self, raw: Tensor) -> Any:
        return table_of(raw, self.columns, self.dtypes, self.schema, self.varying)

    def encode(self, raw: Tensor, generator: Streams) -> tuple[dict[str, Tensor], Tensor]:
        return self._encoded(raw, generator, None)

    def _encoded(self, raw: Tensor, generator: Streams, columns: Tensor | None) -> tuple[dict[str, Tensor], Tensor]:
        """Events, and log|det|: of all columns, or of those that are known, where numbers that are states count 0."""
        found: dict[str, Tensor] = {}
        ladj, classes = torch.zeros(len(raw), dtype=torch.float64, device=raw.device), []
        if self.parts:
            x, log_f = self._bins.encode_columns(raw[:, self._classes])
            classes.append(x)
            ladj = ladj + (log_f if columns is None else log_f * columns[self._classes]).sum(1)
        if self.margins:
            x = raw[:, self._numbers]
            k = x.shape[1]
            inner, given = self._own.apart(x)
            if self._own.count:
                classes.append(inner[:, k:].long())
            y, there = inner[:, :k], ~given[:, :k]
            grid, u = self._grid.to(raw.device), generator.uniform(k).double()
            slope = self._scores(y + 0.5 * grid)[1]
            edge = ((-slope).exp() * 2.0**-21).clamp(EDGE, 0.4) * grid
            z, log_slope = self._scores(y + (edge + (1 - 2 * edge) * u) * grid)
            noise = generator.normal(k).double() if self._own.count else torch.zeros_like(z)
            instead = 0.5 * noise.square() + 0.5 * math.log(2 * math.pi)
            own = log_slope + (-2 * edge).log1p()
            if columns is None:
                ladj = ladj + torch.where(there, own, instead).sum(1)
            else:
                ladj = ladj + torch.where(there & columns[self._numbers], own, 0.0).sum(1)
            found["numbers"] = torch.where(there, z, noise).float()
        if classes:
            found["classes"] = torch.cat(classes, 1)
        return found, ladj

    def _scores(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Normal scores, and log |dz/dy|."""
        self._laws = self._laws.to(y.device)
        z, log_f = self._laws.scores(y)
        return z, log_f + 0.5 * z.square() + 0.5 * math.log(2 * math.pi)

    def decode(self, x: dict[str, Tensor]) -> Tensor:
        first = next(iter(x.values()))
        return self.drawn(x, Still(0, len(first), device=first.device))

    def drawn(self, x: dict[str, Tensor], generator: Streams) -> Tensor:
        first = next(iter(x.values()))
        raw = torch.empty(len(first), len(self.varying), dtype=torch.float64, device=first.device)
        own = 0
        if self.parts:
            assert isinstance(self._bins.event, Discrete)
            own = len(self._bins.event.counts)
            raw[:, self._classes] = self._bins.drawn(x["classes"][:, :own], generator)
        if self.margins:
            self._laws = self._laws.to(first.device)
            y = self._laws.values(x["numbers"].double())
            y = torch.where(self._grid.to(first.device), y.floor(), y)
            if self._own.count:
                y = self._own.together(torch.cat((y, x["classes"][:, own:].double()), 1))
            raw[:, self._numbers] = y
        return raw

    def known(self, given: Any) -> Known:
        """Known values by column → raw rows, and which of their columns are known."""
        return known_columns(given, self.varying, self.schema)

    def known_parts(self, known: Known) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The events of known rows, and which of their dimensions are known; what is unknown holds a possible value."""
        x, found, _ = self.known_event(known, Still(0, len(known.raw)))
        return x, found

    def known_event(self, known: Known, generator: Streams) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """As `known_parts`, and log|det| of the known columns: (n,)."""
        typical = self.decode(self._typical).expand(len(known.raw), -1)
        raw = torch.where(known.columns, known.raw, typical)
        x, ladj = self._encoded(raw, generator, known.columns)
        there: list[bool] = []
        if self.parts:
            assert isinstance(self._bins.event, Discrete)
            ends = [*self._bins.places[1:], len(self._bins.event.counts)]
            for i, a, b in zip(self._classes, self._bins.places, ends, strict=True):
                there += [bool(known.columns[i])] * (b - a)
        found = {}
        if self.margins:
            columns = known.columns[self._numbers]
            _, given = self._own.apart(raw[:, self._numbers])
            found["numbers"] = columns & ~given[:, : len(columns)]
            there += columns[self._own.at].tolist() if self._own.count else []
        if "classes" in x:
            found["classes"] = torch.tensor(there).expand(len(raw), -1)
        return x, found, ladj

    @property
    def dims(self) -> int:
        return len(self.varying)


def _states(own: list[float | None]) -> dict[str, Any]:
    return {"type": "real", "heavy": [v for v in own if v is not None], "missing": None in own}


def _law(x: np.ndarray, about: dict[str, Any]) -> dict[str, Any]:
    """The own values and the margin of a column of numbers, of its values that are not missing."""
    own = list(about.get("heavy", ()))
    if about["type"] != "real" and len(x):
        values, counts = np.unique(x, return_counts=True)
        own = values[counts >= OFTEN * len(x)].tolist()
    rest = x[~np.isin(x, own)]
    y = torch.from_numpy(rest if len(rest) else np.array([-1.0, 1.0]))[:, None]
    if about["type"] != "real":
        y = y + (torch.arange(len(y), dtype=torch.float64)[:, None] * 0.618034) % 1.0  # dequantised, evenly
    found = margins(y, max(2, min(KNOTS, round(2 * len(y) ** (1 / 3)))))
    made = {k: getattr(found, k)[0].tolist() for k in ("knots", "shares", "tails")}
    return {"own": [*own, *([None] if about.get("missing") else [])], **made}


def _laws(margins: list[dict[str, Any]]) -> Margins:
    """The margins of all columns of numbers; those with fewer knots repeat the last interval in parts."""
    most = max(len(m["knots"]) for m in margins)
    knots, shares, tails = [], [], []
    for m in margins:
        for key in ("knots", "shares", "tails"):
            check_value(f"margins: {key}", m.get(key), list[float])
        k, s = np.asarray(m["knots"], np.float64), np.asarray(m["shares"], np.float64)
        if len(k) != len(s) or len(k) < 2 or len(m["tails"]) != 2 or (np.diff(k) <= 0).any() or (np.diff(s) <= 0).any():
            raise DataError(f"knots and shares of column {m['column']} must ascend together: save the run anew")
        more = np.linspace(0, 1, most - len(k) + 2)[1:]
        knots.append(np.concatenate((k[:-1], k[-2] + more * (k[-1] - k[-2]))))
        shares.append(np.concatenate((s[:-1], s[-2] + more * (s[-1] - s[-2]))))
        tails.append(np.asarray(m["tails"], np.float64))
    return Margins(*(torch.from_numpy(np.stack(rows)) for rows in (knots, shares, tails)))
