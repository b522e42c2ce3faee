"""Text as items: a line an item where lines are short, else pieces of a fixed number of characters."""

from pathlib import Path

from pofx.core.errors import DataError
from pofx.core.representation import Items
from pofx.data.items import tokens

SHORT, PIECE = 64, 128  # longest line that is an item of its own; characters of a piece of running text


def read_text(path: Path) -> Items:
    """The lines of a UTF-8 file when 99 in 100 have at most 64 characters and none is empty, else pieces of 128.

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
    pieces = [text[i : i + PIECE] for i in range(0, len(text), PIECE)]
    return tokens(pieces, name=path.name)
