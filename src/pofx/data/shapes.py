"""Sprites with five known factors: shape, scale, rotation, x, y, each on a grid, drawn independently.

After dSprites (Matthey, Higgins, Hassabis and Lerchner, 2017), but drawn by formula at 32 x 32 with smooth edges (five
grey levels, from four sub-pixels), so that nothing is downloaded. A square looks the same after a quarter turn and an
ellipse after half a turn: rotation is not identifiable beyond that.
"""

from dataclasses import replace

import numpy as np

from pofx.data.dataset import Dataset, Source, dataset
from pofx.data.kinds.image import images

SIZE, LEVELS = 32, 5
FACTORS = {"shape": 3, "scale": 6, "rotation": 40, "x": 32, "y": 32}  # name → number of values
SHAPES = ("square", "ellipse", "heart")
SIZES = {"train": 16_000, "validation": 2_000, "test": 2_000}


def factors(part: str, seed: int = 0) -> np.ndarray:
    """The factor values of the images of a split, in their order: int64 (n, 5), columns as in FACTORS."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, list(SIZES).index(part)]))
    return np.stack([rng.integers(0, k, SIZES[part]) for k in FACTORS.values()], 1)


def render(values: np.ndarray) -> np.ndarray:
    """The images of factor values (n, 5): uint8 (n, 32, 32), levels 0 to 4."""
    values = np.asarray(values)
    blocks = [_render(part) for part in np.array_split(values, max(1, len(values) // 500))]
    return np.concatenate(blocks)


def _render(values: np.ndarray) -> np.ndarray:
    shape, scale, rotation, x, y = values.T
    radius = 0.5 * (0.5 + 0.1 * scale)  # in a picture [-1, 1]²
    angle = 2 * np.pi * rotation / FACTORS["rotation"]
    centre_x, centre_y = (-0.42 + 0.84 * p / (FACTORS["x"] - 1) for p in (x, y))
    at = ((np.arange(2 * SIZE) + 0.5) / SIZE - 1).astype(np.float32)
    dx = (at[None, None, :] - centre_x[:, None, None].astype(np.float32)) / radius[:, None, None].astype(np.float32)
    dy = (at[None, :, None] - centre_y[:, None, None].astype(np.float32)) / radius[:, None, None].astype(np.float32)
    cos, sin = (f(angle)[:, None, None].astype(np.float32) for f in (np.cos, np.sin))
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    covered = inside(shape, u, v)
    return np.asarray(covered.reshape(len(values), SIZE, 2, SIZE, 2).sum((2, 4), dtype=np.uint8))


def inside(shape: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether points (n, h, w), in units of the radius and turned with the shape, lie in shapes (n,) of SHAPES."""
    found = np.empty(u.shape, dtype=bool)
    for kind, formula in enumerate((_square, _ellipse, _heart)):
        found[shape == kind] = formula(u[shape == kind], v[shape == kind])
    return found


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(np.abs(u), np.abs(v)) <= 0.8)


def _ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.asarray(u**2 + (v / 0.55) ** 2 <= 1)


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The algebraic heart (a² + b² - 1)³ <= a² b³, upright: v points down in pictures."""
    a, b = 1.2 * u, -1.2 * v
    edge = a * a + b * b - 1
    return np.asarray(edge * edge * edge <= a * a * b * b * b)


def load(seed: int = 0) -> Dataset:
    """The sprites, labelled by shape; `factors(split, seed)` gives all five factors."""
    items = {}
    for part in SIZES:
        values = factors(part, seed)
        facts = {"levels": LEVELS, "label_names": list(SHAPES), "factors": dict(FACTORS)}
        items[part] = replace(images(render(values), levels=LEVELS, labels=values[:, 0], name="shapes"), facts=facts)
    return dataset(
        items["train"],
        items["validation"],
        items["test"],
        "shapes",
        source="drawn by pofx",
        licence="MIT",
        summary=SOURCES[0].summary,
    )


SOURCES = (Source("shapes", "image", sum(SIZES.values()), "sprites, 32 x 32, 5 grey levels, five known factors", load),)
