"""Texts as sequences of codes: what all alphabets share. Short texts end and are filled up; running text is windows.

A window of running text has no end: training sees windows at every offset, and a passage is scored as the last part of
the window that ends with it, given what precedes it there. So every code of a text is counted once, with at least
half a window of context (those at the beginning with what there is), and passages sum to the log-mass of their text.
"""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import DataError, UsageError
from pofx.core.event import Discrete
from pofx.core.random import Streams
from pofx.core.representation import Representation
from pofx.data.passages import Passages

END = 0  # ends a text and fills the rest of its row
WINDOW = 128  # codes, of running text


class Texts(Representation):
    """Strings ↔ int64 (n, length). `passage` is the size of the items of a running text; 0: items are whole texts."""

    kind = "text"
    measure = "counting"
    codes_are = "characters"

    def __init__(self, classes: int, length: int, passage: int) -> None:
        if length < max(1, 2 * passage):
            least = max(1, 2 * passage)
            raise UsageError(f"length must be at least {least} (got {length}): pass length={max(least, 64)}")
        self.classes, self.length, self.passage = classes, length, passage
        self.event = Discrete((length,), classes, end=None if passage else END)

    @abstractmethod
    def codes(self, text: str) -> np.ndarray:
        """The codes of a text, each at least 1: int64 (k,)."""

    @abstractmethod
    def text(self, codes: np.ndarray) -> str:
        """The text of codes."""

    def every(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The codes of many texts: int64 (k,) each."""
        return [self.codes(text) for text in texts]

    def edges(self, text: str, places: np.ndarray) -> np.ndarray:
        """How many codes of the text begin before each place in it: int64, as many as places."""
        return places

    def as_batch(self, values: Any) -> Any:
        return [values] if isinstance(values, str) else values

    def written(self, text: str) -> Any:
        return [text]

    def tensor(self, values: Any) -> Tensor:
        if isinstance(values, Passages):
            return torch.from_numpy(self._windows(values)[0])
        return torch.from_numpy(self._rows(values)[0])

    def training(self, values: Any) -> Tensor:
        if not isinstance(values, Passages):
            return self.tensor(values)
        codes = self.codes(values.text)
        if len(codes) < self.length:
            raise DataError(
                f"the text has {len(codes)} {self.codes_are} to train on, fewer than the length of {self.length}: "
                f"pass length={max(2 * self.passage, len(codes) // 2)}, or give more text"
            )
        kind = torch.uint8 if self.classes <= 256 else torch.int32
        return torch.from_numpy(codes).to(kind).unfold(0, self.length, 1)

    def counted(self, values: Any) -> Tensor | None:
        if isinstance(values, Passages):
            first, last = self._windows(values)[1:]
        elif self.passage:
            last = self._rows(values)[1]
            first = np.zeros_like(last)
        else:
            return None
        place = torch.arange(self.length)
        return (place >= torch.from_numpy(first)[:, None]) & (place < torch.from_numpy(last)[:, None])

    def prefix(self, values: Any) -> Tensor:
        """Strings: the beginnings of texts, at most `length` long."""
        rows, sizes = self._rows([values] if isinstance(values, str) else values)
        known = torch.arange(self.length) < torch.from_numpy(sizes)[:, None]
        return torch.from_numpy(rows).masked_fill(~known, -1)

    def items(self, raw: Tensor) -> Any:
        return [self.text(row[: _end(row)]) for row in raw.cpu().numpy()]

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return raw.long(), torch.zeros(len(raw), device=raw.device)

    def decode(self, x: Tensor) -> Tensor:
        return x.long()

    def _rows(self, values: Any) -> tuple[np.ndarray, np.ndarray]:
        """Texts from the first place on: rows (n, length), and how much of each is text (n,)."""
        keyed = hasattr(values, "columns") or isinstance(values, Mapping | Set)  # their names are no texts
        listed = isinstance(values, Collection) and not isinstance(values, str) and not keyed
        if not listed or not all(isinstance(v, str) for v in values):
            raise DataError(f"texts must be a list of strings (got {type(values).__name__}): pass ['…']")
        if len(values) == 0:
            raise DataError("there are no texts: give at least one")
        rows = np.full((len(values), self.length), END, dtype=np.int64)
        sizes = np.zeros(len(values), dtype=np.int64)
        for i, codes in enumerate(self.every(list(values))):
            if len(codes) > self.length:
                raise DataError(
                    f"text {i} has {len(codes)} {self.codes_are}, the limit is {self.length}: cut it, "
                    f"or train with length={len(codes)}"
                )
            rows[i, : len(codes)], sizes[i] = codes, len(codes)
        return rows, sizes

    def _windows(self, passages: Passages) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each passage a window of its text (n, length), and where in it the passage begins and ends (n,)."""
        if len(passages) == 0:
            raise DataError("there are no texts: give at least one")
        codes = self.codes(passages.text)
        first, last = (self.edges(passages.text, at) for at in (passages.starts, passages.ends))
        begin = np.clip(last - self.length, 0, None)
        if (first < begin).any():
            most = int((last - first).max())
            raise DataError(
                f"a passage of the text has {most} {self.codes_are}, the limit is {self.length}: "
                f"train with length={2 * most}"
            )
        filled = np.concatenate((codes, np.full(self.length, END, dtype=np.int64)))
        return filled[begin[:, None] + np.arange(self.length)], first - begin, last - begin


def lengths(sizes: np.ndarray) -> int:
    """A length for texts of these sizes: that of all but one in a hundred, or a little more than the longest."""
    longest = int(sizes.max())
    return longest if (sizes == longest).mean() > 0.99 else 8 * (longest // 8 + 1)


def _end(row: np.ndarray) -> int:
    stops = np.flatnonzero(row == END)
    return int(stops[0]) if len(stops) else len(row)
