"""results.json from what the jobs of a comparison left: a row per model with every run, done or failed."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pofx import __version__
from pofx.comparison.jobs import Job, Orders
from pofx.core import config
from pofx.data.dataset import Dataset
from pofx.report.rows import SCHEMA

VERSIONS = ("pofx", "python", "torch", "numpy", "scipy")  # that a protocol states


def gather(
    orders: Orders,
    jobs: Sequence[Job],
    dataset: Dataset,
    protocol: Mapping[str, Any],
    tuned: Mapping[str, Mapping[str, Any]],
    named: Sequence[str] = (),
    given: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The content of results.json.

    Args:
        jobs: the controls first, then models and seeds in the order of the rows.
        tuned: by model its trials, as `tuning.chosen` returns them; empty where nothing was tuned.
        named: models that the request names; of the others, classical ones are baselines.
        given: trained runs by name, as `given.measured` returns them.
    """
    found = {job.name: orders.result(job) for job in jobs}
    first = jobs[0]
    controls = found[first.name]
    some = next((r for r in [controls, *found.values()] if r.get("environment")), {})
    listed: list[dict[str, Any]] = []
    for name in dict.fromkeys(job.model for job in jobs if job.model is not None):
        own = [job for job in jobs if job.model == name]
        row = config.entries()[name].traits
        trials = tuned.get(name)
        spent = {} if trials is None else {"trials": len(trials["trials"]), "tuning_seconds": trials["seconds"]}
        listed.append(
            {
                "name": name,
                "family": row.family,
                "role": "baseline" if row.baseline and name not in named else "model",
                "traits": {**vars(row), "events": list(row.events), "density": row.density.name.lower()},
                "options": dict(own[0].options),
                "trials": [] if trials is None else trials["trials"],
                "runs": [{"seed": job.seed, **_with_cost(found[job.name], spent)} for job in own],
            }
        )
    held = controls.get("rows") or {"controls": {k: controls[k] for k in ("status", "reason") if k in controls}}
    for name, result in {**held, **(given or {})}.items():
        runs = [{"seed": first.seed, "status": "done", **result}]
        listed.append({"name": name, "family": "", "role": "control", "traits": {}, "runs": runs})
    seeds = list(dict.fromkeys(job.seed for job in jobs[1:]))
    return {
        "schema": SCHEMA,
        "pofx": __version__,
        "created": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": "",
        "data": dataset.card.to_json(),
        "protocol": {
            **protocol,
            "seeds": seeds,
            "trials": max((len(t["trials"]) for t in tuned.values()), default=1),
            "limits": vars(orders.limits),
            "measures": some.get("protocol", {}),
            **_machine(some.get("environment", {})),
        },
        "skipped": {},
        "metrics": controls.get("metrics", {}),
        "self_test": controls.get("self_test", []),
        "files": controls.get("files", {}),
        "rows": listed,
    }


def _machine(made: Mapping[str, Any]) -> dict[str, Any]:
    """What the protocol states of the environment of the jobs."""
    versions = {name: made[name] for name in VERSIONS if name in made}
    return {"versions": versions, "threads": made.get("threads"), "device": made.get("device")} if made else {}


def _with_cost(result: dict[str, Any], spent: Mapping[str, Any]) -> dict[str, Any]:
    return {**result, "cost": {**result["cost"], **spent}} if spent and "cost" in result else result
