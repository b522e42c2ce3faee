"""The jobs of a comparison: what they are, when they are done, and how they run one after the other.

A job leaves a result, or the reason of its failure, in its folder; `cluster` spreads jobs over machines. The process of
a job holds a lock while it runs, so that no second one works in the same folder, not even beside that of a killed call.
"""

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pofx.comparison.process import Limits, launch
from pofx.core.errors import CorruptError
from pofx.core.files import read_json, write_json
from pofx.core.lock import lock
from pofx.train.options import Budget, spoken

ORPHAN = 30.0  # seconds to wait for the process of a killed call
FOLLOW = "--with-caller"  # the argument of a job that must not outlive its caller


@dataclass(frozen=True)
class Job:
    """A model with a seed and options beyond its defaults; a trial is trained and judged by validation alone, and
    `model` None measures the controls."""

    model: str | None
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)
    trial: int | None = None

    @property
    def name(self) -> str:
        part = f"seed{self.seed}" if self.trial is None else f"trial{self.trial}"
        return "controls" if self.model is None else f"{self.model}-{part}"

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True)
class Orders:
    """What all jobs of a comparison share: where they live, what data, what budget, the seed of all measurements."""

    folder: Path
    data: str | None  # a name or path; None: the frozen data in the folder
    budget: Budget
    first_seed: int
    limits: Limits
    spaces: tuple[str, ...] | None = None  # feature spaces; None: those of `evaluate`
    hash: str = ""  # of the data

    def plain(self, job: Job) -> dict[str, Any]:
        """The job as its process reads it."""
        return {
            "model": job.model,
            "seed": job.seed,
            "first_seed": self.first_seed,
            "data": self.data,
            "budget": str(self.budget),
            "options": dict(job.options),
            "trial": job.trial,
            "spaces": None if self.spaces is None else list(self.spaces),
            "hash": self.hash,
        }

    def begin(self, job: Job) -> Path:
        """An empty place for a job, with its orders."""
        place = self.folder / job.name
        shutil.rmtree(place, ignore_errors=True)
        write_json(place / "job.json", self.plain(job))
        return place

    def lock(self, job: Job) -> AbstractContextManager[int]:
        """The lock of a job, which its process inherits; the process of a killed call ends within seconds."""
        path = self.folder / ".locks" / f"{job.name}.lock"
        return lock(path, f"the job {job.name} of {self.folder}", wait=ORPHAN)

    def result(self, job: Job) -> dict[str, Any]:
        """The result of a job under these orders; `missing` where there is none, a damaged one, or one of others."""
        place = self.folder / job.name
        found, given = _read(place / "result.json"), _read(place / "job.json")
        if (
            "status" not in found
            or "model" not in given
            or any(given.get(k, v) != v for k, v in self._same(job).items())
        ):
            return {"status": "missing", "reason": "not run yet"}
        return found

    def _same(self, job: Job) -> dict[str, Any]:
        """What must be equal for a result to count; a job of an older version does not state all of it."""
        return {key: value for key, value in self.plain(job).items() if key != "data"}

    def done(self, job: Job) -> bool:
        """Whether a job has a result that is not a failure."""
        return self.result(job)["status"] == "done"


def run_jobs(jobs: Sequence[Job], orders: Orders) -> None:
    """Run what has no result yet, one process after the other; failures are results, too.

    Where the controls fail, nothing else is run.
    """
    missing = [job for job in jobs if not orders.done(job)]
    with Watched(missing, len(jobs), orders) as watched:
        for job in missing:
            with orders.lock(job) as held:
                if orders.done(job):  # by a process that outlived the last call for a moment
                    continue
                place = orders.begin(job)
                watched.begin(job)
                reason = launch(command(place), place / "output.txt", orders.limits, watched.tick, (held,))
                reason = fail(place, reason)
                watched.end(job, reason)
            if job.model is None and reason is not None:
                return  # what fails for real items fails for samples, too: nothing is trained for it


def command(place: Path) -> list[str]:
    """The command that does the job of a folder."""
    return [sys.executable, "-m", "pofx.comparison.job", str(place), FOLLOW]


def fail(place: Path, reason: str | None) -> str | None:
    """Store the reason of a failure as the result of a job; also where it ended well and left no result."""
    path = place / "result.json"
    if reason is None and _read(path).get("status") != "done":
        reason = "ended without a result"
    if reason is not None:
        write_json(path, {"status": "failed", "reason": reason})
    return reason


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty where the file is missing or damaged, as a crash of the machine may leave it."""
    try:
        found = read_json(path)
    except CorruptError:
        return {}
    return found if isinstance(found, dict) else {}


class Watched:
    """A progress bar over jobs, with a line for each that has ended."""

    def __init__(self, jobs: Sequence[Job], total: int, orders: Orders) -> None:
        self.jobs, self.console, self.spent = jobs, Console(stderr=True), list[float]()
        self.each = orders.budget.seconds
        self.began: dict[Job, float] = {}
        self.running: list[Job] = []
        if jobs:
            what = f"{len(jobs)} of {total} jobs to run in {orders.folder}"
            self.console.print(f"{what}, {orders.budget} of training each")
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=28),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self.progress = Progress(*columns, console=self.console, transient=True)
        self.task = self.progress.add_task("", total=len(jobs), left="")

    def __enter__(self) -> "Watched":
        if self.jobs:
            self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def begin(self, job: Job) -> None:
        self.began[job] = time.monotonic()
        self.running.append(job)
        self.tick()

    def tick(self) -> None:
        """Show what runs, and about how long the rest takes."""
        ended, left = len(self.spent), ""
        each = sum(self.spent) / ended if ended > 1 else None if self.each is None else self.each + 15
        if each is not None and self.running:
            whole = each * (len(self.jobs) - ended) / len(self.running)
            left = f"about {spoken(round(max(0.0, whole - (time.monotonic() - self.began[self.running[0]]))))} left"
        self.progress.update(self.task, description=", ".join(j.name for j in self.running), completed=ended, left=left)

    def end(self, job: Job, reason: str | None) -> None:
        self.running.remove(job)
        self.spent.append(time.monotonic() - self.began[job])
        mark = "[green]done[/]" if reason is None else "[red]failed[/]"
        after = "" if reason is None else f": {reason}"
        self.console.print(f"{mark} {job.name} in {spoken(round(self.spent[-1]))}{after}")
