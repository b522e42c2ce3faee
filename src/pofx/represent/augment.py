"""Augmentation: training images changed at random, anew each time they are seen; off by default, training only.

Flips, rotations, shifts and crops by one affine map per image and a nearest-pixel look-up, so that levels stay levels;
what comes from outside repeats the edge. The noise belongs to the position in the run: a resumed run sees what the
uninterrupted one saw. A model then learns the distribution of changed images, of which the data is a part: likelihoods
of the data as it is are lower for it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pofx.core.errors import UsageError
from pofx.core.items import Items
from pofx.core.random import Streams
from pofx.data.kind import kind_of

OPTIONS = {
    "flip": "images: mirrored left and right in half of the times (true)",
    "shift": "images: moved by up to so many pixels in each direction",
    "rotate": "images: turned by up to so many degrees to either side",
    "zoom": "images: a crop of at least this share of the sides, enlarged to the whole: 0.8",
}


@dataclass(frozen=True)
class Augmentation:
    """Random changes of raw images uint8 (n, C, H, W)."""

    flip: bool = False
    shift: int = 0
    rotate: float = 0.0
    zoom: float = 1.0

    def __post_init__(self) -> None:
        for name, good, limit in (
            ("flip", isinstance(self.flip, bool), "true or false"),
            ("shift", _whole(self.shift) and 0 <= self.shift <= 1024, "0 to 1024 pixels"),
            ("rotate", _real(self.rotate) and 0 <= self.rotate <= 180, "0 to 180 degrees"),
            ("zoom", _real(self.zoom) and 0 < self.zoom <= 1, "in (0, 1]"),
        ):
            if not good:
                usual = {"flip": "true", "shift": "2", "rotate": "10", "zoom": "0.8"}[name]
                raise UsageError(f"{name} must be {limit} (got {getattr(self, name)!r}): pass {name}={usual}")

    def __call__(self, raw: Tensor, streams: Streams) -> Tensor:
        n, channels, height, width = raw.shape
        u = streams.uniform(6)
        angle = (2 * u[:, 0] - 1) * math.radians(self.rotate)
        scale = self.zoom + (1 - self.zoom) * u[:, 1]
        mirror = torch.where((u[:, 2] < 0.5) & self.flip, -1.0, 1.0)
        room = 1 - scale  # a crop lies anywhere within the image
        dx = (u[:, 3] - 0.5) * room * width + _steps(u[:, 4], self.shift)
        dy = (u[:, 5] - 0.5) * room * height + _steps((u[:, 3] * 4096) % 1, self.shift)
        y = torch.arange(height, device=raw.device) - (height - 1) / 2
        x = torch.arange(width, device=raw.device) - (width - 1) / 2
        cos, sin = (f(angle)[:, None, None] * scale[:, None, None] for f in (torch.cos, torch.sin))
        across = x[None, None, :] * mirror[:, None, None]
        down = y[None, :, None]
        source_x = cos * across - sin * down + dx[:, None, None] + (width - 1) / 2
        source_y = sin * across + cos * down + dy[:, None, None] + (height - 1) / 2
        at_x = source_x.round().clamp(0, width - 1).long()
        at_y = source_y.round().clamp(0, height - 1).long()
        place = (at_y * width + at_x).view(n, 1, -1).expand(-1, channels, -1)
        return raw.flatten(2).gather(2, place).view_as(raw)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _steps(u: Tensor, most: int) -> Tensor:
    """Whole numbers from -most to most, equally often."""
    return (u * (2 * most + 1)).floor().clamp(max=2 * most) - most


def split_augmentation(flat: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Flat options in two: those of augmentation, and all others."""
    return {k: v for k, v in flat.items() if k in OPTIONS}, {k: v for k, v in flat.items() if k not in OPTIONS}


def augmentation(items: Items, options: Mapping[str, Any]) -> Augmentation | None:
    """The augmentation of these items; None without options.

    Raises:
        UsageError: the items are no images, or a value is out of its range.
    """
    if not options:
        return None
    if not kind_of(items).photographic:
        raise UsageError(f"{', '.join(options)} change images, the data holds {items.kind} items: leave them out")
    return Augmentation(**options)
