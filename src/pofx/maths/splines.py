"""Monotonic rational-quadratic splines: an elementwise bijection of the line, or of a circle, with an analytic inverse.

Inside [-bound, bound] the map is a chain of rational quadratics through K + 1 knots. On the line it is the identity
outside, and both value and slope are continuous at ±bound; on a circle ±bound are one place, whose slope is free.
Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline flows", arXiv 1906.04032; the rational quadratic is due
to Gregory and Delbourgo (1982); circles: Rezende et al. (2020), "Normalizing flows on tori and spheres", arXiv
2002.02428.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

_LEAST = 1e-3  # smallest bin width and bin height, as a share of the box
_STEEP = 7.0  # slopes lie within e to plus and minus this power: data near a lattice needs steep ones soon


def spline_knots(
    raw: Float[Tensor, "*event free"], bound: float
) -> tuple[Float[Tensor, "*event knots"], Float[Tensor, "*event knots"], Float[Tensor, "*event knots"]]:
    """Free parameters (…, 3K - 1) → the knots' positions x and y and their slopes, each (…, K + 1).

    The first K numbers become bin widths, the next K bin heights, the last K - 1 inner slopes; zeros give the identity.
    With 3K numbers the last one is the slope at both ends. Computed in float32 at least.
    """
    free = _leading(raw)
    bins = (len(free) + 1) // 3
    starts, _, _ = _boxes(free, bins, bound)
    x, y = pad(starts.movedim(1, -1), (0, 1), value=bound)
    inner = _slope(free[2 * bins : 3 * bins - 1].movedim(0, -1))
    end = _slope(raw[..., 3 * bins - 1 :].to(inner))
    end = end if end.shape[-1] else torch.ones_like(x[..., :1])
    return x, y, torch.cat((end, inner, end), -1)


def rational_quadratic_spline(
    x: Float[Tensor, "*event"],
    raw: Float[Tensor, "*event free"],
    bound: float,
    *,
    inverse: bool = False,
    circular: Bool[Tensor, "*#event"] | None = None,
) -> tuple[Float[Tensor, "*event"], Float[Tensor, "*event"]]:
    """The spline of free parameters `raw` at x, or its inverse: x (…), raw (…, 3K - 1) → y (…), log|dy/dx| (…).

    The argument is clamped to the box before the rational expression, so that neither values nor gradients can be NaN
    outside it, and the discriminant of the inverse is clamped to be non-negative. It is fastest where the free
    parameters lie one after the other in memory, each for the whole batch.

    Args:
        circular: where x lies on a circle [-bound, bound); raw then has 3K numbers, and on the line ignores the last.
    """
    if x.ndim == 2 and raw.stride(0) == 1:  # rows in memory are the columns here
        circular = None if circular is None else circular.T
        y, ladj = _Spline.apply(x.T.contiguous(), raw.transpose(0, 1), float(bound), inverse, circular)
        return y.T, ladj.T
    y, ladj = _Spline.apply(x, raw, float(bound), inverse, circular)
    return y, ladj


def _leading(raw: Tensor) -> Tensor:
    """Free parameters first, in float32 at least."""
    raw = raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw
    return raw.movedim(-1, 0)


def _boxes(free: Tensor, bins: int, bound: float) -> tuple[Tensor, Tensor, Tensor]:
    """Where bins start in x and y, their widths and heights, and the softmax behind them, each (2, K, …)."""
    scores = free[: 2 * bins].unflatten(0, (2, bins))
    shares = scores.softmax(1)
    sides = (shares * (2 * bound * (1 - bins * _LEAST))).add_(2 * bound * _LEAST)
    start = torch.full_like(sides[:, 0], -bound)
    starts = [start]
    for k in range(bins - 1):
        start = start + sides[:, k]
        starts.append(start)
    return torch.stack(starts, 1), sides, shares


def _slope(free: Tensor) -> Tensor:
    """Free numbers → slopes, 0 → 1."""
    return (_STEEP * torch.tanh(free / _STEEP)).exp()


def _slopes(free: Tensor, bins: int, index: Tensor, circular: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of both ends of bin `index` (1, …): slopes, the numbers and values of their parameters, whether they have one."""
    knots = torch.cat((index, index + 1))  # the numbers of knots, of which 0 and K are the ends
    inner = (knots > 0) & (knots < bins)
    last = len(free) - 2 * bins - 1
    which = torch.where(inner, knots - 1, last)  # the ends' common parameter is last
    has = inner if circular is None else inner | circular
    chosen = free[2 * bins :].gather(0, which) if last >= 0 else torch.zeros_like(free[:2])
    return torch.where(has, _slope(chosen), 1.0), which, chosen, has


class _Spline(torch.autograd.Function):
    """Forward and a backward in closed form, a third of the memory traffic of what autograd would record.

    The gradient of the inverse is that of the forward map at the found argument under other cotangents: from y = f(x),
    dx = (dy - f_θ dθ) / f'. A backward that is itself differentiated goes through plain autograd.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, raw: Tensor, bound: float, inverse: bool, circular: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        y, ladj, saved = _spline(x, raw, bound, inverse, circular)
        ctx.save_for_backward(x, raw, *saved)
        ctx.bound, ctx.inverse, ctx.circular = bound, inverse, circular
        return y, ladj

    @staticmethod
    def backward(ctx: Any, gy: Tensor, gladj: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, raw, *saved = ctx.saved_tensors
        if torch.is_grad_enabled():
            y, ladj, _ = _spline(x, raw, ctx.bound, ctx.inverse, ctx.circular)
            needed = [t for t, need in zip((x, raw), ctx.needs_input_grad[:2], strict=True) if need]
            found = iter(torch.autograd.grad((y, ladj), needed, (gy, gladj), create_graph=True))
            gx, graw = (next(found) if need else None for need in ctx.needs_input_grad[:2])
            return gx, graw, None, None, None
        gx, graw = _spline_backward(gy, gladj, raw, saved, ctx.bound, ctx.inverse)
        return gx.to(x.dtype), graw, None, None, None


def _spline(
    x: Tensor, raw: Tensor, bound: float, inverse: bool, circular: Tensor | None
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """y, log|dy/dx|, and what the backward needs."""
    free = _leading(raw)
    bins = (len(free) + 1) // 3
    x = x.to(free.dtype)
    inside = (x > -bound) & (x < bound)
    if circular is not None:
        inside = inside | circular
    u = x.clamp(-bound, bound)
    starts, sides, shares = _boxes(free, bins, bound)
    index = (u >= starts[int(inverse), 1:]).sum(0, keepdim=True)
    both = index.expand(2, 1, *x.shape)
    (x0, y0), (width, height) = starts.gather(1, both)[:, 0], sides.gather(1, both)[:, 0]
    (d0, d1), which, chosen, has = _slopes(free, bins, index, circular)
    s = height / width
    total = d0 + d1 - 2 * s
    if inverse:  # the root of a xi² + b xi + c (eqs. 6 to 8), in the form that does not cancel
        t = (u - y0) / height
        a = (s - d0) + t * total
        b = d0 - t * total
        c = -s * t
        xi = (2 * c / (-b - (b * b - 4 * a * c).clamp(min=0).sqrt())).clamp(0, 1)
    else:
        xi = ((u - x0) / width).clamp(0, 1)
    rest = 1 - xi
    product = xi * rest
    below = s + total * product
    above = d1 * xi * xi + 2 * s * product + d0 * rest * rest
    slope = s * s * above / (below * below)  # eq. 5
    log_slope = slope.log()
    if inverse:
        y, log_slope = x0 + xi * width, -log_slope
    else:
        y = y0 + height * xi * (s * xi + d0 * rest) / below  # eq. 4
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    there = (width, height, s, d0, d1, total, xi, rest, product, below, above, slope)  # of the bin and the place in it
    saved = (shares, index, *there, which, chosen, has, inside)
    return torch.where(inside, y, x), torch.where(inside, log_slope, zero), saved


def _spline_backward(
    gy: Tensor, gladj: Tensor, raw: Tensor, saved: list[Tensor], bound: float, inverse: bool
) -> tuple[Tensor, Tensor]:
    shares, index, *there, which, chosen, has, inside = saved
    width, height, s, d0, d1, total, xi, rest, product, below, above, slope = there
    bins, turn = shares.shape[1], rest - xi
    bend = 2 * (d1 * xi + s * turn - d0 * rest) / above - 2 * total * turn / below  # of the log-slope along xi
    outside, gy, gladj = gy, gy * inside, gladj * inside
    if inverse:  # the parameters move the found argument so that f keeps its value
        gladj = -gladj
        gy = -(gy + gladj * bend / width) / slope
    value = xi * (s * xi + d0 * rest)
    gv, gl = gy * height / (below * below), gladj
    gxi = gy * width * slope + gl * bend
    gs = gv * (xi * xi * below - value * (1 - 2 * product))
    gs = gs + gl * (2 / s + 2 * product / above - (2 - 4 * product) / below)
    common = gv * value * product + gl * 2 * product / below
    gd0 = gv * product * below - common + gl * rest * rest / above
    gd1 = gl * xi * xi / above - common
    across = gxi / width
    gwidth, gheight = -(across * xi + gs * s / width), gy * value / below + gs / width
    g = torch.stack((-across, gy))[:, None] * (torch.arange(bins, device=xi.device).reshape(-1, *[1] * xi.ndim) < index)
    g.scatter_(1, index.expand(2, 1, *xi.shape), torch.stack((gwidth, gheight))[:, None])
    g = torch._softmax_backward_data(g, shares, 1, shares.dtype)
    graw = torch.empty_like(raw)
    free = graw.movedim(-1, 0)
    torch.mul(g.flatten(0, 1), 2 * bound * (1 - bins * _LEAST), out=free[: 2 * bins])
    if len(free) > 2 * bins:
        gd = torch.stack((gd0 * d0, gd1 * d1)) * (1 - torch.tanh(chosen / _STEEP) ** 2) * has
        slopes = torch.zeros_like(shares[0, :1]).expand(len(free) - 2 * bins, *xi.shape).clone()
        free[2 * bins :] = slopes.scatter_add_(0, which, gd)
    return torch.where(inside, -gy if inverse else across, outside), graw
