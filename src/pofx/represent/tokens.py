"""Sequences of class numbers as they are."""

from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import DataError
from pofx.core.event import Discrete
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation


class Tokens(Representation):
    """Integer arrays (n, length) ↔ the same in int64."""

    kind = "tokens"
    name = "classes"
    summary = "class numbers as they are"
    measure: ClassVar[str] = "counting"
    volume = Density.EXACT

    def __init__(self, classes: int | list[int], length: int) -> None:
        """classes: of all places, or one number for each."""
        self.classes, self.length = classes, length
        self._event = Discrete((length,), classes if isinstance(classes, int) else tuple(classes))
        self.event = self._event

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        classes = items.facts["classes"]
        return cls(classes if isinstance(classes, list) else int(classes), items.values.shape[1])

    def tensor(self, values: Any) -> Tensor:
        array = np.asarray(values)
        if array.ndim != 2 or array.shape[1] != self.length or not np.issubdtype(array.dtype, np.integer):
            raise DataError(f"sequences must be an integer array (n, {self.length}) (got {array.dtype} {array.shape})")
        if array.size == 0:
            raise DataError("there are no sequences: give at least one")
        if array.min() < 0 or (array >= np.array(self._event.counts)).any():
            place = int(np.argmax(((array < 0) | (array >= np.array(self._event.counts))).any(0)))
            raise DataError(
                f"place {place} of sequences must lie in 0 to {self._event.counts[place] - 1} "
                f"(got {array[:, place].min()} to {array[:, place].max()})"
            )
        return torch.from_numpy(array.astype(np.int64))

    def items(self, raw: Tensor) -> Any:
        return raw.cpu().numpy()

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return raw.long(), torch.zeros(len(raw), device=raw.device)

    def decode(self, x: Tensor) -> Tensor:
        return x.long()

    def prefix(self, values: Any) -> Tensor:
        """Integer arrays (n, k): the beginnings of sequences, at most `length` long."""
        array = np.atleast_2d(np.asarray(values))
        if array.shape[1] > self.length or not np.issubdtype(array.dtype, np.integer):
            raise DataError(f"prefix must be integers (n, at most {self.length}) (got {array.dtype} {array.shape})")
        rows = torch.full((len(array), self.length), -1, dtype=torch.int64)
        rows[:, : array.shape[1]] = torch.from_numpy(array.astype(np.int64))
        return rows

    @property
    def dims(self) -> int:
        return self.length
