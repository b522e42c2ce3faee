"""Results → the arguments of the figures: which numbers a plot takes, and nothing where they were not measured."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pofx.report.figures.column_shapes import differences, marginals
from pofx.report.figures.extrapolation import Line, extrapolation
from pofx.report.figures.intervals import intervals
from pofx.report.figures.learning import curves
from pofx.report.figures.likelihood import likelihoods
from pofx.report.figures.plane import Panel, planes
from pofx.report.figures.sampler_steps import efforts
from pofx.report.figures.speed import speed
from pofx.report.rows import Row
from pofx.report.samples import kept, load

PANELS = (
    ("FD", "↓", "frechet_distance"),
    ("Coverage", "↑", "coverage"),
    ("C2ST", "↓", "c2st"),
    ("bits/dim", "↓", "bits_per_dim"),
)
PLANES = (
    ("Recall", "Precision", "recall", "precision"),
    ("Clipped coverage", "Clipped density", "clipped_coverage", "clipped_density"),
)
Ink = Mapping[str, str]


def interval_plot(table: Sequence[Row], ink: Ink) -> str:
    panels = []
    for title, arrow, metric in PANELS:
        numbers = {r.name: n for r in table if (n := r.number(metric)) is not None}
        if numbers:
            panels.append((title, arrow, numbers))
    names = [row.name for row in table if row.numbers]
    return intervals(panels, names, ink) if panels else ""


def speed_plot(table: Sequence[Row], ink: Ink) -> str:
    points = {}
    for row in table:
        fast, quality = row.number("samples_per_second"), row.number("frechet_distance")
        if row.ranked and fast is not None and quality is not None and fast.value > 0:
            points[row.name] = (fast, quality)
    floor = next((r.number("frechet_distance") for r in table if r.name == "real-test"), None)
    return speed(points, floor, ink, "Fréchet distance") if points else ""


def effort_plot(table: Sequence[Row], ink: Ink) -> str:
    """Of the first seed of every model whose sampler has a number of steps."""
    found = {row.name: number.extra for row in table if (number := row.number("enough_steps")) is not None}
    return efforts(found, ink) if found else ""


def learning_plot(table: Sequence[Row], ink: Ink) -> str:
    """Of every seed that has a history, the failed ones too."""
    histories = {row.name: [run["history"] for run in row.runs if run.get("history")] for row in table}
    histories = {name: runs for name, runs in histories.items() if runs}
    return curves(histories, ink) if histories else ""


def plane_plot(table: Sequence[Row], ink: Ink) -> str:
    panels: list[Panel] = []
    for x_title, y_title, x_metric, y_metric in PLANES:
        points = {
            row.name: (x, y)
            for row in table
            if (x := row.number(x_metric)) is not None and (y := row.number(y_metric)) is not None
        }
        if points:
            panels.append((x_title, y_title, points))
    return planes(panels, [row.name for row in table if row.role == "control"], ink) if panels else ""


def extrapolated(table: Sequence[Row]) -> dict[str, Line]:
    """FD against 1/n of every ranked row and of the real test items, the mean over the seeds, in the primary space."""
    lines = {}
    for row in table:
        if not row.ranked and row.name != "real-test":
            continue
        space = next(iter(row.numbers.get("frechet_distance", {})), "")
        found = [
            m["extra"]
            for run in row.runs
            for m in run.get("measurements") or ()
            if m["metric"] == "frechet_distance" and str(m.get("space") or "") == space and run["status"] == "done"
        ]
        points = [e["points"] for e in found if isinstance(e.get("points"), list)]
        if not points or len({len(p) for p in points}) > 1:
            continue
        mean = np.mean(np.array(points, float), 0)
        if np.isfinite(mean).all():
            slope, intercept = (float(np.mean([e[k] for e in found if e.get("points")])) for k in ("slope", "infinity"))
            lines[row.name] = Line(tuple((float(u), float(v)) for u, v in mean), intercept, slope)
    return lines


def extrapolation_plot(lines: Mapping[str, Line], ink: Ink) -> str:
    return extrapolation(lines, "real-test", ink) if lines else ""


def likelihood_plot(table: Sequence[Row], folder: Path, ink: Ink) -> tuple[str, dict[str, str]]:
    """The figure, and by row the overfit gap in words."""
    found, gaps = {}, {}
    for row in table:
        sets = kept(row, folder, "likelihood") if row.role != "control" else None
        if sets is None:
            continue
        values = {
            key: np.array([v for v in sets.get(key) or () if v is not None], float)
            for key in ("train", "validation", "test", "samples")
        }
        if min(len(values["train"]), len(values["test"])) < 2:
            continue
        found[row.name] = values
        a, b = values["train"], values["test"]
        error = math.hypot(a.std() / math.sqrt(len(a)), b.std() / math.sqrt(len(b)))
        gaps[row.name] = f"gap {a.mean() - b.mean():.2g} ± {error:.1g}"
    return (likelihoods(found, gaps, ink) if found else ""), gaps


def shape_plots(results: Mapping[str, Any], table: Sequence[Row], folder: Path, ink: Ink) -> tuple[str, str]:
    """Marginals, and differences of the pairs; empty for data without columns."""
    real = (load(folder, (results.get("files") or {}).get("real")) or {}).get("shapes")
    if not isinstance(real, dict) or not real.get("columns"):
        return "", ""
    own = {
        row.name: found["shapes"]
        for row in table
        if row.role != "control" and (found := kept(row, folder, "samples")) and isinstance(found.get("shapes"), dict)
    }
    if not own:
        return "", ""
    names = [column["name"] for column in real["columns"]]
    matrices = {name: np.array(of["pairs"], float) for name, of in own.items() if len(of["pairs"]) == len(names)}
    first = marginals(real["columns"], {name: of["columns"] for name, of in own.items()}, ink)
    second = differences(names, np.array(real["pairs"], float), matrices, ink) if len(names) > 1 and matrices else ""
    return first, second
