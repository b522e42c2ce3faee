"""One job of a comparison, in its own process: train one model with one seed, measure it, keep what the report shows.

`python -m pofx.comparison.job FOLDER` reads FOLDER/job.json and leaves result.json there, written aside and renamed: it
says by its presence that the job is done. A crash, a kill or a lack of memory costs this job alone.
"""

import json
import platform
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pofx import __version__
from pofx.comparison.frozen import thaw, write_arrays
from pofx.core.files import read_json, write_json
from pofx.core.representation import Items
from pofx.data.dataset import Dataset
from pofx.data.sources import load

SHOWN = 64  # samples beside their nearest training items
SPREAD = 1000  # samples of a scatter plot
HISTORY = 240  # points of a learning curve


def run(folder: Path) -> None:
    """Do the job that FOLDER/job.json describes."""
    job = read_json(folder / "job.json")
    root = folder.parent
    dataset = thaw(root / "data") if job["data"] is None else load(job["data"])
    result = _controls(dataset, job, root) if job["model"] is None else _model(dataset, job, folder, root)
    write_json(folder / "result.json", {**result, "status": "done"})


def _model(dataset: Dataset, job: Mapping[str, Any], folder: Path, root: Path) -> dict[str, Any]:
    from pofx.evaluate.suite import evaluate
    from pofx.fitting import fit

    artifact = fit(dataset, job["model"], minutes=job["seconds"] / 60, seed=job["seed"], out=folder, progress=False)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    artifact.save(folder)
    began = time.time()
    measured = evaluate(artifact, dataset, seed=job["first_seed"], cache=root / "spaces")
    training = artifact.card["training"]
    cost = {**measured.get("cost", {}), "train_seconds": training["seconds"], "steps": training["steps"]}
    values = artifact.sample(SHOWN if dataset.card.kind == "image" else SPREAD, seed=job["seed"])
    return {
        "measurements": measured["measurements"],
        "cost": {**cost, "peak_memory_bytes": int(memory), "evaluation_seconds": round(time.time() - began, 2)},
        "history": history(folder / "log.jsonl"),
        "training": training,
        "protocol": measured.get("protocol", {}),
        "environment": environment(),
        "files": {"samples": f"{folder.name}/{keep(values, dataset.train, folder, 'samples')}"},
    }


def _controls(dataset: Dataset, job: Mapping[str, Any], root: Path) -> dict[str, Any]:
    from pofx.evaluate.metric import catalogue
    from pofx.evaluate.suite import controls, self_tests

    rows = controls(dataset, seed=job["first_seed"], cache=root / "spaces")
    values = dataset.test.values[: SHOWN if dataset.card.kind == "image" else SPREAD]
    return {
        "rows": {name: {"measurements": row["measurements"]} for name, row in rows.items()},
        "metrics": catalogue(),
        "self_test": self_tests(dataset, seed=job["first_seed"], cache=root / "spaces"),
        "protocol": next(iter(rows.values()), {}).get("protocol", {}),
        "environment": environment(),
        "files": {"real": keep(values, dataset.train, root, "real")},
    }


def environment() -> dict[str, Any]:
    """Versions and machine of this process."""
    import scipy
    import torch

    cuda = torch.cuda.is_available()
    return {
        "versions": {
            "pofx": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if cuda else f"CPU ({platform.machine()})",
    }


def history(path: Path) -> list[dict[str, float]]:
    """At most HISTORY points {seconds, step, loss, validation} of a log.jsonl; `loss` sums the logged losses."""
    from pofx.train.progress import read_log

    beside = {"step", "seconds", "images", "validation", "lr", "steps_per_second"}
    points = []
    for line in read_log(path):
        losses = [v for k, v in line.items() if k not in beside and isinstance(v, int | float)]
        point = {k: line[k] for k in ("seconds", "step", "validation") if line.get(k) is not None}
        if losses:
            point["loss"] = float(sum(losses))
        if "seconds" in point:
            points.append(point)
    judged = [p for p in points if "validation" in p]
    plain = [p for p in points if "validation" not in p]
    stride = max(1, -(-len(plain) // max(HISTORY - len(judged), 1)))
    return sorted(judged + plain[::stride], key=lambda p: p["seconds"])


def keep(values: Any, train: Items, folder: Path, name: str) -> str:
    """Write items for the report, beside their nearest training items by the Euclidean distance of their vectors.

    Images are kept as uint8 in 0 … 255, everything else as lines of a table and as points in a `plane`: their two
    coordinates, or the first two principal components of the training items. Returns the file's name.
    """
    from pofx.evaluate.distances import nearest
    from pofx.evaluate.vectors import Vectors

    vectors = Vectors.fit(train)
    first, known = values[:SHOWN], vectors(train.values)
    gaps, index = nearest(vectors(first), known)
    if train.kind == "image":
        arrays = {"samples": _picture(values, train.facts), "neighbours": _picture(train.values[index], train.facts)}
        write_arrays(folder / f"{name}.npz", {**arrays, "distances": gaps})
        return f"{name}.npz"
    plain: dict[str, Any] = {"plane": _plane(values, vectors(values), known, train.kind)}
    if isinstance(train.values, pd.DataFrame):
        near = train.values.iloc[index]
        plain |= {"columns": [str(c) for c in first.columns], "samples": _lines(first), "neighbours": _lines(near)}
    elif train.kind == "audio":
        rate = int(train.facts["rate"])
        plain |= {"samples": _sounds(first, rate), "neighbours": _sounds([train.values[i] for i in index], rate)}
        plain["columns"] = ["seconds", "decibels of full scale"]
    else:
        plain |= {"samples": _texts(first), "neighbours": _texts([train.values[i] for i in index])}
        plain["columns"] = (
            [train.kind] if len(plain["samples"][0]) == 1 else [f"x{i + 1}" for i in range(first.shape[1])]
        )
    write_json(folder / f"{name}.json", {**plain, "distances": [float(g) for g in gaps]})
    return f"{name}.json"


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


def _lines(table: pd.DataFrame) -> list[list[Any]]:
    return list(json.loads(table.to_json(orient="values")))


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


if __name__ == "__main__":
    run(Path(sys.argv[1]))
