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

FEW_DISTINCT = 10  # different items below which copies are no reason for another split
REPEATED = 0.1  # share of the values of a column that occur more than once, from which on it has a resolution
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


def held_out_fifth(x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "_ d"], Float[Tensor, "_ d"]]:
    """A fifth of the items, and the others; copies of an item are on one side, for a copy judges nothing.

    Where there are copies the choice depends on what the items are, not on their order.
    """
    generator = torch.Generator().manual_seed(0)
    distinct, which = x.unique(dim=0, return_inverse=True)
    if len(distinct) == len(x) or len(distinct) < FEW_DISTINCT:
        rows = torch.randperm(len(x), generator=generator)
        return x[rows[: len(x) // 5]], x[rows[len(x) // 5 :]]
    chosen = torch.zeros(len(distinct), dtype=torch.bool)
    chosen[torch.randperm(len(distinct), generator=generator)[: len(distinct) // 5]] = True
    counts = torch.bincount(which, minlength=len(distinct))
    both = (distinct[side].repeat_interleave(counts[side], 0) for side in (chosen, ~chosen))
    held, rest = (part[torch.randperm(len(part), generator=generator)] for part in both)
    return held, rest


def resolution(x: Float[Tensor, "n d"]) -> Float[Tensor, "d"]:
    """The step between values that repeat themselves, per column: the median gap of neighbouring different values; 0
    where few values are repeated (or none differ).

    A column without a density, such as one of small whole numbers or one that is nearly always 0, rewards a narrower
    kernel without end; what lies between its values is not in the data.
    """
    found = torch.zeros(x.shape[1], dtype=torch.float64)
    for j, column in enumerate(x.double().T):
        values, counts = column.unique(return_counts=True)
        if len(values) > 1 and int(counts[counts > 1].sum()) > REPEATED * len(column):
            found[j] = values.diff().median()
    return found.to(x.device)


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
