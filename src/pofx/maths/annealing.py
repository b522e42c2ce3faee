"""Annealed importance sampling: the normaliser of a density from a chain of easier ones.

Neal, 2001, "Annealed importance sampling"; for restricted Boltzmann machines Salakhutdinov and Murray, 2008, "On the
quantitative analysis of deep belief networks". The mean weight is unbiased for Z / Z_0, so its logarithm is low on
average: too few steps overstate a likelihood. Weights are accumulated in float64.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor

from pofx.core.random import Streams
from pofx.maths.distributions import normal_log_prob
from pofx.maths.hamiltonian import hamiltonian_move

ACCEPTED = 0.75  # share of Hamiltonian moves that the step size aims at
PILOTS = 128  # chains that tune the step sizes, with draws of their own, so that the weights stay unbiased


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
    last (n, d), and their log-weights, float64 (n,)."""

    def bridge(beta: float) -> Callable[[Tensor], Tensor]:
        return lambda x: beta * target(x) + (1 - beta) * base(x)

    betas = [k / temperatures for k in range(temperatures + 1)]
    with torch.no_grad():
        pilots = Streams(seed + (1 << 41), PILOTS, device=device)
        sizes = _tuned(begin(pilots), betas, bridge, leaps, pilots)
        streams = Streams(seed, n, device=device) if streams is None else streams
        last = [begin(streams)]

        def gap(x: Tensor, before: float, after: float) -> Tensor:
            return (after - before) * (target(x) - base(x))

        def move(x: Tensor, beta: float) -> Tensor:
            for _ in range(moves):
                x, _ = hamiltonian_move(x, bridge(beta), sizes[beta], leaps, streams)
            last[0] = x
            return x

        log_weights = annealed_log_weights(last[0], betas, gap, move)
    return last[0], log_weights


def _tuned(
    x: Tensor, betas: list[float], bridge: Callable[[float], Callable[[Tensor], Tensor]], leaps: int, streams: Streams
) -> dict[float, float]:
    """The step size at each temperature: pilot chains seek the accepted share, each temperature going on from the last.

    Found before importance weighting begins and by other chains, so that weighted moves do not know them.
    """
    size, sizes = 0.5 / x.shape[1] ** 0.25, {}
    for k, beta in enumerate(betas[1:]):
        for _ in range(12 if k == 0 else 3):
            x, moved = hamiltonian_move(x, bridge(beta), size, leaps, streams)
            size *= math.exp(0.6 * (float(moved.float().mean()) - ACCEPTED))
        sizes[beta] = size
    return sizes
