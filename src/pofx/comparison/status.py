"""The progress of a comparison: which jobs run, what each is doing, and about how long the rest takes.

A job writes its own progress to a small file in its folder; the caller reads it a few times a second and reports one
`Progress` for the whole: its share counts the jobs that have ended and the share of those that run.
"""

import json
import os
import time
from pathlib import Path

from pofx.core.progress import Progress, Sink
from pofx.train.options import Budget, spoken

FILE = "progress.json"
PAUSE = 0.3  # seconds between two writings
OVERHEAD = 15.0  # seconds of a job beside its training, before one has been timed


class Status:
    """Jobs begun and ended, reported to a sink."""

    def __init__(self, jobs: int, budget: Budget, report: Sink) -> None:
        self.jobs, self.report, self.spent = jobs, report, list[float]()
        self.each = None if budget.seconds is None else budget.seconds + OVERHEAD
        self.began: dict[str, float] = {}
        self.inner: dict[str, Progress] = {}
        self.skipped = 0
        if jobs:
            report(Progress(f"0 of {jobs} jobs done"))

    def skip(self) -> None:
        self.skipped += 1

    def begin(self, name: str) -> None:
        self.began[name] = time.monotonic()
        self.show(name, Progress("starting"))

    def show(self, name: str, now: Progress | None) -> None:
        """Report what a job does; None: nothing new is known."""
        if now is not None:
            self.inner[name] = now
        ended = len(self.spent) + self.skipped
        inside = sum(min(now.share, 0.99) for job, now in self.inner.items() if job in self.began)
        each = sum(self.spent) / len(self.spent) if len(self.spent) > 1 else self.each
        left = None
        if each is not None and self.began:
            running = sum(time.monotonic() - began for began in self.began.values())
            left = max(0.0, (each * (self.jobs - ended) - running) / len(self.began))
        own = self.inner.get(name, Progress(""))
        phase = f"{name}: {own.phase}" if own.phase else name
        share = min(0.999, (ended + inside) / max(self.jobs, 1))
        self.report(Progress(phase, own.step, share, own.losses, own.rate, left))

    def end(self, name: str, reason: str | None) -> None:
        self.spent.append(time.monotonic() - self.began.pop(name))
        self.inner.pop(name, None)
        took = spoken(round(self.spent[-1]))
        note = f"{name}: done in {took}" if reason is None else f"{name}: failed in {took}: {reason}"
        ended = len(self.spent) + self.skipped
        self.report(Progress(f"{ended} of {self.jobs} jobs done", share=ended / max(self.jobs, 1), note=note))


def writer(place: Path) -> Sink:
    """In a job: write its progress for the caller, a few times a second at most."""
    last = [0.0]

    def write(now: Progress) -> None:
        if time.monotonic() - last[0] < PAUSE and now.step:
            return
        last[0] = time.monotonic()
        plain = {"phase": now.phase, "step": now.step, "share": now.share, "rate": now.rate}
        aside = place / f".{FILE}.part"
        try:
            aside.write_text(json.dumps(plain))
            os.replace(aside, place / FILE)
        except OSError:
            return  # a job does not fail for want of a progress file

    return write


def read(place: Path) -> Progress | None:
    """What a job wrote last; None where there is nothing to read."""
    try:
        plain = json.loads((place / FILE).read_text())
        return Progress(str(plain["phase"]), int(plain["step"]), float(plain["share"]), {}, float(plain["rate"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
