"""Images: uint8 levels (n, H, W) of grey, or (n, H, W, C) of colours or other channels; `levels` is their number."""

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pofx.core.errors import DataError
from pofx.core.items import Items
from pofx.core.options import Size
from pofx.data.kind import FOLDER, Facts, Kind, Shown, in_range, lines_of, npy, npz
from pofx.data.labels import with_labels
from pofx.data.levels import check_images, levels_of, no_colours
from pofx.data.numbers import as_array
from pofx.data.reading_options import ARRAYS, ReadingOption

PUBLIC = ("images",)

SIDE = 640  # pixels of the longer side of a grid


def images(x: Any, levels: int | None = None, labels: Any = None, name: str = "images") -> Items:
    """Images with grey or colour levels 0 to levels - 1.

    x is an integer array (n, H, W) or (n, H, W, C) with C = 1 to 64, or floats in [0, 1]; up to 4 channels may come
    first, as in (n, 3, H, W). Levels are 256 by default, 2 for truth values. Labels are class numbers or names, one for
    each image.

    Raises:
        DataError: empty, of another shape or type, or levels out of range.
    """
    values = check_images(x, levels, name)
    if levels is None:
        levels = levels_of(as_array(x, name))
    return Items("image", values, *with_labels(labels, len(values), name, {"levels": int(levels)}))


@dataclass(frozen=True)
class ImageFacts(Facts):
    levels: int = 256  # grey or colour levels


class Image(Kind):
    name = "image"
    summary = "images of 2 to 256 grey or colour levels"
    members = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
    outputs = (".png", ".jpg", FOLDER, ".npz", ".npy", ".csv")
    facts_type: ClassVar = ImageFacts
    pictorial = photographic = True
    unit = "pixel levels"

    reading: ClassVar = {
        "size": ReadingOption(
            Size | tuple[Size, Size],
            "of pictures: 64, or [height,width]; the shorter side is scaled, the middle cut",
        ),
        "crop": ReadingOption(bool, "with size: cut the middle out (true, default), or squeeze pictures (false)"),
        "grey": ReadingOption(bool, "true: pictures become grey; false: all become colour; by default as they are"),
        "on_disk": ARRAYS["on_disk"],
    }

    def read(self, path: Path, **options: Any) -> Items | tuple[Items, ...]:
        from pofx.data.picture_files import read_pictures

        return read_pictures(path, self.members, **options)

    def of_array(self, array: np.ndarray, labels: Any, name: str, facts: Mapping[str, Any]) -> Items | None:
        if array.ndim == 4 and array.shape[1] in (2, 4) and array.size and bool(((array == 0) | (array == 1)).all()):
            k = array.shape[1]
            raise DataError(
                f"{name}: zeros and ones {array.shape} may be images of {k} channels, clips of {k} frames or solids of "
                f"{k} layers: state kind=image, kind=video or kind=voxels"
            )
        if array.ndim == 4 and not any(1 <= side <= 4 for side in (array.shape[1], array.shape[3])):
            raise no_colours(array, name)
        return self.of_values(array, labels, name, facts)

    def of_values(self, array: np.ndarray, labels: Any, name: str, facts: Mapping[str, Any]) -> Items | None:
        if array.ndim not in (3, 4):
            return None
        levels = facts.get("levels")
        if levels is None and array.size and array.dtype.kind in "iu":
            high = int(array.max()) + 1
            levels = 2 if high == 2 else 256 if array.dtype == np.uint8 or high > 256 else max(high, 2)
        return images(array, levels=levels, labels=labels, name=name)

    def on_disk(self, values: Any, labels: Any, name: str, facts: Mapping[str, Any]) -> Items:
        from pofx.data.on_disk import Changed, OnDisk

        few = values[: min(len(values), 4)]
        levels = facts.get("levels") or levels_of(few)
        item = check_images(few, levels, name).shape[1:]
        if few.shape[1:] != item or few.dtype != np.uint8:
            values = OnDisk(Changed(values.source, lambda x: check_images(x, levels, name), item, np.uint8), values.at)
        return Items("image", values, *with_labels(labels, len(values), name, {"levels": int(levels)}))

    def of_object(self, value: Any, name: str) -> Items | None:
        """Bytes are levels: nothing else is meant by a uint8 array of three or four axes."""
        array = np.asarray(value) if isinstance(value, np.ndarray) else None
        pictures = array is not None and array.dtype == np.uint8 and array.ndim in (3, 4)
        return images(array, name=name) if pictures else None

    def flat(self, values: Any) -> np.ndarray | None:
        return np.asarray(values, np.float32).reshape(len(values), -1)

    def noised(self, values: Any, known: Any, level: float, generator: np.random.Generator) -> Any:
        spread = float(np.std(known))  # of all pixels together
        return in_range(np.asarray(values) + level * spread * generator.standard_normal(values.shape), known)

    def plan(self, items: Items) -> dict[str, Any]:
        shape = channels_first(np.asarray(items.values[:1])).shape[1:]
        return {"scaling": "none", "levels": self.facts(items).levels, "shape": [int(side) for side in shape]}

    def raw(self, values: Any, plan: Mapping[str, Any]) -> np.ndarray:
        """Pixels in [0, 1], channels first."""
        pixels = channels_first(np.asarray(values)).astype(np.float32)
        return np.asarray(pixels.reshape(len(pixels), -1) / max(plan["levels"] - 1, 1), np.float32)

    def shown(self, values: Any, facts: Mapping[str, Any]) -> Shown:
        return Shown(pictures=visible(values, self.facts(facts).levels))

    def describe(self, items: Items) -> str:
        size = " x ".join(map(str, items.values.shape[1:3]))
        colour = f", {items.values.shape[3]} channels" if items.values.ndim == 4 else ""
        return f"{len(items):,} images of {size}{colour}, {self.facts(items).levels} levels"

    def content(self, items: Items, ending: str, columns: int | None = None) -> bytes:
        values, levels = np.asarray(items.values), self.facts(items).levels
        if ending in (".png", ".jpg"):
            return coded(grid(visible(values, levels), columns), ending)
        if ending == ".csv":
            flat = values.reshape(len(values), -1).tolist()
            return lines_of([{f"x{i}": v for i, v in enumerate(row)} for row in flat], ending)
        if ending == ".npy":
            return npy(values)
        extra = {"y": items.labels} if items.labels is not None else {}
        return npz({"x": values, "levels": levels, **extra})

    def files(self, items: Items) -> Iterator[tuple[str, bytes]]:
        digits = len(str(len(items) - 1))
        for i, picture in enumerate(visible(items.values, self.facts(items).levels)):
            yield f"{i:0{digits}d}.png", coded(picture, ".png")

    def from_json(self, plain: Any, facts: Mapping[str, Any]) -> Any:
        return check_images(np.asarray(plain), self.facts(facts).levels, "images")


def channels_first(pictures: np.ndarray) -> np.ndarray:
    """(n, h, w) or (n, h, w, c) → (n, c, h, w)."""
    return pictures[:, None] if pictures.ndim == 3 else pictures.transpose(0, 3, 1, 2)


def visible(values: Any, levels: int) -> np.ndarray:
    """Pictures uint8 0 to 255 that can be looked at: of more than 4 channels the means of three groups, as colours."""
    pictures = np.asarray(values)
    if pictures.ndim == 4 and pictures.shape[3] > 4:
        groups = np.array_split(pictures.astype(np.float32), 3, axis=3)
        pictures = np.stack([group.mean(3) for group in groups], 3)
    return bright(pictures, levels)


def bright(values: np.ndarray, levels: int) -> np.ndarray:
    """Levels 0 to levels - 1 → uint8 0 to 255."""
    return np.round(values.astype(np.float32) * (255 / (levels - 1))).clip(0, 255).astype(np.uint8)


def grid(pictures: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Pictures uint8 (n, H, W) or (n, H, W, C) side by side on grey: one picture, enlarged to about 640 pixels."""
    n, height, width = pictures.shape[:3]
    columns = columns or math.ceil(math.sqrt(n))
    rows = -(-n // columns)
    pixels = pictures if pictures.ndim == 4 else pictures[..., None]
    sheet = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, pixels.shape[3]), 96, dtype=np.uint8)
    for i, image in enumerate(pixels):
        y, x = divmod(i, columns)
        sheet[y * (height + 1) + 1 :, x * (width + 1) + 1 :][:height, :width] = image
    scale = max(1, SIDE // max(sheet.shape[:2]))
    return sheet.repeat(scale, 0).repeat(scale, 1)


def coded(picture: np.ndarray, ending: str) -> bytes:
    """A picture uint8 (H, W) or (H, W, C) as the content of a .png or .jpg file."""
    from PIL import Image as Pillow

    flat = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    drawn = Pillow.fromarray(flat)
    if ending == ".jpg" and drawn.mode not in ("L", "RGB"):
        drawn = drawn.convert("L" if drawn.mode == "LA" else "RGB")
    buffer = io.BytesIO()
    drawn.save(buffer, format="PNG" if ending == ".png" else "JPEG")
    return buffer.getvalue()
