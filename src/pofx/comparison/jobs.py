"""The jobs of a comparison: what they are, when they are done, and how one runs in a process of its own.

A job leaves a result or a reason behind. Here they run one after the other; `cluster` spreads them over machines.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pofx.core.errors import UsageError
from pofx.core.files import read_json, write_json
from pofx.train.options import Budget, spoken

GRACE = (4.0, 900.0)  # by default a job may take this many times its training time, plus this many seconds
LONGEST = 7200.0  # … and this many where the budget is no time
MEMORY = 0.9  # of the machine's memory, by default
BYTES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


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
class Limits:
    """What one job may take: seconds by the clock and bytes of memory, its children's with it."""

    seconds: float
    memory: float

    @classmethod
    def of(
        cls, budget: Budget, time_limit: str | float | None = None, memory_limit: str | float | None = None
    ) -> "Limits":
        """Limits from "2h" and "8GB"; by default 4 × the training time + 15 min (2 h where the budget is no time), and
        nine tenths of the machine's memory.

        Raises:
            UsageError: a text that is no time or no size.
        """
        seconds = LONGEST if budget.seconds is None else GRACE[0] * budget.seconds + GRACE[1]
        if time_limit is not None:
            asked = Budget.of(time_limit).seconds
            if asked is None:
                raise UsageError(f"a time limit is a time such as 30m or 2h (got '{time_limit}')")
            seconds = asked
        memory = MEMORY * psutil.virtual_memory().total
        if memory_limit is not None:
            found = re.fullmatch(r"\s*(\d+\.?\d*)\s*([KMGT]?)i?B?\s*", str(memory_limit), re.IGNORECASE)
            memory = float(found[1]) * BYTES[found[2].upper()] if found else 0.0
            if memory <= 0:
                raise UsageError(f"a memory limit is a size such as 8GB (got '{memory_limit}')")
        return cls(seconds, memory)


@dataclass(frozen=True)
class Orders:
    """What all jobs of a comparison share: where they live, what data, what budget, the seed of all measurements."""

    folder: Path
    data: str | None  # a name or path; None: the frozen data in the folder
    budget: Budget
    first_seed: int
    limits: Limits
    spaces: tuple[str, ...] | None = None  # feature spaces; None: those of `evaluate`

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
        }

    def begin(self, job: Job) -> Path:
        """An empty place for a job, with its orders."""
        place = self.folder / job.name
        shutil.rmtree(place, ignore_errors=True)
        write_json(place / "job.json", self.plain(job))
        return place

    def result(self, job: Job) -> dict[str, Any]:
        """The result of a job under these orders; `missing` where there is none, or one under others."""
        place = self.folder / job.name
        path = place / "result.json"
        if not path.exists() or any(
            read_json(place / "job.json").get(k) != v for k, v in self.plain(job).items() if k != "data"
        ):
            return {"status": "missing", "reason": "not run yet"}
        return dict(read_json(path))

    def done(self, job: Job) -> bool:
        """Whether a job has a result that is not a failure."""
        return self.result(job)["status"] == "done"


Tick = Callable[[], None]


def run_jobs(jobs: Sequence[Job], orders: Orders) -> None:
    """Run what has no result yet, one process after the other; failures are kept as results of their own."""
    missing = [job for job in jobs if not orders.done(job)]
    with Watched(missing, len(jobs), orders) as watched:
        for job in missing:
            place = orders.begin(job)
            watched.begin(job)
            reason = launch(place, orders.limits, watched.tick)
            watched.end(job, fail(place, reason))


def fail(place: Path, reason: str | None) -> str | None:
    """Keep the reason of a failure as the result of a job; also where it ended well and left no result."""
    path = place / "result.json"
    if reason is None and not (path.exists() and read_json(path).get("status") == "done"):
        reason = "ended without a result"
    if reason is not None:
        write_json(path, {"status": "failed", "reason": reason})
    return reason


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


def launch(place: Path, limits: Limits, tick: Tick = lambda: None) -> str | None:
    """Run the job in a folder as its own process group; the reason of a failure, or None.

    Ctrl-C ends the job under way and goes on to the caller.
    """
    with (place / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pofx.comparison.job", str(place)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        end = time.monotonic() + limits.seconds
        try:
            while process.poll() is None:
                tick()
                if time.monotonic() > end:
                    return f"stopped after {spoken(round(limits.seconds))}, its time limit"
                if (taken := memory(process.pid)) > limits.memory:
                    return f"stopped at {taken / 1e9:.2g} GB of memory, its limit is {limits.memory / 1e9:.2g} GB"
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if process.returncode < 0:
        killed = signal.Signals(-process.returncode).name
        return f"ended by {killed}" + (", perhaps for lack of memory" if killed == "SIGKILL" else "")
    if process.returncode:
        lines = (place / "output.txt").read_text(errors="replace").strip().splitlines() or ["no message"]
        return re.sub(r"^(?:\w+\.)+(\w+(?:Error|Exception|Unsupported)?): ", r"\1: ", lines[-1])[:400]
    return None


def memory(pid: int) -> int:
    """Bytes of memory that a process and its children hold; 0 once it has gone."""
    try:
        process = psutil.Process(pid)
        return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0
