"""One job of a comparison, in its own process: train one model with one seed, measure it, keep what the report shows.

`python -m pofx.comparison.job FOLDER` reads FOLDER/job.json and leaves result.json there, written aside and renamed: it
shows by its presence that the job is done. A crash, a kill or a lack of memory costs this job alone.
"""

import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pofx.artifact import Artifact
from pofx.comparison.exhibits import SHOWN, keep, likelihoods
from pofx.comparison.jobs import FOLLOW
from pofx.comparison.process import follow_caller
from pofx.comparison.status import writer
from pofx.comparison.stored import thaw
from pofx.core.errors import DataError
from pofx.core.files import read_json, write_json
from pofx.data.dataset import Dataset, sampled
from pofx.data.kind import kind_of
from pofx.data.sources import load
from pofx.runs.environment import environment
from pofx.train.options import Budget

SPREAD = 1000  # samples of a scatter plot, and of those among which the worst are looked for
PATIENCE = 20.0  # seconds of drawing them; a slow model shows its first SHOWN only
HISTORY = 240  # points of a learning curve
FROM_TRAINING = {"examples": "images", "best_step": "best_step", "best_validation": "best_validation", "flops": "flops"}


def run(folder: Path) -> None:
    """Do the job that FOLDER/job.json describes."""
    job = read_json(folder / "job.json")
    root = folder.parent
    dataset = thaw(root / "data") if job["data"] is None else load(job["data"], reading=job.get("reading"))
    if job.get("hash") and dataset.card.hash != job["hash"]:
        raise DataError(f"{dataset.card.name} has changed since the comparison began: start another one")
    if job["model"] is None:
        result = _controls(sampled(dataset, job["first_seed"]), job, folder, root)
    else:
        result = _model(dataset, job, folder, root) if job["trial"] is None else _trial(dataset, job, folder)
    write_json(folder / "result.json", {**result, "status": "done"})


def _fit(dataset: Dataset, job: Mapping[str, Any], folder: Path | None, place: Path) -> Artifact:
    from pofx.runs.fitting import fit

    budget = Budget.of(job["budget"]).request
    return fit(
        dataset,
        job["model"],
        **budget,
        seed=job["seed"],
        out=folder,
        overwrite=folder is not None,
        progress=writer(place),
        on=job.get("on"),
        **job["options"],
    )


def _trial(dataset: Dataset, job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train only: validation judges the options of a trial."""
    training = _fit(dataset, job, None, folder).card["training"]
    return {"validation": training["best_validation"], "seconds": training["seconds"], "training": training}


def _model(dataset: Dataset, job: Mapping[str, Any], folder: Path, root: Path) -> dict[str, Any]:
    from pofx.evaluate.conditions import drawn
    from pofx.evaluate.suite import evaluate

    artifact = _fit(dataset, job, folder, folder)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    artifact.save(folder)
    dataset, began = sampled(dataset, job["first_seed"]), time.time()
    measured = evaluate(
        artifact,
        dataset,
        n=job.get("n"),
        seed=job["first_seed"],
        spaces=job["spaces"],
        cache=root / "spaces",
        progress=writer(folder),
    )
    training = artifact.card["training"]
    cost = {**measured.get("cost", {}), "train_seconds": training["seconds"]}
    if list(artifact.model.phases()):  # a classical model takes no steps
        cost["steps"] = training["steps"]
    cost |= {new: training[old] for new, old in FROM_TRAINING.items() if training.get(old) is not None}
    rate = next((m["value"] for m in measured["measurements"] if m["metric"] == "samples_per_second"), None)
    most = _spread(dataset)
    n = int(min(most, max(SHOWN, PATIENCE * (rate or 0.0))))
    values = drawn(artifact, dataset.test, n, seed=job["seed"]).values
    files = {"samples": keep(values, dataset.train, folder, "samples", dataset.test)}
    scored = likelihoods(artifact, dataset, values, folder, job["first_seed"])
    files |= {"likelihood": scored} if scored else {}
    return {
        "measurements": measured["measurements"],
        "cost": {**cost, "peak_memory_bytes": int(memory), "evaluation_seconds": round(time.time() - began, 2)},
        "history": history(folder / "log.jsonl"),
        "training": training,
        "protocol": measured.get("protocol", {}),
        "environment": environment(),
        "files": {key: f"{folder.name}/{name}" for key, name in files.items()},
    }


def _controls(dataset: Dataset, job: Mapping[str, Any], folder: Path, root: Path) -> dict[str, Any]:
    from pofx.evaluate.metric import catalogue
    from pofx.evaluate.suite import controls, self_tests

    given = {
        "n": job.get("n"),
        "seed": job["first_seed"],
        "spaces": job["spaces"],
        "cache": root / "spaces",
        "progress": writer(folder),
    }
    rows = controls(dataset, **given)
    kind, held = kind_of(dataset.test), len(dataset.test)
    values = kind.take(dataset.test.values, np.arange(min(SHOWN if kind.pictorial else SPREAD, held)))
    return {
        "rows": {name: {"measurements": row["measurements"]} for name, row in rows.items()},
        "metrics": catalogue(),
        "self_test": self_tests(dataset, **given),
        "protocol": next(iter(rows.values()), {}).get("protocol", {}),
        "environment": environment(),
        "files": {"real": keep(values, dataset.train, root, "real")},
    }


def _spread(dataset: Dataset) -> int:
    """Samples among which the worst are looked for: fewer pictures, which take longer to draw and have no scatter."""
    return SPREAD // 4 if kind_of(dataset.test).pictorial else SPREAD


def history(path: Path) -> list[dict[str, float]]:
    """At most HISTORY points {seconds, step, loss, validation, telemetry} of a log.jsonl; `loss` sums the losses."""
    from pofx.train.log import BESIDE, read_log

    beside = {*BESIDE, "validation"}
    points = []
    for line in read_log(path):
        losses = [v for k, v in line.items() if k not in beside and isinstance(v, int | float)]
        point = {k: line[k] for k in ("seconds", "step", "validation", "telemetry") if line.get(k) is not None}
        if losses:
            point["loss"] = float(sum(losses))
        if "seconds" in point and "warning" not in line:
            points.append(point)
    judged = [p for p in points if "validation" in p]
    plain = [p for p in points if "validation" not in p]
    stride = max(1, -(-len(plain) // max(HISTORY - len(judged), 1)))
    return sorted(judged + plain[::stride], key=lambda p: p["seconds"])


if __name__ == "__main__":
    if FOLLOW in sys.argv[2:]:
        follow_caller()
    run(Path(sys.argv[1]))
