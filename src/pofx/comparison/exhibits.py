"""What a job keeps for the report beside its numbers: samples and their neighbours, marginals, likelihoods of items.

Nearest items are the Euclidean ones of `data.vectors`. The samples shown are the first of their seed, not chosen;
the worst ones are those that lie nearest to a training item for their distance to the nearest test item, d(train) /
d(test): fresh samples are as near to the one as to the other, a copy is at 0 (section 4 of Meehan, Chaudhuri and
Dasgupta, 2020, arXiv 2004.05675, counts the same two distances).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pofx.comparison.stored import write_arrays
from pofx.core.errors import Unsupported
from pofx.core.files import write_json
from pofx.core.representation import Items
from pofx.data.dataset import Dataset, take

SHOWN = 64  # samples beside their nearest items
WORST = 16  # samples nearest to the training items
SCORED = 400  # items of each split whose log p is stored
SCORING = 6.0  # seconds per split; slow densities leave fewer items


def keep(values: Any, train: Items, folder: Path, name: str, test: Items | None = None) -> str:
    """Write items for the report beside their nearest training (and test) items, and the WORST of all of them.

    Images are stored as uint8 in 0 … 255, everything else as lines of a table and as points in a `plane`: their two
    coordinates, or the first two principal components of the training items. Returns the file's name.
    """
    from pofx.comparison.column_shapes import shapes
    from pofx.data.vectors import Vectors
    from pofx.evaluate.distances import nearest

    vectors = Vectors.fit(train)
    known, mine = vectors(train.values), vectors(values)
    gaps, index = nearest(mine, known)
    sets: dict[str, tuple[Items, np.ndarray]] = {"neighbours": (train, index)}
    facts: dict[str, np.ndarray] = {"distances": gaps[:SHOWN]}
    worst = np.zeros(0, np.int64)
    if test is not None and len(test):
        others, at = nearest(mine, vectors(test.values))
        sets["test_neighbours"] = (test, at)
        ratio = np.where(others > 0, gaps / np.maximum(others, 1e-12), np.where(gaps > 0, np.inf, 1.0))
        worst = np.argsort(ratio, kind="stable")[:WORST]
        facts |= {"test_distances": others[:SHOWN], "worst_ratios": ratio[worst], "worst_index": worst}
    if train.kind == "image":
        shown = {"samples": _picture(values if test is None else values[:SHOWN], train.facts)}
        shown |= {key: _picture(of.values[i[:SHOWN]], train.facts) for key, (of, i) in sets.items()}
        if len(worst):
            shown["worst_samples"] = _picture(values[worst], train.facts)
            shown |= {f"worst_{key}": _picture(of.values[i[worst]], train.facts) for key, (of, i) in sets.items()}
        write_arrays(folder / f"{name}.npz", {**shown, **facts})
        return f"{name}.npz"
    plain: dict[str, Any] = {"plane": _plane(values, mine, known, train.kind)}
    if train.kind in ("table", "points"):
        plain["shapes"] = shapes(values, train.values)
    first = np.arange(min(SHOWN, len(mine)))
    plain["samples"] = _listed(_at(values, first), train)
    plain["columns"] = _columns(values, plain["samples"], train)
    plain |= {key: _listed(_at(of.values, i[first]), train) for key, (of, i) in sets.items()}
    if len(worst):
        plain["worst_samples"] = _listed(_at(values, worst), train)
        plain |= {f"worst_{key}": _listed(_at(of.values, i[worst]), train) for key, (of, i) in sets.items()}
    numbers = {key: [float(v) if np.isfinite(v) else None for v in of] for key, of in facts.items()}
    write_json(folder / f"{name}.json", {**plain, **numbers})
    return f"{name}.json"


def likelihoods(artifact: Any, dataset: Dataset, own: Any, folder: Path, seed: int) -> str | None:
    """Write log p in nats of items of the three splits and of the model's own samples; None without a density.

    At most SCORED of each, in a seeded order. Models of p(x | condition) are left out: their items would need one each.
    """
    from pofx.core.model import Density
    from pofx.evaluate.density import log_likelihood

    if artifact.model.condition is not None or artifact.density <= Density.RELATIVE:
        return None
    generator = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    sets = {**dataset.splits(), "samples": Items(dataset.train.kind, own, None, dataset.train.facts)}
    for name, items in sets.items():
        some = take(items, generator.permutation(len(items))[:SCORED])
        try:
            value, _, score, _ = log_likelihood(artifact, some, seconds=SCORING)
        except Unsupported:
            return None
        found[name] = [float(f"{v:.6g}") if np.isfinite(v) else None for v in value]
        found |= {"density": Density(score.density).name.lower(), "unit": str(score.unit)}
    write_json(folder / "likelihood.json", {**found, "dims": int(artifact.representation.dims)})
    return "likelihood.json"


def _at(values: Any, index: np.ndarray) -> Any:
    if isinstance(values, pd.DataFrame):
        return values.iloc[index]
    return values[index] if isinstance(values, np.ndarray) else [values[i] for i in index]


def _listed(values: Any, train: Items) -> list[list[Any]]:
    """Items as lines of a table."""
    if isinstance(values, pd.DataFrame):
        return list(json.loads(values.to_json(orient="values")))
    return _sounds(values, int(train.facts["rate"])) if train.kind == "audio" else _texts(values)


def _columns(values: Any, lines: list[list[Any]], train: Items) -> list[str]:
    if isinstance(values, pd.DataFrame):
        return [str(c) for c in values.columns]
    if train.kind == "audio":
        return ["seconds", "decibels of full scale"]
    return [train.kind] if len(lines[0]) == 1 else [f"x{i + 1}" for i in range(len(lines[0]))]


def _plane(values: Any, x: np.ndarray, known: np.ndarray, kind: str) -> dict[str, Any]:
    """{"points": (n, 2), "axes": two names}."""
    if kind == "points" and values.shape[1] == 2:
        return {"points": np.round(values, 5).tolist(), "axes": ["x1", "x2"]}
    some = known[:: max(1, len(known) // 2000)]
    middle = some.mean(0)
    axes = np.linalg.svd(some - middle, full_matrices=False)[2][:2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    if len(axes) < 2 or x.shape[1] < 2:
        return {}
    return {"points": np.round((x - middle) @ axes.T, 5).tolist(), "axes": ["component 1", "component 2"]}


def _picture(values: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    levels = int(facts.get("levels") or 256)
    return np.round(np.asarray(values, np.float32) * (255 / (levels - 1))).clip(0, 255).astype(np.uint8)


def _sounds(clips: Any, rate: int) -> list[list[Any]]:
    """Clips as lines: how long and how loud."""
    power = [float(np.square(c, dtype=np.float64).mean()) if len(c) else 0.0 for c in clips]
    pairs = zip(clips, power, strict=True)
    return [[round(len(c) / rate, 3), round(10 * float(np.log10(max(p, 1e-10))), 1)] for c, p in pairs]


def _texts(values: Any) -> list[list[Any]]:
    """Points as lines of numbers, strings and sequences as one text each."""
    if isinstance(values[0], str):
        return [[v] for v in values]
    arrays = [np.asarray(v).ravel() for v in values]
    if arrays[0].dtype.kind == "f":
        return [a.tolist() for a in arrays]
    return [[" ".join(map(str, a.tolist()))] for a in arrays]
