"""Clips of things that move straight on and are reflected by the walls: sprites in black and white, digits in grey."""

import numpy as np

from pofx.data.dataset import Dataset, Source, split
from pofx.data.kinds.video import video

SHAPES = ("square", "disc", "cross")
SIDE, FRAMES, RADIUS = 16, 10, 2.6
CLIPS, LEVELS = 4000, 17


def paths(n: int, low: float, high: float, frames: int, g: np.random.Generator) -> np.ndarray:
    """Places (n, frames, 2) from `low` to `high`, with a speed of 0.7 to 1.6 a frame along each axis."""
    at, speed = g.uniform(low, high, (n, 2)), g.uniform(0.7, 1.6, (n, 2)) * g.choice((-1, 1), (n, 2))
    found = []
    for _ in range(frames):
        found.append(at)
        at = at + speed
        speed = np.where((at < low) | (at > high), -speed, speed)
        at = np.where(at < low, 2 * low - at, np.where(at > high, 2 * high - at, at))
    return np.stack(found, 1)


def moving(n: int, seed: int = 0, *, side: int = SIDE, frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray]:
    """Clips uint8 (n, frames, side, side) of zeros and ones, and their shapes int64 (n,)."""
    g = np.random.default_rng(seed)
    shape = g.integers(0, len(SHAPES), n)
    at = paths(n, RADIUS, side - 1 - RADIUS, frames, g)
    found, grid = np.zeros((n, frames, side, side), np.uint8), np.arange(side)
    for t in range(frames):
        dy, dx = (grid[None, :, None] - at[:, t, 0, None, None]), (grid[None, None, :] - at[:, t, 1, None, None])
        drawn = np.stack(
            [
                np.maximum(np.abs(dy), np.abs(dx)) <= 2.0,
                dy**2 + dx**2 <= RADIUS**2,
                (np.minimum(np.abs(dy), np.abs(dx)) <= 0.6) & (np.maximum(np.abs(dy), np.abs(dx)) <= RADIUS),
            ]
        )
        found[:, t] = drawn[shape, np.arange(n)]
    return found, shape


def moving_digits(n: int, seed: int = 0, *, side: int = SIDE, frames: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Clips uint8 (n, frames, side, side) of one digit of `digits` each, 17 levels, and the digits int64 (n,)."""
    from pofx.data.digits import handwritten

    g = np.random.default_rng(seed)
    pixels, labels = handwritten()
    chosen = g.integers(0, len(labels), n)
    at = np.round(paths(n, 0, side - 8, frames, g)).astype(int)
    found, edge = np.zeros((n, frames, side, side), np.uint8), np.arange(8)
    rows, columns = at[..., 0, None, None] + edge[:, None], at[..., 1, None, None] + edge
    clip, frame = np.ogrid[:n, :frames]
    found[clip[..., None, None], frame[..., None, None], rows, columns] = pixels[chosen].reshape(n, 1, 8, 8)
    return found, labels[chosen]


def sprites(seed: int = 0) -> Dataset:
    """Bouncing sprites, labelled by shape."""
    clips, shape = moving(CLIPS, seed)
    items = video(clips, levels=2, labels=np.array(SHAPES)[shape], name="moving-sprites")
    return split(items, "moving-sprites", seed=seed, source="synthetic", licence="CC0", summary=SOURCES[0].summary)


def digits(seed: int = 0) -> Dataset:
    """Bouncing digits, labelled by digit; every clip draws its digit, so that digits occur in several splits."""
    clips, labels = moving_digits(CLIPS, seed)
    items = video(clips, levels=LEVELS, labels=labels, name="moving-digits")
    return split(
        items, "moving-digits", seed=seed, source="UCI optical recognition of handwritten digits, by scikit-learn",
        licence="CC BY 4.0", summary=SOURCES[1].summary,
    )  # fmt: skip


SOURCES = (
    Source("moving-sprites", "video", CLIPS, "bouncing sprites, 10 frames of 16 x 16, black and white", sprites),
    Source(
        "moving-digits", "video", CLIPS, "a bouncing digit, 8 frames of 16 x 16, 17 grey levels, 10 classes", digits
    ),
)
