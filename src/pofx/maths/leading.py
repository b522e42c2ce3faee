"""Few maps from noise to data with their Jacobians: the density of what they draw, and their inverse.

Rehman et al., 2025, "FALCON: few-step accurate likelihoods for continuous flows", arXiv 2512.09914: a map of few steps
that is a bijection has the density log N(z) - Σ log|det J_k| at the end of z, exactly, at one Jacobian a step; no
integral is solved. Where a determinant is not positive the map folds, and several z may have one end: then it is the
density of one branch alone.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pofx.maths.distributions import normal_log_prob, sum_event

Lead = Callable[[Tensor, Tensor, Tensor], Tensor]  # z (n, d), start (n,), stop (n,) → z at stop
CLOSE, NEWTON = 1e-4, 30  # of leading back: its error per number, and the most iterations of a step


def times(steps: int, like: Float[Tensor, "..."]) -> Float[Tensor, "{steps}+1"]:
    """From noise, 1, to data, 0, evenly."""
    return torch.linspace(1.0, 0.0, steps + 1, dtype=like.dtype, device=like.device)


def stepped(
    lead: Lead, z: Float[Tensor, "n d"], start: Float[Tensor, ""], stop: Float[Tensor, ""], *, graph: bool = False
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d d"]]:
    """One step and its Jacobian; with `graph` differentiable in all that made it."""
    n, d = z.shape
    with torch.inference_mode(False), torch.enable_grad():
        if not graph or not z.requires_grad:
            z = z.detach().clone().requires_grad_()
        each = z.repeat(d, 1)  # one copy for each number of the end: all rows of the Jacobian in one pass
        after = lead(each, start.expand(d * n), stop.expand(d * n)).reshape(d, n, d)
        total = after.diagonal(dim1=0, dim2=2).sum()
        (rows,) = torch.autograd.grad(total, each, create_graph=graph, retain_graph=graph)
    return (after[0] if graph else after[0].detach()), rows.reshape(d, n, d).transpose(0, 1)


def led(
    lead: Lead, z: Float[Tensor, "n d"], steps: int, *, graph: bool = False
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"], Bool[Tensor, "n"]]:
    """The ends of noises z, log q of them in nats, and whether the map folds before it reaches them."""
    log_q, folds = sum_event(normal_log_prob(z)), torch.zeros(len(z), dtype=torch.bool, device=z.device)
    every = times(steps, z)
    for start, stop in zip(every[:-1], every[1:], strict=True):
        z, jacobian = stepped(lead, z, start, stop, graph=graph)
        sign, volume = torch.linalg.slogdet(jacobian.double() if not graph else jacobian)
        log_q, folds = log_q - volume.to(log_q.dtype), folds | (sign <= 0)
    return z, log_q, folds


def led_back(
    lead: Lead, y: Float[Tensor, "n d"], steps: int
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"], Bool[Tensor, "n"]]:
    """The noises whose ends are y, log q of y in nats, and whether they were found: by Newton's method, step by step,
    from where the map back leads."""
    every, z = times(steps, y).flip(0), y
    volumes, found = y.new_zeros(len(y)), torch.ones(len(y), dtype=torch.bool, device=y.device)
    for stop, start in zip(every[:-1], every[1:], strict=True):
        wanted = z
        with torch.no_grad():
            guess = lead(wanted, stop.expand(len(y)), start.expand(len(y)))
        best, least = guess, torch.full((len(y),), torch.inf, device=y.device)
        kept = y.new_zeros(len(y))
        damping = torch.ones(len(y), 1, device=y.device)
        at = guess
        for _ in range(NEWTON):
            after, jacobian = stepped(lead, at, start, stop)
            gap = after - wanted
            error = gap.abs().amax(1)
            better = error < least
            volume = torch.linalg.slogdet(jacobian.double())[1].to(y.dtype)
            kept = torch.where(better, volume, kept)
            best, least = torch.where(better[:, None], at, best), torch.where(better, error, least)
            if bool((least < 1e-6).all()):
                break
            move = torch.linalg.lstsq(jacobian, gap[..., None]).solution[..., 0]
            damping = torch.where(better[:, None], (2 * damping).clamp(max=1.0), damping / 2)
            at = torch.where(better[:, None], at, best) - damping * move.nan_to_num(0.0, 0.0, 0.0)
        found &= least < CLOSE
        z, volumes = best, volumes + kept
    return z, sum_event(normal_log_prob(z)) - volumes, found
