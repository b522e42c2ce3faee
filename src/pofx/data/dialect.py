"""The dialect of a table in a text file: encoding, separator, header; found from a sample, each overridable.

The separator is the one that cuts every line of the sample into equally many fields, quotes respected (RFC 4180; after
the idea of "sniffing" in Python's csv module, which guesses from the first lines alone). A first line of numbers above
columns of numbers is no header. Files of Excel may begin with `sep=;`, others with lines of comments.
"""

import csv
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pofx.core.errors import DataError, UsageError
from pofx.data.bounded import read_bytes

LARGEST = 1 << 33  # bytes of a table as text
SAMPLE = 1 << 18  # characters from which the dialect is found
LINES = 2000
TITLES = 12  # lines above a header, at most
SEPARATORS = (",", ";", "\t", "|")
RARE = ("^", "~", ":")  # tried where every line is one field under the others
NUMBER = re.compile(r"\s*[+-]?(\d{1,3}([ ,.'\u00a0\u202f]\d{3})*|\d*)([.,]\d*)?([eE][+-]?\d+)?\s*\Z")
MISSING = frozenset(
    [
        "",
        "NA",
        "N/A",
        "n/a",
        "NaN",
        "nan",
        "NAN",
        "NULL",
        "null",
        "None",
        "#N/A",
        "<NA>",
        "?",
        "-",
        ".",
        "#NA",
        "-nan",
        "--",
        "---",
        "n.a.",
        "N.A.",
        "#DIV/0!",
        "#REF!",
        "#VALUE!",
        "#NUM!",
        "#NAME?",
        "#NULL!",
        "(null)",
        "\\N",
        "NaT",
    ]
)


@dataclass(frozen=True)
class Dialect:
    """How a text is cut into a table: `start` lines are skipped, then names where `header`."""

    separator: str
    header: bool
    start: int


def text_of(path: Path, encoding: str | None = None) -> str:
    """The text of a file: as its byte order mark states, else UTF-8, else Windows-1252 with a warning.

    Raises:
        DataError: not text in this encoding.
    """
    content = read_bytes(path, LARGEST)
    refuse_binary(path, content)
    if encoding is not None:
        try:
            return content.decode(encoding).removeprefix("\ufeff")
        except LookupError as error:
            raise UsageError(f"encoding must be one that Python knows (got {encoding!r}): try latin-1") from error
        except UnicodeError as error:
            raise DataError(f"{path} is not {encoding} text ({error}): pass another encoding=") from error
    marked = marked_encoding(content)
    try:
        text = content.decode(marked or "utf-8").removeprefix("\ufeff")
    except UnicodeError as error:
        if marked is not None or content.count(0):
            raise DataError(
                f"{path} is not {marked or 'UTF-8'} text ({error}): pass encoding=…, or save it as UTF-8"
            ) from error
        text = content.decode("cp1252", "replace")
        warnings.warn(
            f"{path.name} is not UTF-8 text: read as Windows-1252, pass encoding=… if it is another", UserWarning
        )
    if "\x00" in text[:SAMPLE]:
        raise DataError(
            f"{path} holds NUL characters: it is no text, or in an encoding to be stated by encoding=utf-16"
        )
    return text


BINARY = {
    b"PK\x03\x04": "a zip or a spreadsheet: name it .zip or .xlsx",
    b"\xd0\xcf\x11\xe0": "a spreadsheet: name it .xls",
    b"PAR1": "a table in Parquet: name it .parquet",
    b"\x1f\x8b": "a compressed file: name it .csv.gz or .txt.gz",
    b"\x89PNG": "a picture: name it .png",
    b"\xff\xd8\xff": "a picture: name it .jpg",
    b"%PDF": "a PDF: copy its table or text into a file of its own",
    b"\x93NUMPY": "an array: name it .npy",
}


def refuse_binary(path: Path, content: bytes) -> None:
    """Refuse what begins as a file of another format.

    Raises:
        DataError: with the name that such a file has.
    """
    for begins, what in BINARY.items():
        if content.startswith(begins):
            what, _, ending = what.partition(": name it ")
            renamed = ending and not (path.suffix and path.suffix.lower() in ending)
            named = f": name it {ending}" if renamed else ", and text is read here"
            raise DataError(f"{path} holds no text but {what}{named}")


def marked_encoding(content: bytes) -> str | None:
    """The encoding that a byte order mark states, or that every second byte being zero gives away."""
    for mark, name in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe\x00\x00", "utf-32"),
        (b"\x00\x00\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if content.startswith(mark):
            return name
    head = content[:4096]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    most = max(0.35 * len(head), 4)  # seven in ten of one half: plain letters
    if odd >= most and not even:
        return "utf-16-le"
    if even >= most and not odd:
        return "utf-16-be"
    return None


def dialect_of(text: str, name: str, options: Mapping[str, Any]) -> Dialect:
    """The dialect of a text, found where no option states it.

    Raises:
        DataError: no lines, or lines of different lengths under every separator.
        UsageError: an option of another type.
    """
    stated = options.get("separator")
    if stated is not None:
        stated = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " "}.get(str(stated), str(stated))
        if len(stated) != 1:
            raise UsageError(f"separator must be one character, or tab (got {stated!r}): pass separator=';'")
    header = options.get("header")
    start = _preamble(text)
    first = text.split("\n", start + 1)[start].strip() if start <= text.count("\n") else ""
    if stated is None and start and (marked := re.match(r"sep=(.)\s*\Z", text.split("\n", 1)[0])):
        stated = marked[1]
    if not first and not text.strip():
        raise DataError(f"{name} has no columns: give a table with a header line")
    separator = stated or _separator(text, start, name)
    titles = 0 if header is not None or not options.get("tidy", True) else _titles(text, start, separator)
    if titles:
        start, separator = start + titles, stated or _separator(text, start + titles, name)
        warnings.warn(f"{name}: {titles} lines above the table are left out", UserWarning)
    if header is None:
        header = _has_header(rows_of(text, start, separator), name)
    return Dialect(separator, header, start)


def rows_of(text: str, start: int, separator: str) -> list[list[str]]:
    """The first rows of a text, cut at a separator; blank ones are left out."""
    part, cut = text[:SAMPLE], len(text) > SAMPLE
    stream = io.StringIO(part, newline="")
    for _ in range(start):
        stream.readline()
    found: list[list[str]] = []
    try:
        for row in csv.reader(stream, delimiter=separator):
            if any(field.strip() for field in row):
                found.append(row)
            if len(found) >= LINES:
                return found
    except csv.Error:  # a field beyond the limit of the module: an open quote
        return found
    return found[:-1] if cut and len(found) > 1 else found


def _preamble(text: str) -> int:
    """The lines before the table: `sep=;`, blank ones, comments (where they are not the header itself)."""
    lines = text[:SAMPLE].split("\n")
    start = 0
    if re.match(r"sep=.\s*\Z", lines[0]):
        start = 1
    while start < len(lines) - 1 and not lines[start].strip():
        start += 1
    comments = start
    while comments < len(lines) - 1 and lines[comments].startswith(("#", "%")):
        comments += 1
    if comments > start:
        cuts = [lines[comments - 1].count(s) for s in SEPARATORS]
        after = [lines[comments].count(s) for s in SEPARATORS]
        start = comments - 1 if cuts == after and any(cuts) else comments  # "#a,b" above "1,2" is the header
    return start


def _titles(text: str, start: int, separator: str) -> int:
    """Lines above the header that hold a title or a date: one field each, where the lines below have more."""
    lines = text[:SAMPLE].split("\n")[start:]
    whole = rows_of(text, start, separator)
    if len({len(row) for row in whole}) == 1 and len(whole[0]) > 2 and all(field.strip() for field in whole[0]):
        return 0  # a first line of as many fields as all others is the header
    for mark in dict.fromkeys((separator, *SEPARATORS)):
        k = next(
            (i for i, line in enumerate(lines[:TITLES]) if sum(bool(f.strip(' "\r')) for f in line.split(mark)) > 1), 0
        )
        if not k or "#" in lines[0][:1]:
            continue
        fields = [field.strip(' "\r') for field in lines[k].split(mark)]
        below = rows_of(text, start + k, mark)
        even = len(below) > 2 and sum(len(row) == len(fields) for row in below) >= 0.8 * len(below)
        named = len({*fields}) == len(fields) and all(fields) and not any(NUMBER.match(field) for field in fields)
        if even and named and (len(fields) > 2 or any(not line.strip() for line in lines[:k])):
            return k
    return 0


def single_spaced(text: str) -> str:
    """Lines without blanks at their ends, and with one between fields."""
    return "\n".join(" ".join(line.split()) for line in text.split("\n"))


def _separator(text: str, start: int, name: str) -> str:
    """The separator under which all lines have equally many fields, and more than one.

    Where several do, that with which more fields are numbers: "1,5;2,5" is two numbers, or three things that are none.
    """
    even: dict[str, tuple[float, int]] = {}
    uneven = {}
    for separator in SEPARATORS:
        rows = rows_of(text, start, separator)
        widths = {len(row) for row in rows}
        fields = [field for row in rows[1:] or rows for field in row]
        if len(widths) == 1 and widths != {1}:
            share = sum(bool(field.strip()) and bool(NUMBER.match(field)) for field in fields) / max(len(fields), 1)
            even[separator] = (round(share, 2), max(widths))
        elif len(widths) > 1:
            uneven[separator] = rows
    if even:
        return max(even, key=lambda s: even[s])
    for separator, rows in uneven.items():  # names of rows have no name; or a last field is left out
        if max(map(len, rows)) - len(rows[0]) == 1 and len({len(row) for row in rows[1:]}) == 1 and len(rows[0]) > 0:
            return separator
    for separator, rows in uneven.items():
        usual = max({len(r) for r in rows}, key=[len(r) for r in rows].count)
        if len(rows[0]) == usual > 1:
            return separator
    if uneven and all(len(rows[0]) > 1 for rows in uneven.values()):
        separator = max(uneven, key=lambda s: len(uneven[s][0]))
        bad = next(i for i, row in enumerate(uneven[separator]) if len(row) != len(uneven[separator][0]))
        raise DataError(
            f"{name}: line {bad + start + 1} has {len(uneven[separator][bad])} fields, the first "
            f"{len(uneven[separator][0])}: mend it, or pass separator=…"
        )
    lines = [line.split() for line in text[:SAMPLE].split("\n")[start:LINES] if line.strip()]
    lines = lines[:-1] if len(text) > SAMPLE else lines
    fields = [field for line in lines[1:] for field in line]
    if (
        len({len(line) for line in lines}) == 1
        and len(lines[0]) > 1
        and not any("," in f for line in lines for f in line)
    ):
        if sum(bool(NUMBER.match(field)) for field in fields) > 0.5 * len(fields) > 0:
            return " "
    for separator in RARE:
        rows = rows_of(text, start, separator)
        names = [field.strip() for field in rows[0]] if rows else []
        if len({len(row) for row in rows}) == 1 and len(names) > 1 and all(names) and not any(map(NUMBER.match, names)):
            return separator
    return ","


def _has_header(rows: Sequence[Sequence[str]], name: str) -> bool:
    """Whether the first row holds names: none of it is a number, or the columns below hold none either.

    Years, pixel numbers and the like are names where they count upwards and the rows below do not continue them.
    """
    if len(rows) < 2:
        return True
    first, below = rows[0], rows[1:]
    numbers = [bool(f.strip()) and bool(NUMBER.match(f)) for f in first]
    if not any(numbers):
        return True
    whole = [f.strip() for f in first if f.strip()]
    counting = all(f.isdigit() for f in whole) and len(whole) > 1
    if counting:
        steps = {int(b) - int(a) for a, b in zip(whole, whole[1:], strict=False)}
        again = [f.strip() for f in below[0] if f.strip()]
        repeats = (
            all(f.isdigit() for f in again)
            and len(again) == len(whole)
            and {int(b) - int(a) for a, b in zip(again, again[1:], strict=False)} == steps
        )
        if steps == {1} and not repeats:
            return True
    if not all(numbers[k] for k, f in enumerate(first) if f.strip()) and "" not in (f.strip() for f in first):
        under = [mostly_numbers(below, k) for k in range(len(first))]
        if not all(numbers[k] == under[k] for k in range(len(first))):
            return True  # words above numbers: "count, 2019" above "3, 4"
    warnings.warn(
        f"{name} begins with a row of values, not of names: columns are called x0, x1, …; pass header=true if it holds "
        "names",
        UserWarning,
    )
    return False


def mostly_numbers(rows: Sequence[Sequence[str]], k: int) -> bool:
    """Whether most known fields of a column are numbers."""
    fields = [row[k].strip() for row in rows if k < len(row) and row[k].strip() not in MISSING]
    return bool(fields) and sum(bool(NUMBER.match(f)) for f in fields) > len(fields) / 2
