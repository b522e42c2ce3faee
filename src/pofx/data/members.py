"""The files in a folder or a zip, by suffix: one interface to list and read both.

Hidden files and folders (.ipynb_checkpoints, ._x.png, __MACOSX) are no data. Nothing outside the folder is read, only
regular files, none beyond a stated size. Names state more than names: the folder of a file is its label, and folders
called train, val and test are the splits.
"""

import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pofx.core.errors import DataError
from pofx.data.bounded import LARGEST_MEMBER, check_regular, check_size, read_bytes, reading

Members = tuple[list[str], Callable[[str], bytes]]

SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "val": "validation", "valid": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


@contextmanager
def members(path: Path, suffixes: Sequence[str]) -> Iterator[Members]:
    """The names of the files with these suffixes in a folder or zip, sorted, and a function that reads one of them.

    Raises:
        DataError: a zip that is damaged or encrypted, a link that leaves the folder, a file that is too large.
    """
    check_regular(path)
    if path.is_dir():
        yield sorted(_listed(path, suffixes)), lambda name: read_bytes(path / name)
        return
    with reading(path, "zip file", "fetch or write it again"):
        file = zipfile.ZipFile(path)
    with file:
        listed = [(i.filename.replace("\\", "/"), i) for i in file.infolist() if not i.is_dir()]  # as Windows writes
        inside = {name: i for name, i in listed if _wanted(name, suffixes)}
        if len(inside) < sum(_wanted(name, suffixes) for name, _ in listed):
            seen = [name for name, _ in listed]
            twice = next(name for name in inside if seen.count(name) > 1)
            raise DataError(f"{path} holds {twice} more than once: zip the files again")

        def fetch(name: str) -> bytes:
            with reading(f"{path}/{name}", "file of a zip", "fetch or write the zip again"):
                if inside[name].flag_bits & 1:
                    raise DataError(f"{path} is encrypted ({name}): unpack it, and give the folder")
                check_size(inside[name].file_size, LARGEST_MEMBER, f"{path}/{name}")
                return file.read(inside[name])

        yield sorted(inside), fetch


def _wanted(name: str, suffixes: Sequence[str]) -> bool:
    """Whether a name ends as wanted and no part of it is hidden."""
    path = PurePosixPath(name)
    hidden = any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in suffixes and not hidden


def _listed(root: Path, suffixes: Sequence[str]) -> Iterator[str]:
    """The wanted files below a folder; links are followed within it only."""
    inside = root.resolve()
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
        for name in [*folders, *files]:
            entry = Path(folder) / name
            relative = entry.relative_to(root).as_posix()
            wanted = name in files and _wanted(relative, suffixes)
            if entry.is_symlink() and (wanted or name in folders):
                _check_link(entry, inside)
            if wanted:
                check_regular(entry)
                yield relative


def _check_link(link: Path, inside: Path) -> None:
    with reading(link):
        target = link.resolve(strict=True)
    if not target.is_relative_to(inside):
        raise DataError(
            f"{link} is a link to {target}, outside the folder: copy it there, or give the folder that has it"
        )


def folder_labels(names: Sequence[str]) -> list[str] | None:
    """The folders that hold the files, below those that hold all of them, where there are several.

    Raises:
        DataError: files beside the folders, which are of no class.
    """
    folders = [PurePosixPath(name).parent.parts for name in names]
    depth = len(_shared(folders))
    labels = ["/".join(parts[depth:]) for parts in folders]
    if len(set(labels)) < 2:
        return None
    loose = [name for name, label in zip(names, labels, strict=True) if not label]
    if loose:
        shown = ", ".join(loose[:3]) + (f" and {len(loose) - 3} more" if len(loose) > 3 else "")
        raise DataError(
            f"{shown} lies beside the folders that are the classes ({', '.join(sorted(set(labels) - {''})[:3])}): move "
            "it into a folder of its own, or away"
        )
    return labels


def _shared(folders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The leading folders that all have in common."""
    first, last = min(folders, default=()), max(folders, default=())
    same = [a == b for a, b in zip(first, last, strict=False)]
    return first[: same.index(False)] if False in same else first[: len(same)]


def stated_splits(names: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """The split of each file and its name below that, where the topmost folders are called train and val or test.

    None where any file is in another folder, or the names state no training or no other items.
    """
    depth = len(_shared([PurePosixPath(name).parent.parts for name in names]))
    parts = [PurePosixPath(name).parts[depth:] for name in names]
    if any(len(p) < 2 or p[0].lower() not in SPLITS for p in parts):
        return None
    splits = [SPLITS[p[0].lower()] for p in parts]
    if "train" not in splits or len(set(splits)) < 2:
        return None
    return splits, ["/".join(p[1:]) for p in parts]
