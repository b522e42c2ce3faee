"""What verbs print: plain text no wider than the terminal (80 columns where there is none), or JSON."""

import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import typer

NARROWEST = 24  # columns that the last column of a table has at least


def width() -> int:
    """The columns of the terminal, of $COLUMNS, or 80."""
    return max(shutil.get_terminal_size((80, 24)).columns, 40)


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
