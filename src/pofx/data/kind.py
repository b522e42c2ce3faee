"""A data type and everything that the library must know of it: one class, one file in `pofx/data/kinds`.

Reading, selecting, joining, hashing, perturbing, vectors for metrics, display, writing. Kinds are found by scanning
that folder, the entry-point group `pofx.kinds`, and the subclasses that a program defines; nothing else in the library
branches on the name of a kind. No torch here, so that reports and the command line can use it.
"""

import hashlib
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import pandas as pd

from pofx.core.discovery import finished
from pofx.core.errors import UsageError, unknown
from pofx.core.files import whole, write_bytes
from pofx.core.items import Items
from pofx.data.on_disk import HASHED, OnDisk, joined_rows
from pofx.data.reading_options import ARRAYS, ReadingOption

PACKAGE, GROUP = "pofx.data.kinds", "pofx.kinds"
FOLDER = "/"  # the ending of an output that is a folder of files


@dataclass(frozen=True)
class Facts:
    """What a kind must know of its items beside their values: plain JSON values, with their types."""


@dataclass(frozen=True)
class Shown:
    """Items for a person: pictures uint8 (n, H, W) or (n, H, W, C), or else lines of a table under column names."""

    pictures: np.ndarray | None = None
    columns: Sequence[str] = ()
    lines: Sequence[Sequence[Any]] = ()


class Kind(ABC):
    """A data type. Methods take values in data space, or Items where they need the facts; none changes its arguments.

    The defaults are those of numpy arrays with one item per row of the first axis.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    viewed_as: ClassVar[str | None] = None  # another kind, whose views and metrics serve this one too
    hashed_as: ClassVar[str | None] = None  # the name in hashes, where it is another one
    reads: ClassVar[tuple[str, ...]] = ()  # endings of files of many items
    members: ClassVar[tuple[str, ...]] = ()  # endings of files of one item, alone, in folders and in zips
    outputs: ClassVar[tuple[str, ...]] = (".npz", ".npy")  # endings that `write` knows; the first is the default
    facts_type: ClassVar[type[Facts]] = Facts
    labels: ClassVar[bool] = False  # whether items are labels, the same as `Items.labels` where these are known
    pictorial: ClassVar[bool] = False  # whether items are shown as pictures
    photographic: ClassVar[bool] = (
        False  # whether items are pictures: each of their pixels is one number of each channel
    )
    columnar: ClassVar[bool] = False  # whether items are rows of named columns, which `columns` gives

    @property
    def names(self) -> tuple[str, ...]:
        """The kind and those whose views and metrics serve it: ("molecules", "text")."""
        return (self.name,) if self.viewed_as is None else (self.name, *named(self.viewed_as).names)

    def facts(self, items: Items | Mapping[str, Any]) -> Any:
        """The typed facts of items, or of a plain mapping; keys of other owners are left out."""
        plain = items.facts if isinstance(items, Items) else items
        known = {f.name for f in fields(self.facts_type)}
        return self.facts_type(**{k: v for k, v in plain.items() if k in known and v is not None})

    # --- reading

    def read(self, path: Path, **options: Any) -> Items | tuple[Items, ...]:
        """The items of a file with an ending in `reads` or `members`, or of a folder or zip of `members`; or its
        splits where it states them, (training, test) or (training, validation, test). Options are those of `reading`.

        Raises:
            DataError: empty, damaged, not finite, or of another type.
        """
        raise UsageError(f"{self.name} items are not read from files (got {path}): wrap them in Python")

    def of_array(self, array: np.ndarray, labels: Any, name: str, facts: Mapping[str, Any]) -> Items | None:
        """A bare array of a file as items of this kind, or None where its type and shape are those of another kind."""
        return None

    def of_values(self, array: np.ndarray, labels: Any, name: str, facts: Mapping[str, Any]) -> Items | None:
        """An array that is stated to hold items of this kind; None where it cannot."""
        return self.of_array(array, labels, name, facts)

    def on_disk(self, values: Any, labels: Any, name: str, facts: Mapping[str, Any]) -> Items:
        """Values that stay on the disk (see `pofx.data.on_disk`) as items of this kind.

        Raises:
            UsageError: the kind has no such items.
        """
        raise UsageError(f"{self.name} items are read into memory: leave on_disk out, or give a smaller {name}")

    def of_object(self, value: Any, name: str) -> Items | None:
        """An object in memory as items of this kind, where nothing else can be meant; None otherwise."""
        return None

    reading: ClassVar[Mapping[str, ReadingOption]] = {}  # options of `read`
    labelled: ClassVar[bool] = False  # whether `read` takes `label`, the name of a column that holds labels

    def distinct(self, items: Items) -> tuple[Items, dict[str, Any]]:
        """Items of a file without copies that mean nothing, and facts of what was removed."""
        return items, {}

    def shared(self, parts: Sequence[Items]) -> dict[str, Any]:
        """Facts that all splits of a data set, some of them on the disk, decide together, plain JSON values."""
        return {}

    # --- selecting and comparing

    def take(self, values: Any, at: np.ndarray) -> Any:
        """The values at these positions int64 (k,), in this order."""
        return values[at]

    def join(self, parts: Sequence[Any]) -> Any:
        """Values one after the other."""
        return np.concatenate(list(parts))

    def update(self, hash: Any, values: Any) -> None:
        """Feed the content of values to a hash of `hashlib`."""
        array = np.ascontiguousarray(values)
        hash.update(f"{array.dtype.str}{array.shape}".encode())
        hash.update(array.data if array.size else b"")

    def exact_keys(self, values: Any) -> list[Any]:
        """A hashable key per item: equal keys are equal items."""
        return [row.tobytes() for row in np.ascontiguousarray(values)]

    def flat(self, values: Any) -> np.ndarray | None:
        """Items as float32 (n, d) between which distances have a meaning; None where near copies are exact copies."""
        return None

    unit: ClassVar[str | None] = None  # of the distances of `flat`; None: standardise by the training items

    def same(self, a: Any, b: Any) -> np.ndarray:
        """Whether item i of a and of b are equal, but for rounding: bool (n,)."""
        first, second = np.asarray(a), np.asarray(b)
        if first.shape != second.shape:
            return np.zeros(max(len(first), len(second)), bool)
        close = np.isclose(first, second, atol=1e-3) if first.dtype.kind == "f" else first == second
        return np.asarray(close.reshape(len(first), -1).all(1))

    def sequential(self, values: Any) -> bool:
        """Whether items follow one another, as passages of a text, instead of being independent draws."""
        return False

    def divided(self, values: Any, validation: float, test: float) -> tuple[Any, Any, Any]:
        """Sequential items in their order as training, validation and test items, the last two with these shares."""
        raise UsageError(f"{self.name} items are not sequential: divide them with `split`")

    def byte_sizes(self, values: Any) -> np.ndarray | None:
        """Bytes of each item int64 (n,), for likelihoods per byte; None where items have no such size."""
        return None

    # --- perturbing, for control rows of an evaluation

    @abstractmethod
    def noised(self, values: Any, known: Any, level: float, generator: np.random.Generator) -> Any:
        """Values with noise: numbers move by `level` standard deviations of the known values and stay in their range,
        everything else is drawn anew from the known values with probability `level`."""

    def shuffled(self, values: Any, n: int, generator: np.random.Generator) -> Any:
        """n items whose every dimension is drawn from that dimension of the values, independently of the others."""
        flat = values.reshape(len(values), -1)
        mixed = np.take_along_axis(flat, generator.integers(len(flat), size=(n, flat.shape[1])), 0)
        return mixed.reshape(n, *values.shape[1:])

    # --- vectors, for metrics (see `pofx.data.vectors`)

    @abstractmethod
    def plan(self, items: Items) -> dict[str, Any]:
        """How items like these become vectors: plain JSON values, with `scaling` ("standard", "idf" or "none") and for
        pictorial kinds `shape` (channels, height, width)."""

    @abstractmethod
    def raw(self, values: Any, plan: Mapping[str, Any]) -> np.ndarray:
        """Values as float32 (n, d) before scaling."""

    # --- showing and writing

    def columns(self, values: Any) -> pd.DataFrame | None:
        """Items as rows of named columns, where they are that."""
        return None

    def with_columns(self, items: Items, more: Any) -> Any | None:
        """The values with further columns, those of the condition, as they were in the data; None for other kinds."""
        return None

    def without_columns(self, values: Any, names: Sequence[str]) -> tuple[Any, Any]:
        """Items without the columns of these names, and those columns; (the items, None) where they are not there."""
        return values, None

    def plane(self, values: Any) -> np.ndarray | None:
        """Items as points of the plane (n, 2), where they are that."""
        return None

    @abstractmethod
    def shown(self, values: Any, facts: Mapping[str, Any]) -> Shown:
        """The items as a report shows them."""

    def preview(self, items: Items, width: int = 80, n: int = 5) -> str:
        """The first n items as text for a terminal of this width; empty where only pictures or sound show them."""
        return ""

    def describe(self, items: Items) -> str:
        """One line: "1,797 images of 8 x 8, 17 levels"."""
        return f"{len(items):,} items"

    def write(
        self,
        items: Items,
        to: Path | BinaryIO,
        *,
        ending: str | None = None,
        columns: int | None = None,
        mark: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Write items to a file, to a folder (a path that ends in nothing, where `outputs` holds "/"), or to a stream.

        Args:
            items: their labels and condition are written with them where the format has a place for them.
            ending: of the format; by default that of the path, and for a stream the first of `outputs`.
            columns: of a grid of pictures.
            mark: is applied to the content of each file.

        Raises:
            UsageError: an ending that does not fit the items; those that do are named.
            PofxError: the disk is full or the folder cannot be written.
        """
        if isinstance(to, Path):
            ending, marked = self.check_output(to) if ending is None else ending, mark or bytes
            if ending != FOLDER:
                return write_bytes(to, marked(self.content(items, ending, columns)))
            with whole(to) as aside:
                for name, content in self.files(items):
                    (aside / name).parent.mkdir(parents=True, exist_ok=True)
                    (aside / name).write_bytes(marked(content))
            return None
        to.write(self.content(items, ending or next(e for e in self.outputs if e != FOLDER), columns))
        return None

    def check_output(self, path: Path) -> str:
        """The ending of a path to write to, one of `outputs`.

        Raises:
            UsageError: the kind cannot be written so.
        """
        ending = path.suffix.lower() or FOLDER
        if path.name.lower() in self.outputs:
            raise UsageError(f"'{path.name}' is an ending without a name: write samples{path.name}")
        if ending not in self.outputs:
            fits = ", ".join("a folder" if e == FOLDER else e for e in self.outputs)
            raise UsageError(f"{self.name} items cannot be written to '{path.name}': choose a name ending in {fits}")
        return ending

    def content(self, items: Items, ending: str, columns: int | None = None) -> bytes:
        """The content of one file of this ending."""
        array = np.asarray(items.values)
        if ending == ".npy":
            return npy(array)
        extra = {"y": items.labels} if items.labels is not None else {}
        return npz({"x": array, **extra})

    def files(self, items: Items) -> Iterator[tuple[str, bytes]]:
        """Name and content of a file per item."""
        raise UsageError(f"{self.name} items are not written as one file each: choose {', '.join(self.outputs)}")

    def to_json(self, values: Any) -> Any:
        """The values as plain JSON values."""
        return np.asarray(values).tolist()

    def from_json(self, plain: Any, facts: Mapping[str, Any]) -> Any:
        """The values that `to_json` made."""
        return np.asarray(plain)

    def pack(self, values: Any) -> dict[str, np.ndarray]:
        """The values as named arrays without objects, exactly; `unpack` is the inverse."""
        return {"values": np.asarray(values)}

    def unpack(self, arrays: Mapping[str, np.ndarray]) -> Any:
        return arrays["values"]


def kinds() -> dict[str, Kind]:
    """Every kind by name, those of the library first."""
    return {cls.name: cls() for cls in finished(Kind, PACKAGE, GROUP)}  # type: ignore[type-abstract]


def reading_options() -> dict[str, ReadingOption]:
    """Every option of reading: name → its type and what it does."""
    found = dict(ARRAYS)
    for kind in kinds().values():
        found |= kind.reading
    return found


def named(name: str) -> Kind:
    """The kind of this name.

    Raises:
        UsageError: there is none; the nearest names are in the message.
    """
    known = kinds()
    if name not in known:
        raise unknown("kind of items", name, known)
    return known[name]


def kind_of(items: Items) -> Kind:
    """The kind of items."""
    return named(items.kind)


def of_card(card: Mapping[str, Any]) -> Kind:
    """The kind of the items of a data card, also of one that called texts and molecules tokens (pofx 0.1)."""
    facts = card.get("facts") or {}
    if card["kind"] == "tokens" and "classes" not in facts:
        return named("molecules" if facts.get("molecules") else "text")
    return named(card["kind"])


def take(items: Items, indices: Any) -> Items:
    """The items at these positions (numbers, or a bool per item), in this order, with all that belongs to them."""
    at = np.asarray(indices)
    at = np.flatnonzero(at) if at.dtype == bool else at.astype(np.int64)
    return replace(
        items,
        values=items.values.taken(at) if isinstance(items.values, OnDisk) else kind_of(items).take(items.values, at),
        labels=None if items.labels is None else np.asarray(items.labels)[at],
        condition=None if items.condition is None else take(items.condition, at),
        weight=None if items.weight is None else np.asarray(items.weight)[at],
    )


def each_once(items: Items) -> tuple[Items, dict[str, Any]]:
    """Items without copies, in their order, and how many were removed; unchanged with labels or conditions.

    For kinds whose copies are no draws: one in the test split flatters every model.
    """
    first = sorted(dict(reversed([(k, i) for i, k in enumerate(kind_of(items).exact_keys(items.values))])).values())
    if items.labels is not None or items.condition is not None or len(first) == len(items):
        return items, {"repeats_removed": 0}
    return take(items, first), {"repeats_removed": len(items) - len(first)}


def parted(items: Items, splits: Sequence[str]) -> tuple[Items, ...]:
    """Items by their stated splits: (training, test), or (training, validation, test).

    Validation items alone beside the training items are the test split: what is held out is held out.
    """
    of = np.array(splits)
    names = [s for s in ("train", "validation", "test") if (of == s).any()]
    return tuple(take(items, of == name) for name in names)


def joined(parts: Sequence[Items]) -> Items:
    """Items of the same kind, one after the other."""
    first = parts[0]
    given = [p.condition for p in parts if p.condition is not None]
    return replace(
        first,
        values=_joined_values(first, [p.values for p in parts]),
        labels=None if first.labels is None else np.concatenate([p.labels for p in parts]),
        condition=joined(given) if first.condition is not None else None,
        weight=None if first.weight is None else np.concatenate([p.weight for p in parts]),
    )


def _joined_values(first: Items, values: Sequence[Any]) -> Any:
    left = [isinstance(v, OnDisk) for v in values]
    if all(left):
        return joined_rows(values)
    return kind_of(first).join([v[:] if isinstance(v, OnDisk) else v for v in values])


def loaded(items: Items, seed: int = 0, most: int | None = None, size: int | None = None) -> Items:
    """Items in memory: all of them, or a sample of those on the disk (at most `most` items, `size` bytes), whose
    size the facts state."""
    if not isinstance(items.values, OnDisk):
        return items
    at = items.values.sample(seed, most, size)
    small = take(items, at)
    facts = {**items.facts, "sampled": [len(at), len(items)]} if len(at) < len(items) else items.facts
    return replace(small, values=small.values[:], facts=facts)


def digest(items: Items) -> str:
    """sha256 over the kind, values, labels and condition of items: 64 hexadecimal digits."""
    return content_hash({"items": items})


def content_hash(parts: Mapping[str, Items]) -> str:
    """sha256 over splits of a data set, in their order."""
    hash = hashlib.sha256()
    for part, items in parts.items():
        _update(hash, part, items)
    return hash.hexdigest()


def _update(hash: Any, part: str, items: Items) -> None:
    kind = kind_of(items)
    hash.update(f"{part}:{kind.hashed_as or kind.name}:{len(items)}".encode())
    if isinstance(items.values, OnDisk):  # the content of a sample
        hash.update(items.values.source.stamp.encode())
        hash.update(np.ascontiguousarray(items.values.at).data)
        kind.update(hash, items.values.taken(items.values.sample(most=HASHED))[:])
    else:
        kind.update(hash, items.values)
    if items.labels is not None:
        labels = np.asarray(items.labels)
        hash.update(np.ascontiguousarray(labels, dtype=None if labels.dtype.kind == "f" else np.int64).data)
    if items.weight is not None:
        hash.update(np.ascontiguousarray(items.weight, dtype=np.float64).data)
    if items.condition is not None and not (kind_of(items.condition).labels and items.labels is not None):
        _update(hash, "condition", items.condition)


def in_range(moved: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Numbers in the range and of the type of known ones; whole numbers stay whole."""
    inside = np.clip(moved, np.nanmin(known), np.nanmax(known))
    return (np.round(inside) if known.dtype.kind in "iu" else inside).astype(known.dtype)


def npy(array: np.ndarray) -> bytes:
    """An array as the content of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def npz(arrays: Mapping[str, Any]) -> bytes:
    """Named arrays as the content of a compressed .npz file."""
    buffer = io.BytesIO()
    plain: dict[str, Any] = {k: np.asarray(v) for k, v in arrays.items()}
    np.savez_compressed(buffer, allow_pickle=False, **plain)
    return buffer.getvalue()


def lines_of(rows: Sequence[Mapping[Any, Any]], ending: str) -> bytes:
    """Rows with equal keys as the content of a .csv or .json file."""
    if ending == ".json":
        return (json.dumps(list(rows), indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
    text = pd.DataFrame(list(rows)).to_csv(index=False)
    return text.encode("utf-8", "surrogatepass")
