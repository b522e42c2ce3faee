"""What each model draws, the real items first: image grids, scatter plots and tables, and the nearest real items.

The first samples of the first seed, not selected; beside them the worst by d(train) / d(test), which are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pofx.report.figures.pictures import grid, groups
from pofx.report.figures.scatter import scatter
from pofx.report.figures.style import GREY
from pofx.report.numbers import plain
from pofx.report.results import Results

LINES = 8  # of samples in a table
FIT = 4  # columns of a table that can be read without scrolling
PAIRS = 24  # samples beside their neighbours
REAL = "real test items"


def cards(results: Results) -> list[dict[str, Any]]:
    """A card per model that left samples, real items first; what a card has depends on the kind of data."""
    real = results.stored_real
    shown = [(REAL, real), *((row.name, results.stored(row, "samples")) for row in results.models)]
    over = _points(real)
    edges = _edges(over)
    made = []
    for name, arrays in shown:
        if arrays is None or len(arrays.get("samples", ())) == 0:
            continue
        card: dict[str, Any] = {"name": name, "colour": results.ink.get(name, GREY), "real": arrays is real}
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
    """Lines of a table; where items have more columns than fit, the first ones, or those that show a copy best."""
    names = list(arrays.get("columns", ["x"]))
    first = np.arange(min(FIT, len(names)))
    card: dict[str, Any] = {"columns": _names(names, first), "lines": lines(arrays["samples"], LINES, first)}
    card |= {"all_columns": len(names)}
    near, test = arrays.get("neighbours") or [], arrays.get("test_neighbours") or []
    if near:
        at = telling(arrays["samples"][: LINES // 2], near, test, len(names))
        card |= {"near": _beside(arrays["samples"], near, test, LINES // 2, at), "near_columns": _names(names, at)}
    if arrays.get("worst_samples"):
        chosen, train, tested = (arrays[f"worst_{key}"] for key in ("samples", "neighbours", "test_neighbours"))
        at = telling(chosen[:LINES], train, tested, len(names))
        card |= {"worst_near": _beside(chosen, train, tested, LINES, at), "worst_columns": _names(names, at)}
        card |= {"ratios": _ratios(arrays)}
    return card


def _names(names: Sequence[str], at: np.ndarray) -> list[str]:
    return [str(names[i]) for i in at]


def telling(samples: Any, train: Any, test: Any, width: int) -> np.ndarray:
    """The FIT columns in which samples agree best with their training items and differ most from test items."""
    if width <= FIT or not len(test):
        return np.arange(min(FIT, width))
    n = min(len(samples), len(train), len(test))
    scores = []
    for column in range(width):
        sides = [[line[column] for line in list(side)[:n]] for side in (samples, train, test)]
        try:
            a, b, c = (np.asarray(side, float) for side in sides)
        except (TypeError, ValueError):
            scores.append(float(np.mean([x != z for x, z in zip(sides[0], sides[2], strict=True)])
                                - np.mean([x != y for x, y in zip(sides[0], sides[1], strict=True)])))  # fmt: skip
            continue
        all_, nearer = np.concatenate((a, b, c)), np.abs(a - c) - np.abs(a - b)
        spread, known = float(all_[~np.isnan(all_)].std()) if not np.isnan(all_).all() else 0.0, ~np.isnan(nearer)
        scores.append(float(nearer[known].mean() / (spread or 1.0)) if known.any() else np.nan)
    order = np.argsort(-np.nan_to_num(np.array(scores), nan=-np.inf), kind="stable")
    return np.sort(order[:FIT])


def _beside(samples: Any, train: Any, test: Any, most: int, at: np.ndarray) -> list[list[tuple[str, list[str]]]]:
    """Groups of (what it is, its cells): a sample, the nearest training item and, if known, the nearest test item."""
    sides = [(what, lines(of, most, at)) for what, of in (("sample", samples), ("training", train), ("test", test))]
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


def lines(values: Any, most: int = LINES, at: np.ndarray | None = None) -> list[list[str]]:
    """Items as cells of a table, of the columns `at`."""

    def text(value: Any) -> str:
        value = value.item() if isinstance(value, np.generic) else value
        return plain(value) if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)[:80]

    listed = [line if isinstance(line, list | tuple | np.ndarray) else [line] for line in list(values)[:most]]
    return [[text(line[i]) for i in (range(len(line)) if at is None else at) if i < len(line)] for line in listed]
