"""Clips and solids as events (C, T, H, W): the views of images, with one axis more.

Diffusion's networks take such grids as they are. Sizes and channels of all slices are equal.
"""

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import DataError
from pofx.core.representation import Items
from pofx.data.kinds.volume import check_volumes
from pofx.represent.image import ImageView, Levels, Logit, Unit


class VolumeView(ImageView):
    """uint8 (n, T, H, W) or (n, T, H, W, C) ↔ raw uint8 (n, C, T, H, W)."""

    kind = "video"

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        values, flat = items.values, items.values.ndim == 4
        shape = (1 if flat else values.shape[4], *values.shape[1:4])
        return cls(shape, int(items.facts.get("levels", 256)), flat, **options)

    def as_batch(self, values: Any) -> Any:
        return values[None] if np.ndim(values) == 4 - self.flat else values

    def tensor(self, values: Any) -> Tensor:
        array = check_volumes(values, self.levels, "items")
        shape = self.shape[1:] if self.flat else (*self.shape[1:], self.shape[0])
        if array.shape[1:] != shape:
            raise DataError(f"items must have shape (n, {', '.join(map(str, shape))}) (got {array.shape})")
        raw = torch.from_numpy(array)
        return raw[:, None] if self.flat else raw.movedim(-1, 1).contiguous()

    def items(self, raw: Tensor) -> Any:
        raw = raw.to("cpu", torch.uint8)
        return (raw[:, 0] if self.flat else raw.movedim(1, -1).contiguous()).numpy()

    def _rows(self, values: Any) -> Tensor:
        """The first slices, uint8 (n, t, H, W) or (n, t, H, W, C) → raw (n, C, t, H, W)."""
        array = check_volumes(values, self.levels, "prefix")
        shape = self.shape[2:] if self.flat else (*self.shape[2:], self.shape[0])
        if array.shape[2:] != shape or array.shape[1] > self.shape[1]:
            wanted = ", ".join(map(str, shape))
            raise DataError(
                f"prefix must be the first slices, (n, at most {self.shape[1]}, {wanted}) (got {array.shape})"
            )
        raw = torch.from_numpy(array)
        return raw[:, None] if self.flat else raw.movedim(-1, 1)


class VolumeLevels(VolumeView, Levels):
    """Levels as classes."""

    summary = "levels of clips and solids as classes"


class VolumeLogit(VolumeView, Logit):
    """Dequantised levels on the real line, with the exact Jacobian."""

    summary = "clips and solids, dequantised, then logit(alpha + (1 - 2 alpha) s): real values"


class VolumeUnit(VolumeView, Unit):
    """Dequantised levels in [-1, 1], with the Jacobian."""

    summary = "clips and solids, dequantised, in [-1, 1]"
