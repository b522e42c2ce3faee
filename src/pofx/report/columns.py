"""The columns of the main table: which number, in which direction, written how; and the table as a DataFrame."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from pofx.report.rows import SYMBOLS, Number, Row


@dataclass(frozen=True)
class Column:
    """One number per row. `better` is lower, higher or none; `plain` writes it without decimals or error."""

    key: str
    title: str
    metric: str
    group: str
    better: str
    help: str
    plain: Callable[[float], str] | None = None


def seconds(value: float) -> str:
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def short(value: float) -> str:
    """Three significant digits with k, M, G, T or P."""
    for limit, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.3g}"


def count(value: float) -> str:
    return f"{value:,.0f}" if value < 1e5 else short(value)


def size(value: float) -> str:
    return f"{value / 2**20:,.0f} MB" if value < 2**30 else f"{value / 2**30:.1f} GB"


def chance(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


MORE = "More measures"  # the group that a page folds away
COLUMNS = (
    Column("bits", "bits/dim", "bits_per_dim", "Likelihood", "lower", "−log₂ p per dimension on held-out test data"),
    Column("fd", "FD", "frechet_distance", "Samples", "lower", "Fréchet distance to real data, primary feature space"),
    Column("precision", "Precision", "precision", "Samples", "higher", "share of samples near a real item"),
    Column("recall", "Recall", "recall", "Samples", "higher", "share of real items near a sample"),
    Column("density", "Density", "density", "Samples", "higher", "real neighbourhoods a sample falls in, per k"),
    Column("coverage", "Coverage", "coverage", "Samples", "higher", "share of real items with a sample nearby"),
    Column("c2st", "C2ST", "c2st", "Samples", "lower", "AUC of a classifier real/sample; 0.5: it cannot tell"),
    Column("copies", "Near-copy p", "near_copy", "Samples", "none", "small: training items among the samples", chance),
    Column("tv", "Class TV", "class_tv", "Samples", "lower", "total variation between class frequencies"),
    Column("time", "Training", "train_seconds", "Cost", "none", "wall-clock time of training", seconds),
    Column("steps", "Steps", "steps", "Cost", "none", "optimiser steps", count),
    Column("parameters", "Params", "parameters", "Cost", "none", "numbers that were learned", count),
    Column("memory", "Memory", "peak_memory_bytes", "Cost", "lower", "largest resident memory of the process", size),
    Column("sampling", "Samples/s", "samples_per_second", "Cost", "higher", "items drawn per second", short),
    Column("scoring", "log p/s", "log_probs_per_second", "Cost", "higher", "items scored per second", short),
)


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


def written(value: float, stderr: float | None) -> tuple[str, str]:
    """A value and its error to the same decimal: the error with two significant digits, or one from 3 on."""
    if stderr is None or stderr <= 0 or not math.isfinite(stderr):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}", ""
    lead = math.floor(math.log10(stderr))
    decimals = max(0, min(4, (1 if stderr / 10**lead < 3 else 0) - lead))
    return f"{value:,.{decimals}f}", f"{stderr:,.{decimals}f}"


def cell(column: Column, number: Number | None, best: bool = False) -> Cell:
    """A cell of the table; the tooltip says where the number comes from."""
    if number is None:
        return Cell("–", title="not measured, or the model cannot")
    if column.plain is not None:
        text, error = column.plain(number.value), ""
    else:
        text, error = written(number.value, number.stderr)
    about = [f"{number.value:.6g}" + (f" ± {number.stderr:.2g} (s.e.)" if number.stderr is not None else "")]
    about += [f"{number.kind} density"] if number.kind else []
    about += [f"space {number.space}"] if number.space else []
    about += [f"n = {number.n:,}"] if number.n else []
    about += [f"{number.seeds} seeds"] if number.seeds > 1 else []
    about += [number.note] if number.note else []
    symbol = SYMBOLS.get(number.kind, "") if column.metric == "bits_per_dim" else ""
    flag = column.metric == "near_copy" and number.value < 0.01
    apart = 1e6 * list(SYMBOLS).index(number.kind) if symbol else 0.0  # sorting, too, keeps unlike kinds apart
    return Cell(text, error, symbol, number.value + apart, " · ".join(about), best, flag)


def shown(rows: Sequence[Row], catalogue: Mapping[str, Mapping[str, str]] | None = None) -> list[Column]:
    """The columns that at least one row fills: the main ones, then those of every other measure of the catalogue."""
    named = {c.metric for c in COLUMNS}
    others = (
        Column(name, about["title"], name, MORE, about["better"], about["help"])
        for name, about in (catalogue or {}).items()
        if name not in named
    )
    return [c for c in (*COLUMNS, *others) if any(row.number(c.metric) is not None for row in rows)]


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """The table with one row per model and control: values, their standard errors ("… ±"), status and kinds."""
    columns = shown(rows)
    lines: list[Mapping[str, object]] = []
    for row in rows:
        line: dict[str, object] = {"model": row.name, "family": row.family, "role": row.role, "status": row.status}
        for column in columns:
            number = row.number(column.metric)
            line[column.title] = number.value if number else math.nan
            if column.plain is None:
                line[f"{column.title} ±"] = math.nan if number is None or number.stderr is None else number.stderr
            if column.metric == "bits_per_dim":
                line["kind"] = number.kind if number else ""
        lines.append(line)
    return pd.DataFrame(lines).set_index("model") if lines else pd.DataFrame()


BRIEF = ("bits", "fd", "precision", "recall", "coverage", "c2st", "copies", "tv", "sampling", "time", "parameters")


def text(rows: Sequence[Row]) -> str:
    """The table for a terminal: one line per row, the main columns, values with their standard errors."""
    columns = [c for c in shown(rows) if c.key in BRIEF]
    arrows = {"lower": " ↓", "higher": " ↑", "none": ""}
    lines = [["model", *(c.title + arrows[c.better] for c in columns)]]
    for row in rows:
        cells = [cell(c, row.number(c.metric)) for c in columns]
        written_ = [c.symbol + c.text + (f" ±{c.error}" if c.error else "") for c in cells]
        lines.append([row.name, *written_] if row.numbers else [row.name, f"{row.status}: {row.reason}"])
    full = [line for line in lines if len(line) == len(columns) + 1]
    widths = [max(len(line[i]) for line in full) for i in range(len(columns) + 1)]
    widths[0] = max(len(line[0]) for line in lines)
    padded = [
        [
            line[0].ljust(widths[0]),
            *(part.rjust(w) if len(line) > 2 else part for part, w in zip(line[1:], widths[1:], strict=False)),
        ]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in padded)
