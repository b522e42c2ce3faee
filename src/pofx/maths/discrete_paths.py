"""Paths from classes to noise and back, place by place: at time t a place is noise with probability t, else its class.

Noise is a hidden place or a uniform draw. Two jump processes lead back to a known x with these marginals: "flow", which
jumps to x alone, at rate 1 / t (Gat et al., 2024, arXiv 2407.15595; Campbell et al., 2024, arXiv 2402.04997), and
"diffusion", the reversal in time of uniform noising (Austin et al., 2021, arXiv 2107.03006). A model has the mean of
these rates under its p(x | z_t); since both processes end in x, the divergence between their paths and the model's,
the integral of sum û - u + u log(u / û) over time, is a bound on -log p(x) (Campbell et al., 2022, arXiv 2205.14987;
Shaul et al., 2024, arXiv 2412.03487). The integrands are here.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot


def evidence(z: Int[Tensor, "n dims"], t: Float[Tensor, "n"], counts: Int[Tensor, "dims"]) -> Float[Tensor, "n dims"]:
    """log p(z | x = z) - log p(z | x ≠ z) under uniform noise of `counts` classes: what a place states of itself."""
    t = t[:, None].double()
    return torch.log1p((1 - t) / t * counts)


def flow_gap(
    log_p: Float[Tensor, "n dims classes"], z: Int[Tensor, "n dims"], x: Int[Tensor, "n dims"], t: Float[Tensor, "n"]
) -> Float[Tensor, "n dims"]:
    """The integrand of "flow" under uniform noise, for each place: (1 - p(z) - [z ≠ x] (1 + log p(x))) / t."""
    stays, right = (log_p.gather(-1, c[..., None])[..., 0] for c in (z, x))
    return (-torch.expm1(stays) - torch.where(z != x, 1 + right, 0.0)) / t[:, None]


def diffusion_gap(
    log_p: Float[Tensor, "n dims classes"],
    z: Int[Tensor, "n dims"],
    x: Int[Tensor, "n dims"],
    t: Float[Tensor, "n"],
    allowed: Bool[Tensor, "dims classes"],
) -> Float[Tensor, "n dims"]:
    """The integrand of "diffusion", for each place, in double precision: rates from z to j are, given x,
    q(j | x) / q(z | x) / ((1 - t) K)."""
    classes, log_p = log_p.shape[-1], log_p.double()
    counts, t = allowed.sum(1), t.double()[:, None]
    other = t / counts  # q of a class that is not x
    same = 1 - t + other
    up, down = (same / other)[..., None], (other / same)[..., None]
    p, here, wanted = log_p.exp(), one_hot(z, classes).bool(), one_hot(x, classes).bool()
    stays = (p * here).sum(-1, keepdim=True)
    model = p * up + (1 - p - stays).clamp(min=0) + stays * down  # û(j), of every j ≠ z
    true = torch.where((z == x)[..., None], down, torch.where(wanted, up, 1.0))
    jumps = allowed & ~here
    gap = torch.where(jumps, model - true + true * (true.log() - model.clamp(min=1e-300).log()), 0.0)
    return gap.sum(-1) / ((1 - t).clamp(min=1e-9) * counts)


def reversed_logits(
    z: Int[Tensor, "n dims"],
    x: Int[Tensor, "n dims"],
    t: Float[Tensor, ""],
    s: Float[Tensor, ""],
    allowed: Bool[Tensor, "dims classes"],
) -> Float[Tensor, "n dims classes"]:
    """log q(z_s | z_t, x) up to a constant, for s < t under uniform noise (Austin et al., 2021, eq. 3)."""
    classes, counts = allowed.shape[1], allowed.sum(1)[:, None]
    kept = (1 - t) / (1 - s) if float(s) < 1 else torch.zeros_like(t)
    forth = one_hot(z, classes) * kept + (1 - kept) / counts
    back = one_hot(x, classes) * (1 - s) + s / counts
    return (forth.double() * back).log().masked_fill(~allowed, -torch.inf)
