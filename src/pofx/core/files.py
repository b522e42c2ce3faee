"""Files that survive interruption: written aside, then renamed; tensors in safetensors, the rest in JSON."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pofx.core.errors import CorruptError, PofxError


def write(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a file or folder aside, then put it in place of `path` at once.

    Raises:
        PofxError: the disk is full or the folder cannot be written; what stood at `path` still does.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(aside)
        if aside.is_dir() and path.exists():
            path.rename(old)
        aside.replace(path)
    except (OSError, SafetensorError) as error:
        if old.exists() and not path.exists():
            old.rename(path)
        raise PofxError(
            f"could not write {path}: {error}; make room or choose another --out (nothing was lost)"
        ) from error
    finally:
        for left in (aside, old):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON, atomically."""
    text = json.dumps(value, indent=1, ensure_ascii=False)

    def fill(aside: Path) -> None:
        aside.write_text(text + "\n", encoding="utf-8")

    write(path, fill)


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        CorruptError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CorruptError(f"{path} is missing: is {path.parent} a run of pofx?") from error
    except (OSError, ValueError) as error:
        raise CorruptError(f"{path} is damaged ({error}): restore it or train again") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, atomically."""
    plain = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    write(path, lambda aside: save_file(plain, aside))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors.

    Raises:
        CorruptError: the file is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CorruptError(f"{path} is missing: is {path.parent} a run of pofx?") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise CorruptError(f"{path} is damaged ({error}): restore it or train again") from error


def sha256(path: Path) -> str:
    """The hash of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
