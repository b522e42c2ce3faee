"""The KL term of an autoencoder in three parts: mutual information, total correlation, KL of each dimension by itself.

    E KL(q(z|x) ‖ p(z)) = I(x; z) + KL(q(z) ‖ Π_j q(z_j)) + [Σ_j log q(z_j) - log p(z)]

(Chen et al., 2018, arXiv 1802.04942, eq. 2; Hoffman and Johnson, 2016.) q(z) is a mean over all N items, of which a
batch has M: the item that made z counts 1/N, the others share the rest (stratified sampling, appendix C.2).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.maths.distributions import normal_log_prob


def stratified(rows: int, items: int) -> Float[Tensor, "{rows} {rows}"]:
    """Log-weights of the posteriors of a batch in the estimate of q(z) at the batch's own codes; rows add up to 1."""
    own = 1.0 / max(items, rows)
    other = (1.0 - own) / (rows - 1) if rows > 1 else 1.0
    weights = torch.full((rows, rows), other, dtype=torch.float64).fill_diagonal_(own if rows > 1 else 1.0)
    return weights.log()


def kl_parts(
    z: Float[Tensor, "n d"],
    mean: Float[Tensor, "n d"],
    log_std: Float[Tensor, "n d"],
    log_prior: Float[Tensor, "n"],
    items: int,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """(mutual information, total correlation, dimension-wise KL) in nats, from codes z_i ~ N(mean_i, std_i) of a batch
    of a data set of `items`; their sum is the mean of log q(z|x) - log p(z)."""
    each = normal_log_prob(z[:, None], mean[None], log_std[None])  # of z_i under the posterior of item j
    weights = stratified(len(z), items).to(each)
    joint = (each.sum(-1) + weights).logsumexp(1)
    margins = (each + weights[..., None]).logsumexp(1).sum(-1)
    own = normal_log_prob(z, mean, log_std).sum(-1)
    return (own - joint).mean(), (joint - margins).mean(), (margins - log_prior).mean()


def mutual_information(
    z: Float[Tensor, "n d"], mean: Float[Tensor, "n d"], log_std: Float[Tensor, "n d"]
) -> Float[Tensor, ""]:
    """I(x; z) of the n items alone, in nats: at most log n."""
    each = normal_log_prob(z[:, None], mean[None], log_std[None]).sum(-1)
    return (each.diagonal() - each.logsumexp(1)).mean() + math.log(len(z))
