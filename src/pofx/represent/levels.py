"""Levels of games as classes of a grid."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import DataError
from pofx.core.event import Discrete
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation

OPEN = "?"  # a place that is not known, in a template


class LevelGrid(Representation):
    """Integers (n, H, W) ↔ the same in int64.

    Args:
        tiles: the character of each class.
        shape: H, W.
    """

    kind = "tilemap"
    name = "grid"
    summary = "tiles of a grid as classes"
    measure: ClassVar[str] = "counting"
    volume = Density.EXACT

    def __init__(self, tiles: str, shape: Sequence[int]) -> None:
        self.tiles, self.shape = tiles, [int(v) for v in shape]
        if len(self.shape) != 2 or not tiles or len(set(tiles)) != len(tiles):
            raise DataError(f"levels must have two axes and different tiles (got {self.shape}, {tiles!r})")
        self.event = Discrete((self.shape[0], self.shape[1]), len(tiles))

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        return cls(str(items.facts["tiles"]), items.values.shape[1:])

    def numbers(self, text: str) -> np.ndarray:
        """A level in lines as numbers of tiles, -1 where it has `?`."""
        lines = text.strip("\n").split("\n")
        known = {c: i for i, c in enumerate(self.tiles)} | ({OPEN: -1} if OPEN not in self.tiles else {})
        other = sorted({c for line in lines for c in line} - set(known))
        if other:
            raise DataError(f"tiles must be among {self.tiles!r} or {OPEN!r} (got {''.join(other[:8])!r})")
        if [len(lines), *{len(line) for line in lines}] != self.shape:
            raise DataError(
                f"a level must have {self.shape[0]} lines of {self.shape[1]} tiles (got {len(lines)} lines)"
            )
        return np.array([[known[c] for c in line] for line in lines], np.int64)

    def tensor(self, values: Any) -> Tensor:
        array = self._array(values)
        if array.min() < 0 or array.max() >= len(self.tiles):
            raise DataError(f"tiles must be 0 to {len(self.tiles) - 1} (got {array.min()} to {array.max()})")
        return torch.from_numpy(array.astype(np.uint8))

    def _array(self, values: Any) -> np.ndarray:
        if isinstance(values, str):
            values = [values]
        if isinstance(values, Sequence) and len(values) and all(isinstance(v, str) for v in values):
            return np.stack([self.numbers(v) for v in values])
        array = np.asarray(values)
        if array.ndim != 3 or list(array.shape[1:]) != self.shape or array.dtype.kind not in "iu" or not len(array):
            raise DataError(f"levels must be integers (n, {self.shape[0]}, {self.shape[1]}) (got {array.shape})")
        return array

    def items(self, raw: Tensor) -> Any:
        return raw.cpu().numpy().astype(np.uint8)

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return raw.long(), torch.zeros(len(raw), device=raw.device)

    def decode(self, x: Tensor) -> Tensor:
        return x.long()

    def prefix(self, values: Any) -> Tensor:
        """Levels with `?` (in text) or -1 (in arrays) where nothing is known."""
        array = self._array(values).astype(np.int64)
        if array.min() < -1 or array.max() >= len(self.tiles):
            raise DataError(f"known tiles must be 0 to {len(self.tiles) - 1}, others -1 (got {array.max()})")
        return torch.from_numpy(array)

    @property
    def dims(self) -> int:
        return self.shape[0] * self.shape[1]
