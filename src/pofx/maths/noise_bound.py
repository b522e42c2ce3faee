"""The variational bound on log p in continuous time, and the levels of noise at which it is best estimated.

On the quarter circle the bound of Kingma et al. (2021, arXiv 2107.00630, eq. 17) is, for data of any variance,
log p(x) >= -d/2 log(2 π e) - d log tan(first) - ∫ cot(angle) E |F - v|² d angle, from `first` to π/2: with a Gaussian
decoder at `first` and no prior loss, since the circle ends in pure noise. cot(angle) d angle is d log sin(angle): drawn
uniformly in log sin(angle), every level has weight 1 (the importance sampling of Zheng et al., 2023, arXiv 2305.03935);
drawn by a learned schedule, the inverse of its speed. Near the data the error is the noise itself, which
nobody can predict: cos² (|noise|² - d), of mean 0, is taken out of |F - v|², which leaves its mean and little noise.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.random import Streams
from pofx.maths.estimates import standard_error

FIRST = 1e-3  # the least angle, in units of the data's standard deviation
SPAN = -math.log(math.sin(FIRST))  # of log sin(angle)

Times = Callable[[Tensor], tuple[Tensor, Tensor]]  # u in (0, 1) → angles and weights of their errors
Velocity = Callable[[Tensor, Tensor], Tensor]  # standardised x_t (n, *event), angles (n,) → F


def likelihood_angles(u: Float[Tensor, "*places"]) -> Float[Tensor, "*places"]:
    """u in (0, 1) → angles uniform in log sin(angle) from `FIRST` to π/2."""
    return torch.asin((-SPAN * u).exp().clamp(max=1.0))


def uniform_times(u: Float[Tensor, "n"]) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Levels uniform in log sin(angle), of weight 1."""
    return likelihood_angles(u), torch.ones_like(u)


def predictable(
    error: Float[Tensor, "n *event"], noise: Float[Tensor, "n *event"], phi: Float[Tensor, "n"]
) -> Float[Tensor, "n"]:
    """|error|² / d without what is due to the noise alone: the same mean, less variance."""
    return error.square().flatten(1).mean(1) - phi.cos().square() * (noise.square().flatten(1).mean(1) - 1)


def likelihood_bound(
    velocity: Velocity, x: Float[Tensor, "n *event"], draws: int, times: Times = uniform_times
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """The bound for standardised items in nats, and its standard error over the draws: (n,), (n,).

    Levels are stratified; levels and noises are functions of the item. The error, that of independent draws, is at
    least that of the stratified ones.
    """
    streams, wide = Streams.of_items(0, x), (-1, *[1] * (x.ndim - 1))
    start, each, d = streams.uniform(1)[:, 0], [], math.prod(x.shape[1:])
    for k in range(draws):
        phi, weight = times((start + k) / draws)
        noise, cos, sin = streams.normal(*x.shape[1:]), phi.cos().reshape(wide), phi.sin().reshape(wide)
        error = velocity(cos * x + sin * noise, phi) - (cos * noise - sin * x)
        each.append(SPAN * d * weight * predictable(error, noise, phi))
    losses = torch.stack(each)
    ends = -0.5 * d * math.log(2 * math.pi * math.e) - d * math.log(math.tan(FIRST))
    return ends - losses.mean(0), standard_error(losses)
