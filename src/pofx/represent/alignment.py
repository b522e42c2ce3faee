"""Aligned protein sequences: a class for each residue and for a gap, in every column."""

from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import DataError
from pofx.core.event import Discrete
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation
from pofx.data.alignments import LETTERS, codes

OPEN = "?"  # a residue to be drawn, in a template


class Columns21(Representation):
    """Sequences of one length ↔ int64 (n, length) of 21 classes, 0 for gaps."""

    kind = "proteins"
    name = "alignment"
    summary = "residues and gaps of aligned sequences as 21 classes"
    measure: ClassVar[str] = "counting"
    volume = Density.EXACT

    def __init__(self, length: int) -> None:
        if length < 1:
            raise DataError(f"sequences must have residues (got length {length})")
        self.length = length
        self.event = Discrete((length,), len(LETTERS))

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        sizes = {len(v) for v in items.values}
        if len(sizes) > 1:
            raise DataError(
                f"sequences have {min(sizes)} to {max(sizes)} residues: align them, or pass represent=characters"
            )
        return cls(sizes.pop())

    def as_batch(self, values: Any) -> Any:
        return [values] if isinstance(values, str) else values

    def tensor(self, values: Any) -> Tensor:
        values = [values] if isinstance(values, str) else list(values)
        if not values or not all(isinstance(v, str) and len(v) == self.length for v in values):
            raise DataError(f"sequences must be strings of {self.length} columns, with - for gaps, at least one")
        other = sorted({c for v in values for c in v} - set(LETTERS))
        if other:
            raise DataError(f"sequences must be of {LETTERS} (got {''.join(other[:8])!r})")
        return torch.from_numpy(codes(values))

    def prefix(self, values: Any) -> Tensor:
        """Sequences with `?` in the columns that are to be drawn; shorter ones are the beginnings of sequences."""
        values = [values] if isinstance(values, str) else list(values)
        padded = [v.ljust(self.length, OPEN) for v in values]
        known = self.tensor([v.replace(OPEN, "-") for v in padded])
        there = np.array([[c != OPEN for c in v] for v in padded])
        return torch.where(torch.from_numpy(there), known, -1)

    def items(self, raw: Tensor) -> Any:
        letters = np.array(list(LETTERS))
        return ["".join(row) for row in letters[raw.cpu().numpy()]]

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return raw.long(), torch.zeros(len(raw), device=raw.device)

    def decode(self, x: Tensor) -> Tensor:
        return x.long()

    @property
    def dims(self) -> int:
        return self.length
