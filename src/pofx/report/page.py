"""The page: results.json and the arrays beside it → one self-contained report.html."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from pofx.report import figures
from pofx.report.columns import MORE, Column, cell, shown
from pofx.report.limits import limits
from pofx.report.rows import SYMBOLS, Row, read, rows
from pofx.report.tradeoffs import tradeoffs
from pofx.report.verdict import Verdict, decide

HERE = Path(__file__).parent
PANELS = (
    ("FD", "↓", "frechet_distance"),
    ("Coverage", "↑", "coverage"),
    ("C2ST", "↓", "c2st"),
    ("bits/dim", "↓", "bits_per_dim"),
)
LINES = 8  # of samples in a table


def write(path: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a results.json beside it, or to `out`.

    Raises:
        CorruptError: the file is missing, damaged or of another schema.
    """
    source = Path(path)
    results = read(source)
    target = Path(out) if out is not None else source.with_name("report.html")
    aside = target.with_name(f".{target.name}.part")
    aside.write_text(render(results, source.parent), encoding="utf-8")
    aside.replace(target)
    return target


def render(results: Mapping[str, Any], folder: Path) -> str:
    """The page as text; `folder` holds the files that the results name."""
    table = rows(results)
    verdict = decide(table)
    columns = shown(table, results.get("metrics"))
    ink = figures.colours([(r.name, r.family, r.role) for r in table])
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["inline"] = lambda name: (HERE / name).read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        results=results,
        data=results["data"],
        protocol=results["protocol"],
        verdict=verdict,
        rows=table,
        ink=ink,
        symbols=SYMBOLS,
        columns=columns,
        more=MORE,
        cells=_cells(table, verdict, columns),
        seen=_seen(results),
        tradeoffs=tradeoffs(table),
        intervals=_intervals(table, ink),
        speed=_speed(table, ink),
        curves=_curves(table, ink),
        samples=_samples(results, table, folder, ink),
        limits=limits(results, table),
        measurements=[
            (row, metric, number) for row in table for metric, by in row.numbers.items() for number in by.values()
        ],
    )


def _cells(table: Sequence[Row], verdict: Verdict, columns: Sequence[Column]) -> dict[str, list[Any]]:
    """Cells by row name; numbers of the leaders of an axis are marked as best."""
    leading = {(name, s.axis.metric) for s in verdict.standings if len(s.order) > 1 for name in s.leaders}
    return {
        row.name: [cell(c, row.number(c.metric), (row.name, c.metric) in leading) for c in columns] for row in table
    }


def _seen(results: Mapping[str, Any]) -> dict[str, Any]:
    """The self-test as a table: its faults, and per measure and space whether each is seen, with the numbers."""
    tested = results.get("self_test") or []
    if not tested:
        return {}
    titles = results.get("metrics") or {}
    lines = [
        {
            "title": titles.get(row["metric"], {}).get("title", row["metric"]),
            "space": row["space"],
            "honest": row["honest"],
            "faults": list(row["faults"].values()),
        }
        for row in tested
    ]
    return {"faults": list(tested[0]["faults"]), "lines": lines}


def _intervals(table: Sequence[Row], ink: Mapping[str, str]) -> str:
    panels = []
    for title, arrow, metric in PANELS:
        numbers = {r.name: n for r in table if (n := r.number(metric)) is not None}
        if numbers:
            panels.append((title, arrow, numbers))
    names = [row.name for row in table if row.numbers]
    return figures.intervals(panels, names, ink) if panels else ""


def _speed(table: Sequence[Row], ink: Mapping[str, str]) -> str:
    points = {}
    for row in table:
        fast, quality = row.number("samples_per_second"), row.number("frechet_distance")
        if row.ranked and fast is not None and quality is not None and fast.value > 0:
            points[row.name] = (fast, quality)
    floor = next((r.number("frechet_distance") for r in table if r.name == "real-test"), None)
    return figures.speed(points, floor, ink, "Fréchet distance") if points else ""


def _curves(table: Sequence[Row], ink: Mapping[str, str]) -> str:
    histories = {
        row.name: run["history"]
        for row in table
        for run in [next((r for r in row.runs if r.get("history")), None)]
        if run is not None
    }
    return figures.curves(histories, ink) if histories else ""


def _load(folder: Path, name: str | None) -> dict[str, Any] | None:
    """Arrays of an .npz or lists of a .json that results.json names; None where the file is gone."""
    if not name or not (folder / name).is_file():
        return None
    try:
        if name.endswith(".npz"):
            with np.load(folder / name, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        found = json.loads((folder / name).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    except (OSError, ValueError):
        return None


def _samples(
    results: Mapping[str, Any], table: Sequence[Row], folder: Path, ink: Mapping[str, str]
) -> list[dict[str, Any]]:
    """What each model draws, the real items first: an image grid, a scatter plot and a table, as the data allows."""
    real = _load(folder, (results.get("files") or {}).get("real"))
    shown_rows: list[tuple[str, dict[str, Any] | None]] = [("real test items", real)]
    for row in table:
        run = next((r for r in row.runs if r["status"] == "done" and r.get("files")), None)
        if row.role != "control" and run is not None:
            shown_rows.append((row.name, _load(folder, run["files"].get("samples"))))
    cards, over = [], _points(real)
    edges = _edges(over)
    for name, arrays in shown_rows:
        if arrays is None or len(arrays.get("samples", ())) == 0:
            continue
        card: dict[str, Any] = {"name": name, "colour": ink.get(name, figures.GREY), "real": arrays is real}
        samples, near, points = arrays["samples"], arrays.get("neighbours"), _points(arrays)
        if isinstance(samples, np.ndarray) and samples.ndim >= 3:
            card["grid"] = figures.grid(samples[:64], 8)
            card["pairs"] = figures.pairs(samples[:24], near[:24], 6) if near is not None and len(near) else ""
        else:
            card |= {"columns": arrays.get("columns", ["x"]), "lines": _lines(samples)}
            card["near_lines"] = _lines(near)[: LINES // 2] if near is not None and not card["real"] else []
            if points is not None:
                behind = None if card["real"] else over
                card["svg"] = figures.scatter(points, behind, card["colour"], edges or _edges(points), name)
                card["axes"] = arrays["plane"]["axes"]
        cards.append(card)
    return cards


def _points(arrays: Mapping[str, Any] | None) -> np.ndarray | None:
    found = (arrays or {}).get("plane") or {}
    return np.asarray(found["points"], float) if found.get("points") else None


def _edges(points: np.ndarray | None) -> tuple[float, ...]:
    """Left, right, bottom and top of a scatter plot around these points."""
    if points is None:
        return ()
    low, high = points.min(0), points.max(0)
    pad = 0.12 * (high - low) + 1e-9
    return (float(low[0] - pad[0]), float(high[0] + pad[0]), float(low[1] - pad[1]), float(high[1] + pad[1]))


def _lines(values: Any) -> list[list[str]]:
    def text(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)[:80]

    lines = [line if isinstance(line, list | tuple | np.ndarray) else [line] for line in list(values)[:LINES]]
    return [[text(v.item() if isinstance(v, np.generic) else v) for v in line] for line in lines]
