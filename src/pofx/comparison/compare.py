"""compare: which family suits my data? One model per family, equal training time, one table, one report.

Every job (a model and a seed) runs in a process of its own under a time limit and leaves a result behind: a crash costs
one row, an interruption one job, and a second call only what is missing. What may not change between the calls is the
protocol: data, budget, first seed and version.
"""

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pofx import __version__
from pofx.comparison.frozen import freeze
from pofx.comparison.jobs import Job, result, run_jobs
from pofx.comparison.request import BASELINE, choose_models, default_folder, duration, settle, spoken
from pofx.core import config
from pofx.core.errors import UsageError
from pofx.core.files import write_json
from pofx.data.dataset import Dataset
from pofx.data.sources import load
from pofx.report.columns import frame, text
from pofx.report.page import write as write_report
from pofx.report.rows import SCHEMA, read, rows
from pofx.report.verdict import decide


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: the folder that holds results.json and report.html."""

    folder: Path

    @property
    def results(self) -> dict[str, Any]:
        """The content of results.json."""
        return read(self.folder / "results.json")

    @property
    def report(self) -> Path:
        """The report: one HTML file that opens offline."""
        return self.folder / "report.html"

    def table(self) -> pd.DataFrame:
        """One row per model and control: values, standard errors ("… ±"), kind of density, status."""
        return frame(rows(self.results))

    def __str__(self) -> str:
        """The verdict and the main columns, for a terminal."""
        table = rows(self.results)
        return f"{text(table)}\n\n{decide(table).headline}"


def compare(
    data: Any,
    models: Sequence[str] | None = None,
    families: Sequence[str] | None = None,
    budget: str | float = "30s",
    seeds: int = 1,
    out: str | Path | None = None,
    seed: int = 0,
) -> Comparison:
    """Train models for equal times, measure them alike and write table and report.

    Args:
        data: as in `pofx.fit`.
        models: names of `pofx models`; by default one per family, the first that accepts the data.
        families: take one model of each of these families only.
        budget: training time of each model: "30s", "2m", "1h", or seconds.
        seeds: training runs per model, with seeds seed, seed + 1, …
        out: folder of the comparison; a second call there runs only what is missing or has failed.

    Raises:
        UsageError: unknown names, a budget that is no time, or a folder that holds a comparison under another protocol.
        DataError: data that cannot be read.
    """
    seconds = duration(budget)
    if seeds < 1:
        raise UsageError(f"seeds must be at least 1 (got {seeds})")
    dataset = load(data)
    chosen, skipped = choose_models(dataset, models, families)
    named = isinstance(data, str | os.PathLike)
    folder = Path(out) if out is not None else default_folder(dataset, seconds, seed)
    protocol = {
        "schema": SCHEMA,
        "pofx": __version__,
        "data": dataset.card.name,
        "hash": dataset.card.hash,
        "budget": spoken(seconds),
        "seed": seed,
    }
    settle(folder, protocol)
    if not named and not (folder / "data" / "card.json").exists():
        freeze(dataset, folder / "data")
    jobs = [Job(None, seed), *(Job(model, seed + k) for k in range(seeds) for model in chosen)]
    facts = {
        "models": chosen,
        "asked": list(models or ()),
        "families": list(families or ()),
        "skipped": skipped,
        "seeds": [seed + k for k in range(seeds)],
    }
    try:
        run_jobs(jobs, folder, str(data) if named else None, seconds)
    finally:
        results = gather(folder, dataset, protocol, facts, jobs, str(data) if named else None)
        write_json(folder / "results.json", results)
        write_report(folder / "results.json")
    return Comparison(folder)


def gather(
    folder: Path,
    dataset: Dataset,
    protocol: Mapping[str, Any],
    facts: Mapping[str, Any],
    jobs: Sequence[Job],
    data: str | None,
) -> dict[str, Any]:
    """results.json from the results of the jobs."""
    found = {job: result(folder / job.name) for job in jobs}
    controls = found[jobs[0]]
    some = next((r for r in [controls, *found.values()] if r.get("environment")), {})
    listed = []
    for name in facts["models"]:
        row = config.entries()[name].traits
        runs = [{"seed": job.seed, **found[job]} for job in jobs if job.model == name]
        traits = {**vars(row), "events": list(row.events), "density": row.density.name.lower()}
        role = "baseline" if name == BASELINE and BASELINE not in facts["asked"] else "model"
        listed.append({"name": name, "family": row.family, "role": role, "traits": traits, "runs": runs})
    for name, row in controls.get("rows", {}).items():
        runs = [{"seed": jobs[0].seed, "status": "done", **row}]
        listed.append({"name": name, "family": "", "role": "control", "traits": {}, "runs": runs})
    if not controls.get("rows"):
        runs = [{"seed": jobs[0].seed, "status": controls["status"], "reason": controls.get("reason", "")}]
        listed.append({"name": "controls", "family": "", "role": "control", "traits": {}, "runs": runs})
    measured = some.get("protocol", {})
    asked = {
        "--models": ",".join(facts["asked"]),
        "--families": ",".join(facts["families"]),
        "--budget": f"{duration(protocol['budget']):g}s",
        "--seeds": str(len(facts["seeds"])),
        "--seed": str(protocol["seed"]),
        "--out": str(folder),
    }
    command = shlex.join(["pofx", "compare", data or "", *(part for item in asked.items() if item[1] for part in item)])
    return {
        "schema": SCHEMA,
        "pofx": __version__,
        "created": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": command if data else "",
        "data": dataset.card.to_json(),
        "protocol": {**protocol, "seeds": facts["seeds"], "measures": measured, **some.get("environment", {})},
        "skipped": dict(facts["skipped"]),
        "metrics": controls.get("metrics", {}),
        "self_test": controls.get("self_test", []),
        "files": controls.get("files", {}),
        "rows": listed,
    }
