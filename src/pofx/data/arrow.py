"""A 🤗 `datasets.Dataset` as items: pictures by random access to its Arrow files, texts and tables in memory.

Lhoest et al. (2021), "Datasets: a community library for natural language processing", 2109.02846. The library is not
imported here: whoever has such an object has it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pofx.core.errors import DataError, UsageError
from pofx.core.items import Items
from pofx.data import on_disk as disk
from pofx.data.bounded import reading
from pofx.data.kinds.table import table_of
from pofx.data.kinds.text import texts
from pofx.data.labels import with_labels
from pofx.data.on_disk import OnDisk, Source
from pofx.data.pictures import Shape, flat, shaped

PICTURES = ("image", "img", "picture", "pixel_values")
TEXTS = ("text", "sentence", "content")
LABELS = ("label", "labels", "fine_label", "target")
SHAPES = ("size", "crop", "grey")


class ArrowPictures(Source):
    """The pictures of a column, decoded when they are needed."""

    def __init__(self, data: Any, column: str, shape: Shape) -> None:
        self.data, self.column, self.of = data, column, shape
        first = self._one(0)
        self.shape, self.dtype = (len(data), *first.shape), np.dtype(np.uint8)

    def _one(self, i: int) -> np.ndarray:
        return np.asarray(shaped(flat(self.data[i][self.column], f"row {i}"), self.of))

    def rows(self, at: np.ndarray) -> np.ndarray:
        found = np.empty((len(at), *self.shape[1:]), np.uint8)
        for k, i in enumerate(at.tolist()):
            array = self._one(i)
            if array.shape != self.shape[1:]:
                raise DataError(
                    f"row {i} has a picture of shape {array.shape}, row 0 of {self.shape[1:]}: pass size=64 where "
                    "sizes differ, grey=false where some are in colour"
                )
            found[k] = array
        return found


def from_datasets(data: Any, label: str | None, options: Mapping[str, Any]) -> Items:
    """The rows of a 🤗 Dataset: pictures, texts, or a table, by the names and types of its columns.

    Args:
        label: the column of the labels; by default one that is called so.

    Raises:
        DataError: no rows, or no random access.
        UsageError: no such column.
    """
    name = f"the {type(data).__name__}"
    if not hasattr(data, "__len__"):
        raise DataError(f"{name} is a stream without random access: load it without streaming=True, or save a part")
    if len(data) == 0:
        raise DataError(f"{name} is empty: give at least 3 rows")
    names: Sequence[str] = list(data.column_names)
    if label is not None and label not in names:
        raise UsageError(f"{name} has no column '{label}': choose one of {', '.join(names)}")
    of_label = label or next((c for c in LABELS if c in names), None)
    with reading(name, "data set", "mend its columns"):
        first = data[0]
    picture = next((c for c in (*PICTURES, *names) if c in names and hasattr(first[c], "getbands")), None)
    labels = None if of_label is None else list(data[of_label])
    if picture is not None:
        source = ArrowPictures(data, picture, Shape.of(**{k: v for k, v in options.items() if k in SHAPES}))
        stays = options.get("on_disk", len(data) * source.item_bytes > disk.LARGE)
        values: Any = OnDisk(source) if stays else source.rows(np.arange(len(data)))
        return Items("image", values, *_labelled(data, of_label, labels, len(values), name, {"levels": 256}))
    others = [c for c in names if c != of_label]
    text = next((c for c in TEXTS if c in names), others[0] if len(others) == 1 else None)
    if text is not None and isinstance(first[text], str):
        items = texts(list(data[text]), name=name)
        return Items("text", items.values, *_labelled(data, of_label, labels, len(items), name, dict(items.facts)))
    chosen = {k: v for k, v in options.items() if k in ("columns", "drop", "schema")}
    return table_of(data.to_pandas(), label, None, name, **chosen)


def _labelled(data: Any, column: str | None, labels: Any, n: int, name: str, facts: dict[str, Any]) -> Any:
    """Class numbers and facts, with the names that the feature of the column states."""
    codes, facts = with_labels(labels, n, name, facts)
    stated = getattr((getattr(data, "features", None) or {}).get(column), "names", None) if column else None
    whole = labels is not None and all(isinstance(v, int) and 0 <= v < len(stated or ()) for v in labels)
    if stated and whole:
        return np.asarray(labels, dtype=np.int64), {**facts, "label_names": list(stated)}
    return codes, facts
