"""Texts as classes: characters of a fixed length with an end symbol; sequences of class numbers as they are.

Class 0 ends a text and fills the rest; class 1 stands for any character that training never showed.
"""

from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import DataError, UsageError
from pofx.core.event import Discrete
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation

END, UNKNOWN, MARK = 0, 1, "\ufffd"


class Tokens(Representation):
    """Strings (or integer arrays) ↔ int64 (n, length); the log-mass is that of the text with its end."""

    kind = "tokens"
    name = "characters"
    summary = "characters as classes, to a fixed length"
    measure: ClassVar[str] = "counting"
    volume = Density.EXACT
    options = ("length",)

    def __init__(self, classes: int, characters: str, length: int = 0) -> None:
        if length < 1:
            raise UsageError(f"length must be at least 1 (got {length}): pass length=64")
        self.classes, self.characters, self.length = classes, characters, length  # characters is empty for numbers
        self.event = Discrete((length,), classes, end=END if characters else None)
        self._index = {c: i + 2 for i, c in enumerate(characters)}

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        """The alphabet of the training texts; by default their greatest length and a little more, for longer ones."""
        values = items.values
        if isinstance(values, np.ndarray):
            if options.get("length", values.shape[1]) != values.shape[1]:
                raise UsageError(f"length is {values.shape[1]} for these sequences: leave the option away")
            return cls(int(items.facts["classes"]), "", values.shape[1])
        sizes = np.asarray([len(v) for v in values])
        longest = int(sizes.max())
        length = longest if (sizes == longest).mean() > 0.99 else 8 * (longest // 8 + 1)
        characters = "".join(sorted(set().union(*values)))
        return cls(len(characters) + 2, characters, int(options.get("length", length)))

    def tensor(self, values: Any) -> Tensor:
        if not self.characters:
            array = np.asarray(values)
            if array.ndim != 2 or array.shape[1] != self.length or not np.issubdtype(array.dtype, np.integer):
                raise DataError(
                    f"sequences must be an integer array (n, {self.length}) (got {array.dtype} {array.shape})"
                )
            if array.size and (array.min() < 0 or array.max() >= self.classes):
                raise DataError(f"sequences must lie in 0 to {self.classes - 1} (got {array.min()} to {array.max()})")
            rows = torch.from_numpy(array.astype(np.int64))
        else:
            rows = self._text(values)
        if len(rows) == 0:
            raise DataError("there are no texts: give at least one")
        return rows

    def _text(self, values: Any) -> Tensor:
        if isinstance(values, str) or not all(isinstance(v, str) for v in values):
            raise DataError(f"texts must be a list of strings (got {type(values).__name__})")
        rows = np.zeros((len(values), self.length), dtype=np.int64)
        for i, text in enumerate(values):
            if len(text) > self.length:
                raise DataError(
                    f"text {i} has {len(text)} characters, the limit is {self.length}: cut it, "
                    f"or train with length={len(text)}"
                )
            rows[i, : len(text)] = [self._index.get(c, UNKNOWN) for c in text]
        return torch.from_numpy(rows)

    def prefix(self, values: Any) -> Tensor:
        """Strings, or integer arrays (n, k): the beginnings of texts, at most `length` long."""
        if self.characters:
            starts = [values] if isinstance(values, str) else list(values)
            rows = self._text(starts)
            sizes = torch.tensor([len(text) for text in starts])
        else:
            array = np.atleast_2d(np.asarray(values))
            if array.shape[1] > self.length or not np.issubdtype(array.dtype, np.integer):
                raise DataError(f"prefix must be integers (n, at most {self.length}) (got {array.dtype} {array.shape})")
            rows = torch.zeros(len(array), self.length, dtype=torch.int64)
            rows[:, : array.shape[1]] = torch.from_numpy(array.astype(np.int64))
            sizes = torch.full((len(array),), array.shape[1])
        return rows.masked_fill(torch.arange(self.length) >= sizes[:, None], -1)

    def items(self, raw: Tensor) -> Any:
        rows = raw.cpu().numpy()
        if not self.characters:
            return rows
        alphabet = ["", MARK, *self.characters]
        return ["".join(alphabet[k] for k in row[: _end(row)]) for row in rows]

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return raw.long(), torch.zeros(len(raw), device=raw.device)

    def decode(self, x: Tensor) -> Tensor:
        return x.long()

    @property
    def dims(self) -> int:
        return self.length


def _end(row: np.ndarray) -> int:
    stops = np.flatnonzero(row == END)
    return int(stops[0]) if len(stops) else len(row)
