"""The columns of the main table: which measures, in which order, written how; and the table as a DataFrame."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from pofx.report.metrics import Info
from pofx.report.numbers import plain, write
from pofx.report.rows import COPIES, SYMBOLS, Number, Row

MORE = "more measures"  # the group that a page folds away
SHOWN = ("cost",)  # groups that are shown whole


@dataclass(frozen=True)
class Column:
    """A measure and its group of columns."""

    info: Info
    group: str

    @property
    def metric(self) -> str:
        return self.info.name

    @property
    def title(self) -> str:
        return self.info.head


@dataclass(frozen=True)
class Cell:
    """A number as it is written: text, its error, the symbol of its kind, and what to sort by."""

    text: str
    error: str = ""
    symbol: str = ""
    sort: float | None = None
    title: str = ""
    best: bool = False
    flag: bool = False


def cell(info: Info, number: Number | None, best: bool = False) -> Cell:
    """A cell of the table; the tooltip gives the origin of the number."""
    if number is None:
        return Cell("–", title="not measured, or the model cannot")
    text, error = write(info.writes, number.value, number.stderr)
    about = [plain(number.value, 6) + (f" ± {plain(number.stderr, 2)} (s.e.)" if number.stderr is not None else "")]
    about += [f"{number.kind} density"] if number.kind else []
    about += [f"space {number.space}"] if number.space else []
    about += [f"n = {number.n:,}"] if number.n else []
    about += [f"{number.seeds} seeds"] if number.seeds > 1 else []
    about += [number.note] if number.note else []
    symbol = SYMBOLS.get(number.kind, "") if number.kind else ""
    flag = info.group == "novelty" and info.writes == "p-value" and number.value < COPIES
    apart = 1e6 * list(SYMBOLS).index(number.kind) if symbol else 0.0  # sorting, too, keeps unlike kinds apart
    return Cell(text, error, symbol, number.value + apart, " · ".join(about), best, flag)


def shown(rows: Sequence[Row], metrics: Mapping[str, Info]) -> list[Column]:
    """The columns that at least one row fills: headlines and costs by group, then every other measure."""
    there = [info for info in metrics.values() if any(row.number(info.name) is not None for row in rows)]
    first = [Column(info, info.group) for info in there if info.headline or info.group in SHOWN]
    return [*first, *(Column(info, MORE) for info in there if not info.headline and info.group not in SHOWN)]


def frame(rows: Sequence[Row], metrics: Mapping[str, Info]) -> pd.DataFrame:
    """The table with one row per model and control: values, their standard errors ("… ±"), status and kinds."""
    columns = [column for column in shown(rows, metrics) if column.group != MORE]
    lines: list[Mapping[str, object]] = []
    for row in rows:
        line: dict[str, object] = {"model": row.name, "family": row.family, "role": row.role, "status": row.status}
        for column in columns:
            number = row.number(column.metric)
            line[column.title] = number.value if number else math.nan
            if column.info.writes in ("number", "share"):
                line[f"{column.title} ±"] = math.nan if number is None or number.stderr is None else number.stderr
            if any(n.kind for row_ in rows if (n := row_.number(column.metric)) is not None):
                kind = "kind" if column.info.axis else f"{column.title} kind"
                line.setdefault(kind, number.kind if number else "")
        lines.append(line)
    return pd.DataFrame(lines).set_index("model") if lines else pd.DataFrame()
