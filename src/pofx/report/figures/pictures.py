"""Grids of sample images: one image pixel per pixel, enlarged by the browser.

Small images are stored exactly (PNG); photographs from 40 pixels on are packed with loss (WebP), for a page of seven
models must stay light.
"""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

PLAIN = 40  # pixels up to which an image is stored without loss


def pixels(images: np.ndarray) -> np.ndarray:
    """Images (n, H, W) or (n, H, W, 1 or 3), uint8 → RGB (n, H, W, 3)."""
    array = np.asarray(images, np.uint8)
    array = array[..., None] if array.ndim == 3 else array
    return np.repeat(array, 3, -1) if array.shape[-1] == 1 else array


def encoded(array: np.ndarray, small: bool) -> str:
    """An RGB or RGBA image (H, W, 3 or 4) as a data URI."""
    out = io.BytesIO()
    if small:
        Image.fromarray(array).save(out, "PNG", optimize=True)
    else:
        Image.fromarray(array).save(out, "WEBP", quality=86)
    kind = "png" if small else "webp"
    return f"data:image/{kind};base64," + base64.b64encode(out.getvalue()).decode()


def grid(images: np.ndarray, columns: int) -> str:
    """Images side by side with one clear pixel between them, as a data URI."""
    return groups([images], columns)


def groups(sets: Sequence[np.ndarray], columns: int) -> str:
    """The i-th images of every set side by side, `columns` such groups a line, as a data URI."""
    both = np.stack([pixels(images) for images in sets], 1)
    n, members, height, width, _ = both.shape
    thin = 1 + max(height, width) // 24
    wide = thin if members == 1 else 3 + width // 12
    lines, across = math.ceil(n / columns), min(columns, n)
    cell_h, cell_w = height + wide, members * (width + thin) - thin + wide
    out = np.zeros((lines * cell_h - wide, across * cell_w - wide, 4), np.uint8)
    for i, group in enumerate(both):
        for side, image in enumerate(group):
            y, x = (i // columns) * cell_h, (i % columns) * cell_w + side * (width + thin)
            out[y : y + height, x : x + width, :3] = image
            out[y : y + height, x : x + width, 3] = 255
    return encoded(out, max(height, width) <= PLAIN)
