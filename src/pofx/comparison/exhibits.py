"""What a job keeps for the report beside its numbers: samples and their neighbours, marginals, likelihoods of items.

Nearest items are the Euclidean ones of `data.vectors`. The samples shown are the first of their seed, not chosen;
the worst ones are those that lie nearest to a training item for their distance to the nearest test item, d(train) /
d(test): fresh samples are as near to the one as to the other, a copy is at 0 (section 4 of Meehan, Chaudhuri and
Dasgupta, 2020, arXiv 2004.05675, counts the same two distances).
"""

from pathlib import Path
from typing import Any

import numpy as np

from pofx.core.errors import Unsupported
from pofx.core.files import write_json
from pofx.core.items import Items
from pofx.data.arrays import write_arrays
from pofx.data.dataset import Dataset, take
from pofx.data.kind import Kind, kind_of

SHOWN = 64  # samples beside their nearest items
WORST = 16  # samples nearest to the training items
SCORED = 400  # items of each split whose log p is stored
SCORING = 6.0  # seconds per split; slow densities leave fewer items
FEWEST = 12  # of which, and of fewer nothing is shown


def keep(values: Any, train: Items, folder: Path, name: str, test: Items | None = None) -> str:
    """Write items for the report beside their nearest training (and test) items, and the WORST of all of them.

    Items of pictorial kinds are stored as their pictures, all others as lines of a table and as points in a `plane`:
    their own, or the first two principal components of the training items. Returns the file's name.
    """
    from pofx.comparison.column_shapes import shapes
    from pofx.data.vectors import Vectors
    from pofx.evaluate.distances import nearest

    kind, vectors = kind_of(train), Vectors.fit(train)
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
    first = np.arange(min(SHOWN, len(mine)))
    chosen = {"samples": (values, first), **{key: (of.values, i[first]) for key, (of, i) in sets.items()}}
    if len(worst):
        chosen["worst_samples"] = (values, worst)
        chosen |= {f"worst_{key}": (of.values, i[worst]) for key, (of, i) in sets.items()}
    shown = {key: kind.shown(kind.take(of, at), train.facts) for key, (of, at) in chosen.items()}
    if kind.pictorial:
        pictures = {key: one.pictures for key, one in shown.items() if one.pictures is not None}
        write_arrays(folder / f"{name}.npz", {**pictures, **facts})
        return f"{name}.npz"
    plain: dict[str, Any] = {"plane": _plane(kind, values, mine, known)}
    table, rows = kind.columns(values), kind.columns(train.values)
    if kind.columnar and table is not None and rows is not None:
        plain["shapes"] = shapes(table, rows)
    plain |= {key: one.lines for key, one in shown.items()} | {"columns": shown["samples"].columns}
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
            value, _, score, _ = log_likelihood(artifact, some, seconds=SCORING, first=1)
        except Unsupported:
            return None
        if len(value) < min(FEWEST, len(some)):
            return None  # too slow for a picture
        found[name] = [float(f"{v:.6g}") if np.isfinite(v) else None for v in value]
        found |= {"density": Density(score.density).name.lower(), "unit": str(score.unit)}
    write_json(folder / "likelihood.json", {**found, "dims": int(artifact.representation.dims)})
    return "likelihood.json"


def _plane(kind: Kind, values: Any, x: np.ndarray, known: np.ndarray) -> dict[str, Any]:
    """{"points": (n, 2), "axes": two names}: the items' own plane, or principal components of their vectors."""
    own, rows = kind.plane(values), kind.columns(values)
    if own is not None:
        axes_of = ["x", "y"] if rows is None else [str(name) for name in rows.columns]
        return {"points": np.round(own, 5).tolist(), "axes": axes_of}
    some = known[:: max(1, len(known) // 2000)]
    middle = some.mean(0)
    axes = np.linalg.svd(some - middle, full_matrices=False)[2][:2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    if len(axes) < 2 or x.shape[1] < 2:
        return {}
    return {"points": np.round((x - middle) @ axes.T, 5).tolist(), "axes": ["component 1", "component 2"]}
