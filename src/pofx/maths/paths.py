"""Noising paths x_t = alpha(t) x + sigma(t) noise. Time 0 is the data (alpha 1, sigma 0), time 1 the noise (sigma 1).

The convention holds everywhere: samplers walk from 1 to 0, encoders from 0 to 1. Dividing x_t by sqrt(alpha² + sigma²)
turns every path into the same quarter circle, cos(angle) x + sin(angle) noise, on which the velocity with respect to
the angle, "v" = cos(angle) noise - sin(angle) x, has unit variance for data of unit variance (Salimans and Ho, 2022,
arXiv 2202.00512; Lu and Song, 2024, arXiv 2410.11081). Paths differ in how fast they walk, not in where they lead.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Point(NamedTuple):
    """A path at time t: alpha and sigma, and their derivatives with respect to t, of the shape of t."""

    alpha: Float[Tensor, "*time"]
    sigma: Float[Tensor, "*time"]
    d_alpha: Float[Tensor, "*time"]
    d_sigma: Float[Tensor, "*time"]


def linear(t: Float[Tensor, "*time"]) -> Point:
    """alpha = 1 - t, sigma = t: straight lines (Lipman et al., 2023, arXiv 2210.02747; Liu et al., 2023)."""
    one = torch.ones_like(t)
    return Point(1 - t, t, -one, one)


def cosine(t: Float[Tensor, "*time"]) -> Point:
    """alpha = cos(πt/2), sigma = sin(πt/2): constant speed on the circle (Nichol and Dhariwal, 2021, 2102.09672)."""
    half = math.pi / 2
    cos, sin = (half * t).cos(), (half * t).sin()
    return Point(cos, sin, -half * sin, half * cos)


BETA_FIRST, BETA_LAST = 0.1, 20.0  # noise per unit of time: 1000 steps of 1e-4 to 0.02 (Ho et al., 2020)


def vp_linear(t: Float[Tensor, "*time"]) -> Point:
    """Noise rate rising linearly, alpha² + sigma² = 1 (Ho et al., 2020; Song et al., 2021, arXiv 2011.13456, eq. 33).

    alpha(1) is 0.0066, not 0, and the derivative of sigma is infinite at t = 0.
    """
    log_alpha = -0.25 * t**2 * (BETA_LAST - BETA_FIRST) - 0.5 * t * BETA_FIRST
    alpha, sigma = log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()
    d_alpha = -0.5 * (BETA_FIRST + t * (BETA_LAST - BETA_FIRST)) * alpha
    return Point(alpha, sigma, d_alpha, -alpha * d_alpha / sigma)


Path = Callable[[Tensor], Point]
PATHS: dict[str, Path] = {"linear": linear, "cosine": cosine, "vp-linear": vp_linear}
PREDICTIONS = ("velocity", "epsilon", "x0", "v")


def angle(point: Point) -> Float[Tensor, "*time"]:
    """The angle of a path's point on the quarter circle: 0 for data, π/2 for noise."""
    return torch.atan2(point.sigma, point.alpha)


def target(prediction: str, point: Point) -> tuple[Float[Tensor, "*time"], Float[Tensor, "*time"]]:
    """The coefficients (p, q) of what a network predicts, p x + q noise.

    "velocity" is dx_t/dt, "epsilon" the noise, "x0" the data, "v" = alpha noise - sigma x.
    """
    zero, one = torch.zeros_like(point.alpha), torch.ones_like(point.alpha)
    return {
        "velocity": (point.d_alpha, point.d_sigma),
        "epsilon": (zero, one),
        "x0": (one, zero),
        "v": (-point.sigma, point.alpha),
    }[prediction]


def split(
    x_t: Float[Tensor, "*event"], predicted: Float[Tensor, "*event"], prediction: str, point: Point
) -> tuple[Float[Tensor, "*event"], Float[Tensor, "*event"]]:
    """The data and the noise that a prediction at x_t implies: the two linear equations for (x, noise), solved.

    The inverse divides by alpha for "epsilon" and by sigma for "x0": it is singular where those are 0.
    """
    p, q = target(prediction, point)
    det = point.alpha * q - point.sigma * p
    return (q * x_t - point.sigma * predicted) / det, (point.alpha * predicted - p * x_t) / det


def loss_weight(prediction: str, point: Point) -> Float[Tensor, "*time"]:
    """The squared error of `prediction`, in units of its variance, per squared error of the unit-variance v.

    For data of unit variance, the part of p x + q noise that is not linear in x_t is a multiple of the circle's v;
    hence all predictions are one network under other weights over time (Karras et al., 2022, arXiv 2206.00364, section
    5).
    """
    p, q = target(prediction, point)
    det = point.alpha * q - point.sigma * p
    return det**2 / ((point.alpha**2 + point.sigma**2) * (p**2 + q**2))
