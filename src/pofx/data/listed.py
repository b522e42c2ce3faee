"""Lists of arrays, pictures, texts or numbers as one array, or as items of the kind that their members show."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pofx.core.errors import DataError, UsageError
from pofx.core.items import Items
from pofx.data.kinds.image import images
from pofx.data.kinds.points import points
from pofx.data.kinds.text import texts
from pofx.data.kinds.tokens import tokens
from pofx.data.labels import with_labels
from pofx.data.numbers import from_tensor
from pofx.data.pictures import Remarks, Shape, any_picture, beside, is_drawn, is_stored

WRAP = "wrap it in pofx.images, pofx.table, pofx.points, pofx.tokens, pofx.texts or pofx.audio"
SHAPES = ("size", "crop", "grey")  # options of reading pictures


def torch_array(data: Any) -> np.ndarray:
    """A tensor as an array; images have their channels first there."""
    array = from_tensor(data)
    if array.ndim == 4 and array.shape[1] in (1, 2, 3, 4):
        array = np.moveaxis(array, 1, -1)
        array = array[..., 0] if array.shape[-1] == 1 else array
    return array


def plain_array(value: Any, name: str) -> np.ndarray:
    """An array of whatever holds numbers.

    Raises:
        DataError: masked values.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(f"{name} has masked values, which are missing: fill them or drop their rows")
    return torch_array(value) if hasattr(value, "detach") else np.asarray(value)


def listed(data: Sequence[Any], name: str, options: Mapping[str, Any]) -> Any:
    """A list as an array, or as items of the kind that its members show.

    Raises:
        DataError: empty, of several kinds or shapes, or with members that are missing.
        UsageError: members that state no kind.
    """
    if not data:
        raise DataError(f"{name} is empty: give at least 3 items")
    first = data[0]
    gone = next((i for i, v in enumerate(data) if v is None), None)
    if gone is not None and any(v is not None for v in data):
        raise DataError(f"item {gone} of {name} is missing (got None): leave it out")
    if isinstance(first, str):
        if not all(isinstance(v, str) for v in data):
            raise DataError(f"{name} mixes texts and {_types(data)}: give items of one kind")
        return texts(list(data), name=name)
    if is_drawn(first) or is_stored(first):
        return pictures(data, name, options)
    if isinstance(first, bytes):
        raise UsageError(f"{name} holds bytes: decode them to strings, or pictures to arrays")
    if hasattr(first, "detach") or isinstance(first, np.ndarray):
        arrays = [plain_array(v, name) for v in data]
        if len({a.shape for a in arrays}) > 1:
            shapes = ", ".join(map(str, sorted({a.shape for a in arrays})[:3]))
            raise DataError(f"{name}: items differ in shape ({shapes}): resize them, or {WRAP} (clips of sound may)")
        stacked = np.stack(arrays)
        if hasattr(first, "detach") and stacked.ndim == 4 and stacked.shape[1] in (1, 2, 3, 4):
            stacked = np.moveaxis(stacked, 1, -1)
        return stacked[..., 0] if stacked.ndim == 4 and stacked.shape[-1] == 1 else stacked
    if isinstance(first, list | tuple):
        widths = {len(row) if isinstance(row, list | tuple) else 0 for row in data}
        if len(widths) > 1:
            raise DataError(
                f"{name}: rows differ in length ({', '.join(map(str, sorted(widths)[:5]))}): pad or cut them"
            )
        if any(isinstance(v, str) for v in first):
            raise UsageError(f"{name} holds rows of words: pass a DataFrame with names of columns")
        try:
            array = np.asarray(data)
        except ValueError as error:
            raise DataError(f"{name}: rows differ in shape ({error}): give numbers of one shape") from error
        return array.astype(np.float64) if array.ndim == 2 and array.dtype.kind in "iu" else array
    if all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in data):
        return np.asarray(data, dtype=np.float64)[:, None]
    raise UsageError(f"{name} holds {_types(data)}, which state no kind of items: {WRAP}")


def _types(data: Sequence[Any]) -> str:
    return ", ".join(sorted({type(v).__name__ for v in data[:1000]})[:4])


def pictures(data: Sequence[Any], name: str, options: Mapping[str, Any]) -> Items:
    """Pictures of Pillow, or their files' content; options are those of pictures in files.

    Raises:
        DataError: as of pictures in files.
    """
    shape, remarks = Shape.of(**{k: v for k, v in options.items() if k in SHAPES}), Remarks()
    names = [f"item {i}" for i in range(len(data))]
    drawn = (any_picture(v, f"{at} of {name}", shape, remarks) for at, v in zip(names, data, strict=True))
    found = images(beside(drawn, names, name), name=name)
    remarks.warn()
    return found


def stacked(rows: Sequence[Any], labels: Any, name: str, options: Mapping[str, Any]) -> Items:
    """Things of one type with their labels as items: pictures, texts, tokens (whole numbers), points or images."""
    if isinstance(rows[0], str):
        return texts(list(rows), labels=labels, name=name)
    array = listed(list(rows), name, options)
    if isinstance(array, Items):
        return Items(array.kind, array.values, *with_labels(labels, len(array), name, dict(array.facts)))
    if array.ndim == 2 and array.dtype.kind in "iu" and not hasattr(rows[0], "shape"):
        array = array.astype(np.float64)
    return of_array(array, labels, name)


def of_array(array: np.ndarray, labels: Any, name: str) -> Items:
    """An array of a Dataset as items: whole numbers (n, d) are tokens, others points, what has more axes images."""
    if array.ndim == 2 and array.dtype.kind in "iu":
        return tokens(array, labels=labels, name=name)
    if array.ndim == 2:
        return points(array, labels=labels, name=name)
    if array.ndim == 1:
        return points(array[:, None], labels=labels, name=name)
    return images(array, labels=labels, name=name)
