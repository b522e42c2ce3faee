"""Monotonic rational-quadratic splines: an elementwise bijection of the line with an analytic inverse.

Inside [-bound, bound] the map is a chain of rational quadratics through K + 1 knots, outside it is the identity, and
both the value and the slope are continuous at ±bound. Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline
flows", arXiv 1906.04032; the rational quadratic itself is due to Gregory and Delbourgo (1982).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

_LEAST = 1e-3  # smallest bin width, bin height (as a share of the box) and slope


def spline_knots(
    raw: Float[Tensor, "*event free"], bound: float
) -> tuple[Float[Tensor, "*event knots"], Float[Tensor, "*event knots"], Float[Tensor, "*event knots"]]:
    """Free parameters (…, 3K - 1) → the knots' positions x and y and their slopes, each (…, K + 1).

    The first K numbers become bin widths, the next K bin heights, the last K - 1 inner slopes; zeros give the identity.
    Computed in float32 at least.
    """
    raw = raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw
    bins = (raw.shape[-1] + 1) // 3
    sides = raw[..., : 2 * bins].reshape(*raw.shape[:-1], 2, bins).softmax(-1) * (1 - bins * _LEAST) + _LEAST
    inner = (2 * bound) * sides[..., :-1].cumsum(-1) - bound
    knots = torch.nn.functional.pad(inner, (1, 0), value=-bound)
    knots = torch.nn.functional.pad(knots, (0, 1), value=bound)
    one = math.log(math.expm1(1 - _LEAST))  # softplus(one) + _LEAST = 1
    slopes = torch.nn.functional.softplus(raw[..., 2 * bins :] + one) + _LEAST
    slopes = torch.nn.functional.pad(slopes, (1, 1), value=1.0)
    return knots[..., 0, :], knots[..., 1, :], slopes


def rational_quadratic_spline(
    x: Float[Tensor, "*event"], raw: Float[Tensor, "*event free"], bound: float, *, inverse: bool = False
) -> tuple[Float[Tensor, "*event"], Float[Tensor, "*event"]]:
    """The spline of free parameters `raw` at x, or its inverse: x (…), raw (…, 3K - 1) → y (…), log|dy/dx| (…).

    The argument is clamped to the box before the rational expression, so that neither values nor gradients can be NaN
    outside it, and the discriminant of the inverse is clamped to be non-negative.
    """
    knots_x, knots_y, slopes = spline_knots(raw, bound)
    x = x.to(knots_x.dtype)
    inside = (x > -bound) & (x < bound)
    u = x.clamp(-bound, bound)
    searched = knots_y if inverse else knots_x
    index = (u[..., None] >= searched[..., 1:-1]).sum(-1, keepdim=True)
    stacked = torch.stack((knots_x, knots_y, slopes), -2)
    index = index[..., None].expand(*index.shape[:-1], 3, 1)
    x0, y0, d0 = stacked.gather(-1, index)[..., 0].unbind(-1)
    x1, y1, d1 = stacked.gather(-1, index + 1)[..., 0].unbind(-1)
    width, height = x1 - x0, y1 - y0
    s = height / width
    if inverse:  # the root of a xi² + b xi + c (eqs. 6 to 8), in the form that does not cancel
        t = (u - y0) / height
        total = d0 + d1 - 2 * s
        a = (s - d0) + t * total
        b = d0 - t * total
        c = -s * t
        xi = (2 * c / (-b - (b * b - 4 * a * c).clamp(min=0).sqrt())).clamp(0, 1)
    else:
        xi = ((u - x0) / width).clamp(0, 1)
    product = xi * (1 - xi)
    below = s + (d0 + d1 - 2 * s) * product
    log_slope = 2 * s.log() + (d1 * xi**2 + 2 * s * product + d0 * (1 - xi) ** 2).log() - 2 * below.log()  # eq. 5
    y = x0 + xi * width if inverse else y0 + height * (s * xi**2 + d0 * product) / below  # eq. 4
    sign = -1.0 if inverse else 1.0
    return torch.where(inside, y, x), torch.where(inside, sign * log_slope, torch.zeros_like(log_slope))
