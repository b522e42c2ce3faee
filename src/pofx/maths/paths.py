"""Paths from data to noise, x_t = alpha(t) x + sigma(t) noise, t from 0 to 1, and what a network may predict on them.

Divided by sqrt(alpha² + sigma²), every path runs along the same quarter circle, cos(angle) x + sin(angle) noise, on
which the velocity with respect to the angle, "v" = cos(angle) noise - sin(angle) x, has unit variance for data of unit
variance (Salimans and Ho, 2022, arXiv 2202.00512; Lu and Song, 2024, arXiv 2410.11081). Paths differ in how fast they
walk, not in where they lead. Data have unit variance here: levels of noise are multiples of their standard deviation.
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


def _log_alpha(t: Float[Tensor, "*time"]) -> tuple[Float[Tensor, "*time"], Float[Tensor, "*time"]]:
    """log alpha under a noise rate that rises linearly, and its derivative."""
    rise = BETA_LAST - BETA_FIRST
    return -0.25 * t**2 * rise - 0.5 * t * BETA_FIRST, -0.5 * (BETA_FIRST + t * rise)


def vp_linear(t: Float[Tensor, "*time"]) -> Point:
    """Noise rate rising linearly, alpha² + sigma² = 1 (Ho et al., 2020; Song et al., 2021, arXiv 2011.13456, eq. 33).

    alpha(1) is 0.0066, not 0, and the derivative of sigma is infinite at t = 0.
    """
    log_alpha, slope = _log_alpha(t)
    alpha, sigma = log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()
    d_alpha = slope * alpha
    return Point(alpha, sigma, d_alpha, -alpha * d_alpha / sigma)


def vp_linear_to_zero(t: Float[Tensor, "*time"]) -> Point:
    """`vp_linear` moved and stretched so that alpha(1) = 0: no signal is left (Lin et al., 2024, arXiv 2305.08891)."""
    log_alpha, slope = _log_alpha(t)
    last = math.exp(-0.25 * (BETA_LAST + BETA_FIRST))
    lost = -torch.expm1(log_alpha) / (1 - last)  # 1 - alpha, without cancellation
    alpha = (log_alpha.exp() - last) / (1 - last)
    sigma, d_alpha = (lost * (1 + alpha)).sqrt(), slope * log_alpha.exp() / (1 - last)
    return Point(alpha, sigma, d_alpha, -alpha * d_alpha / sigma)


OFFSET = 0.008  # keeps the first steps from being too small (Nichol and Dhariwal, 2021, eq. 17)


def vp_cosine(t: Float[Tensor, "*time"]) -> Point:
    """alpha = cos(a + b t) / cos(a), alpha² + sigma² = 1 (Nichol and Dhariwal, 2021, arXiv 2102.09672, eq. 17)."""
    a = math.pi / 2 * OFFSET / (1 + OFFSET)
    b = math.pi / 2 - a
    alpha = ((1 - t) * b).sin() / math.cos(a)  # cos(a + b t), exact at both ends
    sigma = ((2 * a + b * t).sin() * (b * t).sin()).clamp(min=0).sqrt() / math.cos(a)
    d_alpha = -b * (a + b * t).sin() / math.cos(a)
    return Point(alpha, sigma, d_alpha, -alpha * d_alpha / sigma)


def vp_sigmoid(t: Float[Tensor, "*time"]) -> Point:
    """alpha² falls as a logistic curve from -3 to 3, moved to reach 1 and 0 (Jabri et al., 2023, arXiv 2212.11972)."""
    end = 3.0
    wide = math.cosh(end / 2) / math.sinh(end)
    middle = (end * t - end / 2).cosh()
    alpha = ((end * (1 - t)).sinh() * wide / middle).sqrt()
    sigma = ((end * t).sinh() * wide / middle).sqrt()
    d_square = -end / (2 * middle**2 * math.tanh(end / 2))
    return Point(alpha, sigma, d_square / (2 * alpha), -d_square / (2 * sigma))


def sub_vp(t: Float[Tensor, "*time"]) -> Point:
    """alpha of `vp_linear`, sigma = 1 - alpha²: less noise on the same road (Song et al., 2021, eq. 34)."""
    log_alpha, slope = _log_alpha(t)
    alpha = log_alpha.exp()
    d_alpha = slope * alpha
    return Point(alpha, -torch.expm1(2 * log_alpha), d_alpha, -2 * alpha * d_alpha)


VE_FIRST, VE_LAST = 0.01, 50.0


def ve(t: Float[Tensor, "*time"]) -> Point:
    """alpha = 1, sigma from 0.01 to 50 geometrically (Song and Ermon, 2019, 1907.05600; Song et al., 2021, eq. 31)."""
    one, rate = torch.ones_like(t), math.log(VE_LAST / VE_FIRST)
    sigma = VE_FIRST * (rate * t).exp()
    return Point(one, sigma, 0 * one, rate * sigma)


EDM_FIRST, EDM_LAST, EDM_POWER = 0.004, 160.0, 7  # 0.002 and 80 for data of standard deviation 0.5


def edm(t: Float[Tensor, "*time"]) -> Point:
    """alpha = 1, sigma^(1/7) linear in t: even times have short last steps (Karras et al., 2022, 2206.00364, eq. 5)."""
    first, last = EDM_FIRST ** (1 / EDM_POWER), EDM_LAST ** (1 / EDM_POWER)
    one, root = torch.ones_like(t), first + t * (last - first)
    return Point(one, root**EDM_POWER, 0 * one, EDM_POWER * root ** (EDM_POWER - 1) * (last - first))


Path = Callable[[Tensor], Point]
PATHS: dict[str, Path] = {
    "linear": linear,
    "cosine": cosine,
    "vp-linear": vp_linear,
    "vp-linear-to-zero": vp_linear_to_zero,
    "vp-cosine": vp_cosine,
    "vp-sigmoid": vp_sigmoid,
    "sub-vp": sub_vp,
    "ve": ve,
    "edm": edm,
}
PREDICTIONS = ("velocity", "epsilon", "x0", "v", "score")


def angle(point: Point) -> Float[Tensor, "*time"]:
    """The angle of a path's point on the quarter circle: 0 for data, π/2 for noise."""
    return torch.atan2(point.sigma, point.alpha)


def shifted(t: Float[Tensor, "*n"], by: float = 4.0) -> Float[Tensor, "*n"]:
    """by t / (1 + (by - 1) t): even times of which more lie near the noise (Esser et al., 2024, arXiv 2403.03206)."""
    return by * t / (1 + (by - 1) * t)


def time_at(path: Path, phi: Float[Tensor, "*time"]) -> Float[Tensor, "*time"]:
    """The time at which a path reaches an angle, by bisection; its ends where it does not reach it."""
    wanted = phi.double()
    low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
    for _ in range(40):
        middle = (low + high) / 2
        below = angle(path(middle)) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return high.to(phi.dtype)


def target(prediction: str, point: Point) -> tuple[Float[Tensor, "*time"], Float[Tensor, "*time"]]:
    """The coefficients (p, q) of what a network predicts, p x + q noise.

    "velocity" is dx_t/dt, "epsilon" the noise, "x0" the data, "v" = alpha noise - sigma x, "score" = -noise / sigma.
    """
    zero, one = torch.zeros_like(point.alpha), torch.ones_like(point.alpha)
    return {
        "velocity": (point.d_alpha, point.d_sigma),
        "epsilon": (zero, one),
        "x0": (one, zero),
        "v": (-point.sigma, point.alpha),
        "score": (zero, -1 / point.sigma),
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
    5). The score is the noise in another unit, so both have the same weight.
    """
    p, q = target("epsilon" if prediction == "score" else prediction, point)
    det = point.alpha * q - point.sigma * p
    return det**2 / ((point.alpha**2 + point.sigma**2) * (p**2 + q**2))


MOST_SNR = 5.0


def min_snr(point: Point) -> Float[Tensor, "*time"]:
    """min(alpha² / sigma², 5) of the squared error of x0, per squared error of v (Hang et al., 2023, 2303.09556).

    Finite everywhere: sin² min(cot², 5) = min(cos², 5 sin²).
    """
    square = point.alpha**2 + point.sigma**2
    return torch.minimum(point.alpha**2, MOST_SNR * point.sigma**2) / square
