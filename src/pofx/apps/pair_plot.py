"""Pictures of a posterior: marginals and pairs of parameters; data simulated from it beside the observation."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pofx.core.errors import DataError, UsageError
from pofx.core.files import write

PICTURES = ("", ".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")
MOST = 12  # parameters in one picture
NUMBERS, NAMED = 200, 24  # of an observation; those whose names are shown


def pair_plot(path: Path, draws: np.ndarray, names: Sequence[str], truth: Any = None) -> Path:
    """Draw samples (n, d) into a picture; true values are lines. Parameters beyond the first `MOST` are left out."""
    from matplotlib.figure import Figure

    _check(path)
    if truth is not None and np.size(truth) != draws.shape[1]:
        raise UsageError(f"truth must be {draws.shape[1]} parameters, {', '.join(names)} (got {np.size(truth)})")
    d = min(draws.shape[1], MOST)
    truth = None if truth is None else np.ravel(truth)
    figure = Figure(figsize=(1.6 * d + 1, 1.6 * d + 1))
    figure.subplots_adjust(wspace=0.12, hspace=0.12)
    turned = max(map(len, names[:d])) > 10
    below: Any = {"rotation": 30, "ha": "right"} if turned else {}
    left: Any = {"rotation": 0, "ha": "right", "va": "center"} if turned else {}
    for i in range(d):
        for j in range(i + 1):
            ax = figure.add_subplot(d, d, i * d + j + 1)
            if i == j:
                ax.hist(draws[:, i], 40, color="#3b6fb6", density=True)
            else:
                ax.hist2d(draws[:, j], draws[:, i], 40, cmap="Blues")
            seen = draws[:, j] if truth is None else np.append(draws[:, j], truth[j])
            if np.ptp(seen) > 0:
                ax.set_xlim(seen.min(), seen.max())
            if truth is not None:
                ax.axvline(float(truth[j]), color="#c2410c", lw=1)
                if i != j:
                    ax.axhline(float(truth[i]), color="#c2410c", lw=1)
            ax.tick_params(labelsize=7, labelbottom=i == d - 1, labelleft=j == 0 and i > 0)
            ax.locator_params(nbins=4)
            if i == j:
                ax.set_yticks([])
            if i == d - 1:
                ax.set_xlabel(names[j], fontsize=9, **below)
            if j == 0 and i > 0:
                ax.set_ylabel(names[i], fontsize=9, **left)
    return _written(figure, path)


def predictive_plot(path: Path, data: np.ndarray, seen: np.ndarray, names: Sequence[str] = ()) -> Path:
    """Draw simulated data (n, …) as bands of 50 and 90 %, number by number, and an observation (…) into a picture.

    Numbers are centred and in units of the half of their band of 90 %, so that those of all scales are seen; numbers
    beyond the first 200 are left out. Few numbers that have names are shown by these.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    _check(path)
    flat = data.reshape(len(data), -1)[:, :NUMBERS]
    flat = flat[np.isfinite(flat).all(1)]
    if not len(flat):
        raise DataError("no run from the posterior succeeded: there is nothing to draw")
    low, first, middle, third, high = np.quantile(flat, (0.05, 0.25, 0.5, 0.75, 0.95), axis=0)
    unit = np.where(high > low, (high - low) / 2, 1.0)
    at = np.arange(flat.shape[1])
    figure = Figure(figsize=(min(4 + 0.25 * len(at), 14), 3.2), layout="constrained")
    ax = figure.subplots()
    for a, b, colour in ((low, high, "#c9ddf5"), (first, third, "#86b3e8")):
        ax.bar(at, (b - a) / unit, 0.8, (a - middle) / unit, color=colour)
    ax.plot(at, (np.ravel(seen)[:NUMBERS] - middle) / unit, "o", color="#c2410c", ms=4)
    if len(names) == len(at) <= NAMED:
        turned = max(map(len, names)) > 6
        ax.set_xticks(at, names, rotation=30 if turned else 0, ha="right" if turned else "center")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("number of the data", fontsize=8)
    ax.use_sticky_edges = False
    ax.margins(y=0.08)
    ax.set_ylabel("from the median, in half\nwidths of the 90 % band", fontsize=8)
    ax.set_title("dots: observation; bands: 50 and 90 %\nof data simulated from the posterior", fontsize=8)
    ax.tick_params(labelsize=7)
    return _written(figure, path)


def _check(path: Path) -> None:
    if path.suffix.lower() not in PICTURES:
        raise UsageError(f"a picture is written as {', '.join(PICTURES[1:])} (got {path.name}): change the ending")


def _written(figure: Any, path: Path) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lower().lstrip(".") or "png", dpi=110, bbox_inches="tight")

    def fill(aside: Path) -> None:
        aside.write_bytes(buffer.getvalue())

    write(path, fill)
    return path
