"""Text as items: a line an item where lines are short, else running text in its order."""

from pathlib import Path

from pofx.core.errors import DataError, UsageError
from pofx.data.bounded import read_bytes
from pofx.data.dialect import LARGEST, marked_encoding, refuse_binary

SHORT = 64  # the longest line that is an item of its own


def read_text(path: Path, encoding: str | None = None) -> str | list[str]:
    """The lines of a file when 99 in 100 have at most 64 characters and none is empty, else running text.

    Args:
        encoding: of the file; by default UTF-8, or what its byte order mark states.

    Raises:
        DataError: of another encoding, no text, or NUL characters in it.
    """
    text = decoded(path, encoding)
    if not text.strip():
        raise DataError(f"{path} holds no text: give a line an item, or running text")
    lines = text.strip("\n").split("\n")
    long = sum(len(line) > SHORT for line in lines)
    if 100 * long <= len(lines) and all(lines):
        return lines
    return text


def decoded(path: Path, encoding: str | None = None) -> str:
    """The text of a file, with line ends of one kind and without a byte order mark.

    Raises:
        DataError: of another encoding, or with NUL characters in it, which texts do not have.
    """
    content = read_bytes(path, LARGEST)
    refuse_binary(path, content)
    known = encoding or marked_encoding(content) or "utf-8"
    try:
        text = content.decode(known).removeprefix("\ufeff").replace("\n\ufeff", "\n")  # marks of files put together
    except LookupError as error:
        raise UsageError(f"encoding must be one that Python knows (got {encoding!r}): try latin-1") from error
    except UnicodeError as error:
        mend = "pass another encoding=" if encoding else "pass encoding=latin-1 (or what it is), or convert it to UTF-8"
        raise DataError(f"{path} is not {known.upper()} text, UTF-8 is the default ({error}): {mend}") from error
    if "\x00" in text:
        raise DataError(f"{path} holds NUL characters, {text.count(chr(0))} of them: it is no text, or not {known}")
    return text.replace("\r\n", "\n").replace("\r", "\n")
