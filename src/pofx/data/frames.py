"""Tables from files as DataFrames: .csv and .tsv in any dialect, .parquet, .feather, .jsonl, .json, .xlsx.

What a spreadsheet or `to_csv` adds is no data: a column that counts the rows and has no name is left out, with a
warning, and so are columns without name and values at the end of every line.
"""

import io
import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError
from pofx.data.bounded import PACKED, check_regular, reading, unzipped
from pofx.data.dates import ISO, format_of, mixed_dates
from pofx.data.dialect import NUMBER, Dialect, dialect_of, mostly_numbers, rows_of, single_spaced, text_of
from pofx.data.members import members
from pofx.data.tidy import without_notes
from pofx.data.typed import typed

TEXTS, SHEETS = (".csv", ".tsv", ".tab"), (".xlsx", ".xls", ".ods")
RECORDS = (".jsonl", ".ndjson", ".json")
ENDINGS = (*TEXTS, ".parquet", ".pq", ".feather", ".arrow", *RECORDS, *SHEETS)


def read_frame(path: Path, options: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """The table in a file.

    Args:
        options: of `reading_options.TEXTS`, by name.

    Raises:
        DataError: damaged, without columns, or of another format.
    """
    options, ending = options or {}, path.suffix.lower()
    check_regular(path)
    if path.is_file() and ending in (".zip", *PACKED):
        return _packed(path, options)
    if ending in TEXTS:
        with reading(path, "table"):
            return parsed(text_of(path, options.get("encoding")), path.name, options)
    with reading(path, "table"):
        if ending in SHEETS:
            return without_index(_sheet(path), path.name)
        if ending in (".parquet", ".pq"):
            return _plain(pd.read_parquet(path))
        if ending in (".feather", ".arrow"):
            return _plain(_arrow(path))
        if ending not in RECORDS:
            raise DataError(f"{path} is no table by its name: give a file that ends in {', '.join(ENDINGS)}")
        return _records(path, options)


def _packed(path: Path, options: Mapping[str, Any]) -> pd.DataFrame:
    """The table in a .gz, .bz2 or .xz file, or the only one in a .zip, from a temporary folder.

    Raises:
        DataError: several tables, or none.
    """
    with tempfile.TemporaryDirectory() as folder:
        if path.suffix.lower() != ".zip":
            unpacked = Path(folder) / path.stem
            with unpacked.open("wb") as file:
                unzipped(path, file)
            return read_frame(unpacked, options)
        with members(path, ENDINGS) as (names, fetch):
            if len(names) != 1:
                shown = ", ".join(names[:4]) or "none"
                raise DataError(f"{path} must hold one table (got {shown}): unpack it and give one")
            unpacked = Path(folder) / PurePosixPath(names[0]).name
            unpacked.write_bytes(fetch(names[0]))
            return read_frame(unpacked, options)


def rows_in(path: Path, options: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """The table in a file, which has rows.

    Raises:
        DataError: as `read_frame`, or no rows.
    """
    frame = read_frame(path, options)
    if len(frame) == 0:
        raise DataError(f"{path} has no rows below its header ({', '.join(map(str, frame.columns[:5]))}): add some")
    return frame


def parsed(text: str, name: str, options: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """A text as a table, each column in its own type.

    Raises:
        DataError: no columns, or rows with more fields than there are names.
    """
    options = options or {}
    dialect, tidy = dialect_of(text, name, options), options.get("tidy", True)
    text = single_spaced(text) if dialect.separator == " " else text
    first = rows_of(text, dialect.start, dialect.separator)
    both = _two_lines(first, name) if dialect.header and tidy else None
    names, has_index = _names(first if both is None else [both, *first[2:]], dialect, name)
    body = io.StringIO(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            raw = pd.read_csv(
                body, sep=dialect.separator, header=None, names=names, skiprows=dialect.start, dtype=str,
                keep_default_na=False, na_filter=False, index_col=False, skip_blank_lines=True,
            )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataError(
            f"{name} cannot be cut into {len(names)} columns ({' '.join(str(error).split())}): mend that line, quote "
            "fields that hold the separator, or pass separator=…"
        ) from error
    if dialect.header:
        raw = raw.iloc[1 if both is None else 2 :].reset_index(drop=True)
    if tidy and dialect.header and not has_index:
        raw = without_notes(raw, name)
    raw = raw.fillna("")
    if has_index:
        warnings.warn(
            f"{name}: the first field of each row has no name: taken for names of rows, left out", UserWarning
        )
        raw = raw.drop(columns=names[0])
    comma, decimal = dialect.separator != ",", options.get("decimal")
    frame = pd.DataFrame({c: typed(raw[c], decimal=decimal, comma=comma, tidy=tidy) for c in raw.columns})
    return without_index(frame, name)


def _two_lines(rows: list[list[str]], name: str) -> list[str] | None:
    """The names of columns that are written in two lines, groups above (merged cells are empty) and names below them,
    over columns of numbers; None where there is one line."""
    if len(rows) < 4 or len(rows[0]) != len(rows[1]):
        return None
    above, below = ([field.strip() for field in row] for row in rows[:2])
    merged = list(above)
    for k in range(1, len(merged)):
        merged[k] = merged[k] or merged[k - 1]
    both = [f"{a} {b}".strip() for a, b in zip(merged, below, strict=True)]
    groups = [a for a in merged if a]
    words = all(b or not a for a, b in zip(above, below, strict=True)) and not any(NUMBER.match(b) for b in below if b)
    numbers = sum(mostly_numbers(rows[2:], k) for k in range(len(both)))
    if len(set(groups)) == len(groups) or len(set(both)) < len(both) or not words or 2 * numbers < len(both):
        return None
    warnings.warn(f"{name}: the line below the header is joined to its names ({', '.join(both[:4])})", UserWarning)
    return both


def _names(rows: list[list[str]], dialect: Dialect, name: str) -> tuple[list[str], bool]:
    """The names of the columns, and whether the first one holds names of rows, for which the header has no field."""
    width = max((len(row) for row in rows[1:] if row), default=0) or len(rows[0])
    if not dialect.header:
        return [f"x{i}" for i in range(max(width, len(rows[0])))], False
    names = [field.strip() for field in rows[0]]
    names[0] = names[0].lstrip("#%").strip() or names[0]
    one_more = width == len(names) + 1 and all(len(row) == width for row in rows[1:])
    has_index = one_more and any(row[-1].strip() for row in rows[1:])
    if one_more and not has_index:  # rows end in a separator
        names = [*names, ""]
    if has_index:
        names = ["", *names]
    twice = sorted({n for n in names if n and names.count(n) > 1})
    if twice:
        names = numbered(names)
        warnings.warn(f"{name} has columns of the same name ({', '.join(twice[:5])}): numbered", UserWarning)
    return [n or f"Unnamed: {i}" for i, n in enumerate(names)], has_index


def numbered(names: list[str]) -> list[str]:
    """Names that differ: the second `a` is `a.1`."""
    found: list[str] = []
    for n in names:
        k, one = 0, n
        while n and one in (found if k == 0 else [*found, *names]):
            k += 1
            one = f"{n}.{k}"
        found.append(one)
    return found


def without_index(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """A table without the columns that number its rows and have no name, and without empty ones that have none."""
    gone = []
    for column in frame.columns:
        if not str(column).startswith("Unnamed: ") and column not in ("", "level_0", "__index_level_0__"):
            continue
        values = frame[column]
        counts = values.dtype.kind in "iu" and len(values) and (np.diff(values.to_numpy()) == 1).all()
        if counts and int(values.iloc[0]) in (0, 1):
            gone.append(column)
        elif values.isna().all() and frame.shape[1] > 1:
            gone.append(column)
    if gone and len(gone) < frame.shape[1]:
        warnings.warn(
            f"{name}: {', '.join(map(repr, gone))} only counts the rows or is empty: left out",
            UserWarning,
            stacklevel=2,
        )
        return frame.drop(columns=gone)
    return frame


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """A table with numpy's types where Arrow's hold nothing that these cannot."""
    changed = {}
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.ArrowDtype):
            column = column.convert_dtypes(dtype_backend="numpy_nullable")
        if isinstance(column.dtype, pd.BooleanDtype):
            column = column.astype(bool) if not column.isna().any() else column.astype(object)
        elif str(column.dtype)[:3] in ("Int", "UIn", "Flo") and not column.isna().any():
            column = column.astype(np.dtype(str(column.dtype).lower()))
        changed[name] = column
    return without_index(pd.DataFrame(changed, columns=frame.columns), "the table")


def _arrow(path: Path) -> pd.DataFrame:
    import pyarrow as pa

    if path.suffix.lower() == ".feather":
        return pd.read_feather(path)
    with pa.memory_map(str(path)) as source:
        try:
            return pa.ipc.open_file(source).read_all().to_pandas()
        except pa.ArrowInvalid:
            source.seek(0)
            return pa.ipc.open_stream(source).read_all().to_pandas()


def _records(path: Path, options: Mapping[str, Any]) -> pd.DataFrame:
    """Objects with equal keys: one a line (.jsonl), or a list of them (.json)."""
    text = text_of(path, options.get("encoding"))
    if path.suffix.lower() == ".json":
        found = json.loads(text)
    else:
        found = []
        for number, line in enumerate(text.split("\n"), 1):
            try:
                found += [json.loads(line)] if line.strip() else []
            except ValueError as error:
                raise DataError(f"{path}: line {number} is no JSON ({error}): write an object a line") from error
    if isinstance(found, dict) and set(found) >= {"columns", "data"} and isinstance(found["columns"], list):
        return _plain(_dated(pd.DataFrame(found["data"], columns=found["columns"])))  # orient="split"
    if isinstance(found, dict) and found and all(isinstance(v, list) for v in found.values()):
        return _plain(_dated(pd.DataFrame(found)))
    if isinstance(found, dict) and len(found) > 0 and all(isinstance(v, dict) for v in found.values()):
        by_column = pd.DataFrame(found)  # as pandas writes by default
        counts = list(by_column.index) == [str(i) for i in range(len(by_column))]
        return _plain(_dated(by_column.reset_index(drop=counts)))
    if not isinstance(found, list) or not found or not all(isinstance(row, dict) for row in found):
        raise DataError(f"{path} must hold a list of objects with equal keys, or one a line: write records")
    nested = sorted({str(k) for row in found for k, v in row.items() if isinstance(v, list | dict)})
    if nested:
        raise DataError(f"{path} has lists or objects as values of {', '.join(nested[:5])}: give one value each")
    return _plain(_dated(_exact(pd.DataFrame(found), found)))


def _dated(frame: pd.DataFrame) -> pd.DataFrame:
    """Words that are times with fractions of a second, as programs write them, as dates."""
    for name in frame.columns:
        known = frame[name].dropna()
        words = len(known) > 0 and all(isinstance(v, str) for v in known)
        if words and known.str.fullmatch(ISO).all() and format_of(known) is None:
            found, _ = mixed_dates(known.drop_duplicates()) or (None, "")
            if found is not None:
                moments = dict(zip(known.drop_duplicates(), found, strict=True))
                frame[name] = pd.to_datetime(frame[name].map(moments))
    return frame


def _exact(frame: pd.DataFrame, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Whole numbers beyond 2^53 beside missing ones, which pandas would make floats."""
    for name in frame.columns:
        values = [row.get(name) for row in rows]
        known = [v for v in values if v is not None]
        if frame[name].dtype.kind == "f" and all(isinstance(v, int) and not isinstance(v, bool) for v in known):
            if any(abs(v) > 2**53 for v in known):
                frame[name] = pd.array(values, dtype="Int64")
    return frame


def _sheet(path: Path) -> pd.DataFrame:
    """The first sheet of a workbook."""
    try:
        return pd.read_excel(path)
    except ImportError as error:
        raise DataError(
            f"{path.name} is a workbook, which needs a library ({error.name or 'openpyxl'}): pip install openpyxl, or "
            "save the sheet as .csv"
        ) from error
