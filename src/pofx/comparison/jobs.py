"""The jobs of a comparison: what they are, when they are done, and how they run one after the other.

A job leaves a result, or the reason of its failure, in its folder; `cluster` spreads jobs over machines. The process of
a job holds a lock while it runs, so that no second one works in the same folder, not even beside that of a killed call.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pofx.comparison.process import Limits, launch
from pofx.comparison.status import Status, read
from pofx.core.errors import CorruptError
from pofx.core.files import read_json, write_json
from pofx.core.lock import lock
from pofx.core.progress import Sink
from pofx.train.options import Budget

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
    reading: Mapping[str, Any] = field(default_factory=dict)  # options of reading it
    on: str | None = None  # the run on whose codes all models are trained
    n: int | None = None  # items on each side of a measure; None: as many as `evaluate` takes

    def plain(self, job: Job) -> dict[str, Any]:
        """The job as its process reads it."""
        return {
            "model": job.model,
            "seed": job.seed,
            "first_seed": self.first_seed,
            "data": self.data,
            **({"reading": dict(self.reading)} if self.reading and self.data is not None else {}),
            **({} if self.on is None else {"on": self.on}),
            **({} if self.n is None else {"n": self.n}),
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


def run_jobs(jobs: Sequence[Job], orders: Orders, report: Sink = lambda now: None) -> None:
    """Run what has no result yet, one process after the other; failures are results, too.

    Where the controls fail, nothing else is run.
    """
    missing = [job for job in jobs if not orders.done(job)]
    status = Status(len(missing), orders.budget, report)
    for job in missing:
        with orders.lock(job) as held:
            if orders.done(job):  # by a process that outlived the last call for a moment
                status.skip()
                continue
            place = orders.begin(job)
            status.begin(job.name)
            tick = partial(_show, status, job.name, place)
            reason = launch(command(place), place / "output.txt", orders.limits, tick, (held,))
            reason = fail(place, reason)
            status.end(job.name, reason)
        if job.model is None and reason is not None:
            return  # what fails for real items fails for samples, too: nothing is trained for it


def _show(status: Status, name: str, place: Path) -> None:
    status.show(name, read(place))


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
