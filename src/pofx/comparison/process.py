"""A command in a process of its own under limits of time and memory, which does not outlive the caller.

The child's standard input is a pipe that the caller holds open: the kernel closes it however the caller ends (SIGKILL
and SIGHUP included), and `follow_caller`, which the child starts first, then ends the child's whole process group.
"""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from pofx.core.errors import UsageError
from pofx.train.options import Budget, spoken

GRACE = (4.0, 900.0)  # by default a job may take this many times its training time, plus this many seconds
LONGEST = 7200.0  # … and this many where the budget is no time
MEMORY = 0.9  # of the machine's memory, by default
BYTES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
POLL = 0.2  # seconds between looks at the child
Tick = Callable[[], None]


@dataclass(frozen=True)
class Limits:
    """The most that one job may take: seconds of wall clock, and bytes of memory with those of its children."""

    seconds: float
    memory: float

    @classmethod
    def of(
        cls, budget: Budget, time_limit: str | float | None = None, memory_limit: str | float | None = None
    ) -> "Limits":
        """Limits from "2h" and "8GB"; by default 4 × the training time + 15 min (2 h where the budget is no time), and
        nine tenths of the machine's memory.

        Raises:
            UsageError: a text that is no time or no size, or a time that the training alone would exceed.
        """
        seconds = LONGEST if budget.seconds is None else GRACE[0] * budget.seconds + GRACE[1]
        if time_limit is not None:
            try:
                given = Budget.of(time_limit).seconds
            except UsageError:
                given = None
            if given is None:
                raise UsageError(f"time_limit must be a time such as 30m or 2h (got '{time_limit}')")
            seconds = given
            if budget.seconds is not None and seconds <= budget.seconds:
                raise UsageError(
                    f"time_limit must exceed the {budget} that each model trains (got '{time_limit}'): "
                    "raise it or lower the budget"
                )
        memory = MEMORY * psutil.virtual_memory().total
        if memory_limit is not None:
            found = re.fullmatch(r"\s*(\d+\.?\d*)\s*([KMGT]?)i?B?\s*", str(memory_limit), re.IGNORECASE)
            memory = float(found[1]) * BYTES[found[2].upper()] if found else 0.0
            if memory <= 0:
                raise UsageError(f"memory_limit must be a size such as 8GB (got '{memory_limit}')")
        return cls(seconds, memory)


def launch(
    command: Sequence[str], output: Path, limits: Limits, tick: Tick = lambda: None, held: Sequence[int] = ()
) -> str | None:
    """Run a command as its own process group; the reason of a failure, or None.

    An exception in `tick`, such as Ctrl-C, ends the child and passes on.

    Args:
        output: the file that takes what the command prints.
        tick: called a few times a second while the command runs.
        held: descriptors of locks that the child holds too, so that they last as long as it does.
    """
    with output.open("w") as file:
        process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT,
            start_new_session=True, pass_fds=tuple(held),
        )  # fmt: skip
        end = time.monotonic() + limits.seconds
        try:
            while process.poll() is None:
                tick()
                if time.monotonic() > end:
                    return f"stopped after {spoken(round(limits.seconds))}, its time limit"
                if (taken := memory(process.pid)) > limits.memory:
                    return f"stopped at {taken / 1e9:.2g} GB of memory, its limit is {limits.memory / 1e9:.2g} GB"
                time.sleep(POLL)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
    if process.returncode < 0:
        killed = signal.Signals(-process.returncode).name
        return f"ended by {killed}" + (", perhaps for lack of memory" if killed == "SIGKILL" else "")
    if process.returncode:
        lines = output.read_text(errors="replace").strip().splitlines() or ["no message"]
        return re.sub(r"^(?:\w+\.)+(\w+(?:Error|Exception|Unsupported)?): ", r"\1: ", lines[-1])[:400]
    return None


def follow_caller() -> None:
    """In the child of `launch`: end this process group when the caller is gone."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def memory(pid: int) -> int:
    """Bytes of memory that a process and its children hold; 0 once it has ended."""
    try:
        process = psutil.Process(pid)
        return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0
