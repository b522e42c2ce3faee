"""What changes a denoiser's estimate while sampling: guidance, thresholds, and the gradient of any loss.

All act on E[x | x_t]; for the same t that is the same as acting on the noise, the velocity or the score, which are
linear in it. The weights of a guidance sum to 1, so that 1 is the conditional model and 0 the unconditional one.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.maths.paths import Path

Events = Float[Tensor, "n *event"]
MOST = 0.995  # quantile of dynamic thresholding


def mixed(weak: Events, strong: Events, weight: float) -> Events:
    """weak + weight (strong - weak) (Ho and Salimans, 2022, 2207.12598; Karras et al., 2024, arXiv 2406.02507)."""
    return weak + weight * (strong - weak)


def rescaled(guided: Events, plain: Events, share: float) -> Events:
    """The guided estimate, brought by a share to the standard deviation of the plain one, item by item (Lin et al.,
    2024, arXiv 2305.08891, section 3.4): guidance does not make pictures too bright."""
    wanted, found = (v.flatten(1).std(1, correction=0).reshape(-1, *[1] * (v.ndim - 1)) for v in (plain, guided))
    return guided * (1 - share + share * wanted / found.clamp(min=1e-12))


def thresholded(x: Events, *, dynamic: bool) -> Events:
    """x in [-1, 1]: cut off there, or at the 0.995 quantile of |x| of each item and divided by it, where that is more
    than 1 (Saharia et al., 2022, arXiv 2205.11487, section 2.3)."""
    if not dynamic:
        return x.clamp(-1, 1)
    flat = x.float().abs().flatten(1)
    s = flat.kthvalue(max(1, round(MOST * flat.shape[1])), 1).values.clamp(min=1.0)
    s = s.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    return torch.maximum(torch.minimum(x, s), -s) / s


def steered(
    denoise: Callable[[Tensor, Tensor], Tensor],
    path: Path,
    log_likelihood: Callable[[Tensor], Tensor],
    scale: float = 1.0,
) -> Callable[[Tensor, Tensor], Tensor]:
    """E[x | x_t, y] ≈ E[x | x_t] + scale · sigma² / alpha · grad log p(y | E[x | x_t]).

    By Tweedie's formula exact where log p(y | x_t) is that of the estimate (Chung et al., 2023, arXiv 2209.14687;
    Bansal et al., 2023, arXiv 2302.07121). Any differentiable `log_likelihood` of x, one number per item, will do: a
    classifier's, or minus a loss.
    """

    def conditional(x: Events, t: Tensor) -> Events:
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            data = denoise(x, t)
            (slope,) = torch.autograd.grad(log_likelihood(data).sum(), x)
        point = path(t)
        factor = scale * point.sigma**2 / point.alpha
        factor = torch.where(torch.isfinite(factor), factor, 0.0)  # pure noise has no information on y
        return (data + factor * slope).detach()

    return conditional
