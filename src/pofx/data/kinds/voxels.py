"""Solids of voxels: zeros and ones, uint8 (n, K, L, M), the last axis upwards; shown as seen from above a corner."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from pofx.core.errors import DataError
from pofx.core.items import Items
from pofx.data.kind import Shown, each_once
from pofx.data.kinds.image import coded
from pofx.data.kinds.volume import Volume, check_volumes, sheet, size_of
from pofx.data.labels import with_labels
from pofx.data.numbers import as_array

PUBLIC = ("voxels",)

PIXELS = 64  # of the side of a picture
SHADES = (0.62, 0.82, 1.0)  # of faces across the three axes
LOOK = (-0.62, -0.48, -0.62)  # the direction of sight: from the ends of all three axes


def voxels(x: Any, labels: Any = None, name: str = "voxels") -> Items:
    """Solids from zeros and ones (or truth values) (n, K, L, M), or (n, 1, K, L, M).

    Raises:
        DataError: empty, of another shape, or other values.
    """
    array = as_array(x, name)
    array = array[:, 0] if array.ndim == 5 and array.shape[1] == 1 else array
    if array.ndim != 4 or array.size == 0:
        raise DataError(f"{name} must have shape (n, K, L, M) or (n, 1, K, L, M) and not be empty (got {array.shape})")
    if bool(((array == 0) | (array == 255)).all()):  # black and white
        array = array == 255
    if not bool(((array == 0) | (array == 1)).all()):
        gaps = int((array != array).sum())
        got, mend = f"{array.min()} to {array.max()}", "compare with 0.5"
        if gaps:
            got, mend = f"{gaps} NaN", "leave those solids out, or fill them"
        raise DataError(f"{name} must hold zeros and ones (got {got}): {mend}")
    values = check_volumes(array.astype(np.uint8), 2, name)
    return Items("voxels", values, *with_labels(labels, len(values), name, {"levels": 2}))


class Voxels(Volume):
    name = "voxels"
    summary = "solids of voxels"
    viewed_as = "video"
    outputs = (".png", ".npz", ".npy")

    def of_array(self, array: np.ndarray, labels: Any, name: str, facts: Mapping[str, Any]) -> Items | None:
        solids = array.ndim == 5 and array.shape[1] == 1 and array.size and array.shape[4] > 4
        return voxels(array, labels, name) if solids else None

    def of_values(self, array: np.ndarray, labels: Any, name: str, facts: Mapping[str, Any]) -> Items | None:
        return voxels(array, labels, name) if array.ndim in (4, 5) else None

    def distinct(self, items: Items) -> tuple[Items, dict[str, Any]]:
        """Each solid once: collections of shapes hold copies."""
        return each_once(items)

    def pictures(self, values: np.ndarray, levels: int) -> np.ndarray:
        return rendered(values)

    def shown(self, values: Any, facts: Mapping[str, Any]) -> Shown:
        return Shown(pictures=rendered(np.asarray(values)))

    def describe(self, items: Items) -> str:
        return f"{len(items):,} solids of {size_of(items.values.shape[1:])} voxels"

    def content(self, items: Items, ending: str, columns: int | None = None) -> bytes:
        if ending == ".png":
            return coded(sheet(rendered(np.asarray(items.values)), columns), ending)
        return super().content(items, ending, columns)


def rendered(solids: np.ndarray, pixels: int = PIXELS) -> np.ndarray:
    """Solids (n, K, L, M) as pictures uint8 (n, pixels, pixels): parallel rays, a shade for each direction of a face,
    darker with depth. Nothing is black."""
    at, face, near = _rays(tuple(solids.shape[1:]), pixels)
    found = np.zeros((len(solids), pixels * pixels), np.uint8)
    for i, solid in enumerate(np.asarray(solids)):
        hit = np.append(solid.reshape(-1) > 0, False)[at]  # (rays, steps); the last place is outside
        first = hit.argmax(1)
        rays = np.flatnonzero(hit[np.arange(len(hit)), first])
        bright = np.asarray(SHADES)[face[rays, first[rays]]] * near[first[rays]]
        found[i, rays] = (255 * bright).astype(np.uint8)
    return found.reshape(-1, pixels, pixels)


@cache
def _rays(shape: tuple[int, ...], pixels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The voxel in which each ray is at each step (rays, steps), the axis that it crossed to get there, and how bright
    that depth is (steps,)."""
    look = np.asarray(LOOK) / np.linalg.norm(LOOK)
    right = np.cross(look, (0, 0, 1.0))
    right /= np.linalg.norm(right)
    down = np.cross(look, right)
    radius = 0.5 * np.linalg.norm(shape)
    u = (np.arange(pixels) + 0.5) / pixels * 2 - 1
    y, x = np.meshgrid(u, u, indexing="ij")
    plane = 0.92 * radius * (x[..., None] * right + y[..., None] * down).reshape(-1, 3)
    depth = np.arange(-radius, radius, 0.34)
    points = np.asarray(shape) / 2 + plane[:, None] + depth[None, :, None] * look
    cell = np.floor(points).astype(np.int32)
    inside = ((cell >= 0) & (cell < np.asarray(shape))).all(2)
    at = np.where(inside, (cell[..., 0] * shape[1] + cell[..., 1]) * shape[2] + cell[..., 2], int(np.prod(shape)))
    moved = np.abs(np.diff(cell, axis=1, prepend=cell[:, :1]))
    face = np.zeros(at.shape, np.int8)
    for step in range(at.shape[1]):  # where a step crosses nothing the face is the last one that was crossed
        crossed = moved[:, step].any(1)
        face[:, step] = np.where(crossed, moved[:, step].argmax(1), face[:, step - 1] if step else 2)
    return at.astype(np.int32), face, 1 - 0.45 * np.arange(len(depth)) / len(depth)
