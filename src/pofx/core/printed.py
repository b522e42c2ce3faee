"""What is printed for a reader: lines no wider than the terminal, of 80 columns where there is none."""

import shutil
import textwrap
from typing import Any

WIDEST_CELL = 40  # characters of a value in a table


def width() -> int:
    """The columns of the terminal, of $COLUMNS, or 80."""
    return max(shutil.get_terminal_size((80, 24)).columns, 40)


def filled(text: str) -> str:
    """Text whose lines are broken at words where they are too long; paths and other long words stay whole."""
    found = []
    for line in text.split("\n"):
        if len(line) <= width():
            found.append(line)
            continue
        indent = " " * (len(line) - len(line.lstrip()))
        found += textwrap.wrap(
            line,
            width(),
            initial_indent=indent if line.startswith(" ") else "",
            subsequent_indent=indent + "  ",
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    return "\n".join(found)


def show(text: Any) -> None:
    """Print text for a reader."""
    print(filled(str(text)), flush=True)


def aligned(table: Any, digits: int | None = 3, **options: Any) -> str:
    """A DataFrame as text; columns that do not fit beside each other follow below, long values are cut."""
    rounded = table if digits is None else table.round(digits)
    options = {"na_rep": "", "max_colwidth": min(WIDEST_CELL, width() // 2), **options}
    return str(rounded.to_string(line_width=width(), **options))


def number_of(n: int, one: str, many: str = "") -> str:
    """So many of something: 1 item, 2,000 items."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def number(value: float) -> str:
    """A number as a person reads it: four digits, and no exponent below 10^9."""
    if 1e4 <= abs(value) < 1e9:
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{value:.4g}"
