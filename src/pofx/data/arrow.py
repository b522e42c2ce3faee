"""A 🤗 `datasets.Dataset` as items: pictures by random access to its Arrow files, all else in memory.

Pictures and recordings are read from the bytes that are stored, as those of files are, not as the library decodes them:
16 bits, animations and formats that start other programs are refused. Lhoest et al. (2021), "Datasets: a community
library for natural language processing", 2109.02846. The library is not imported: whoever has such an object has it.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError
from pofx.core.items import Items
from pofx.data import on_disk as disk
from pofx.data.bounded import reading
from pofx.data.kinds.audio import audio
from pofx.data.listed import SHAPES, listed, of_array
from pofx.data.named import Fields, Rows, by_name, items_of
from pofx.data.on_disk import OnDisk, Source
from pofx.data.pictures import Remarks, Shape, any_picture, beside
from pofx.data.recordings import recordings

PROBED = 64  # pictures that show whether all are grey
FEATURES = {"Image": "picture", "Audio": "sound", "ClassLabel": "value"}  # types of columns
LISTS = ("List", "LargeList", "Sequence", "Array2D", "Array3D", "Array4D", "Array5D")


class ArrowPictures(Source):
    """The pictures of a column, decoded when they are needed."""

    def __init__(self, data: Any, column: str, shape: Shape, name: str) -> None:
        self.data, self.column, self.of, self.name = data, column, shape, name
        n = len(data)
        probed = [self.one(int(i)) for i in np.unique(np.linspace(0, n - 1, min(n, PROBED)).round())]
        grey = all(array.ndim == 2 for array in probed)
        self.of = shape if grey else Shape(shape.size, shape.crop, False)
        self.shape = (n, *probed[0].shape[:2], *(() if grey else (3,)))
        self.dtype = np.dtype(np.uint8)

    def one(self, i: int, remarks: Remarks | None = None) -> np.ndarray:
        with reading(self.name, "data set", "mend its columns"):
            value = self.data[i][self.column]
        if value is None:
            raise DataError(
                f"row {i} of {self.name} has no {self.column} (got None): leave it out, "
                f"data.filter(lambda row: row['{self.column}'] is not None)"
            )
        return any_picture(value, f"row {i} of {self.name}", self.of, remarks)

    def rows(self, at: np.ndarray) -> np.ndarray:
        found = np.empty((len(at), *self.shape[1:]), np.uint8)
        for k, i in enumerate(at.tolist()):
            array = self.one(i)
            if array.shape != self.shape[1:]:
                raise DataError(
                    f"row {i} has a picture of shape {array.shape}, others of {self.shape[1:]}: pass size=64 where "
                    "sizes differ, grey=false where some are in colour"
                )
            found[k] = array
        return found


class ArrowFields(Fields):
    """The columns of a 🤗 Dataset, by their features."""

    def __init__(self, data: Any, name: str) -> None:
        self.data, self.name, self.names = data, name, list(data.column_names)
        self.features = dict(getattr(data, "features", None) or {})
        self.mend = "leave such rows out with data.filter"

    def __len__(self) -> int:
        return len(self.data)

    def values(self, field: str) -> Sequence[Any]:
        found: Sequence[Any] = self.data[field]
        return found

    def type_of(self, field: str) -> str:
        feature: Any = self.features.get(field)
        known = FEATURES.get(type(feature).__name__)
        if known is not None:
            return known
        if type(feature).__name__ in LISTS:
            inner: Any = feature
            while hasattr(inner, "feature"):
                inner = inner.feature
            if getattr(inner, "names", None) is not None:
                return "lists of classes"
            numbers = any(kind in str(getattr(inner, "dtype", "")) for kind in ("int", "float", "bool"))
            return "array" if numbers else f"lists of {getattr(inner, 'dtype', 'objects')}"
        if getattr(feature, "dtype", None) in ("string", "large_string"):
            return "words"
        with reading(self.name, "data set", "mend its columns"):
            return super().type_of(field)

    def classes(self, field: str) -> list[str] | None:
        names = getattr(self.features.get(field), "names", None)
        return None if names is None else list(names)

    def items(self, field: str, kind: str, options: Mapping[str, Any]) -> Items:
        feature = self.features.get(field)
        if kind == "picture":
            source = ArrowPictures(self._stored(field), field, Shape.of(**_of(options, *SHAPES)), self.name)
            if options.get("on_disk", len(self) * source.item_bytes > disk.LARGE):
                return Items("image", OnDisk(source), None, {"levels": 256})
            remarks, names = Remarks(), [f"row {i}" for i in range(len(self))]
            values = beside((source.one(i, remarks) for i in range(len(self))), names, self.name)
            remarks.warn()
            return Items("image", values, None, {"levels": 256})
        if kind == "sound" and feature is not None:
            return self._sound(field, options)
        if kind == "array" and hasattr(self.data, "with_format"):
            rows = list(self.data.with_format("numpy")[field])
            array = listed([self._there(v, field, i) for i, v in enumerate(rows)], self.name, {})
            return of_array(array, None, self.name)
        return super().items(field, kind, options)

    def frame(self, fields: Sequence[str]) -> pd.DataFrame:
        frame = self.data.to_pandas()[list(fields)]
        return frame.assign(**{c: by_name(list(self.values(c)), self.classes(c)) for c in fields if self.classes(c)})

    def _stored(self, field: str) -> Any:
        """The rows with the bytes of a column as they are stored, where they are."""
        feature = self.features.get(field)
        if getattr(feature, "decode", False) and getattr(feature, "mode", None) is None:
            raw = self.data.cast_column(field, type(feature)(decode=False))
            first = raw[0][field]
            if first is None or first.get("bytes") is not None or "://" not in str(first.get("path")):
                return raw
        return self.data

    def _sound(self, field: str, options: Mapping[str, Any]) -> Items:
        rows = self._stored(field)
        names, contents = [], []
        for i in range(len(rows)):
            stored = self._there(rows[i][field], field, i)
            content = stored.get("bytes")
            if content is None:
                with reading(stored.get("path"), "recording"), open(stored["path"], "rb") as file:
                    content = file.read()
            ending = PurePosixPath(stored.get("path") or "").suffix or (".wav" if content[:4] == b"RIFF" else ".flac")
            names.append(f"row {i}{ending}")
            contents.append(content)
        clips, rate = recordings(names, contents, self.name, options.get("rate"))
        return audio(clips, rate, name=self.name)


def _of(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k in names}


def from_datasets(data: Any, label: str | None, condition: Any, options: Mapping[str, Any]) -> tuple[Items, Any]:
    """The rows of a 🤗 Dataset, or of one of its columns: pictures, sound, texts, arrays, or a table.

    Formats (`with_format`) choose columns and are otherwise of no account; what a transform yields is read as the items
    of a torch Dataset are.

    Args:
        label: the column of the labels; by default one that is called so.

    Raises:
        DataError: no rows, no random access, or rows without a value.
        UsageError: no such column.
    """
    name = f"the {type(data).__name__}"
    if not hasattr(data, "__len__"):
        raise DataError(f"{name} is a stream without random access: load it without streaming=True, or save a part")
    if len(data) == 0:
        raise DataError(f"{name} is empty: give at least 3 rows")
    if hasattr(data, "column_name"):  # a column of datasets 5
        if not hasattr(data.source, "column_names"):
            return items_of(Rows([{data.column_name: v} for v in data], name), label, condition, options)
        data = data.source.select_columns([data.column_name])
    form = getattr(data, "format", None)
    if form is not None and form["type"] == "custom":
        with reading(name, "data set", "mend its transform"):
            rows = [data[i] for i in range(len(data))]
        return items_of(Transformed(rows, name, data), label, condition, options)
    if form is not None:
        data = data.with_format(None)
        if set(form["columns"]) != set(data.column_names):
            data = data.select_columns(form["columns"])
    return items_of(ArrowFields(data, name), label, condition, options)


class Transformed(Rows):
    """What a transform makes of rows; the names of classes are those of the columns that it leaves."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], name: str, data: Any) -> None:
        super().__init__(rows, name)
        self.features = dict(data.features or {})

    def classes(self, field: str) -> list[str] | None:
        names = getattr(self.features.get(field), "names", None)
        return None if names is None else list(names)
