"""Text as items: a line an item where lines are short, else running text in its order."""

from pathlib import Path

from pofx.core.errors import DataError

SHORT = 64  # the longest line that is an item of its own


def read_text(path: Path) -> str | list[str]:
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
        return lines
    return text
