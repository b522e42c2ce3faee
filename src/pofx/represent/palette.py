"""Pictures of few colours as classes of a palette: sprites, maps, drawings.

Channels of a pixel art picture are far from independent: it has a dozen colours, not 256³. A class for each colour that
occurs in training is one number a pixel instead of three, and every draw has colours of the palette alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import DataError
from pofx.core.event import Discrete
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.core.representation import Items
from pofx.represent.image import ImageView

MOST = 256  # colours of a palette


class Palette(ImageView):
    """uint8 (n, H, W) or (n, H, W, C) ↔ int64 (n, 1, H, W), numbers of colours; another colour has probability zero.

    Args:
        colours: of the palette, the channels of each.
    """

    name = "palette"
    summary = "colours of a palette as classes: pictures of at most 256 colours"
    volume = Density.EXACT
    on_request: ClassVar[bool] = True

    def __init__(self, shape: tuple[int, ...], levels: int, flat: bool, colours: Sequence[Sequence[int]]) -> None:
        super().__init__(shape, levels, flat)
        self.colours = [[int(v) for v in colour] for colour in colours]
        self.event = Discrete((1, *self.shape[1:]), len(self.colours))
        self._table = torch.tensor(self.colours, dtype=torch.uint8)
        keys = self._keys(self._table[..., None, None])[:, 0, 0]
        self._sorted, self._order = keys.sort()

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        """The palette of the training pictures.

        Raises:
            DataError: they have too many colours.
        """
        channels = 1 if items.values.ndim == 3 else items.values.shape[3]
        colours = np.unique(np.asarray(items.values).reshape(-1, channels), axis=0)
        if len(colours) > MOST:
            raise DataError(
                f"the pictures have {len(colours):,} colours, a palette at most {MOST}: reduce their colours first, or "
                "leave represent=palette out"
            )
        return super().fit(items, colours=colours.tolist(), **options)

    def _keys(self, raw: Tensor) -> Tensor:
        """Colours uint8 (n, C, …) as one number each: int64 (n, …)."""
        found = torch.zeros_like(raw[:, 0], dtype=torch.int64)
        for channel in raw.unbind(1):
            found = found * 256 + channel
        return found

    def _numbers(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The number of each colour, and whether it is in the palette: (n, 1, H, W)."""
        keys, known = self._keys(raw)[:, None], self._sorted.to(raw.device)
        at = torch.searchsorted(known, keys).clamp(max=len(known) - 1)
        return self._order.to(raw.device)[at], known[at] == keys

    def impossible(self, values: Any) -> Mapping[int, str]:
        there = self._numbers(self.tensor(values))[1].flatten(1).all(1)
        return {int(i): "it has a colour that no training picture has" for i in (~there).nonzero()[:, 0]}

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return self._numbers(raw)[0], self._constant(raw, 0.0)

    def decode(self, x: Tensor) -> Tensor:
        chosen = self._table.to(x.device)[x[:, 0].clamp(0, len(self.colours) - 1)]
        return chosen.movedim(-1, 1)

    def real(self, x: Tensor) -> Tensor:
        return self.decode(x.long()).to(torch.float32) / (self.levels - 1)

    def prefix(self, values: Any) -> Tensor:
        rows = self._rows(values)
        numbers, there = self._numbers(rows)
        if not bool(there.all()):
            raise DataError("prefix has a colour that no training picture has: take one of the palette")
        full = torch.full((len(rows), 1, *self.shape[1:]), -1, dtype=torch.int64)
        full[:, :, : rows.shape[2]] = numbers
        return full
