"""Cells under a perturbation that nobody has tried, of which nothing is known but what the others did.

A mixture of cells of the control (it may do nothing), of cells under the others (it may do what they did), and of cells
of the control that are moved in each column by a random effect, in either direction, as large as those that were seen
or twice as large, for few perturbations do much: effects are exchangeable (Lindley and Smith, 1972, "Bayes estimates
for the linear model"). They are differences of mean normal scores, so that other units of a column change nothing. The
shares are those that would have been nearest for the perturbations that were tried, each from the others, with as much
of the control as this leaves open.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from jaxtyping import Float, Shaped
from scipy.stats import ks_2samp, norm

SIZES = (1.0, 2.0)  # of random effects, in root mean squares of those that were seen
PARTS = ("control", "others", "effects", "twice the effects")
STEPS = 4  # shares are multiples of a quarter
EACH = 4  # effects of a cell of the control, at most so many that MOST numbers are held
MOST = 1 << 24
PLACES = 1000  # of a column at which distribution functions are compared

Cells = Shaped[np.ndarray, "n d"]


def untried_cells(control: Cells, tried: Sequence[Cells], n: int, seed: int = 0) -> tuple[Cells, dict[str, float]]:
    """n cells (n, d) under an untried perturbation, and the shares of PARTS among them.

    Args:
        control: cells of the control, in random order.
        tried: cells under each perturbation that was tried, at least 3.
    """
    g = np.random.default_rng(seed)
    every = np.sort(np.concatenate((control, *tried)), axis=0)
    grid = every[:: max(1, len(every) // PLACES)]
    shares = np.array([k for k in product(range(STEPS + 1), repeat=len(PARTS)) if sum(k) == STEPS]) / STEPS
    off = np.zeros((len(tried), len(shares)))
    for k, cells in enumerate(tried):
        parts = _parts(control, [*tried[:k], *tried[k + 1 :]], g)
        apart = np.stack([_below(part, grid) for part in parts]) - _below(cells, grid)
        off[k] = [np.abs(np.tensordot(share, apart, 1)).max(0).mean() for share in shares]
    best = shares[_simplest(off, shares[:, 0])]
    sizes = np.diff(np.round(np.cumsum((0, *best)) * n).astype(int))
    parts = _parts(control, tried, g)
    drawn = [part[_order(len(part), size, g)] for part, size in zip(parts, sizes, strict=True)]
    return np.concatenate(drawn), dict(zip(PARTS, best.tolist(), strict=True))


def _simplest(off: Float[np.ndarray, "tried choices"], control: Float[np.ndarray, "choices"]) -> int:
    """Of the choices whose error is the least, within one standard error over what was tried (Breiman et al., 1984),
    the one with most of the control, and the nearest of these."""
    mean = off.mean(0)
    beyond = off - off[:, [int(mean.argmin())]]
    alike = beyond.mean(0) <= beyond.std(0, ddof=1) / len(off) ** 0.5
    return int(np.lexsort((mean, -control, ~alike))[0])


def distance(x: Cells, y: Cells) -> float:
    """The mean over columns of the largest difference of the distribution functions (Kolmogorov and Smirnov)."""
    return float(np.mean([ks_2samp(a, b).statistic for a, b in zip(x.T, y.T, strict=True)]))


def _order(among: int, n: int, g: np.random.Generator) -> Shaped[np.ndarray, "n"]:
    """n of so many cells, each as often as any other, about."""
    return np.concatenate([g.permutation(among) for _ in range(-(-n // among))] or [np.zeros(0, int)])[:n]


def _below(cells: Cells, grid: Cells) -> Float[np.ndarray, "places d"]:
    """The share of cells that are at most as large as each place of a grid, by column."""
    columns = [np.searchsorted(np.sort(a), b, "right") for a, b in zip(cells.T, grid.T, strict=True)]
    return np.stack(columns, 1) / len(cells)


def _parts(control: Cells, tried: Sequence[Cells], g: np.random.Generator) -> list[Cells]:
    """Cells of each of PARTS."""
    every = np.sort(np.concatenate((control, *tried)), axis=0)
    scores = _scores(control, every, g)
    effects = [_scores(cells, every, g).mean(0) - scores.mean(0) for cells in tried]
    size = np.sqrt(np.mean(np.square(effects), axis=0))
    scores = np.tile(scores, (max(1, min(EACH, MOST // scores.size)), 1))
    return [control, np.concatenate(tried), *(_moved(scores, k * size, every, g) for k in SIZES)]


def _moved(scores: Cells, size: Cells, every: Cells, g: np.random.Generator) -> Cells:
    """Cells of normal scores, each column of each cell moved by a random effect, as values that were seen; the effects
    of a column are evenly spread quantiles of a normal in random order."""
    spread = norm.ppf((np.arange(len(scores)) + 0.5) / len(scores))
    effects = g.permuted(np.tile(spread[:, None], (1, scores.shape[1])), axis=0)
    rank = norm.cdf(scores + size * effects)
    return np.take_along_axis(every, (rank * len(every)).astype(int).clip(max=len(every) - 1), axis=0)


def _scores(x: Cells, every: Cells, g: np.random.Generator) -> Float[np.ndarray, "n d"]:
    """Normal scores of cells among all, whose columns are sorted; equal values have random ranks among themselves."""
    pairs = list(zip(x.T, every.T, strict=True))
    low, high = (np.stack([np.searchsorted(y, c, side) for c, y in pairs], 1) for side in ("left", "right"))
    rank = low + (high - low) * g.random(low.shape)
    return np.asarray(norm.ppf(rank.clip(0.5, len(every) - 0.5) / len(every)))
