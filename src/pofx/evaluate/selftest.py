"""Which metrics can see which fault, at the user's own n and d? Real items are spoiled on purpose and measured.

Every spoiled set starts from held-out real items: half of them replaced by junk (every feature drawn on its own, twice
as wide), all contracted to half their spread, all shifted by half a standard deviation, one cluster dropped, or
training items in their place. In few dimensions, where means and covariances are right long before shapes are, normal
items of the same moments take their place, too: they have none of the modes. A metric sees a fault where the spoiled
number is worse than the honest one by more than chance allows (z-test, 1 %; where no direction is better, farther from
it); a better number flatters the fault. Räisä et al. (2025) found that every fidelity and diversity score fails some
such test: hence it is done here, on the data at hand, before any model is ranked.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from pofx.evaluate.measurement import Better, finite
from pofx.evaluate.metric import FeatureMetric, NoveltyMetric, metrics

LEVEL = 0.01
FAULTS = ("memoriser", "half junk", "contracted", "shifted", "mode dropped")
MODELESS, FEW = "modes filled in", 8  # a fault that is planted in at most so many dimensions


def spoil(
    fault: str, real: Float[np.ndarray, "n d"], train: Float[np.ndarray, "t d"], seed: int = 0
) -> Float[np.ndarray, "n d"]:
    """Real items (n, d) with a fault of FAULTS, or MODELESS: normal items of the same mean and covariance."""
    generator = np.random.default_rng(seed)
    n, middle, spread = len(real), real.mean(0), real.std(0)
    if fault == "memoriser":
        return train[generator.integers(len(train), size=n)]
    if fault == "contracted":
        return np.asarray(middle + 0.5 * (real - middle))
    if fault == "shifted":
        return np.asarray(real + 0.5 * spread)
    if fault == MODELESS:
        noise = generator.normal(size=real.shape)
        noise -= noise.mean(0)
        root, own = (_root(x) for x in (real - middle, noise))
        return np.asarray(middle + noise @ np.linalg.pinv(own) @ root)
    if fault == "half junk":
        junk = np.take_along_axis(real, generator.integers(n, size=real.shape), 0)
        chosen = generator.random(n) < 0.5
        return np.where(chosen[:, None], middle + 2 * (junk - middle), real)
    kept = np.flatnonzero(_cluster(real, generator) != 0)
    return np.asarray(
        real[kept[generator.integers(len(kept), size=n)]] if len(kept) < n / 2 else _filled(real, kept, n)
    )


def _root(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d d"]:
    """The symmetric root of the second moments of centred items."""
    values, axes = np.linalg.eigh(x.T @ x / len(x))
    return np.asarray((axes * np.sqrt(np.maximum(values, 0))) @ axes.T)


def _cluster(real: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    from sklearn.cluster import KMeans

    seed = int(generator.integers(2**31))
    return np.asarray(KMeans(n_clusters=min(5, len(real) // 4), n_init=1, random_state=seed).fit_predict(real))


def _filled(real: np.ndarray, kept: np.ndarray, n: int) -> np.ndarray:
    """n of the retained items, the missing ones replaced by means of neighbours: copies are another fault."""
    from sklearn.neighbors import NearestNeighbors

    left = real[kept]
    some = left[: n - len(left)]
    pair = NearestNeighbors(n_neighbors=2).fit(left).kneighbors(some, return_distance=False)[:, 1]
    return np.concatenate((left, (some + left[pair]) / 2))


def self_test(
    real: Float[np.ndarray, "n d"],
    reference: Float[np.ndarray, "m d"],
    train: Float[np.ndarray, "t d"],
    *,
    space: str,
    main: bool = True,
    items: str = "",
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Every score of every metric on honest and on spoiled items, in one space.

    Args:
        real: held-out items (n, d), which the faults spoil; `reference`: those that all are held against.
        main: whether this is the main space, in which some metrics are measured only.

    Returns:
        Rows {"metric", "space", "honest", "stderr", "faults": {fault: {"value", "z", "sees"}}}.
    """
    planted = (*FAULTS, MODELESS) if real.shape[1] <= FEW else FAULTS
    spoiled = {fault: spoil(fault, real, train, seed) for fault in planted}
    rows: list[dict[str, Any]] = []
    for metric in metrics(FeatureMetric, main=main, items=items):
        honest, errors = _read(metric, real, reference, seed)
        found = {fault: _read(metric, x, reference, seed) for fault, x in spoiled.items()}
        for name in metric.scores:
            better = metric.scores[name].better
            faults = {f: _seen(honest[name], errors[name], v[name], e[name], better) for f, (v, e) in found.items()}
            row = {"metric": name, "space": space, "honest": honest[name], "stderr": errors[name], "faults": faults}
            rows.append(row)
    half = len(real) // 2
    for novelty in metrics(NoveltyMetric, main=main, items=items):
        base = novelty.read(real[:half], real[half:], train, seed)
        read = {fault: novelty.read(x[:half], real[half:], train, seed) for fault, x in spoiled.items()}
        for name, value in base.values.items():
            faults = {}
            for fault, r in read.items():
                p = r.extra.get(name, {}).get("p")
                error = float(base.extra.get(name, {}).get("stderr") or 0.0)
                other = float(r.extra.get(name, {}).get("stderr") or 0.0)
                finding = _seen(value, error, r.values[name], other, novelty.scores[name].better)
                faults[fault] = finding if p is None else {"value": r.values[name], "z": None, "sees": bool(p < LEVEL)}
            rows.append({"metric": name, "space": space, "honest": value, "stderr": error or None, "faults": faults})
    plain: list[dict[str, Any]] = finite(rows)
    return plain


def _read(
    metric: FeatureMetric, x: np.ndarray, y: np.ndarray, seed: int
) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """The scores and their standard errors (0 where there is none)."""
    found = metric.read([(x, y)], seed)
    return found.values, {name: float(found.extra.get(name, {}).get("stderr") or 0.0) for name in found.values}


def _seen(honest: float, error: float, value: float, other: float, better: Better) -> dict[str, Any]:
    spread = math.hypot(error, other)
    z = (value - honest) / spread if spread > 0 else math.inf * np.sign(value - honest) if value != honest else 0.0
    p = 2 * norm.sf(abs(z)) if better == "none" else norm.sf(z if better == "lower" else -z)
    return {"value": value, "z": float(z), "sees": bool(p < LEVEL)}


def blind(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The faults that each metric does not see in any space, by metric."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(row["metric"] for row in rows):
        own = [row for row in rows if row["metric"] == name]
        planted = dict.fromkeys(fault for row in own for fault in row["faults"])
        found[name] = [f for f in planted if not any(row["faults"].get(f, {}).get("sees") for row in own)]
    return found
