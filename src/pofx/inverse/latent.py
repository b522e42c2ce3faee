"""Posteriors of codes: items that the decoder can make, whose measurements agree with the data.

`annealed` draws from prior × likelihood by particles: tempered likelihoods, systematic resampling, and Hamiltonian
moves (Neal, 2001; Del Moral, Doucet and Jasra, 2006; Duane et al., 1987). For a flow, whose decoder leaves nothing out,
that is the posterior of the item. `found` descends to modes from draws of the prior (Bora et al., 2017, arXiv
1703.03208): the most probable code whose item fits.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from pofx.core.random import Streams
from pofx.maths.hamiltonian import hamiltonian_move
from pofx.maths.particles import systematic, tempering_step

LEAPS, MOVES, MOST = 6, 4, 60  # leapfrog steps of a move, moves at a temperature, temperatures
ACCEPTED = 0.7  # share of moves to aim at
STEPS, RATE = 300, 0.05  # of the descent

LogDensity = Callable[[Tensor], Tensor]


def annealed(
    start: Tensor, log_prior: LogDensity, log_likelihood: LogDensity, n: int, streams: Streams, moves: int = MOVES
) -> tuple[Tensor, float]:
    """n draws (n, d) from prior × likelihood, and log of the evidence, by particles that start at draws of the prior.

    Args:
        moves: at every temperature, three times as many at the last.
    """
    z, rng = start, np.random.default_rng(streams.seed)
    step, beta, evidence = 0.3, 0.0, 0.0
    with torch.no_grad():
        fit = log_likelihood(z).double().nan_to_num(nan=-1e30, neginf=-1e30).cpu().numpy()
    for _ in range(MOST):
        rise = tempering_step(fit, 1.0 - beta)
        logs = rise * fit
        evidence += float(logsumexp(logs)) - float(np.log(len(logs)))
        weights = np.exp(logs - logsumexp(logs))
        z, beta = z[torch.from_numpy(systematic(weights, rng)).to(z.device)], beta + rise
        last = beta > 1 - 1e-12
        scale = z.std(0).clamp(min=1e-4)

        def density(u: Tensor, beta: float = beta, scale: Tensor = scale) -> Tensor:
            return log_prior(u * scale) + beta * log_likelihood(u * scale)

        for _ in range(moves * (3 if last else 1)):
            u, moved = hamiltonian_move(z / scale, density, step, LEAPS, streams)
            z = u * scale
            step = float(np.clip(step * np.exp(float(moved.float().mean()) - ACCEPTED), 1e-4, 1.5))
        with torch.no_grad():
            fit = log_likelihood(z).double().nan_to_num(nan=-1e30, neginf=-1e30).cpu().numpy()
        if last:
            break
    order = torch.from_numpy(rng.permutation(len(z))[:n]).to(z.device)
    return z[order], evidence


def found(start: Tensor, log_density: LogDensity, steps: int = STEPS, rate: float = RATE) -> Tensor:
    """Where Adam climbs from each start (n, d), row by row; the best place of each path."""
    with torch.inference_mode(False), torch.enable_grad():
        z = start.detach().clone().requires_grad_()
        descent = torch.optim.Adam([z], lr=rate, betas=(0.9, 0.99))
        best, most = start.clone(), torch.full((len(start),), -torch.inf, device=start.device)
        for k in range(steps + 1):
            value = log_density(z)
            with torch.no_grad():
                better = value > most
                best[better], most = z.detach()[better], torch.where(better, value, most)
            if k == steps:
                break
            (slope,) = torch.autograd.grad(-value.sum(), z)
            z.grad = slope.nan_to_num(0.0)
            descent.param_groups[0]["lr"] = rate * min(1.0, 2 * (1 - k / steps))
            descent.step()
    return best
