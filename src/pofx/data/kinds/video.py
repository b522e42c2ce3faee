"""Clips: uint8 levels (n, T, H, W) of grey, or (n, T, H, W, C) of 1 to 4 channels; written as animations and strips."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from pofx.core.items import Items
from pofx.data.kind import FOLDER
from pofx.data.kinds.image import bright, coded, grid
from pofx.data.kinds.volume import Volume, check_volumes, sheet, size_of
from pofx.data.labels import with_labels
from pofx.data.levels import levels_of
from pofx.data.numbers import as_array

PUBLIC = ("video",)

PAUSE = 120  # milliseconds of a frame


def video(x: Any, levels: int | None = None, labels: Any = None, name: str = "video") -> Items:
    """Clips of frames with levels 0 to levels - 1: integers (n, T, H, W) or (n, T, H, W, C), or floats in [0, 1].

    Levels are 256 by default, 2 for truth values. Labels are class numbers or names, one per clip.

    Raises:
        DataError: empty, of another shape or type, or levels out of range.
    """
    values = check_volumes(x, levels, name)
    if levels is None:
        levels = levels_of(as_array(x, name))
    return Items("video", values, *with_labels(labels, len(values), name, {"levels": int(levels)}))


class Video(Volume):
    name = "video"
    summary = "clips of frames of 2 to 256 levels"
    outputs = (".gif", ".png", FOLDER, ".npz", ".npy")

    def of_array(self, array: np.ndarray, labels: Any, name: str, facts: Mapping[str, Any]) -> Items | None:
        colours = array.ndim == 5 and 1 <= array.shape[-1] <= 4
        return video(array, facts.get("levels"), labels, name) if colours else None

    def of_values(self, array: np.ndarray, labels: Any, name: str, facts: Mapping[str, Any]) -> Items | None:
        if array.ndim not in (4, 5):
            return None
        levels = facts.get("levels")
        if levels is None and array.size and array.dtype.kind in "iu" and int(array.max()) == 1:
            levels = 2
        return video(array, levels, labels, name)

    def pictures(self, values: np.ndarray, levels: int) -> np.ndarray:
        """The frames of each clip side by side."""
        frames = bright(values, levels)
        return np.concatenate(
            [np.pad(frames[:, t], _edge(frames), constant_values=96) for t in range(frames.shape[1])], 2
        )

    def describe(self, items: Items) -> str:
        colour = f", {items.values.shape[4]} channels" if items.values.ndim == 5 else ""
        frames, *sides = items.values.shape[1:4]
        return f"{len(items):,} clips of {frames} frames of {size_of(sides)}{colour}, {self.facts(items).levels} levels"

    def content(self, items: Items, ending: str, columns: int | None = None) -> bytes:
        values, levels = np.asarray(items.values), self.facts(items).levels
        if ending == ".png":
            return coded(sheet(self.pictures(values, levels), columns), ending)
        if ending == ".gif":
            frames = bright(values, levels)
            return animation([grid(frames[:, t], columns) for t in range(frames.shape[1])])
        return super().content(items, ending, columns)

    def files(self, items: Items) -> Any:
        digits, levels = len(str(len(items) - 1)), self.facts(items).levels
        for i, frames in enumerate(bright(np.asarray(items.values), levels)):
            yield f"{i:0{digits}d}.gif", animation([grid(frame[None], 1) for frame in frames])


def _edge(frames: np.ndarray) -> tuple[tuple[int, int], ...]:
    """A line between frames."""
    return ((0, 0), (0, 0), (0, 1), *([(0, 0)] if frames.ndim == 5 else []))


def animation(frames: list[np.ndarray]) -> bytes:
    """Pictures uint8 (H, W, C) as the content of a .gif that goes on for ever."""
    from PIL import Image as Pillow

    drawn = [
        Pillow.fromarray(f[..., 0] if f.shape[2] == 1 else f[..., :3] if f.shape[2] > 2 else f[..., 0]) for f in frames
    ]
    buffer = io.BytesIO()
    drawn[0].save(buffer, format="GIF", save_all=True, append_images=drawn[1:], duration=PAUSE, loop=0)
    return buffer.getvalue()
