"""Texts as characters, each a class; sequences of class numbers as they are.

Class 0 ends a text and fills the rest; class 1 stands for any character that training never showed.
"""

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import DataError, UsageError
from pofx.core.event import Discrete
from pofx.core.model import Density
from pofx.core.representation import Items
from pofx.data.passages import PASSAGE, Passages
from pofx.represent.texts import WINDOW, Texts, lengths

UNKNOWN, MARK = 1, "\ufffd"


class Tokens(Texts):
    """Strings (or integer arrays) ↔ int64 (n, length); the log-mass is that of the text with its end."""

    name = "characters"
    summary = "characters as classes, to a fixed length"
    volume = Density.EXACT
    options = ("length",)

    def __init__(self, classes: int, characters: str, length: int = 0, passage: int = 0) -> None:
        super().__init__(classes, length, passage)
        self.characters = characters  # empty for numbers
        if not characters:
            self.event = Discrete((length,), classes)
        self._alphabet = ["", MARK, *characters]
        points = np.array([ord(c) for c in characters], dtype=np.int64)
        self._index = np.full(
            int(points.max(initial=0)) + 2, UNKNOWN, dtype=np.int64
        )  # by code point; the last: others
        self._index[points] = np.arange(2, len(points) + 2)

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        """The alphabet of the training texts; by default their greatest length and a little more, for longer ones."""
        values = items.values
        if isinstance(values, np.ndarray):
            if options.get("length", values.shape[1]) != values.shape[1]:
                raise UsageError(f"length is {values.shape[1]} for these sequences: leave the option away")
            return cls(int(items.facts["classes"]), "", values.shape[1])
        if isinstance(values, Passages):
            characters, length, passage = "".join(sorted(set(values.text))), WINDOW, PASSAGE
        else:
            characters = "".join(sorted(set().union(*values)))
            length, passage = lengths(np.asarray([len(v) for v in values])), 0
        return cls(len(characters) + 2, characters, int(options.get("length", length)), passage)

    def codes(self, text: str) -> np.ndarray:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        return self._index[np.minimum(points, len(self._index) - 1)]

    def text(self, codes: np.ndarray) -> str:
        return "".join(self._alphabet[k] for k in codes)

    def tensor(self, values: Any) -> Tensor:
        if self.characters:
            return super().tensor(values)
        array = np.asarray(values)
        if array.ndim != 2 or array.shape[1] != self.length or not np.issubdtype(array.dtype, np.integer):
            raise DataError(f"sequences must be an integer array (n, {self.length}) (got {array.dtype} {array.shape})")
        if array.size == 0:
            raise DataError("there are no sequences: give at least one")
        if array.min() < 0 or array.max() >= self.classes:
            raise DataError(f"sequences must lie in 0 to {self.classes - 1} (got {array.min()} to {array.max()})")
        return torch.from_numpy(array.astype(np.int64))

    def prefix(self, values: Any) -> Tensor:
        """Strings, or integer arrays (n, k): the beginnings of texts, at most `length` long."""
        if self.characters:
            return super().prefix(values)
        array = np.atleast_2d(np.asarray(values))
        if array.shape[1] > self.length or not np.issubdtype(array.dtype, np.integer):
            raise DataError(f"prefix must be integers (n, at most {self.length}) (got {array.dtype} {array.shape})")
        rows = torch.full((len(array), self.length), -1, dtype=torch.int64)
        rows[:, : array.shape[1]] = torch.from_numpy(array.astype(np.int64))
        return rows

    def items(self, raw: Tensor) -> Any:
        return super().items(raw) if self.characters else raw.cpu().numpy()

    @property
    def dims(self) -> int:
        return self.passage or self.length
