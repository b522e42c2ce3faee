"""Scales and averages that a few items cannot rule.

Quantiles for the scale of a column (Hampel, 1974). For a choice by held-out likelihood: one item far from all others
has a log p that no useful choice can mend, quadratic in its distance, and would decide alone. The farthest hundredth
therefore count at least what a broad density of heavy tails gives them, with a hundredth of the mass: the likelihood
of a mixture with such a density, which still rewards tails that reach far.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

FAR, SHARE = 10.0, 0.01  # robust scales from which on an item is far; share of the items that may be treated as far
# quantiles of the data and of the normal; wider ones in turn where repeated values fill the inner ones
_RANGES = ((0.75, 0.6745), (0.95, 1.6449), (0.99, 2.3263))


def centre_and_scale(x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    """The median and the standard deviation of a normal with the same inner quantiles, per column: (d,) each.

    A column without spread between its quantiles has its standard deviation; one without any has 1.
    """
    rows = x.double().sort(0).values
    last = len(rows) - 1
    middle, deviation = rows[last // 2], rows.std(0, correction=0)
    floor = 1e-8 * (1.0 + middle.abs())
    scale = torch.where(deviation > floor, deviation, torch.ones_like(deviation))
    for high, normal in reversed(_RANGES):
        inner = (rows[math.ceil(high * last)] - rows[math.floor((1 - high) * last)]) / (2 * normal)
        scale = torch.where(inner > floor, inner, scale)
    return middle, scale


class FarItems:
    """Which of the items x (n, d) are far in units of `reference` (m, d), and what a broad density gives them."""

    def __init__(self, x: Float[Tensor, "n d"], reference: Float[Tensor, "m d"]) -> None:
        centre, scale = centre_and_scale(reference)
        z = (x.double() - centre) / scale
        distance = z.abs().amax(1)
        most = distance.topk(max(1, math.ceil(SHARE * len(x)))).indices
        self.rows = most[distance[most] > FAR]
        cauchy = -(torch.log1p(z[self.rows].square()) + scale.log() + math.log(math.pi)).sum(1)
        self.least = math.log(SHARE) + cauchy

    def bounded_mean(self, log_p: Float[Tensor, "n"]) -> float:
        """The mean of log p (n,), that of far items in a mixture with the broad density."""
        bounded = log_p.nan_to_num(nan=-math.inf)
        bounded[self.rows] = torch.logaddexp(bounded[self.rows], self.least)
        return float(bounded.mean())
