"""Annealed importance sampling: the normaliser of a density from a chain of easier ones.

Neal, 2001, "Annealed importance sampling"; for restricted Boltzmann machines Salakhutdinov and Murray, 2008, "On the
quantitative analysis of deep belief networks". The mean weight is unbiased for Z / Z_0, so its logarithm is low on
average: too few steps overstate a likelihood. Weights are accumulated in float64.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor

from pofx.core.random import Streams
from pofx.maths.distributions import normal_log_prob
from pofx.maths.hamiltonian import hamiltonian_move

ACCEPTED = 0.75  # share of Hamiltonian moves that the step size aims at
PILOTS = 128  # chains that find temperatures and step sizes, with draws of their own, so that weights stay unbiased
MOST_KNOTS = 200  # temperatures at which pilots stop
TUNING = (12, 8)  # pilots' moves at the first of them, and at the others


def annealed_log_weights(
    x: Shaped[Tensor, "n *state"],
    betas: Sequence[float],
    gap: Callable[[Tensor, float, float], Tensor],
    move: Callable[[Tensor, float], Tensor],
) -> Float64[Tensor, "n"]:
    """log-weights of runs that start at draws x (n, …) from the density of betas[0]: float64 (n,).

    gap(x, a, b) is log f_b(x) - log f_a(x) of the unnormalised densities; move(x, b) leaves that of b invariant.
    """
    log_weights = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for before, after in zip(betas[:-1], betas[1:], strict=True):
        log_weights += gap(x, before, after).double()
        x = move(x, after)
    return log_weights


def log_mean_weight(log_weights: Float[Tensor, "n"]) -> tuple[float, float]:
    """log of the mean weight, and its standard error by the delta method (inf for a single run)."""
    n = len(log_weights)
    estimate = float(log_weights.logsumexp(0)) - math.log(n)
    if n < 2:
        return estimate, math.inf
    return estimate, float((log_weights - estimate).exp().std()) / math.sqrt(n)


def standard_normal(x: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
    """The log density of the broad normal, in the coordinates where it is standard: (n,)."""
    return normal_log_prob(x).sum(-1)


def anneal(
    begin: Callable[[Streams], Tensor],
    base: Callable[[Tensor], Tensor],
    target: Callable[[Tensor], Tensor],
    *,
    n: int,
    temperatures: int,
    moves: int = 1,
    leaps: int = 5,
    seed: int = 0,
    device: torch.device | str = "cpu",
    streams: Streams | None = None,
) -> tuple[Tensor, Tensor]:
    """n draws led from `base` (log density, with draws `begin`) to `target` over a geometric bridge: where they are at
    last (n, d), and their log-weights, float64 (n,). Where its temperatures lie is found by pilot chains. Moves have 1
    to `leaps` leapfrog steps in turn: of always the same number, paths through a normal come back to their start."""

    def bridge(beta: float) -> Callable[[Tensor], Tensor]:
        return lambda x: beta * target(x) + (1 - beta) * base(x)

    with torch.no_grad():
        pilots = Streams(seed + (1 << 41), PILOTS, device=device)
        sizes = _planned(begin(pilots), base, target, temperatures, leaps, pilots)
        betas = list(sizes)
        order = {beta: k for k, beta in enumerate(betas)}
        streams = Streams(seed, n, device=device) if streams is None else streams
        last = [begin(streams)]

        def gap(x: Tensor, before: float, after: float) -> Tensor:
            return (after - before) * (target(x) - base(x))

        def move(x: Tensor, beta: float) -> Tensor:
            for k in range(order[beta], order[beta] + moves):
                x, _ = hamiltonian_move(x, bridge(beta), sizes[beta], 1 + k % leaps, streams)
            last[0] = x
            return x

        log_weights = annealed_log_weights(last[0], betas, gap, move)
    return last[0], log_weights


def _planned(
    x: Tensor,
    base: Callable[[Tensor], Tensor],
    target: Callable[[Tensor], Tensor],
    temperatures: int,
    leaps: int,
    streams: Streams,
) -> dict[float, float]:
    """The temperatures from 0 to 1 and the step size of the moves at each.

    Pilot chains go from knot to knot, each so far from the one before that half of their weights count there, and are
    resampled by them (Del Moral, Doucet and Jasra, 2012, section 3.2); at each their step size seeks the accepted
    share. The temperatures divide the distance between the knots evenly: even steps in β are too large at first where
    the target falls steeply. Found before importance weighting begins and by other chains, so that moves that are
    given weights do not know them.
    """
    beta, size = 0.0, 0.5 / x.shape[1] ** 0.25
    knots, lengths, sizes = [0.0], [0.0], [size]
    while beta < 1:
        gap = (target(x) - base(x)).double().nan_to_num(nan=-math.inf)
        gap = gap if bool(gap.isfinite().any()) else torch.zeros_like(gap)
        step = _halving(gap, 1.0 - beta) if len(knots) < MOST_KNOTS else 1.0 - beta
        weights = _weights(gap, step)
        lost = -math.log(max(float(1 / weights.square().sum()) / len(x), 1e-300))
        beta = 1.0 if step >= 1.0 - beta else beta + step
        even = (torch.arange(len(x), device=x.device, dtype=torch.float64) + 0.5) / len(x)
        x = x[torch.searchsorted(weights.cumsum(0), even).clamp(max=len(x) - 1)]
        for k in range(TUNING[len(knots) > 1]):
            x, moved = hamiltonian_move(
                x, lambda y, b=beta: b * target(y) + (1 - b) * base(y), size, 1 + k % leaps, streams
            )
            size *= math.exp(0.8 * (float(moved.float().mean()) - ACCEPTED))
        lengths.append(lengths[-1] + max((lost / math.log(2)) ** 0.5, 1e-3))
        knots.append(beta)
        sizes.append(size)
    sizes[0] = sizes[1]
    at = np.linspace(0.0, lengths[-1], temperatures + 1)
    betas = np.interp(at, lengths, knots)
    betas[0], betas[-1] = 0.0, 1.0
    return dict(zip(betas.tolist(), np.exp(np.interp(at, lengths, np.log(sizes))).tolist(), strict=True))


def _weights(gap: Float64[Tensor, "n"], step: float) -> Float64[Tensor, "n"]:
    """The shares of chains whose density changes by exp(step · gap)."""
    return (step * gap).softmax(0)


def _halving(gap: Float64[Tensor, "n"], most: float) -> float:
    """The step, at most `most`, at which half of the weights count."""

    def counts(step: float) -> float:
        return float(1 / _weights(gap, step).square().sum()) / len(gap)

    if counts(most) >= 0.5:
        return most
    low, high = math.log(1e-30), math.log(most)
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if counts(math.exp(middle)) >= 0.5 else (low, middle)
    return math.exp(low)
