"""Progress of every long call: one record, one callback, and what people see of it.

`progress=True` shows a bar in a terminal or a notebook, and plain lines elsewhere (a pipe, a log file) on stderr; False
shows nothing; a callable receives each `Progress` instead.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from html import escape
from typing import Any

from pofx.core.errors import UsageError

PUBLIC = ("watched",)
FIRST, LONGEST = 5.0, 60.0  # seconds between plain lines: they double from the one to the other
BAR = 20  # characters
CELL = 0.5  # seconds between two drawings of a bar in a notebook


@dataclass(frozen=True)
class Progress:
    """The state of a long call."""

    phase: str  # what is being done: "training", "validation", the name of a measure …
    step: int = 0  # steps done; 0 where the work has none
    share: float = 0.0  # of the whole work, from 0 to 1
    losses: Mapping[str, float] = field(default_factory=dict)
    rate: float = 0.0  # steps per second
    remaining: float | None = None  # seconds, where they can be estimated
    note: str = ""  # a sentence to show once
    telemetry: Mapping[str, float] = field(default_factory=dict)  # numbers beside the losses


Sink = Callable[[Progress], None]
_WATCHER: ContextVar[Sink | None] = ContextVar("_WATCHER", default=None)
SPELLING: ContextVar[Callable[[str], str]] = ContextVar("SPELLING", default=str)  # of notes: that of the command line


class Parts:
    """Progress through the named parts of a long call, of about equal length."""

    def __init__(self, report: Sink, total: int) -> None:
        self.report, self.total, self.begun = report, max(total, 1), 0

    def __call__(self, phase: str) -> None:
        """A part begins."""
        self.report(Progress(phase, share=min(self.begun / self.total, 0.99)))
        self.begun += 1

    def end(self) -> None:
        """All parts are done."""
        self.report(Progress("done", share=1.0))


@contextmanager
def reporting(progress: bool | Sink, title: str) -> Iterator[Sink]:
    """The one sink behind `progress`; `title` names what the work is for (the name of a model, of a verb).

    Raises:
        UsageError: progress is neither a truth value nor callable.
    """
    if progress is False:
        yield _nothing
    elif progress is not True:
        if not callable(progress):
            raise UsageError(f"progress must be true, false or a function of a Progress (got {progress!r})")
        yield progress
    elif _notebook():
        with _Cell(title) as cell:
            yield cell
    elif _draws():
        with _Bar(title) as bar:
            yield bar
    else:
        yield _Lines(title)


@contextmanager
def watched(progress: bool | Sink = True, title: str = "items") -> Iterator[None]:
    """Show how far calls that go through many items are: sampling, scoring, encoding, decoding, editing, restoring.

    `with pofx.watched(): run.sample(10_000)` shows the share done, items per second and the time left.

    Args:
        progress: as in `fit`.
        title: what the lines begin with.

    Raises:
        UsageError: progress is neither a truth value nor callable.
    """
    with reporting(progress, title) as sink:
        before = _WATCHER.set(sink)
        try:
            yield
        finally:
            _WATCHER.reset(before)


def blocks(n: int, size: int) -> Iterator[slice]:
    """The slices of n items in blocks of a size; `watched` hears after each of them how far they are."""
    began = time.monotonic()
    for first in range(0, n, size):
        yield slice(first, first + size)
        sink = _WATCHER.get()
        if sink is not None:
            done, seconds = min(first + size, n), max(time.monotonic() - began, 1e-9)
            left = seconds * (n - done) / done
            sink(Progress(f"{done:,} of {n:,}", share=done / n, losses={"items/s": done / seconds}, remaining=left))


def _nothing(now: Progress) -> None:
    return None


def _notebook() -> bool:
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    return type(running).__name__ == "ZMQInteractiveShell"


def _draws() -> bool:
    """Whether a bar can be drawn where the output goes."""
    return sys.stderr is not None and sys.stderr.isatty()


def clock(seconds: float) -> str:
    """A duration as 0:07, 12:05 or 3:00:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def line(title: str, now: Progress, elapsed: float, width: int, *, bar: bool) -> str:
    """One line of at most `width` characters: long titles are shortened, and what does not fit is left out."""
    title = f"{title} {now.phase}".rstrip()
    if not now.step and not now.share:
        return f"{title}  {clock(elapsed)}"[:width]
    if now.share >= 1.0 and not now.step:
        return title[:width]
    left = "" if now.remaining is None or now.share >= 1.0 else f" left {clock(now.remaining)}"
    full = int(round(now.share * BAR))
    drawn = f" {'━' * full}{' ' * (BAR - full)}" if bar else ""
    times = f"{drawn} {now.share:4.0%}  {clock(elapsed)}{left}"
    if len(title) + len(times) > width:
        times = times.removeprefix(drawn)
    parts = [title[: max(width - len(times), 0)].rstrip(" ,:") + times]
    parts += [f"step {now.step}"] if now.step else []
    parts += [f"{now.rate:.3g} steps/s"] if now.rate else []
    parts += [f"{name} {value:.4g}" for name, value in {**now.losses, **now.telemetry}.items()]
    shown = parts[0]
    for part in parts[1:]:
        if len(shown) + 2 + len(part) > width:
            break
        shown += "  " + part
    return shown[:width]


class _Lines:
    """Plain lines: one at the start, then ever fewer, and one at the end."""

    def __init__(self, title: str) -> None:
        self.title, self.began = title, time.monotonic()
        self.gap, self.last, self.ended = FIRST, -LONGEST, False
        self.file = sys.stderr

    def __call__(self, now: Progress) -> None:
        if self.file is None:
            return
        seconds = time.monotonic()
        if now.note:
            print(SPELLING.get()(now.note), file=self.file, flush=True)
        ends = now.share >= 1.0 and not self.ended
        if seconds - self.last >= self.gap or ends:
            first = self.last < 0
            self.gap = FIRST if first else min(2 * self.gap, LONGEST)
            self.last, self.ended = seconds, ends
            width = shutil.get_terminal_size((80, 24)).columns
            print(line(self.title, now, seconds - self.began, width, bar=False), file=self.file, flush=True)


class _Cell:
    """A bar in the output of a notebook's cell, drawn anew in place; it needs no widgets."""

    def __init__(self, title: str) -> None:
        from IPython.display import HTML, display

        self.title, self.began, self.last, self.notes = title, time.monotonic(), 0.0, ""
        self.made = HTML
        self.handle = display(self.made(self._drawn(Progress(""))), display_id=True)

    def _drawn(self, now: Progress) -> str:
        text = escape(line(self.title, now, time.monotonic() - self.began, 160, bar=False))
        bar = f"<progress value='{min(max(now.share, 0.0), 1.0):.4f}' max='1' style='width:16em'></progress>"
        return f"{self.notes}<div>{bar} <code>{text}</code></div>"

    def __enter__(self) -> "_Cell":
        return self

    def __call__(self, now: Progress) -> None:
        if now.note:
            self.notes += f"<div>{escape(now.note)}</div>"
        seconds = time.monotonic()
        if now.note or now.share >= 1.0 or seconds - self.last >= CELL:
            self.last = seconds
            if self.handle is not None:
                self.handle.update(self.made(self._drawn(now)))

    def __exit__(self, *stop: object) -> None:
        return None


class _Bar:
    """A bar that is drawn anew in place."""

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self.title, self.began = title, time.monotonic()
        self.now = Progress("")
        self.console = Console(stderr=True)
        self.live = Live(
            console=self.console, get_renderable=self._drawn, refresh_per_second=4, vertical_overflow="crop"
        )

    def _drawn(self) -> Any:
        from rich.text import Text

        seconds = time.monotonic() - self.began
        return Text(line(self.title, self.now, seconds, self.console.width - 1, bar=True), no_wrap=True)

    def __enter__(self) -> "_Bar":
        self.live.start()
        return self

    def __call__(self, now: Progress) -> None:
        self.now = now
        if now.note:
            self.live.console.print(SPELLING.get()(now.note), markup=False, highlight=False)

    def __exit__(self, *stop: object) -> None:
        self.live.stop()
