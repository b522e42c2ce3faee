"""What a denoiser is trained on: levels of noise, their weights, and which noise meets which item."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.maths.noise_bound import likelihood_angles
from pofx.maths.paths import PATHS, Point, angle, loss_weight, min_snr, shifted, time_at

TIMES = ("uniform", "shifted", "logit-normal", "log-normal", "likelihood", "learned")
WEIGHTS = ("prediction", "min-snr")
COUPLINGS = ("independent", "ot")
EDGE = 1e-5  # times closer to an end are not drawn
LOG_RATIO, SPREAD = -1.2 - math.log(0.5), 1.2  # of sigma in units of the data's std (Karras et al., 2022, table 1)
LEVELS = 1000  # steps of the bound that a learned variance descends (Nichol and Dhariwal, 2021)


def noise_levels(times: str, u: Float[Tensor, "n"], path: str) -> tuple[Float[Tensor, "n"], Point]:
    """u uniform in (0, 1) → angles on the quarter circle, and the point of the path there.

    "uniform", "shifted" towards the noise and "logit-normal" (Esser et al., 2024, arXiv 2403.03206) are times of the
    path; "log-normal" ratios of noise to data (Karras et al., 2022, arXiv 2206.00364); "likelihood" those of the bound
    (`bound`), as is "learned", where u is the level that a schedule drew (`schedule`). These three are the same on
    every path, whose point is taken from the circle but for the speed of the path itself.
    """
    u = u.clamp(EDGE, 1 - EDGE)
    if times in ("uniform", "shifted", "logit-normal"):
        if times == "logit-normal":
            u = torch.special.ndtri(u).sigmoid()
        elif times == "shifted":
            u = shifted(u)
        point = PATHS[path](u)
        return angle(point), point
    phi = (
        likelihood_angles(u)
        if times in ("likelihood", "learned")
        else (LOG_RATIO + SPREAD * torch.special.ndtri(u)).exp().atan()
    )
    return phi, Point(phi.cos(), phi.sin(), -phi.sin(), phi.cos())


def weight_of(weight: str, prediction: str, phi: Float[Tensor, "n"], point: Point, path: str) -> Float[Tensor, "n"]:
    """The weight of the squared error of the unit-variance velocity at each level."""
    if weight == "min-snr":
        return min_snr(point)
    if prediction == "velocity":  # depends on the speed of the path
        point = PATHS[path](time_at(PATHS[path], phi).clamp(EDGE, 1 - EDGE))
    return loss_weight(prediction, point)


def variance_loss(
    share: Float[Tensor, "n *event"], error: Float[Tensor, "n *event"], phi: Float[Tensor, "n"], path: str
) -> Float[Tensor, "n"]:
    """KL(q(x_u | x_t, x) || p(x_u | x_t)) in nats per number for one of 1000 steps from t to u, and for p's variance.

    p's variance lies between the least and the largest one that is possible, `share` of the distance in logarithms
    (Nichol and Dhariwal, 2021, arXiv 2102.09672, eqs. 15 and 16); `error` is that of the velocity, held fixed.
    """
    t = time_at(PATHS[path], phi).clamp(2 / LEVELS, 1)
    here, there = PATHS[path](t), PATHS[path](t - 1 / LEVELS)
    wide = (-1, *[1] * (share.ndim - 1))
    added = (here.sigma**2 - (here.alpha / there.alpha * there.sigma) ** 2).clamp(min=1e-12)
    least = (added * there.sigma**2 / here.sigma**2).reshape(wide)
    log_ratio = share * (2 * (here.sigma / there.sigma).log()).reshape(wide)  # log of p's variance over the least
    move = (there.alpha * added / here.sigma**2 * here.sigma / (here.alpha**2 + here.sigma**2).sqrt()).reshape(wide)
    gap = (move * error.detach()).square() / least
    return (0.5 * (log_ratio + (1 + gap) * (-log_ratio).exp() - 1)).flatten(1).mean(1)
