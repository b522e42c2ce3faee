"""A law of discrete codes near the one that an encoder gives: proposals for the importance-weighted bound on log p(x).

    q(z | x) = Π_i q_i,    q_i(c) ∝ p(z_i = c) exp(-|e_i - v_c|² / T)

T, one for each item, is that under which one place in the mean leaves its nearest code.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

CHANGES = 1.0  # places of an item that leave their nearest code, in the mean
HALVINGS = 25  # of the interval of log T
LEAST, MOST = -9.0, 9.0  # log T beside that of the mean squared distance


@torch.no_grad()
def code_law(
    distances: Float[Tensor, "n places codes"], log_prior: Float[Tensor, "places codes"]
) -> Float[Tensor, "n places codes"]:
    """log q of every code at every place, given squared distances of vectors from codes."""
    distances = distances - distances.amin(-1, keepdim=True)
    nearest = distances.argmin(-1, keepdim=True)
    scale = distances.mean((1, 2)).clamp(min=1e-12).log()
    low, high = scale + LEAST, scale + MOST

    def law(log_t: Tensor) -> Tensor:
        return (log_prior - distances * (-log_t).exp()[:, None, None]).log_softmax(-1)

    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        many = (1.0 - law(middle).gather(-1, nearest).exp()).sum((1, 2)) > CHANGES
        low, high = torch.where(many, low, middle), torch.where(many, middle, high)
    return law(0.5 * (low + high))


def drawn(
    law: Float[Tensor, "n places codes"], u: Float[Tensor, "n k places"]
) -> tuple[Int[Tensor, "n k places"], Float[Tensor, "n k"]]:
    """k draws of the codes of all places from uniform numbers, and log q of each draw."""
    total = law.exp().cumsum(-1)
    at = torch.searchsorted(total, (u.transpose(1, 2) * total[..., -1:]).contiguous())  # n, places, k
    z = at.clamp(max=law.shape[-1] - 1)
    return z.transpose(1, 2), law.gather(-1, z).sum(1)
