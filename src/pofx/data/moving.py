"""Clips of bouncing sprites: a square, a disc or a cross that moves straight on and is reflected by the walls."""

import numpy as np

SHAPES = ("square", "disc", "cross")
SIDE, FRAMES, RADIUS = 16, 10, 2.6


def moving(n: int, seed: int = 0, *, side: int = SIDE, frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray]:
    """Clips uint8 (n, frames, side, side) of zeros and ones, and their shapes int64 (n,)."""
    g = np.random.default_rng(seed)
    shape = g.integers(0, len(SHAPES), n)
    low, high = RADIUS, side - 1 - RADIUS
    at, speed = g.uniform(low, high, (n, 2)), g.uniform(0.7, 1.6, (n, 2)) * g.choice((-1, 1), (n, 2))
    found = np.zeros((n, frames, side, side), np.uint8)
    grid = np.arange(side)
    for t in range(frames):
        dy, dx = (grid[None, :, None] - at[:, 0, None, None]), (grid[None, None, :] - at[:, 1, None, None])
        drawn = np.stack(
            [
                np.maximum(np.abs(dy), np.abs(dx)) <= 2.0,
                dy**2 + dx**2 <= RADIUS**2,
                (np.minimum(np.abs(dy), np.abs(dx)) <= 0.6) & (np.maximum(np.abs(dy), np.abs(dx)) <= RADIUS),
            ]
        )
        found[:, t] = drawn[shape, np.arange(n)]
        at = at + speed
        speed = np.where((at < low) | (at > high), -speed, speed)
        at = np.where(at < low, 2 * low - at, np.where(at > high, 2 * high - at, at))
    return found, shape
