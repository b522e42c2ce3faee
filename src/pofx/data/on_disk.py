"""Items that stay on the disk: values that are read where an index points, and never as a whole.

An `OnDisk` is a source (a mapped array, picture files, rows of an Arrow file …) and the positions of it that are meant:
splits and sub-samples are other positions of the same source. Whoever indexes it gets plain values in memory. What must
see all items (hashes, counts of copies, metrics) takes a seeded sample of stated size.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pofx.core.errors import DataError
from pofx.data.bounded import check_memory, npy_header, reading

LARGE = 1 << 30  # bytes in memory above which a file is read from the disk
SAMPLE = 1 << 27  # bytes of the sample of a split where all items would be read
FEWEST = 1000  # items of such a sample, at least
HASHED = 4096  # items whose content is hashed


class Source(ABC):
    """Where items are read from: items of one shape and type, in a fixed order."""

    shape: tuple[int, ...]  # (n, …) as an array in memory would have it
    dtype: Any

    @abstractmethod
    def rows(self, at: np.ndarray) -> Any:
        """The items at these positions int64 (k,), in this order, in memory."""

    @property
    def item_bytes(self) -> int:
        """Bytes of one item in memory."""
        return max(int(np.prod(self.shape[1:], dtype=np.int64)) * np.dtype(self.dtype).itemsize, 1)

    @property
    def stamp(self) -> str:
        """What identifies the source beside its sampled content: sizes and types, never paths or times."""
        return f"{self.shape}{np.dtype(self.dtype).str}"


class OnDisk:
    """The items of a source at some positions: indexed as an array is, each time read anew."""

    def __init__(self, source: Source, at: np.ndarray | None = None) -> None:
        self.source = source
        self.at = np.arange(source.shape[0]) if at is None else np.asarray(at, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.at)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.at), *self.source.shape[1:])

    @property
    def ndim(self) -> int:
        return len(self.source.shape)

    @property
    def dtype(self) -> Any:
        return self.source.dtype

    def taken(self, at: Any) -> "OnDisk":
        """Some of the items, in this order: nothing is read."""
        return OnDisk(self.source, self.at[np.asarray(at, dtype=np.int64)])

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int | np.integer):
            return self.source.rows(self.at[key : key + 1 or None])[0]
        chosen = self.at[key]
        check_memory(len(chosen) * self.source.item_bytes, "the part of the data that is needed at once")
        return self.source.rows(chosen)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def sample(self, seed: int = 0, most: int | None = None, size: int | None = None) -> np.ndarray:
        """Sorted positions of a seeded sample that takes at most `size` (SAMPLE) bytes, and `most` items."""
        n = max((SAMPLE if size is None else size) // self.source.item_bytes, FEWEST)
        n = min(n, len(self), n if most is None else most)
        if n == len(self):
            return np.arange(n)
        return np.sort(np.random.default_rng(np.random.SeedSequence([seed, len(self)])).permutation(len(self))[:n])


def joined_rows(parts: Sequence[OnDisk]) -> OnDisk:
    """Items of one source, one part after the other."""
    if any(p.source is not parts[0].source for p in parts):
        raise DataError("items on the disk are of several sources: join their files first")
    return OnDisk(parts[0].source, np.concatenate([p.at for p in parts]))


class Mapped(Source):
    """An array in a file: a .npy, or a member of an .npz that is not compressed."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        with reading(path, ".npy array"), path.open("rb") as file:
            file.seek(offset)
            shape, dtype, columns_first = npy_header(file, str(path))
            start = file.tell()
            needed = start + int(dtype.itemsize * np.prod(shape, dtype=object))
            if path.stat().st_size < needed:
                raise DataError(f"{path} states shape {shape} of {dtype} but is shorter: it is cut")
            if columns_first and len(shape) > 1:
                raise DataError(f"{path} is stored columns first: save numpy.ascontiguousarray(x)")
        self.shape, self.dtype, self.start = shape, dtype, start

    def rows(self, at: np.ndarray) -> np.ndarray:
        mapped = np.memmap(self.path, dtype=self.dtype, mode="r", offset=self.start, shape=self.shape)
        found = np.asarray(mapped[at])
        return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))

    @property
    def stamp(self) -> str:
        return f"{self.shape}{np.dtype(self.dtype).newbyteorder('<').str}"


class Windows(Source):
    """Overlap-free windows of one long sequence of tokens in a file: window i holds tokens i·L to (i+1)·L."""

    def __init__(self, tokens: Mapped, length: int) -> None:
        if len(tokens.shape) != 1 or tokens.shape[0] < length:
            raise DataError(f"{tokens.path} must hold at least {length} tokens in one axis (got shape {tokens.shape})")
        self.tokens, self.dtype = tokens, tokens.dtype
        self.shape = (tokens.shape[0] // length, length)

    def rows(self, at: np.ndarray) -> np.ndarray:
        places = at[:, None] * self.shape[1] + np.arange(self.shape[1])
        return self.tokens.rows(places.ravel()).reshape(places.shape)


class Changed(Source):
    """Another source whose items are changed as they are read: scaled, moved, checked."""

    def __init__(self, source: Source, change: Any, item: tuple[int, ...], dtype: Any) -> None:
        self.source, self.change, self.dtype = source, change, np.dtype(dtype)
        self.shape = (source.shape[0], *item)

    def rows(self, at: np.ndarray) -> Any:
        return self.change(self.source.rows(at))
