"""Euclidean distances between sets of points, tile by tile in one buffer: the ground of all neighbour metrics.

Small sets are computed in float64, large ones in float32 about the mean of the second set, where |x|² - 2xy + |y|² does
not cancel.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float64, Int64

TILE = 2**20  # entries of a tile: 4 MB in float32
SMALL = 2**22  # pairs up to which float64 is used


def tiles(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], columns: int | None = None
) -> Iterator[tuple[slice, slice, Float[np.ndarray, "rows columns"]]]:
    """Squared distances of (n, d) and (m, d) as (rows, columns, tile), by rows; never negative.

    A tile spans all of y unless `columns` says how many. It is overwritten by the next one.
    """
    kind = np.float64 if len(x) * len(y) <= SMALL else np.float32
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


def squared(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> Float64[np.ndarray, "n m"]:
    """All squared distances (n, d), (m, d) → (n, m), for sets that are small enough to hold them."""
    out = np.empty((len(x), len(y)))
    for rows, cols, tile in tiles(x, y):
        out[rows, cols] = tile
    return out


def nearest(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]
) -> tuple[Float64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
    """For each x the distance to its nearest y and that y's index: float64 (n,), int64 (n,).

    The winners' distances are computed anew from differences, so that an exact copy is at distance exactly 0.
    """
    best, index = np.full(len(x), np.inf), np.zeros(len(x), np.int64)
    for rows, cols, tile in tiles(x, y, 2048):
        at = tile.argmin(1)
        value = tile[np.arange(len(tile)), at]
        better = value < best[rows]
        best[rows] = np.where(better, value, best[rows])
        index[rows] = np.where(better, at + cols.start, index[rows])
    gap = x.astype(np.float64) - y[index].astype(np.float64)
    return np.sqrt((gap * gap).sum(1)), index


def radii(x: Float[np.ndarray, "n d"], k: int) -> Float64[np.ndarray, "n"]:
    """For each x the squared distance to its k-th nearest other x: (n,)."""
    out = np.empty(len(x))
    for rows, _, tile in tiles(x, x):
        tile[np.arange(len(tile)), np.arange(rows.start, rows.stop)] = -1  # itself, first in the order
        tile.partition(k, axis=1)
        out[rows] = tile[:, k]
    return out
