"""Grids of numbers: the decimals or even steps on which the values of a column lie, and values that it takes too often.

A grid needs evidence, values that repeat; it is then found within the rounding of the values as they were written.
"""

from typing import Any

import numpy as np

FINEST = 4  # decimals of the finest decimal grid that is looked for
NEAR = 2e-4  # share of a step within which a value lies on a grid, where there is evidence of one
REPEATED = 0.1  # share of rows that repeat the value of another, from which a column of reals has atoms
FEWEST = 20  # rows from which on there is evidence
HEAVY, MOST_HEAVY = 0.01, 16  # share of rows of a single value among reals, and how many such values there may be
LEVELS, UNSEEN = 1 << 15, 0.01  # values of a column without even steps, and the share of rows with others
COARSEST = 100  # steps of a standard deviation, from which on samples of reals are rounded as the data was
DIGITS = range(6, 13)  # significant digits to which numbers are written


def single(x: np.ndarray) -> bool:
    """Whether all values are of single precision, as 13.395999908447266 is, which was 13.396; but for a unit in the
    last place, by which readers of text are off."""
    with np.errstate(over="ignore"):
        away = np.abs(x.astype(np.float32).astype(np.float64) - x)
    return bool((away <= 4 * np.finfo(np.float64).eps * np.abs(x)).all())


def on_grid(x: np.ndarray, eps: float) -> np.ndarray:
    """Where x is whole but for a few units in the last place of its type, where these are small against 1."""
    off = 4 * eps * np.abs(x)
    return np.asarray((np.abs(x - np.round(x)) <= off) & (off < 0.02))


def near_grid(k: np.ndarray, eps: float) -> np.ndarray:
    """Where k, in steps, is whole within `NEAR` or a few units in the last place."""
    return np.asarray(np.abs(k - np.round(k)) <= np.maximum(NEAR, 4 * eps * np.abs(k)).clip(max=0.02))


def grid_of(x: np.ndarray, eps: float) -> dict[str, Any]:
    """What real values lie on: decimal (places), lattice (offset, step, high), levels (values), or real.

    A real column may have `heavy` values, each of which many rows have; `atoms` is the share of the others that repeat
    for another reason.
    """
    distinct, counts = np.unique(x, return_counts=True)
    repeated = float(counts[counts > 1].sum()) / len(x)
    chance = len(x) * eps * float(np.abs(distinct).max()) / float(np.ptp(distinct))  # of so many neighbours
    evidence = len(x) >= FEWEST and repeated > REPEATED + chance
    if evidence or len(distinct) <= len(x) / 2:
        error = rounding(distinct, eps)
        for places in range(1, FINEST + 1):
            k, off = distinct * 10.0**places, (3 * error * 10.0**places).clip(max=NEAR)
            if (on_grid(k, eps) | (np.abs(k - np.round(k)) <= off)).all():
                return {"type": "decimal", "places": places}
    if not evidence:
        return {"type": "real"}
    lattice = lattice_of(distinct, eps)
    if lattice is not None:
        return lattice
    once = int((counts == 1).sum()) / len(x)  # as probable are values that no row has (Good, 1953)
    if len(distinct) <= min(LEVELS, len(x) / 4) and repeated > 1 - REPEATED and once <= UNSEEN:
        return {"type": "levels", "values": distinct.tolist()}
    order = np.argsort(-counts, kind="stable")[:MOST_HEAVY]
    heavy = np.sort(distinct[order[counts[order] >= max(10, HEAVY * len(x))]])
    others = ~np.isin(distinct, heavy)
    left = float(counts[others & (counts > 1)].sum()) / max(int(counts[others].sum()), 1)
    found: dict[str, Any] = {"type": "real"}
    if len(heavy) and others.sum() > 1:
        found["heavy"] = heavy.tolist()
    else:
        left = repeated
    return found | ({"atoms": round(left, 3)} if left > REPEATED + chance else {})


def written_places(x: np.ndarray, eps: float) -> int | None:
    """The decimals to which all of these reals were written, where that is far finer than their spread; else None."""
    error = 4 * eps * float(np.abs(x).max())
    for places in range(FINEST + 1):
        step = 10.0**-places
        if len(x) < FEWEST or error > 0.02 * step:
            return None
        if float(np.std(x)) > COARSEST * step and (np.abs(np.round(x, places) - x) <= error).all():
            return places
    return None


def lattice_of(distinct: np.ndarray, eps: float) -> dict[str, Any] | None:
    """The offset and step of evenly spaced values, not all of which need occur; None where there are none.

    The least gap is a small multiple of the step. The step is estimated from neighbours first and from ever wider
    spans then, so that its error never reaches half a step.
    """
    if len(distinct) < 2:
        return None
    error = rounding(distinct, eps)
    gaps = np.diff(distinct)
    wide = min(8, len(gaps))
    base = int(np.argmin(distinct[wide:] - distinct[:-wide])) + wide // 2  # where values are dense
    away = distinct - distinct[base]
    for part in range(1, 13):
        step = float(gaps.min()) / part
        if step < 50 * float(np.median(error)) or (part > 3 and len(distinct) < 8 * part):
            return None
        span = 8 * step * part
        while True:
            near = np.abs(away) <= span
            k = np.round(away[near] / step)
            if np.abs(away[near] - k * step).max() > 0.2 * step:
                break
            if near.sum() > 1:
                step = float((k * away[near]).sum() / (k * k).sum())
            if near.all():
                k = np.round((distinct - distinct[0]) / step)
                off = np.abs(distinct - distinct[0] - k * step)
                if (off <= np.maximum(3 * error + 3 * error[0], 1e-6 * step)).all() and off.max() < 0.02 * step:
                    return {"type": "lattice", "offset": float(distinct[0]), "step": step, "high": float(distinct[-1])}
                break
            span *= 2
    return None


def rounding(x: np.ndarray, eps: float) -> np.ndarray:
    """The error of each value: that of its type, or of the significant digits to which all of them were written."""
    own = 16 * eps * float(np.abs(x).max())
    some = x[:: max(1, len(x) // 500)]
    for digits in DIGITS:
        if all(float(f"{v:.{digits}g}") == v for v in some.tolist()):
            size = np.floor(np.log10(np.maximum(np.abs(x), 1e-300)))
            return np.asarray(np.maximum(own, 10.0 ** (size - digits + 1)))
    return np.full(len(x), own)
