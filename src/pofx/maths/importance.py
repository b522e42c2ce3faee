"""How far importance weights can be trusted: effective sample size, and the tail of the weights.

Effective sample size: Kong (1992). Pareto k: the shape of a generalised Pareto distribution fitted to the largest
weights; above 0.7 estimates are not to be trusted (Vehtari, Simpson, Gelman, Yao and Gabry, 2024, "Pareto smoothed
importance sampling", arXiv 1507.02646). The fit is the empirical Bayes one of Zhang and Stephens (2009), "A new and
efficient estimation method for the generalized Pareto distribution".
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

RELIABLE = 0.7  # largest k at which the estimates still converge at a practical rate
_PRIOR = 10  # observations that the prior guess k = 1/2 counts as (Vehtari et al.)
_LEAST_TAIL = 5  # weights without which a tail cannot be fitted


def effective_share(log_weights: Float[Tensor, "n"]) -> float:
    """The effective sample size (Σ w)² / Σ w² as a share of n: in (0, 1]."""
    w = log_weights.double()
    return float((2 * w.logsumexp(0) - (2 * w).logsumexp(0)).exp()) / len(w)


def pareto_shape(log_weights: Float[Tensor, "n"]) -> float:
    """The shape k of the tail of the weights; -inf for weights that are all alike, nan for fewer than 25."""
    w = log_weights.double().sort().values
    tail = min(len(w) // 5, math.ceil(3 * len(w) ** 0.5))
    if tail < _LEAST_TAIL:
        return math.nan
    cut = w[-tail - 1]
    if float(w[-1] - cut) < 1e-12:
        return -math.inf
    scaled = (w[-tail:] - w[-1]).exp() - (cut - w[-1]).exp()
    return generalised_pareto_shape(scaled.clamp(min=torch.finfo(scaled.dtype).tiny))


def generalised_pareto_shape(x: Float[Tensor, "n"]) -> float:
    """The shape k of a generalised Pareto distribution from its draws x > 0, ascending: (n,).

    With theta = -k / scale, the likelihood depends on theta alone: k(theta) = mean log(1 - theta x). The posterior mean
    of theta over a grid whose prior is set by the quartile gives k; a weak prior then draws k to 1/2.
    """
    n = len(x)
    points = 30 + int(n**0.5)
    quartile = x[int(n / 4 + 0.5) - 1]
    j = torch.arange(1, points + 1, dtype=x.dtype, device=x.device)
    theta = 1 / x[-1] + (1 - (points / (j - 0.5)).sqrt()) / (3 * quartile)
    k = (-theta[:, None] * x).log1p().mean(1)
    profile = n * ((-theta / k).log() - k - 1)
    share = profile.softmax(0)
    best = (share * theta).sum()
    shape = float((-best * x).log1p().mean())
    return (n * shape + _PRIOR * 0.5) / (n + _PRIOR)


def truncated(log_w: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Log-weights (n,) → weights (n,) that add up to 1, after those above sqrt(n) times their mean were cut to it.

    Ionides, 2008, "Truncated importance sampling".
    """
    n = len(log_w)
    w = (log_w - log_w.logsumexp(0) + math.log(n)).exp().clamp(max=math.sqrt(n))
    return w / w.sum()
