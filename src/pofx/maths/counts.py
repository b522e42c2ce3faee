"""Draws of gamma and Poisson variables from the streams of samples, vectorised, with a fixed number of draws each.

Gamma: Marsaglia and Tsang (2000), "A simple method for generating gamma variables", whose rejections are so rare (below
5 %, for shapes raised by 1) that ROUNDS proposals leave none. Poisson: the inverse distribution function of small rates
by a running sum, and the rounded normal with the correction of Cornish and Fisher for large ones.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pofx.core.random import Streams

ROUNDS = 8  # proposals of a gamma
SMALL, MOST = 30.0, 80  # rate up to which the distribution function is summed, and its terms


def gamma_draw(shape: Float[Tensor, "n *event"], generator: Streams) -> Float[Tensor, "n *event"]:
    """Gamma variables of these shapes and scale 1; those of shapes below 1 by the power of a uniform."""
    size = shape.shape[1:]
    raised = shape + 1.0
    d = raised - 1.0 / 3.0
    c = 1.0 / (9.0 * d).sqrt()
    found = d.clone()
    done = torch.zeros_like(shape, dtype=torch.bool)
    for _ in range(ROUNDS):
        z, u = generator.normal(*size), generator.uniform(*size)
        v = (1.0 + c * z) ** 3
        good = (v > 0) & (u.log() < 0.5 * z**2 + d - d * v + d * v.clamp(min=1e-30).log())
        found = torch.where(good & ~done, d * v, found)
        done = done | good
    return found * generator.uniform(*size) ** (1.0 / shape.clamp(min=1e-4))


def poisson_draw(rate: Float[Tensor, "n *event"], generator: Streams) -> Int[Tensor, "n *event"]:
    """Poisson variables of these rates, exact up to a rate of 30."""
    size = rate.shape[1:]
    u, z = generator.uniform(*size), generator.normal(*size)
    low = rate.clamp(max=SMALL)
    term, total = torch.exp(-low), torch.exp(-low)
    count = torch.zeros_like(rate, dtype=torch.int64)
    for k in range(1, MOST):
        below = u > total
        if not bool(below.any()):
            break
        count = count + below.long()
        term = term * low / k
        total = total + term
    large = (rate + rate.sqrt() * z + (z**2 - 1) / 6).round().clamp(0, 2.0**31).long()
    return torch.where(rate > SMALL, large, count)
