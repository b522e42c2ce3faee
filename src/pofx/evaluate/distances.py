"""Euclidean distances between sets of points: the basis of all neighbour metrics.

In few dimensions a tree finds neighbours in n log n; elsewhere distances are computed tile by tile in one buffer. Small
sets are computed in float64, large ones in float32 about the mean of the second set, where |x|² - 2xy + |y|² does not
cancel. Neighbours are remembered by the content of the sets: metrics share them, and so do rows with one reference.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.spatial import cKDTree

from pofx.evaluate.remembered import remembered

TILE = 2**20  # entries of a tile: 4 MB in float32
SMALL = 2**19  # pairs up to which float64 is used
TREE = 8  # dimensions up to which a tree is faster than tiles
FEW = 2**16  # pairs up to which tiles are faster than a tree


def tiles(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], columns: int | None = None
) -> Iterator[tuple[slice, slice, Float[np.ndarray, "rows columns"]]]:
    """Squared distances of (n, d) and (m, d) as (rows, columns, tile), by rows; never negative.

    A tile spans all of y unless `columns` is given. It is overwritten by the next one.
    """
    kind = _precision(x, y)
    shift = y.mean(0)
    x, y = (x - shift).astype(kind), np.ascontiguousarray((y - shift).astype(kind))
    xx, yy = (x * x).sum(1)[:, None], (y * y).sum(1)[None, :]
    wide = min(columns or len(y), len(y))
    high = min(max(TILE // wide, 1), len(x))
    buffer = np.empty(high * wide, kind)
    for i in range(0, len(x), high):
        rows = slice(i, min(i + high, len(x)))
        for j in range(0, len(y), wide):
            cols = slice(j, min(j + wide, len(y)))
            shape = rows.stop - i, cols.stop - j
            tile = buffer[: shape[0] * shape[1]].reshape(shape)
            np.matmul(x[rows], y[cols].T, out=tile)
            tile *= -2
            tile += xx[rows]
            tile += yy[:, cols]
            yield rows, cols, np.maximum(tile, 0, out=tile)


def squared(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """All squared distances (n, d), (m, d) → (n, m), for sets that are small enough to hold them."""
    out = np.empty((len(x), len(y)), _precision(x, y))
    for rows, cols, tile in tiles(x, y):
        out[rows, cols] = tile
    return out


def _precision(x: np.ndarray, y: np.ndarray) -> type[np.floating]:
    return np.float64 if len(x) * len(y) <= SMALL else np.float32


def _in_tree(x: np.ndarray, y: np.ndarray) -> bool:
    return x.shape[1] <= TREE and len(x) * len(y) > FEW


@remembered()
def nearest(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]
) -> tuple[Float64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
    """For each x the distance to its nearest y and that y's index: float64 (n,), int64 (n,).

    Distances are computed from differences, so that an exact copy is at distance exactly 0.
    """
    if _in_tree(x, y):
        gap, at = cKDTree(y.astype(np.float64)).query(x.astype(np.float64))
        return gap, at.astype(np.int64)
    best, index = np.full(len(x), np.inf), np.zeros(len(x), np.int64)
    for rows, cols, tile in tiles(x, y, 2048):
        at = tile.argmin(1)
        value = tile[np.arange(len(tile)), at]
        better = value < best[rows]
        best[rows] = np.where(better, value, best[rows])
        index[rows] = np.where(better, at + cols.start, index[rows])
    apart = x.astype(np.float64) - y[index].astype(np.float64)
    return np.sqrt((apart * apart).sum(1)), index


@remembered()
def radii(x: Float[np.ndarray, "n d"], k: int) -> Float64[np.ndarray, "n"]:
    """For each x the squared distance to its k-th nearest other x: (n,), as tiles compute it, so that ties are ties."""
    return _radii(x, np.arange(len(x)), k)


@remembered()
def own_gaps(x: Float[np.ndarray, "n d"], which: Int64[np.ndarray, "m"]) -> Float64[np.ndarray, "m"]:
    """For the x at the indices `which` the distance to their nearest other x: (m,)."""
    if _in_tree(x, x):
        points = x.astype(np.float64)
        return np.asarray(cKDTree(points).query(points[which], [2])[0][:, 0])
    return np.sqrt(_radii(x, which, 1))


def _radii(x: np.ndarray, which: np.ndarray, k: int) -> Float64[np.ndarray, "m"]:
    out = np.empty(len(which))
    for rows, _, tile in tiles(x[which], x):
        tile[np.arange(len(tile)), which[rows]] = np.inf if k == 1 else -1  # itself: last, or first in the order
        if k > 1:
            tile.partition(k, axis=1)
        out[rows] = tile.min(1) if k == 1 else tile[:, k]
    return out


@dataclass(frozen=True)
class Overlap:
    """Samples x (n) and real items y (m), each with a ball that reaches to its k-th neighbour in its own set.

    `balls`: the real balls that hold each x; `clipped`: those among them that reach no farther than the median one;
    `hits`: the samples in each real ball; `recalled`: whether some sample's ball holds each y.
    """

    balls: Float64[np.ndarray, "n"]
    clipped: Float64[np.ndarray, "n"]
    hits: Float64[np.ndarray, "m"]
    recalled: Bool[np.ndarray, "m"]


@remembered()
def overlap(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], k: int) -> Overlap:
    """Who lies in whose ball, in one pass over the distances."""
    reach_x, reach_y = radii(x, k), radii(y, k)
    short = np.minimum(reach_y, np.median(reach_y))
    balls, clipped = np.zeros(len(x)), np.zeros(len(x))
    hits, recalled = np.zeros(len(y)), np.zeros(len(y), bool)
    for rows, _, tile in tiles(y, x):
        inside = tile < reach_y[rows, None].astype(tile.dtype)
        balls += inside.sum(0)
        hits[rows] = inside.sum(1)
        clipped += (tile < short[rows, None].astype(tile.dtype)).sum(0)
        recalled[rows] = (tile < reach_x.astype(tile.dtype)).any(1)
    return Overlap(balls, clipped, hits, recalled)


@remembered()
def crowding(y: Float[np.ndarray, "m d"], k: int) -> Float64[np.ndarray, "m"]:
    """For each y the balls of other y, none reaching farther than the median one, that hold it: (m,)."""
    reach = radii(y, k)
    short, held = np.minimum(reach, np.median(reach)), np.zeros(len(y))
    for rows, _, tile in tiles(y, y):
        inside = tile < short[rows, None].astype(tile.dtype)
        inside[np.arange(len(tile)), np.arange(rows.start, rows.stop)] = False
        held += inside.sum(0)
    return held
