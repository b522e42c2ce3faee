"""Files that may be damaged or hostile: regular ones only, of bounded size when unpacked, read without a foreign error.

A compressed file of a megabyte can hold a gigabyte of zeros, a header can claim any shape, a pipe never ends. Sizes are
compared with a limit before memory is taken, and whatever a reading library raises becomes one sentence.
"""

import bz2
import gzip
import lzma
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import psutil

from pofx.core.errors import DataError, PofxError

LARGEST_MEMBER = 1 << 28  # bytes of one picture or recording in a folder or zip
LARGEST_UNPACKED = 1 << 33  # bytes of a packed file
PACKED: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
SHARE = 0.5  # of the free memory that one array may take
BLOCK = 1 << 22


@contextmanager
def reading(name: str | Path, what: str = "file", mend: str = "write it again") -> Iterator[None]:
    """Whatever goes wrong inside becomes a DataError that names the file, in the words of the library that met it.

    Raises:
        DataError: anything but an error of pofx went wrong.
    """
    try:
        yield
    except PofxError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"there is no file {name}: check the path") from error
    except PermissionError as error:
        raise DataError(f"{name} may not be read by this user: use chmod, or log in as its owner") from error
    except MemoryError as error:
        raise DataError(f"{name} needs more memory than there is ({_plain(error)}): {mend}") from error
    except Exception as error:  # decoders raise anything: zlib.error, RuntimeError, struct.error, KeyError …
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise DataError(
                f"{name} holds Python objects (dtype object), which are never unpickled: save plain numbers"
            ) from error
        raise DataError(
            f"{name} cannot be read, it is damaged or no {what} that is known ({_plain(error)}): {mend}"
        ) from error


def _plain(error: BaseException) -> str:
    """The message of a library in one line, without the addresses of objects."""
    text = " ".join(re.sub(r" ?<[^<>]* object at 0x[0-9a-fA-F]+>", "", str(error)).split()) or type(error).__name__
    return f"{text[:157]}…" if len(text) > 158 else text


def check_regular(path: Path) -> None:
    """Refuse pipes, devices and links that lead nowhere, which a reader would wait for or trip over.

    Raises:
        DataError: neither a regular file nor a folder.
    """
    with reading(path):
        mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataError(f"{path} is no regular file (a pipe or a device): write its content to a file first")


def read_bytes(path: Path, most: int = LARGEST_MEMBER) -> bytes:
    """The content of a regular file of bounded size.

    Raises:
        DataError: it is no regular file, cannot be read, or is too large.
    """
    check_regular(path)
    with reading(path):
        size = path.stat().st_size
        check_size(size, most, str(path))
        return path.read_bytes()


def check_size(size: int, most: int, name: str) -> None:
    """Refuse what takes more bytes than the limit.

    Raises:
        DataError: it is larger.
    """
    if size > most:
        raise DataError(f"{name} takes {size:,} bytes, the limit is {most:,}: divide it into smaller files")


def check_memory(size: int, name: str) -> None:
    """Refuse an array that takes more than half of the memory that is free.

    Raises:
        DataError: it would.
    """
    free = int(psutil.virtual_memory().available)
    if size > SHARE * free:
        raise DataError(
            f"{name} takes {size:,} bytes in memory, of which {free:,} are free: save it as .npy, which is read from "
            "the disk item by item, or save a part of it"
        )


def unzipped(path: Path, to: BinaryIO) -> None:
    """Write the content of a .gz, .bz2 or .xz file, which may be a bomb, to a stream.

    Raises:
        DataError: it is damaged, or larger than the limit.
    """
    written = 0
    ending = path.suffix.lower()
    with reading(path, f"{ending} file", "fetch or write it again"), PACKED[ending](path) as file:
        while block := file.read(BLOCK):
            written += len(block)
            check_size(written, LARGEST_UNPACKED, f"{path} unpacked")
            to.write(block)
    to.flush()


def read_npy(stream: BinaryIO, size: int, name: str) -> np.ndarray:
    """The array in a stream of a .npy file that holds `size` bytes, whose header is not believed.

    Raises:
        DataError: damaged, of Python objects, or larger than the memory.
    """
    with reading(name, ".npy array"):
        shape, dtype = npy_header(stream, name)[:2]
        needed = int(dtype.itemsize * np.prod(shape, dtype=object)) if shape else dtype.itemsize
        if needed > size:
            raise DataError(f"{name} states shape {shape} of {dtype}, {needed:,} bytes, but holds {size:,}: it is cut")
        check_memory(needed, name)
        stream.seek(0)
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def npy_header(stream: BinaryIO, name: str) -> tuple[tuple[int, ...], Any, bool]:
    """Shape, type and order (True: columns first) that a .npy file states; the stream is then at the values.

    Raises:
        DataError: Python objects.
        ValueError: no header.
    """
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, columns_first, dtype = read(stream)
    if dtype.hasobject:
        raise DataError(f"{name} holds Python objects (dtype object), which are never unpickled: save plain numbers")
    return shape, dtype, columns_first
