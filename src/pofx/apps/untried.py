"""Cells under a perturbation that nobody has tried, of which nothing is known but what the others did.

A mixture of cells of the control (it may do nothing), of cells under the others (it may do what they did), and of cells
of the control that are moved in each column by a random effect, in either direction and as large as those that were
seen: perturbations are exchangeable (Lindley and Smith, 1972, "Bayes estimates for the linear model"). Effects are
differences of mean normal scores, so that other units of a column change nothing. The shares are those that would have
been nearest for the perturbations that were tried, each from the others.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from jaxtyping import Float, Shaped
from scipy.stats import ks_2samp, norm

PARTS = ("control", "others", "effects")
STEPS = 4  # shares are multiples of a quarter

Cells = Shaped[np.ndarray, "n d"]


def untried_cells(control: Cells, tried: Sequence[Cells], n: int, seed: int = 0) -> tuple[Cells, dict[str, float]]:
    """n cells (n, d) under an untried perturbation, and the shares of PARTS among them.

    Args:
        control: cells of the control, n or more, in random order.
        tried: cells under each perturbation that was tried, at least 3, n or more of each.
    """
    g = np.random.default_rng(seed)
    every = [k for k in product(range(STEPS + 1), repeat=len(PARTS)) if sum(k) == STEPS]
    off = np.zeros(len(every))
    for k, cells in enumerate(tried):
        parts = _parts(control, [*tried[:k], *tried[k + 1 :]], n, g)
        off += [distance(_mixed(parts, counts, n), cells) for counts in every]
    best = every[int(off.argmin())]
    drawn = _mixed(_parts(control, tried, n, g), best, n)
    return drawn, {name: count / STEPS for name, count in zip(PARTS, best, strict=True)}


def distance(x: Cells, y: Cells) -> float:
    """The mean over columns of the largest difference of the distribution functions (Kolmogorov and Smirnov)."""
    return float(np.mean([ks_2samp(a, b).statistic for a, b in zip(x.T, y.T, strict=True)]))


def _parts(control: Cells, tried: Sequence[Cells], n: int, g: np.random.Generator) -> list[Cells]:
    """n cells of each of PARTS, in random order."""
    others = np.concatenate(tried)
    moved = _moved(control, tried, g)
    return [cells[g.permutation(len(cells))[:n]] for cells in (control, others, moved)]


def _mixed(parts: Sequence[Cells], counts: Sequence[int], n: int) -> Cells:
    """n cells, of each part as many quarters as counted."""
    sizes = np.diff(np.round(np.cumsum((0, *counts)) * n / STEPS).astype(int))
    return np.concatenate([part[:size] for part, size in zip(parts, sizes, strict=True)])


def _moved(control: Cells, tried: Sequence[Cells], g: np.random.Generator) -> Cells:
    """Cells of the control, each column of each cell moved by a random effect, to values that were seen."""
    every = np.sort(np.concatenate((control, *tried)), axis=0)
    scores = _scores(control, every)
    effects = [_scores(cells, every).mean(0) - scores.mean(0) for cells in tried]
    size = np.sqrt(np.mean(np.square(effects), axis=0))
    rank = norm.cdf(scores + size * g.normal(size=scores.shape))
    return np.take_along_axis(every, (rank * len(every)).astype(int).clip(max=len(every) - 1), axis=0)


def _scores(x: Cells, every: Cells) -> Float[np.ndarray, "n d"]:
    """Normal scores of cells among all, whose columns are sorted; of equal values the middle rank."""
    ranks = [
        (np.searchsorted(y, column, "left") + np.searchsorted(y, column, "right")) / 2
        for column, y in zip(x.T, every.T, strict=True)
    ]
    return np.asarray(norm.ppf(np.stack(ranks, 1).clip(0.5, len(every) - 0.5) / len(every)))
