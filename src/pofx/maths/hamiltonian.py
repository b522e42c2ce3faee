"""Hamiltonian Monte Carlo: a move that leaves a density invariant, led by its gradient.

Duane, Kennedy, Pendleton and Roweth (1987); Neal (2011), "MCMC using Hamiltonian dynamics", arXiv 1206.1901. Each chain
draws from its own random stream, so chain i does not depend on how many there are.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pofx.core.random import Streams

LogDensity = Callable[[Tensor], Tensor]


def hamiltonian_move(
    x: Float[Tensor, "n d"], log_density: LogDensity, step: float, leaps: int, generator: Streams
) -> tuple[Float[Tensor, "n d"], Bool[Tensor, "n"]]:
    """One move of n chains: where they are then (n, d), and which of them moved (n,).

    `leaps` leapfrog steps of size `step`, then Metropolis' rule; a path that leaves the finite numbers is refused. The
    size varies by up to a fifth from chain to chain, so that no period of the motion is met again and again.
    """
    momentum = generator.normal(x.shape[1]).to(x)
    sizes = step * (0.8 + 0.4 * generator.uniform(1).to(x))
    value, slope = _slope(x, log_density)
    before = value - 0.5 * momentum.square().sum(1)
    y, p = x, momentum + 0.5 * sizes * slope
    for i in range(leaps):
        y = y + sizes * p
        value, slope = _slope(y, log_density)
        p = p + (sizes if i < leaps - 1 else 0.5 * sizes) * slope
    gain = value - 0.5 * p.square().sum(1) - before
    moved = generator.uniform().to(x).log() < gain.nan_to_num(nan=-torch.inf)
    return torch.where(moved[:, None], y, x), moved


def _slope(x: Tensor, log_density: LogDensity) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False), torch.enable_grad():
        at = x.detach().clone().requires_grad_()
        value = log_density(at)
        (slope,) = torch.autograd.grad(value.sum(), at)
    return value.detach(), slope.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
