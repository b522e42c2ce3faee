"""Text as items: a line an item where lines are short, else running text in its order."""

from dataclasses import replace
from pathlib import Path

from pofx.core.errors import DataError
from pofx.core.representation import Items
from pofx.data.items import tokens

SHORT = 64  # the longest line that is an item of its own
REPEATS = 0.1  # the largest share of lines that repeat others for them to count as copies


def read_text(path: Path) -> Items:
    """The lines of a UTF-8 file when 99 in 100 have at most 64 characters and none is empty, else running text.

    Raises:
        DataError: not UTF-8, or no text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} is not UTF-8 text ({error}): convert it first") from error
    if not text.strip():
        raise DataError(f"{path} holds no text: give a line an item, or running text")
    lines = text.strip("\n").split("\n")
    long = sum(len(line) > SHORT for line in lines)
    if 100 * long <= len(lines) and all(lines):
        return tokens(lines, name=path.name)
    return tokens(text, name=path.name)


def distinct(items: Items) -> tuple[Items, int]:
    """The lines without those that repeat an earlier one, and how many these were.

    A copy in the test split flatters every model. Where more than a tenth of the lines repeat others they are kept:
    there it is how often a line comes that makes the distribution.
    """
    first = list(dict.fromkeys(items.values))
    repeats = len(items) - len(first)
    if repeats > REPEATS * len(items):
        return items, 0
    return replace(items, values=first), repeats
