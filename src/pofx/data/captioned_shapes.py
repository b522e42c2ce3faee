"""Captioned sprites: one to four shapes of one kind, size and colour, with a caption such as "three small red squares".

Drawn by formula like the sprites of `pofx.data.shapes`; sprites lie in different quarters of the picture, in places and
rotations that the caption does not state. The caption is the condition, a text.
"""

from dataclasses import replace

import numpy as np

from pofx.core.items import Items
from pofx.data.dataset import Dataset, Source, dataset
from pofx.data.kinds.image import images
from pofx.data.shapes import SHAPES, inside

SIZE, FINE = 32, 2  # pixels a side, sub-pixels of each
COUNTS = ("one", "two", "three", "four")
SCALES = {"small": 0.2, "large": 0.34}  # radius in a picture [-1, 1]²
COLOURS = {"red": (230, 50, 50), "green": (40, 190, 70), "blue": (60, 90, 240), "yellow": (240, 210, 40)}
FACTORS = {"count": len(COUNTS), "size": len(SCALES), "colour": len(COLOURS), "shape": len(SHAPES)}
SIZES = {"train": 16_000, "validation": 2_000, "test": 2_000}


def captions(values: np.ndarray) -> list[str]:
    """The captions of factor values (n, 4), columns as in FACTORS."""
    sizes, colours = list(SCALES), list(COLOURS)
    return [
        f"{COUNTS[count]} {sizes[size]} {colours[colour]} {SHAPES[shape]}{'s' if count else ''}"
        for count, size, colour, shape in np.asarray(values).tolist()
    ]


def factors(part: str, seed: int = 0) -> np.ndarray:
    """The factor values of the pictures of a split, in their order: int64 (n, 4)."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1, list(SIZES).index(part)]))
    return np.stack([rng.integers(0, k, SIZES[part]) for k in FACTORS.values()], 1)


def render(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Pictures of factor values (n, 4): uint8 (n, 32, 32, 3), places and rotations drawn by the seed."""
    values = np.asarray(values)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2, len(values)]))
    parts = np.array_split(values, max(1, len(values) // 500))
    return np.concatenate([_render(part, rng) for part in parts])


def _render(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count, size, colour, shape = values.T
    n, side = len(values), FINE * SIZE
    at = ((np.arange(side) + 0.5) * 2 / side - 1).astype(np.float32)
    radius = np.array(list(SCALES.values()), np.float32)[size]
    quarters = rng.permuted(np.tile(np.arange(4), (n, 1)), axis=1)
    covered = np.zeros((n, side, side), dtype=bool)
    for k in range(len(COUNTS)):
        centre = np.stack((quarters[:, k] % 2, quarters[:, k] // 2), 1) - 0.5  # of a quarter
        free = (0.5 - radius * 0.95)[:, None]
        centre = (centre + rng.uniform(-1, 1, (n, 2)) * free).astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi, n).astype(np.float32)
        dx = (at[None, None, :] - centre[:, 0, None, None]) / radius[:, None, None]
        dy = (at[None, :, None] - centre[:, 1, None, None]) / radius[:, None, None]
        cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
        drawn = inside(shape, cos * dx + sin * dy, cos * dy - sin * dx)
        covered |= drawn & (count >= k)[:, None, None]
    share = covered.reshape(n, SIZE, FINE, SIZE, FINE).mean((2, 4))[..., None]
    paint = np.array(list(COLOURS.values()), np.float32)[colour][:, None, None]
    return np.round(share * paint).astype(np.uint8)


def load(seed: int = 0) -> Dataset:
    """The pictures with captions as their condition, labelled by shape."""
    items: dict[str, Items] = {}
    for i, part in enumerate(SIZES):
        values = factors(part, seed)
        pictures = images(render(values, seed=3 * seed + i), labels=values[:, 3], name="captioned-shapes")
        facts = {**pictures.facts, "label_names": list(SHAPES), "factors": dict(FACTORS)}
        items[part] = replace(pictures, facts=facts, condition=Items("text", captions(values)))
    return dataset(
        items["train"],
        items["validation"],
        items["test"],
        "captioned-shapes",
        source="drawn by pofx",
        licence="MIT",
        summary=SOURCES[0].summary,
    )


SOURCES = (
    Source(
        "captioned-shapes",
        "image",
        sum(SIZES.values()),
        "one to four sprites in colour, 32 x 32, each with a caption as its condition",
        load,
    ),
)
