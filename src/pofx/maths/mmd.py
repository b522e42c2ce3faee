"""Squared maximum mean discrepancy of samples, with rational quadratic kernels: differentiable in both sides.

Gretton et al., 2012, "A kernel two-sample test" (JMLR 13); the mixture of rational quadratic kernels plus
the linear one is that of Bińkowski et al., 2018, arXiv 1801.01401, section 4.
"""

import torch
from jaxtyping import Float
from torch import Tensor

SCALES = (0.2, 0.5, 1.0, 2.0, 5.0)  # α of the kernels (1 + |x - y|² / 2α)^-α


def kernel(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Σ_α (1 + |x - y|² / 2α)^-α + x·y: (n, d), (m, d) → (n, m)."""
    with torch.autocast(x.device.type, enabled=False):  # squares are differences of larger numbers
        x, y = (v.to(torch.promote_types(v.dtype, torch.float32)) for v in (x, y))
        product = x @ y.T
        square = (x.square().sum(1)[:, None] + y.square().sum(1)[None] - 2 * product).clamp(min=0)
        near: Tensor = sum((-a * torch.log1p(square / (2 * a))).exp() for a in SCALES)  # type: ignore[assignment]
    return near + product


def mmd_square(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """E k(x, x') + E k(y, y') - 2 E k(x, y) over all pairs, an item with itself too: never negative, 0 for equal sets,
    and the same when both sides are repeated (equation 5 of Gretton et al.)."""
    return kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()


def witness(x: Float[Tensor, "k d"], real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"]) -> Float[Tensor, "k"]:
    """E k(x, real) - E k(x, fake) at x: where it is high, data is more likely than samples."""
    return kernel(x, real).mean(1) - kernel(x, fake).mean(1)
