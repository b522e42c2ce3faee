"""Arrays and lists that a comparison stored beside its results.json."""

import json
from pathlib import Path
from typing import Any

import numpy as np


def load(folder: Path, name: str | None) -> dict[str, Any] | None:
    """Arrays of an .npz or lists of a .json that results.json names; None where the file is gone or damaged."""
    if not name or not (folder / name).is_file():
        return None
    try:
        if name.endswith(".npz"):
            with np.load(folder / name, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        found = json.loads((folder / name).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    except (OSError, ValueError, EOFError):
        return None
