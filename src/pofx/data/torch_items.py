"""The items of a map-style torch Dataset: x, (x, label) or mappings, read at once or each when it is needed.

What stays where it is must give the same item again: its __getitem__ is trusted to.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pofx.core.errors import DataError, UsageError
from pofx.core.items import Items
from pofx.data.bounded import reading
from pofx.data.kind import kinds
from pofx.data.levels import check_images
from pofx.data.listed import stacked
from pofx.data.named import Rows, items_of
from pofx.data.numbers import from_tensor
from pofx.data.on_disk import Changed, OnDisk, Source
from pofx.data.pictures import Shape, drawn_picture, is_drawn


class TorchItems(Source):
    """Arrays of one shape, the first part of each item of a map-style Dataset."""

    def __init__(self, data: Any, first: np.ndarray, tensor: bool) -> None:
        self.data, self.tensor = data, tensor
        self.shape, self.dtype = (len(data), *first.shape), first.dtype

    def rows(self, at: np.ndarray) -> np.ndarray:
        found = np.empty((len(at), *self.shape[1:]), self.dtype)
        for k, i in enumerate(at):
            array, _ = part(self.data[int(i)], f"item {i}")
            if array.shape != self.shape[1:]:
                raise DataError(f"item {i} has shape {array.shape}, item 0 {self.shape[1:]}: resize them")
            found[k] = array
        return found


def torch_items(data: Any, label: str | None, condition: Any, options: Mapping[str, Any]) -> tuple[Items, Any]:
    """The items of a Dataset, and the condition, where it named fields what these hold.

    x may be a PIL image, a uint8 tensor (C, H, W) or array (H, W) or (H, W, C), a float tensor (C, H, W) in [0, 1], a
    vector, a sequence of whole numbers (tokens), or a string; in mappings the name of the field counts as well.

    Args:
        options: of reading pictures and tables; with on_disk the items stay where they are.

    Raises:
        DataError: empty, items that are missing, of different shapes or of a type that fits no kind.
        UsageError: more than x and its label.
    """
    name = type(data).__name__
    try:
        n = len(data)
    except TypeError as error:
        raise DataError(f"{name} has no length: give a map-style Dataset, or save its items to a file") from error
    if n == 0:
        raise DataError(f"{name} is empty: give at least 3 items")
    options = dict(options)
    stays = options.pop("on_disk", False)
    with reading(name, "data set", "mend its __getitem__"):
        rows = [data[i] for i in range(1 if stays else n)]
    gone = next((i for i, row in enumerate(rows) if row is None), None)
    if gone is not None:
        raise DataError(f"item {gone} of {name} is missing (got None): leave it out, or mend its __getitem__")
    if isinstance(rows[0], Mapping) and not stays:
        return items_of(Rows(rows, name), label, condition, options)
    if label is not None:
        raise UsageError(f"{name} has no column '{label}': its items are no mappings, and the second part is the label")
    if stays:
        return _left(data, rows[0], name), condition
    labels: Any = None
    pair = isinstance(rows[0], tuple | list) and len(rows[0]) == 2 and isinstance(rows[0][0], str)
    if pair or (isinstance(rows[0], tuple | list) and rows[0] and not np.isscalar(rows[0][0])):
        parts = {len(row) if isinstance(row, tuple | list) else 1 for row in rows}
        if parts - {1, 2} or len(parts) > 1:
            got = " or ".join(map(str, sorted(parts)))
            raise UsageError(f"{name} yields {got} values for each item: give x, or x and its label")
        labels = [row[1] for row in rows] if parts == {2} else None
        rows = [row[0] for row in rows]
    return stacked(rows, plain_labels(labels, name), name, options), condition


def plain_labels(labels: Sequence[Any] | None, name: str) -> Any:
    """Labels without tensors; what is no label is refused in words.

    Raises:
        DataError: labels that are missing, mappings, or vectors.
    """
    if labels is None:
        return None
    found = [_plain(v) for v in labels]
    wrong = next((v for v in found if v is None or isinstance(v, Mapping | set)), 0)
    if wrong != 0 or len({np.shape(v) for v in found}) > 1:
        got = "no label" if wrong is None else type(wrong).__name__ if wrong != 0 else "shapes that differ"
        raise DataError(
            f"{name}: the second part of an item must be its label, a class (got {got}): give x alone, "
            "pofx.fit([x for x, _ in data], …), and what is no class as condition="
        )
    return np.asarray(found)


def _plain(value: Any) -> Any:
    if hasattr(value, "detach"):
        value = from_tensor(value)
    return value.item() if hasattr(value, "item") and np.size(value) == 1 else value


def _left(data: Any, first: Any, name: str) -> Items:
    """The items of a Dataset, left where they are; labels are not read, since that would read every item.

    Raises:
        UsageError: items that are no arrays.
    """
    if isinstance(first, str | Mapping):
        raise UsageError(f"{name} yields {type(first).__name__}: leave on_disk out")
    array, tensor = part(first, "item 0")
    values = OnDisk(TorchItems(data, array, tensor))
    labels = getattr(data, "targets", None)
    if array.ndim == 3 and tensor and array.shape[0] in (1, 2, 3, 4):
        item = array.shape[1:] if array.shape[0] == 1 else (*array.shape[1:], array.shape[0])

        def change(x: np.ndarray) -> np.ndarray:
            last = np.moveaxis(x, 1, -1)
            return check_images(last[..., 0] if last.shape[-1] == 1 else last, 256, name)

        values = OnDisk(Changed(values.source, change, item, np.uint8))
    if array.ndim in (2, 3):
        return kinds()["image"].on_disk(values, labels, name, {"levels": 256})
    raise UsageError(f"{name} yields items of shape {array.shape}: only images stay on the disk, leave on_disk out")


def part(item: Any, name: str) -> tuple[np.ndarray, bool]:
    """The array of an item, and whether it was a tensor.

    Raises:
        DataError: a missing item, or a picture of more than 8 bits a channel.
    """
    x = item[0] if isinstance(item, tuple | list) and item else item
    if x is None:
        raise DataError(f"{name} is missing (got None): leave it out, or mend __getitem__")
    if is_drawn(x):
        return drawn_picture(x, name, Shape()), False
    if hasattr(x, "detach"):
        return from_tensor(x), True
    return np.asarray(x), False
