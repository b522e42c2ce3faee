"""Paths between codes: straight, along the sphere where standard normal codes live, or straight between quantiles.

The norm of a normal code of many dimensions hardly varies, and a straight line would cut through the empty middle; so
directions go along the great circle and norms change evenly (White, 2016, "Sampling generative networks",
arXiv 1609.04468). Through the quantiles of the prior, the points of a path between independent codes are as uniform
as the middle of two uniforms.
"""

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

NEARLY = 1e-3  # sine of the angle below which two directions are parallel or opposite: no great circle is theirs


def straight(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"], steps: int) -> Float[np.ndarray, "n {steps} d"]:
    """Evenly from a (n, d) to b (n, d): (n, steps, d)."""
    t = np.linspace(0, 1, steps)[:, None]
    return ((1 - t) * a[:, None] + t * b[:, None]).astype(a.dtype)


def spherical(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"], steps: int) -> Float[np.ndarray, "n {steps} d"]:
    """From a (n, d) to b (n, d) along great circles, with norms between theirs: (n, steps, d).

    Where a and b are parallel, opposite or zero the path is straight.
    """
    norm_a, norm_b = (np.linalg.norm(v, axis=1)[:, None] for v in (a, b))
    least = np.finfo(a.dtype).tiny
    unit_a, unit_b = a / np.maximum(norm_a, least), b / np.maximum(norm_b, least)
    omega = np.arccos(np.clip((unit_a * unit_b).sum(1), -1, 1))[:, None, None]
    sine = np.sin(omega)
    t = np.linspace(0, 1, steps)[:, None]
    safe = np.where(sine < NEARLY, 1.0, sine)
    direction = (np.sin((1 - t) * omega) * unit_a[:, None] + np.sin(t * omega) * unit_b[:, None]) / safe
    norm = straight(norm_a, norm_b, steps)
    proper = (sine >= NEARLY) & (np.minimum(norm_a, norm_b)[:, None] > 0)
    return np.where(proper, norm * direction, straight(a, b, steps)).astype(a.dtype)


def by_quantile(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"], steps: int
) -> Float[np.ndarray, "n {steps} d"]:
    """From a (n, d) to b (n, d) evenly in the standard normal distribution function of each coordinate."""
    first, last = (np.clip(ndtr(v.astype(np.float64)), 1e-12, 1 - 1e-12) for v in (a, b))
    found = ndtri(straight(first, last, steps)).astype(a.dtype)
    found[:, 0], found[:, -1] = a, b  # exactly, also where the function is flat
    return found
