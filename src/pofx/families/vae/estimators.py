"""Gradients of the importance-weighted bound: reparametrised, or doubly so.

The plain one has a signal-to-noise ratio at the encoder that falls with the number of samples (Rainforth et al., 2018,
arXiv 1802.04537); the doubly reparametrised one reaches the encoder through the codes alone, by squared normalised
weights (Tucker et al., 2019, arXiv 1810.04152, eq. 8), and has the same mean.
"""

import math
from typing import Any

from jaxtyping import Float
from torch import Tensor

from pofx.core.model import X
from pofx.families.vae.embedded import Given
from pofx.maths.distributions import normal_log_prob


def bound_loss(
    model: Any, x: X, condition: Given, noise: Float[Tensor, "n k size"], weight: float
) -> Float[Tensor, ""]:
    """The negative importance-weighted bound of a `VAE`, by its `estimator`."""
    if model.estimator == "iwae":
        plain: Tensor = math.log(noise.shape[1]) - model.log_weights(x, condition, noise, weight).logsumexp(1).mean()
        return plain
    mean, log_std, _ = model.infer(x, condition)
    z = mean[:, None] + log_std.exp()[:, None] * noise
    scaled = (z - mean.detach()[:, None]) * (-log_std.detach()[:, None]).exp()
    log_q = (normal_log_prob(scaled) - log_std.detach()[:, None]).sum(-1)
    log_weights = model.log_likelihood(x, condition, z) + weight * (model.log_prior(z, condition) - log_q)
    share = log_weights.detach().softmax(1)
    if z.requires_grad:
        z.register_hook(lambda slope: share[..., None] * slope)
    surrogate = -(share * log_weights).sum(1).mean()
    value = math.log(noise.shape[1]) - log_weights.detach().logsumexp(1).mean()
    return surrogate + (value - surrogate.detach())
