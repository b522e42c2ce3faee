"""Marginals on the diagonal, densities of pairs below it: the usual picture of a posterior."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pofx.core.errors import UsageError
from pofx.core.files import write

PICTURES = ("", ".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")
MOST = 12  # parameters in one picture


def pair_plot(path: Path, draws: np.ndarray, names: Sequence[str], truth: Any = None) -> Path:
    """Draw samples (n, d) into a picture; true values are lines. Parameters beyond the first `MOST` are left out."""
    from matplotlib.figure import Figure

    if path.suffix.lower() not in PICTURES:
        raise UsageError(f"a picture is written as {', '.join(PICTURES[1:])} (got {path.name}): change the ending")
    if truth is not None and np.size(truth) != draws.shape[1]:
        raise UsageError(f"truth must be {draws.shape[1]} parameters, {', '.join(names)} (got {np.size(truth)})")
    d = min(draws.shape[1], MOST)
    truth = None if truth is None else np.ravel(truth)
    figure = Figure(figsize=(1.6 * d + 1, 1.6 * d + 1), layout="constrained")
    axes = figure.subplots(d, d, squeeze=False)
    for i in range(d):
        for j in range(d):
            ax = axes[i, j]
            if j > i:
                ax.set_axis_off()
                continue
            if i == j:
                ax.hist(draws[:, i], 40, color="#3b6fb6", density=True)
                ax.set_yticks([])
            else:
                ax.hist2d(draws[:, j], draws[:, i], 40, cmap="Blues")
            if truth is not None:
                ax.axvline(float(truth[j]), color="#c2410c", lw=1)
                if i != j:
                    ax.axhline(float(truth[i]), color="#c2410c", lw=1)
            ax.tick_params(labelsize=7)
            if i == d - 1:
                ax.set_xlabel(names[j], fontsize=9)
            if j == 0 and i > 0:
                ax.set_ylabel(names[i], fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lower().lstrip(".") or "png", dpi=110)

    def fill(aside: Path) -> None:
        aside.write_bytes(buffer.getvalue())

    write(path, fill)
    return path
