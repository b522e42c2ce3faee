"""How far the splits of a data set overlap: exact copies, and near copies by nearest-neighbour distance.

A near copy is an item nearer to an item of the other split than chance allows: within 0.2 of the median distance
between training items and their nearest neighbours, and within the radius that a fraction 1e-4 of the neighbours of
independent items would fall into (distances of d-dimensional data grow like volume^(1/d)). An orthonormal projection
never lengthens a distance, so that candidates found in a few dimensions, by a tree or, where it would list too many, by
products of matrices, then measured in full, miss nothing.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from pofx.core.items import Items
from pofx.data.kind import kind_of

PAIRS = (("train", "validation"), ("train", "test"), ("validation", "test"))
SHARE, CHANCE, DIMENSIONS, PROBES, QUERIES = 0.2, 1e-4, 8, 100, 5000
SIEVE, CANDIDATES, BLOCK = (
    64,
    200,
    64,
)  # principal axes of the finer sieve, rows that the tree may list, rows of a block


def overlaps(parts: Mapping[str, Items]) -> tuple[dict[str, int], dict[str, int], str]:
    """Exact and near duplicates per pair of splits, and the rule of the count in words.

    Each count is the number of items of the second split that have a copy in the first. At most 5,000 items of the
    second split are searched for near copies (evenly spaced), and the count is then scaled up.
    """
    kind = kind_of(parts["train"])
    keys = {part: kind.exact_keys(items.values) for part, items in parts.items()}
    exact = {f"{a}-{b}": _exact(keys[a], keys[b]) for a, b in PAIRS}
    found = {part: kind.flat(items.values) for part, items in parts.items()}
    flat = {part: x for part, x in found.items() if x is not None}
    if len(flat) < len(parts):
        return exact, dict(exact), f"near copies of {kind.name} items are exact copies"
    if kind.unit is None:
        flat = _filled(flat)
        centre, scale = flat["train"].mean(0), flat["train"].std(0)
        flat = {part: ((x - centre) / np.where(scale > 0, scale, 1.0)).astype(np.float32) for part, x in flat.items()}
    radius = _radius(flat["train"])
    if radius == 0:
        return exact, dict(exact), "near copies are exact copies: the median nearest-neighbour distance is 0"
    axes = _axes(flat["train"])
    low = {part: x @ axes for part, x in flat.items()}
    near = {}
    for a, b in PAIRS:
        asked = np.linspace(0, len(flat[b]) - 1, min(len(flat[b]), QUERIES)).round().astype(int)
        count = _near(flat[a], low[a], flat[b][asked], low[b][asked], radius)
        near[f"{a}-{b}"] = max(round(count * len(flat[b]) / len(asked)), exact[f"{a}-{b}"])
    units = kind.unit or "standard deviations"
    rule = f"nearest neighbour within {radius:.4g} {units} (Euclidean), at most {QUERIES} items per split searched"
    return exact, near, rule


def _filled(flat: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Numbers with the mean of the training rows where they are missing, beside a number that marks it."""
    gaps = {part: np.isnan(x) for part, x in flat.items()}
    holed = np.any([gap.any(0) for gap in gaps.values()], 0)
    if not holed.any():
        return flat
    mean = np.ma.masked_array(flat["train"], gaps["train"]).mean(0).filled(0.0)
    return {part: np.concatenate((np.where(gaps[part], mean, x), gaps[part][:, holed]), 1) for part, x in flat.items()}


def _exact(first: list[Any], second: list[Any]) -> int:
    known = set(first)
    return sum(key in known for key in second)


def _radius(x: np.ndarray) -> float:
    """The distance below which a neighbour is no chance, from the nearest neighbours of a few training items."""
    if len(x) < 2:
        return 0.0
    probes = np.linspace(0, len(x) - 1, min(PROBES, len(x))).round().astype(int)
    square = (x**2).sum(1)
    distance = square[probes, None] + square[None] - 2 * x[probes] @ x.T
    distance[np.arange(len(probes)), probes] = np.inf
    median = math.sqrt(max(float(np.median(distance.min(1))), 0.0))
    chance = (CHANCE / math.log(2)) ** (1 / x.shape[1])
    return median * min(SHARE, chance) if median > 1e-3 * float(x[probes].std()) * math.sqrt(x.shape[1]) else 0.0


def _axes(x: np.ndarray) -> np.ndarray:
    """The leading principal axes of a sample of the rows: (d, at most 64), orthonormal."""
    sample = x[np.linspace(0, len(x) - 1, min(len(x), 300)).round().astype(int)]
    if x.shape[1] <= DIMENSIONS:
        return np.eye(x.shape[1], dtype=np.float32)
    _, _, axes = np.linalg.svd(sample - sample.mean(0), full_matrices=False)
    return np.ascontiguousarray(axes[:SIEVE].T)


def _near(a: np.ndarray, low_a: np.ndarray, b: np.ndarray, low_b: np.ndarray, radius: float) -> int:
    """How many rows of b have a row of a within the radius."""
    limit = radius * (1 + 1e-4)
    tree = cKDTree(low_a[:, :DIMENSIONS])
    few = low_b[np.linspace(0, len(low_b) - 1, min(len(low_b), PROBES)).round().astype(int), :DIMENSIONS]
    if tree.query_ball_point(few, limit, return_length=True).mean() <= CANDIDATES:
        candidates = iter(tree.query_ball_point(low_b[:, :DIMENSIONS], limit))
    else:
        candidates = _sieved(low_a, low_b, limit)  # too many to list, as in hundreds of independent dimensions
    return sum(
        bool(((a[at] - row) ** 2).sum(1).min() <= radius**2) for row, at in zip(b, candidates, strict=True) if len(at)
    )


def _sieved(a: np.ndarray, b: np.ndarray, radius: float) -> Iterator[np.ndarray]:
    """Positions of the rows of a within the radius of each row of b, and perhaps of some beyond it by rounding."""
    centre = a.mean(0)
    a, b = a - centre, b - centre
    square = (a**2).sum(1)
    for start in range(0, len(b), BLOCK):
        rows = b[start : start + BLOCK]
        own = (rows**2).sum(1)[:, None]
        beyond = own + square - 2 * rows @ a.T - 1e-5 * (own + square)
        yield from (np.flatnonzero(row) for row in beyond <= radius**2)
