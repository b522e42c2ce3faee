"""A torch Dataset whose items are read when they are needed: its __getitem__ is trusted to give the same item again."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pofx.core.errors import DataError, UsageError
from pofx.core.items import Items
from pofx.data.kind import kinds
from pofx.data.levels import check_images
from pofx.data.numbers import from_tensor
from pofx.data.on_disk import Changed, OnDisk, Source


class TorchItems(Source):
    """Arrays of one shape, the first part of each item of a map-style Dataset."""

    def __init__(self, data: Any, first: np.ndarray, tensor: bool) -> None:
        self.data, self.tensor = data, tensor
        self.shape, self.dtype = (len(data), *first.shape), first.dtype

    def rows(self, at: np.ndarray) -> np.ndarray:
        found = np.empty((len(at), *self.shape[1:]), self.dtype)
        for k, i in enumerate(at):
            array, _ = part(self.data[int(i)])
            if array.shape != self.shape[1:]:
                raise DataError(f"item {i} has shape {array.shape}, item 0 {self.shape[1:]}: resize them")
            found[k] = array
        return found


def torch_items(data: Any, first: Any, name: str) -> Items:
    """The items of a Dataset, left where they are; labels are not read, since that would read every item.

    Raises:
        UsageError: items that are no arrays.
    """
    if isinstance(first, str | Mapping):
        raise UsageError(f"{name} yields {type(first).__name__}: leave on_disk out")
    array, tensor = part(first)
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


def part(item: Any) -> tuple[np.ndarray, bool]:
    """The array of an item, and whether it was a tensor."""
    x = item[0] if isinstance(item, tuple | list) else item
    if hasattr(x, "detach"):
        return from_tensor(x), True
    return np.asarray(x), False
