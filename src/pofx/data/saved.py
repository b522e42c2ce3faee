"""Folders that `save_to_disk` of 🤗 datasets wrote: Arrow files and their description, of one set or of its splits."""

from pathlib import Path
from typing import Any

from pofx.core.errors import UsageError
from pofx.data.bounded import reading


def saved(path: Path) -> Any:
    """The data set in such a folder, whose rows stay on the disk; None for any other folder or file.

    Raises:
        UsageError: the library is not installed.
        DataError: the folder is damaged.
    """
    one = all((path / name).is_file() for name in ("state.json", "dataset_info.json"))
    if not path.is_dir() or not (one or (path / "dataset_dict.json").is_file()):
        return None
    try:
        from datasets import load_from_disk
    except ImportError as error:
        raise UsageError(f"{path} is a folder of the library datasets, which reads it: pip install datasets") from error
    with reading(path, "data set", "save it again"):
        return load_from_disk(str(path))
