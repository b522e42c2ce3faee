"""Files that survive interruption: written aside, flushed to the disk, then renamed. Tensors are in safetensors, the
rest in JSON; what is read is bounded: regular files only, JSON of limited size and depth.

A file is flushed before its name refers to it, and the folder after that (Pillai et al., 2014, "All file systems are
not created equal"): after a loss of power a name refers to the previous content or to the new one, never to half of it.
"""

import errno
import hashlib
import json
import os
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from pofx.core.errors import CorruptError, UsageError, WriteError

if TYPE_CHECKING:  # the report and the kinds of items write files without torch
    from torch import Tensor

LARGEST_JSON = 1 << 28  # bytes
DEEPEST_JSON = 100  # containers within containers
ABANDONED = 24 * 3600.0  # seconds after which a temporary file of another machine belongs to nobody
WRITTEN = ".written.json"  # in a folder: the names that `whole` put there
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def write(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a file or folder aside, then put it in place of `path` at once.

    Raises:
        UsageError: the path is a device or a pipe.
        WriteError: the disk is full or the folder cannot be written; the previous content of `path` is unchanged.
    """
    _check_replaceable(path)
    aside = _beside(path, "part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(aside)
        aside.touch()
        mode = stat.S_IMODE(aside.stat().st_mode)  # as the umask of this process has it: some libraries write 0600
        aside.unlink()
        fill(aside)
        if not aside.is_dir():
            aside.chmod(mode)
        _exchange(aside, path)
    except (OSError, SafetensorError, WriteError) as error:
        raise _unwritten(path, error) from error
    finally:
        _remove(aside)


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder beside `folder`, which takes its place at once when the block ends, and is removed where it fails.

    What an earlier `whole` wrote there is replaced; other files of the folder stay.

    Raises:
        UsageError: the folder is that of the process, or a disk, which nothing can replace.
        WriteError: the disk is full or the folder cannot be written; its previous content is unchanged.
    """
    place = folder.resolve()
    if Path.cwd().is_relative_to(place) or os.path.ismount(place):
        raise UsageError(f"{folder} is the current folder or a disk: choose another --out, a folder in it")
    _check_replaceable(place)
    aside = _beside(place, "part")
    tidy(place.parent, of=place.name)
    try:
        _remove(aside)
        try:
            aside.mkdir(parents=True)
        except OSError as error:
            raise _unwritten(folder, error) from error
        yield aside
        try:
            write_json(aside / WRITTEN, sorted(path.name for path in aside.iterdir()))
            if place.is_dir():
                _join(place, aside)
            _exchange(aside, place)
        except OSError as error:
            raise _unwritten(folder, error) from error
    except OSError as error:
        if error.errno in FULL or (isinstance(error.filename, str) and Path(error.filename).is_relative_to(aside)):
            raise _unwritten(folder, error) from error
        raise
    finally:
        _remove(aside)


def _check_replaceable(place: Path) -> None:
    """Refuse devices and pipes, such as /dev/null, which a file put in their place would replace for everybody.

    Raises:
        UsageError: it is one.
    """
    if place.exists() and not place.is_dir() and not place.is_file():
        raise UsageError(f"{place} is a device or a pipe, which is not replaced: choose another --out")


def _join(old: Path, new: Path) -> None:
    """Give the new folder what lies in the old one beside what an earlier `whole` wrote."""
    try:
        former = {*map(str, read_json(old / WRITTEN)), WRITTEN}
    except (CorruptError, TypeError):  # there is no list, or it is damaged: nothing is known to be ours
        former = {WRITTEN}
    for entry in old.iterdir():
        target = new / entry.name
        if entry.name in former or target.exists():
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, target, symlinks=True, copy_function=_link)
        else:
            _link(entry, target)


def _link(old: str | Path, new: str | Path) -> None:
    """The same file under a second name, or a copy where the disk has no such names."""
    try:
        os.link(old, new, follow_symlinks=False)
    except OSError:
        shutil.copy2(old, new, follow_symlinks=False)


def _exchange(aside: Path, path: Path) -> None:
    """Put a file or folder that is written in place of another; where that fails, the other is there again."""
    old = _beside(path, "old")
    for part in (*(aside.rglob("*") if aside.is_dir() else ()), aside):
        flush(part)
    try:
        if aside.is_dir() and path.exists():
            _remove(old)
            path.rename(old)
        aside.replace(path)
        flush(path.parent)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        _remove(old)


def _unwritten(path: Path, error: Exception) -> WriteError:
    reason = _reason(error, path)
    return WriteError(f"could not write {path}: {reason}; make room or choose another --out", reason)


def _reason(error: Exception, path: Path) -> str:
    """What is wrong, without the names of temporary files."""
    if isinstance(error, WriteError):
        return error.reason
    if isinstance(error, NotADirectoryError | FileExistsError):
        file = next((p for p in path.parents if p.exists() and not p.is_dir()), path.parent)
        return f"{file} is a file, not a folder"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}@{socket.gethostname()}.{ending}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # a folder that may be written but not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that flush no folders
            raise
    finally:
        os.close(descriptor)


def tidy(folder: Path, *, alone: bool = False, of: str | None = None) -> None:
    """Remove what interrupted writers left in a folder, and put back what they had moved away.

    Args:
        alone: nobody else writes there (the caller holds its lock); otherwise only what belongs to processes of this
            machine that are gone, or is a day old.
        of: only what belongs to this file or folder.
    """
    for left in [*folder.glob(".*.part"), *folder.glob(".*.old")] if folder.is_dir() else []:
        name, writer, ending = _split(left.name)
        if writer is None or of not in (None, name) or not (alone or _gone(left, writer)):
            continue
        try:
            if ending == "old" and not left.with_name(name).exists():
                left.rename(left.with_name(name))
            else:
                _remove(left)
        except OSError:  # another process tidies as well, or the folder is read-only
            pass


def _split(name: str) -> tuple[str, str | None, str]:
    """ ".NAME.PID@HOST.part" (or ".NAME.PID.part", as earlier versions wrote) → name, pid with host, ending."""
    rest, _, ending = name[1:].rpartition(".")
    target, _, writer = rest.rpartition(".")
    while target and not writer.split("@")[0].isdigit():  # a host name with dots
        target, _, more = target.rpartition(".")
        writer = f"{more}.{writer}"
    return (target, writer, ending) if target else (name, None, ending)


def _gone(path: Path, writer: str) -> bool:
    pid, _, host = writer.partition("@")
    if host in ("", socket.gethostname()):
        try:
            os.kill(int(pid), 0)
        except (ProcessLookupError, OverflowError):
            return True
        except OSError:  # alive, and another user's
            pass
    try:
        return time.time() - path.stat().st_mtime > ABANDONED
    except OSError:
        return False


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file with this content, atomically."""

    def fill(aside: Path) -> None:
        aside.write_bytes(content)

    write(path, fill)


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON, atomically."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    try:
        content = f"{text}\n".encode()
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can hold
        content = f"{json.dumps(value, indent=1)}\n".encode()
    write_bytes(path, content)


def read_json(path: Path) -> Any:
    """Read JSON of bounded size and depth.

    Raises:
        CorruptError: the file is missing, no regular file, empty, or not JSON.
    """
    with _reading(path):
        size = regular(path).st_size
        if size > LARGEST_JSON:
            raise CorruptError(f"{path} must be a JSON file of at most {LARGEST_JSON} bytes (got {size}): restore it")
        plain = json.loads(path.read_text(encoding="utf-8"))
        if not _shallow(plain):
            raise ValueError(f"more than {DEEPEST_JSON} containers within one another")
        return plain


def _shallow(plain: Any) -> bool:
    level = [plain]
    for _ in range(DEEPEST_JSON + 1):
        level = [v for c in level if isinstance(c, dict | list) for v in (c.values() if isinstance(c, dict) else c)]
        if not level:
            return True
    return False


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]") -> None:
    """Write named tensors as safetensors, atomically."""
    from safetensors.torch import save_file

    plain = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    write(path, lambda aside: save_file(plain, aside))


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """Read named tensors.

    Raises:
        CorruptError: the file is missing, no regular file, or damaged.
    """
    from safetensors.torch import load_file

    with _reading(path):
        regular(path)
        return load_file(path)


def read_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """The shapes and types of named tensors, without the tensors: name → (shape, "F32").

    Raises:
        CorruptError: the file is missing, no regular file, or damaged.
    """
    with _reading(path):
        regular(path)
        with safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}
            return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in parts.items()}


def regular(path: Path) -> os.stat_result:
    """The state of a regular file; pipes and devices, which never end, are refused.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no regular file.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise ValueError("it is not a regular file")
    return state


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if (path.parent / "posterior.json").exists():
            raise CorruptError(
                f"{path.parent} is a posterior of `pofx infer`: read it with pofx.Posterior.load"
            ) from error
        inside = [str(one.parent) for one in sorted(path.parent.glob(f"*/{path.name}"))[:4]]
        more = f" It holds {', '.join(inside)}: give one of them" if inside else ""
        raise CorruptError(f"{path} is missing: is {path.parent} a run of pofx?{more}") from error
    except PermissionError as error:
        raise CorruptError(f"{path} may not be read by this user: contact its owner, or use chmod") from error
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise CorruptError(f"{path} is damaged ({error}): restore it or train again") from error


def sha256(path: Path) -> str:
    """The hash of a file's content, hexadecimal.

    Raises:
        CorruptError: the file is missing or no regular file.
    """
    with _reading(path):
        regular(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def digest(plain: Any) -> str:
    """The hash of plain values, the same for equal values in any order of their keys."""
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
