"""The folder of a use, and what surrounds a run in it."""

from pathlib import Path

from pofx.core.errors import UsageError


def folder_of(folder: str | Path, file: str, what: str) -> Path:
    """The folder that holds this file: the one that is given, or "model" in it.

    Raises:
        UsageError: neither does; `what` it should be is named.
    """
    path = Path(folder)
    found = next((one for one in (path, path / "model") if (one / file).is_file()), None)
    if found is None:
        missing = "does not exist" if not path.exists() else f"holds no {what} (no {file})"
        raise UsageError(f"{path} {missing}: give the folder of {what}, as --out was")
    return found
