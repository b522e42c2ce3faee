"""What verbs print: plain text no wider than the terminal (80 columns where there is none), or JSON."""

import json
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from pofx.core import progress
from pofx.core.printed import aligned, width
from pofx.declared import STDOUT

NARROWEST = 24  # columns that the last column of a table has at least
ROWS = 5  # items shown beside a file
FIRST, LONGEST, AGAIN = 2.0, 60.0, 0.5  # seconds between the lines of `waiting`; of a line that is drawn anew
PAIRS = 8  # columns of a grid of pairs
TIMES = 24  # columns of a share and two times, for which `waiting` has room


def table(rows: Sequence[Mapping[str, Any]], *, header: bool = True, indent: int = 0) -> str:
    """Rows with equal keys, aligned; the last column takes the rest of the line and wraps below itself.

    Where the other columns leave too little of the line, each row becomes a block of names and values.
    """
    if not rows:
        return ""
    names = list(rows[0])
    lines = [["" if row[name] is None else str(row[name]) for name in names] for row in rows]
    lines = [names, *lines] if header else lines
    widths = [max(len(line[i]) for line in lines) for i in range(len(names) - 1)]
    left = indent + sum(widths) + 2 * len(widths)
    rest = width() - left
    if rest < NARROWEST and len(names) > 2:
        return "\n\n".join(pairs(row, indent) for row in rows)
    shown = []
    for line in lines:
        start = " " * indent + "".join(part.ljust(w) + "  " for part, w in zip(line, widths, strict=False))
        wrapped = textwrap.wrap(line[-1], max(rest, NARROWEST), break_on_hyphens=False) or [""]
        shown += [(start if i == 0 else " " * left) + part for i, part in enumerate(wrapped)]
    return "\n".join(line.rstrip() for line in shown)


def pairs(values: Mapping[str, Any], indent: int = 0) -> str:
    """Names and their values, one below the other; those without a value are left out."""
    rows = [{"name": name, "value": value} for name, value in values.items() if value not in (None, "", [])]
    return table(rows, header=False, indent=indent)


def paragraph(text: str, indent: int = 0) -> str:
    """Text filled to the width."""
    return textwrap.fill(" ".join(text.split()), width(), initial_indent=" " * indent, subsequent_indent=" " * indent)


def shortened(text: str, length: int) -> str:
    """At most `length` characters, cut at a word."""
    return text if len(text) <= length else textwrap.shorten(text, length, placeholder=" …")


def as_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


def items(
    items: Any,
    path: Path | None,
    done: str,
    *,
    columns: int | None = None,
    mark: Callable[[bytes], bytes] | None = None,
    beside: Any = None,
) -> str | None:
    """Write items to a path, or as they are to stdout, or show them; returns `done`, the sentence about it.

    Args:
        mark: is applied to the content of every file.
        beside: pictures that are shown to the left of each item.

    Raises:
        UsageError: `beside` of another shape.
    """
    from pofx.data.kind import kind_of

    kind = kind_of(items)
    if beside is not None:
        items, columns = pairs_of(items, beside), min(PAIRS, 2 * len(items))
    if path == STDOUT:
        sys.stdout.flush()
        kind.write(items, sys.stdout.buffer, columns=columns)
        sys.stdout.buffer.flush()
        typer.echo(done, err=True)
        return None
    shown = kind.preview(items, width(), len(items) if path is None else ROWS).removesuffix("\n")
    if shown:
        typer.echo(shown + "\n")
    if path is not None:
        kind.write(items, path, columns=columns, mark=mark)
    return done


def check_pairs(kind: Any, path: Path | None) -> None:
    """Refuse `--beside` where no picture is written, before the work begins.

    Raises:
        UsageError: items of another kind, or a path that is no picture.
    """
    from pofx.core.errors import UsageError

    if path is None or path.suffix.lower() not in (".png", ".jpg") or not kind.photographic:
        raise UsageError("--beside shows pictures: leave it out, or pass --out FILE.png")


def pairs_of(items: Any, beside: Any) -> Any:
    """Pictures with others to the left of each, one pair after the other."""
    import numpy as np

    from pofx.core.errors import UsageError

    drawn, given = np.asarray(items.values), np.asarray(beside)
    if given.shape != drawn.shape:
        raise UsageError(f"--beside needs pictures of one shape (got {given.shape[1:]} and {drawn.shape[1:]}): omit it")
    return replace(items, values=np.stack((given, drawn), 1).reshape(-1, *drawn.shape[1:]), labels=None, condition=None)


def as_pictures(given: Any, items: Any) -> Any:
    """Pictures as those of items are: with their levels, channels and sides."""
    import numpy as np
    from PIL import Image

    like, most = np.asarray(items.values), items.facts["levels"] - 1
    values = np.asarray(given.values, np.float64) * (255 / (given.facts["levels"] - 1))
    pictures = values if values.ndim == 4 else values[..., None]
    colours = 1 if like.ndim == 3 else like.shape[3]
    if pictures.shape[3] != colours:
        pictures = np.repeat(pictures[..., :3].mean(-1, keepdims=True), colours, -1)
    sides = (like.shape[2], like.shape[1])
    found = [
        np.stack(
            [np.asarray(Image.fromarray(np.round(c).astype(np.uint8)).resize(sides)) for c in np.moveaxis(p, -1, 0)], -1
        )
        for p in pictures
    ]
    return np.round(np.stack(found) * (most / 255)).astype(like.dtype).reshape(like.shape)


def least_probable(items: Any, log_prob: Any, n: int) -> str:
    """The n items with the smallest log p, the smallest first."""
    import numpy as np

    from pofx.data.kind import kind_of, take

    order = np.argsort(log_prob, kind="stable")[:n]
    kind, chosen = kind_of(items), take(items, order)
    frame = kind.columns(chosen.values)
    if frame is not None:
        frame = frame.reset_index(drop=True)
        frame.insert(0, "item", order)
        frame.insert(1, "log p", np.asarray(log_prob)[order])
        return aligned(frame, None, index=False, float_format="%.5g") + "\n"
    rows = [{"item": int(i), "log p": f"{log_prob[i]:.4f}"} for i in order]
    if not kind.pictorial:
        lines = kind.shown(chosen.values, items.facts).lines
        for row, line in zip(rows, lines, strict=True):
            row["shown"] = shortened(" ".join(" ".join(map(str, line)).split()), max(width() - 30, NARROWEST))
    return table(rows) + "\n"


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """How far something long is, on stderr, from its third second on: a line that is drawn anew in a terminal, ever
    fewer lines elsewhere; with the share and the time left where items go through `pofx.core.progress.blocks`."""
    ended, began, latest = threading.Event(), time.monotonic(), [(0.0, progress.Progress(""))]
    again = sys.stderr is not None and sys.stderr.isatty()

    def heard(now: progress.Progress) -> None:
        latest[0] = (time.monotonic(), now)

    def show() -> None:
        gap, shown = FIRST, False
        while not ended.wait(gap):
            seconds = time.monotonic()
            at, now = latest[0]
            if now.share >= 1.0:  # the items went through one part of the work
                now = progress.Progress("")
            left = None if now.remaining is None else max(now.remaining - (seconds - at), 0.0)
            now = replace(now, phase="", remaining=left)
            text = progress.line(
                shortened(what, width() - TIMES - (progress.BAR if again else 0)),
                now,
                seconds - began,
                width() - 1,
                bar=again,
            )
            typer.echo(f"\r{text:{width() - 1}}" if again else text, err=True, nl=not again)
            shown, gap = True, AGAIN if again else min(2 * gap, LONGEST)
        if shown and again:
            typer.echo("\r" + " " * (width() - 1) + "\r", err=True, nl=False)

    shower = threading.Thread(target=show, daemon=True)
    shower.start()
    try:
        with progress.watched(heard):
            yield
    finally:
        ended.set()
        shower.join()
