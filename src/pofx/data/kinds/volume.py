"""What clips and solids share: levels uint8 on grids of three axes, (n, T, H, W) or (n, T, H, W, C)."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from pofx.core.errors import DataError
from pofx.core.items import Items
from pofx.data.kind import Kind, Shown, in_range
from pofx.data.kinds.image import ImageFacts, grid
from pofx.data.levels import check_images
from pofx.data.numbers import as_array

LARGEST = 1 << 24  # numbers of an item


def check_volumes(x: Any, levels: int | None, name: str) -> np.ndarray:
    """Grids of three axes as uint8 (n, T, H, W) or (n, T, H, W, C), each slice checked as an image.

    Raises:
        DataError: empty, of another shape or type, or levels out of range.
    """
    array = as_array(x, name)
    if array.ndim not in (4, 5) or array.size == 0 or (array.ndim == 5 and not 1 <= array.shape[-1] <= 4):
        raise DataError(
            f"{name} must have shape (n, T, H, W), or (n, T, H, W, C) with 1 to 4 channels, and not be empty (got "
            f"{array.shape})"
        )
    if array[0].size > LARGEST:
        raise DataError(f"{name} has {array[0].size:,} numbers in an item, {LARGEST:,} are the most: make them smaller")
    slices = array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])
    if array.ndim == 4:  # so that a narrow slice is not taken for channels
        slices = slices[..., None]
    return check_images(slices, levels, name).reshape(array.shape)


class Volume(Kind):
    """Levels on a grid of three axes; shown as pictures."""

    facts_type: ClassVar = ImageFacts
    pictorial = True
    unit = "pixel levels"

    @abstractmethod
    def pictures(self, values: np.ndarray, levels: int) -> np.ndarray:
        """A picture uint8 (n, H, W) or (n, H, W, C) of each item."""

    def flat(self, values: Any) -> np.ndarray | None:
        return np.asarray(values, np.float32).reshape(len(values), -1)

    def noised(self, values: Any, known: Any, level: float, generator: np.random.Generator) -> Any:
        spread = float(np.std(known))
        return in_range(np.asarray(values) + level * spread * generator.standard_normal(values.shape), known)

    def plan(self, items: Items) -> dict[str, Any]:
        """`shape` is that of slices: their spectrum is that of pictures."""
        shape = items.values.shape[1:]
        slices = (shape[0] * (shape[3] if len(shape) == 4 else 1), *shape[1:3])
        return {"scaling": "none", "levels": self.facts(items).levels, "shape": [int(side) for side in slices]}

    def raw(self, values: Any, plan: Mapping[str, Any]) -> np.ndarray:
        """Levels in [0, 1], channels of a slice beside one another."""
        array = np.asarray(values, np.float32)
        array = np.moveaxis(array, -1, 2) if array.ndim == 5 else array
        return np.asarray(array.reshape(len(array), -1) / max(plan["levels"] - 1, 1), np.float32)

    def shown(self, values: Any, facts: Mapping[str, Any]) -> Shown:
        return Shown(pictures=self.pictures(np.asarray(values), self.facts(facts).levels))

    def from_json(self, plain: Any, facts: Mapping[str, Any]) -> Any:
        return check_volumes(np.asarray(plain), self.facts(facts).levels, self.name)


def sheet(pictures: np.ndarray, columns: int | None) -> np.ndarray:
    """Pictures in a grid that is about as wide as high."""
    n, height, width = pictures.shape[:3]
    return grid(pictures, columns or max(1, round((n * height / width) ** 0.5)))


def size_of(sides: Iterable[int]) -> str:
    """ "8 x 16 x 16" """
    return " x ".join(map(str, sides))
