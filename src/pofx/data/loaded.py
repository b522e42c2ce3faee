"""A torch Dataset as items: every x is read once, and its kind follows from its type and shape."""

from typing import Any

import numpy as np

from pofx.core.errors import DataError
from pofx.core.items import Items
from pofx.data.kinds.image import images
from pofx.data.kinds.points import points
from pofx.data.kinds.text import texts


def from_torch(data: Any) -> Items:
    """The items of a map-style torch Dataset of x or of (x, label).

    x may be a PIL image, a uint8 tensor (C, H, W) or array (H, W) or (H, W, C), a float tensor (C, H, W) in [0, 1] that
    lies on 256 levels (as torchvision's ToTensor makes it), a float vector, or a string.

    Raises:
        DataError: empty, items of different shapes, or of a type that fits no kind.
    """
    name = type(data).__name__
    try:
        n = len(data)
    except TypeError as error:
        raise DataError(f"{name} has no length: give a map-style Dataset, or save its items to a file") from error
    if n == 0:
        raise DataError(f"{name} is empty: give at least 3 items")
    rows = [data[i] for i in range(n)]
    labels = None
    if isinstance(rows[0], tuple | list) and len(rows[0]) == 2:
        labels = np.asarray([int(row[1]) for row in rows])
        rows = [row[0] for row in rows]
    elif isinstance(rows[0], tuple | list) and len(rows[0]) == 1:
        rows = [row[0] for row in rows]
    if isinstance(rows[0], str):
        return texts(rows, labels=labels, name=name)
    tensors = hasattr(rows[0], "detach")
    arrays = [row.detach().cpu().numpy() if tensors else np.asarray(row) for row in rows]
    shapes = {a.shape for a in arrays}
    if len(shapes) > 1:
        raise DataError(f"{name}: items differ in shape ({', '.join(map(str, sorted(shapes)[:3]))}): resize them")
    x = np.stack(arrays)
    if x.ndim == 2:
        return points(x, labels=labels, name=name)
    if x.ndim == 4 and tensors and x.shape[1] in (1, 2, 3, 4):
        x = np.moveaxis(x, 1, -1)
    x = x[..., 0] if x.ndim == 4 and x.shape[-1] == 1 else x
    if np.issubdtype(x.dtype, np.floating):
        x = _levels(x, name)
    return images(x, labels=labels, name=name)


def _levels(x: np.ndarray, name: str) -> np.ndarray:
    """Floats in [0, 1] on 256 levels as uint8."""
    grid = np.round(x * 255)
    if not np.isfinite(x).all() or x.min() < 0 or x.max() > 1 or np.abs(x * 255 - grid).max() > 1e-3:
        raise DataError(
            f"{name}: float images must lie in [0, 1] on 256 levels (got {x.min():.3g} to {x.max():.3g}): "
            "remove normalisation and augmentation, or give uint8 images"
        )
    return grid.astype(np.uint8)
