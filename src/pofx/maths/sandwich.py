"""Bounds on log p(x) from both sides, by importance weights w = p(x, z) / q(z | x).

The log of the mean of K weights of draws z ~ q is at most log p(x) on average (Burda et al., 2016, arXiv 1509.00519).
Where x was drawn from the model, the code that made it is an exact draw from the posterior; put in the place of one of
the K, it makes the same number at least log p(x) on average (the bidirectional idea of Grosse et al., 2016, arXiv
1606.02275, and Wu et al., 2016, arXiv 1611.04273, with a single step): the difference is a Kullback-Leibler divergence
of the two procedures that draw K codes. Both hold on average over draws, not for each.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def lower_bound(log_weights: Float[Tensor, "n k"]) -> Float[Tensor, "n"]:
    """The log of the mean of the weights of K draws from q, per item."""
    return log_weights.logsumexp(1) - math.log(log_weights.shape[1])


def upper_bound(log_weights: Float[Tensor, "n k"], own: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """The log of the mean of K weights, the first of them `own`, that of the code which made the item."""
    return lower_bound(torch.cat((own[:, None], log_weights[:, 1:]), 1))


def effective_samples(log_weights: Float[Tensor, "n k"]) -> Float[Tensor, "n"]:
    """(Σ w)² / Σ w² per item: how many of the K weights count (Kong, 1992)."""
    return (2 * log_weights.logsumexp(1) - (2 * log_weights).logsumexp(1)).exp()
