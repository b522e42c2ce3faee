"""Stochastic paths from one point to data, with the exact log-ratio of their density to that of a target's.

A Brownian motion from 0 that is steered by u = (E[x_1 | x_t] - x_t) / (1 - t) ends at the data at time 1 (Föllmer,
1985; Tzen and Raginsky, 2019, arXiv 1903.01608); at time t it is, divided by sqrt(t), an item under the noise of the
angle whose cosine is sqrt(t), so that every denoiser steers it. For a target f known up to its constant the weight
f(x_1) / N(x_1; 0, s²) · exp(-Σ (√h u·ξ / s + h |u|² / 2 s²)) of a path of Euler steps has the mean ∫ f for any steering
and any steps (Zhang and Chen, 2022, "Path integral sampler", arXiv 2111.15141): importance sampling of whole paths.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.random import Streams
from pofx.maths.distributions import normal_log_prob

CLOSEST = 1e-4  # the share of the time, before the end, from which one step leads to it

Schedule = Callable[[Tensor], tuple[Tensor, Tensor]]  # t → alpha, sigma in units of the event


def path_times(steps: int) -> Float[Tensor, "{steps}+1"]:
    """Times from 0 to 1, of which what is left shrinks by the same factor at each step but the last."""
    left = torch.linspace(0.0, math.log(CLOSEST), steps, dtype=torch.float64).exp()
    return torch.cat((1 - left, torch.ones(1, dtype=torch.float64)))


def model_times(schedule: Schedule, spread: Float[Tensor, "..."], times: Float[Tensor, "k"]) -> Float[Tensor, "k"]:
    """The denoiser's times at which the ratio of noise to data is sqrt((1 - t) / t), by bisection."""
    wanted = ((1 - times) / times.clamp(min=1e-12)).sqrt()
    low, high = torch.zeros_like(times), torch.ones_like(times)
    for _ in range(50):
        middle = (low + high) / 2
        alpha, sigma = schedule(middle.to(spread.dtype))
        ratio = (sigma / (spread * alpha.clamp(min=1e-12))).flatten(1)[:, 0].double()
        low, high = torch.where(ratio < wanted, middle, low), torch.where(ratio < wanted, high, middle)
    return ((low + high) / 2).to(spread.dtype)


def paths(
    denoise: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    spread: Float[Tensor, "..."],
    shape: tuple[int, ...],
    steps: int,
    streams: Streams,
) -> tuple[Float[Tensor, "n *event"], Float[Tensor, "n"]]:
    """The ends of steered paths, one per stream, and log of the steered over the plain paths' density at them, with
    that of N(0, spread²) at the end: log f(x) minus it is the log-weight for a target f."""
    times = path_times(steps)
    at = model_times(schedule, spread, times[:-1])
    x = torch.zeros(len(streams), *shape, device=spread.device)
    log_ratio = torch.zeros(len(streams), dtype=torch.float64, device=spread.device)
    for k in range(steps):
        t, h = float(times[k]), float(times[k + 1] - times[k])
        alpha, sigma = schedule(at[k])
        size = (alpha**2 + (sigma / spread) ** 2).sqrt()
        seen = x * size / math.sqrt(t) if t > 0 else x
        drift = (denoise(seen, at[k]) - x) / (1 - t)
        noise = streams.normal(*shape).to(x)
        control = drift / spread
        log_ratio += (math.sqrt(h) * control * noise + 0.5 * h * control.square()).flatten(1).sum(1).double()
        x = x + h * drift + math.sqrt(h) * spread * noise
    end = normal_log_prob(x / spread) - spread.log()
    return x, log_ratio + end.flatten(1).sum(1).double()
