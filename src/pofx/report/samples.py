"""What each model draws, the real items first: image grids, scatter plots and tables, and the nearest real items.

The first samples of the first seed, not chosen; beside them the worst by d(train) / d(test), which are.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pofx.report.figures.pictures import grid, groups
from pofx.report.figures.scatter import scatter
from pofx.report.figures.style import GREY
from pofx.report.rows import Row

LINES = 8  # of samples in a table
PAIRS = 24  # samples beside their neighbours
REAL = "real test items"


def load(folder: Path, name: str | None) -> dict[str, Any] | None:
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


def kept(row: Row, folder: Path, what: str) -> dict[str, Any] | None:
    """A file of the first run of a row that ended well."""
    run = next((r for r in row.runs if r["status"] == "done" and r.get("files")), None)
    return load(folder, run["files"].get(what)) if run is not None else None


def cards(
    results: Mapping[str, Any], table: Sequence[Row], folder: Path, ink: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A card per model that left samples, real items first; what a card has depends on the kind of data."""
    real = load(folder, (results.get("files") or {}).get("real"))
    shown = [(REAL, real), *((row.name, kept(row, folder, "samples")) for row in table if row.role != "control")]
    over = _points(real)
    edges = _edges(over)
    made = []
    for name, arrays in shown:
        if arrays is None or len(arrays.get("samples", ())) == 0:
            continue
        card: dict[str, Any] = {"name": name, "colour": ink.get(name, GREY), "real": arrays is real}
        card |= _pictures(arrays) if _is_image(arrays["samples"]) else _listed(arrays)
        points = _points(arrays)
        if points is not None:
            behind = None if card["real"] else over
            card["svg"] = scatter(points, behind, card["colour"], edges or _edges(points), name)
            card["axes"] = arrays["plane"]["axes"]
        made.append(card)
    return made


def _is_image(samples: Any) -> bool:
    return isinstance(samples, np.ndarray) and samples.ndim >= 3


def _pictures(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Grids of samples, of samples beside their neighbours, and of the worst beside theirs."""
    card: dict[str, Any] = {"grid": grid(arrays["samples"][:64], 8)}
    sides = [arrays[key][:PAIRS] for key in ("samples", "neighbours", "test_neighbours") if len(arrays.get(key, ()))]
    if len(sides) > 1:
        card |= {"pairs": groups(sides, 12 // len(sides)), "sides": len(sides)}
    worst = [arrays.get(f"worst_{key}", ()) for key in ("samples", "neighbours", "test_neighbours")]
    if all(len(side) for side in worst):
        card |= {"worst": groups(worst, 4), "ratios": _ratios(arrays)}
    return card


def _listed(arrays: Mapping[str, Any]) -> dict[str, Any]:
    card: dict[str, Any] = {"columns": arrays.get("columns", ["x"]), "lines": lines(arrays["samples"])}
    near, test = arrays.get("neighbours") or [], arrays.get("test_neighbours") or []
    if near:
        card["near"] = _beside(arrays["samples"], near, test, LINES // 2)
    if arrays.get("worst_samples"):
        chosen, train, tested = (arrays[f"worst_{key}"] for key in ("samples", "neighbours", "test_neighbours"))
        card |= {"worst_near": _beside(chosen, train, tested, LINES), "ratios": _ratios(arrays)}
    return card


def _beside(samples: Any, train: Any, test: Any, most: int) -> list[list[tuple[str, list[str]]]]:
    """Groups of (what it is, its cells): a sample, the nearest training item and, if known, the nearest test item."""
    sides = [("sample", lines(samples, most)), ("training", lines(train, most)), ("test", lines(test, most))]
    return [[(what, of[i]) for what, of in sides if i < len(of)] for i in range(min(most, len(sides[0][1])))]


def _ratios(arrays: Mapping[str, Any]) -> str:
    values = [v for v in arrays.get("worst_ratios", ()) if v is not None and np.isfinite(v)]
    return f"{min(values):.2f} to {max(values):.2f}" if values else ""


def _points(arrays: Mapping[str, Any] | None) -> np.ndarray | None:
    found = (arrays or {}).get("plane")
    found = found if isinstance(found, dict) else {}
    return np.asarray(found["points"], float) if found.get("points") else None


def _edges(points: np.ndarray | None) -> tuple[float, ...]:
    """Left, right, bottom and top of a scatter plot around these points."""
    if points is None:
        return ()
    low, high = points.min(0), points.max(0)
    pad = 0.12 * (high - low) + 1e-9
    return (float(low[0] - pad[0]), float(high[0] + pad[0]), float(low[1] - pad[1]), float(high[1] + pad[1]))


def lines(values: Any, most: int = LINES) -> list[list[str]]:
    """Items as cells of a table."""

    def text(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)[:80]

    listed = [line if isinstance(line, list | tuple | np.ndarray) else [line] for line in list(values)[:most]]
    return [[text(v.item() if isinstance(v, np.generic) else v) for v in line] for line in listed]
