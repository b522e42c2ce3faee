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
