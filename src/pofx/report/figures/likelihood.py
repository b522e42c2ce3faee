"""Log-likelihood of every item: training, validation and test beside one another, and whether test items look typical.

Top: histograms; where training lies right of test the model has learned its items. Bottom: the share of the model's own
samples that are less probable than a test item. For a model that is the truth these shares are uniform and their
distribution is the diagonal (the probability integral transform of log p(x), after Hyndman, 1996, "Computing and
graphing highest density regions"); it needs log_prob and samples, not a cdf.
"""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.figure import Figure

from pofx.report.figures.style import FAINT, GREY, INK, STYLE, empty, svg

SPLITS = (("train", "-", 1.0), ("validation", ":", 1.2), ("test", "--", 1.6))


def typical(test: Float[np.ndarray, "n"], own: Float[np.ndarray, "m"]) -> Float[np.ndarray, "n"]:
    """For every test item the share of the model's own samples that are less probable; ties count half."""
    ordered = np.sort(own)
    below, upto = np.searchsorted(ordered, test, "left"), np.searchsorted(ordered, test, "right")
    return np.asarray((below + upto) / 2 / len(own))


def likelihoods(
    found: Mapping[str, Mapping[str, Float[np.ndarray, "_"]]], gaps: Mapping[str, str], ink: Mapping[str, str]
) -> str:
    """Two panels per model; found[name] has log p of train, validation, test and samples; gaps[name] is printed."""
    columns = min(4, len(found))
    lines = math.ceil(len(found) / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(max(2.35 * columns, 3.2), 3.7 * lines + 0.2), layout="constrained")
        grid = figure.subplots(2 * lines, columns, squeeze=False)
        for i, (name, sets) in enumerate(found.items()):
            top, bottom = grid[2 * (i // columns)][i % columns], grid[2 * (i // columns) + 1][i % columns]
            parts = [sets[key] for key, _, _ in SPLITS if len(sets.get(key, ()))]
            whole = np.concatenate(parts)
            low, high = np.quantile(whole, (0.01, 0.998))
            pad = 0.05 * (high - low) or 1.0
            edges = np.linspace(low - pad, high + pad, 22)
            for key, dash, width in SPLITS:
                values = sets.get(key, np.zeros(0))
                if len(values):
                    inside = np.clip(values, edges[0], edges[-1])
                    shares = np.histogram(inside, edges)[0] / len(values)
                    colour = GREY if key == "train" else ink[name]
                    top.stairs(shares, edges, color=colour, linestyle=dash, linewidth=width, fill=key == "train",
                               alpha=0.45 if key == "train" else 1.0, label=key)  # fmt: skip
            top.set_title(name, color=ink[name], loc="left")
            top.text(0.01, 0.98, gaps.get(name, ""), transform=top.transAxes, va="top", fontsize=7.5, color=INK)
            top.set_yticks([])
            top.set_xlabel("log p(x), nats", fontsize=8)
            top.locator_params(axis="x", nbins=4)
            empty(top)
            _calibration(bottom, sets, ink[name])
        for i in range(len(found), lines * columns):
            grid[2 * (i // columns)][i % columns].set_visible(False)
            grid[2 * (i // columns) + 1][i % columns].set_visible(False)
        named = grid[0][0].get_legend_handles_labels()
        figure.legend(*named, fontsize=8, frameon=False, loc="outside lower center", ncol=3, labelcolor=INK)
        return svg(figure, "likelihoods")


def _calibration(axes: object, sets: Mapping[str, np.ndarray], colour: str) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    test, own = sets.get("test", np.zeros(0)), sets.get("samples", np.zeros(0))
    empty(axes)
    if not len(test) or not len(own):
        axes.text(0.5, 0.5, "not measured", ha="center", color=INK, fontsize=8, transform=axes.transAxes)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    shares = np.sort(typical(test, own))
    band = 1.358 * np.sqrt(1 / len(test) + 1 / len(own))  # Smirnov's 95 % band for two samples
    line = np.array([0.0, 1.0])
    axes.fill_between(line, line - band, line + band, color=FAINT, linewidth=0)
    axes.plot(line, line, color=GREY, linewidth=0.9)
    axes.step([0, *shares, 1], [0, *np.arange(1, len(shares) + 1) / len(shares), 1], color=colour, where="post")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])
    axes.set_xlabel("share of samples less probable", fontsize=8)
