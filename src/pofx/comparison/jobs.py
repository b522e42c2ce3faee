"""The jobs of a comparison, one process after the other: each with a time limit, each leaving a result or a reason."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pofx.comparison.request import spoken
from pofx.core.files import read_json, write_json

LIMIT = (4.0, 900.0)  # a job may take this many times its budget, plus this many seconds


@dataclass(frozen=True)
class Job:
    """A model with a seed, or with `model` None the controls."""

    model: str | None
    seed: int

    @property
    def name(self) -> str:
        return "controls" if self.model is None else f"{self.model}-seed{self.seed}"


def run_jobs(jobs: Sequence[Job], folder: Path, data: str | None, seconds: float) -> None:
    """Run what has no result yet, one process after the other; failures are kept as results of their own."""
    missing = [job for job in jobs if not done(folder / job.name)]
    if not missing:
        return
    console = Console(stderr=True)
    console.print(f"{len(missing)} of {len(jobs)} jobs to run in {folder}, {spoken(seconds)} of training each")
    spent: list[float] = []
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(missing), left="")
        for at, job in enumerate(missing):
            began = time.monotonic()

            def tick(at: int = at, job: Job = job, began: float = began) -> None:
                each = sum(spent) / len(spent) if len(spent) > 1 else seconds + 15
                left = max(0.0, each * (len(missing) - at) - (time.monotonic() - began))
                progress.update(task, description=job.name, completed=at, left=f"about {spoken(round(left))} left")

            place = folder / job.name
            shutil.rmtree(place, ignore_errors=True)
            plain = {"model": job.model, "seed": job.seed, "first_seed": jobs[0].seed, "data": data, "seconds": seconds}
            write_json(place / "job.json", plain)
            reason = launch(place, LIMIT[0] * seconds + LIMIT[1], tick)
            spent.append(time.monotonic() - began)
            if reason is None and not done(place):
                reason = "ended without a result"
            if reason is not None:
                write_json(place / "result.json", {"status": "failed", "reason": reason})
            mark = "[green]done[/]" if reason is None else "[red]failed[/]"
            console.print(f"{mark} {job.name} in {spoken(round(spent[-1]))}{'' if reason is None else f': {reason}'}")


def done(place: Path) -> bool:
    """Whether a job has a result that is not a failure."""
    path = place / "result.json"
    return path.exists() and read_json(path).get("status") == "done"


def launch(place: Path, limit: float, tick: Callable[[], None] = lambda: None) -> str | None:
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
        end = time.monotonic() + limit
        try:
            while process.poll() is None:
                tick()
                if time.monotonic() > end:
                    return f"stopped after {spoken(round(limit))}, its time limit"
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


def result(place: Path) -> dict[str, Any]:
    """The result of a job; `missing` where it has not been run."""
    path = place / "result.json"
    return dict(read_json(path)) if path.exists() else {"status": "missing", "reason": "not run yet"}
