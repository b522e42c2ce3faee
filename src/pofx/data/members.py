"""The files in a folder or a zip, by suffix: one interface to list and read both."""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pofx.core.errors import DataError

Members = tuple[list[str], Callable[[str], bytes]]


@contextmanager
def members(path: Path, suffixes: Sequence[str]) -> Iterator[Members]:
    """The names of the files with these suffixes in a folder or zip, sorted, and a function that reads one of them.

    Raises:
        DataError: a zip that is damaged.
    """
    if path.is_dir():
        names = [p.relative_to(path).as_posix() for p in path.rglob("*") if p.suffix.lower() in suffixes]
        yield sorted(names), lambda name: (path / name).read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as file:
            inside = [n for n in file.namelist() if not n.startswith("__MACOSX/")]
            yield sorted(n for n in inside if PurePosixPath(n).suffix.lower() in suffixes), file.read
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise DataError(f"{path} is not a whole zip file ({error}): fetch or write it again") from error


def folder_labels(names: Sequence[str]) -> list[str] | None:
    """The folders that hold the files, where there are several."""
    folders = [PurePosixPath(name).parent.as_posix() for name in names]
    return folders if len(set(folders)) > 1 else None
