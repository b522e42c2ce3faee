"""Bounded supports ↔ the whole space: y = f(x) with its log-determinant, and the inverse with its own.

An interval goes by the logit, a half-line by the logarithm, the open simplex by isometric log-ratios: log-ratios in an
orthonormal basis, which treat all parts alike (Egozcue et al., 2003, "Isometric logratio transformations for
compositional data analysis"). The inverse never leaves the open support, even where float32 would round onto its edge.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

Columns = Float[Tensor, "n d"]


def to_line(
    x: Columns, low: Float[Tensor, "d"], high: Float[Tensor, "d"]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
    """x (n, d) with low < x < high, either of them perhaps infinite → y (n, d) on the line and log|dy/dx| (n, d)."""
    below, above = low.isfinite(), high.isfinite()
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    from_low = torch.where(below, x - torch.where(below, low, zero), 1 + zero).log()
    to_high = torch.where(above, torch.where(above, high, zero) - x, 1 + zero).log()
    y = torch.where(below | above, from_low - to_high, x)
    width = torch.where(below & above, high - low, 1 + zero).log()
    return y, width - from_low - to_high


def from_line(
    y: Columns, low: Float[Tensor, "d"], high: Float[Tensor, "d"]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
    """The inverse of `to_line`: y (n, d) → x (n, d), strictly inside, and log|dx/dy| (n, d)."""
    below, above = low.isfinite(), high.isfinite()
    both, free, zero = below & above, ~(below | above), torch.zeros((), dtype=y.dtype, device=y.device)
    least, most = torch.where(below, low, zero), torch.where(above, high, zero)
    width = torch.where(both, most - least, 1 + zero)
    towards = torch.where((below & ~above) | (both & (y <= 0)), y, -y)  # -|y| whose slope at 0 is not 0, or ±y
    growth = torch.where(free, zero, towards)  # not chosen below: an overflow there would turn gradients into NaN
    largest = math.log(torch.finfo(y.dtype).max)
    distance = torch.where(both, width * growth.sigmoid(), growth.clamp(max=largest).exp())
    from_least = below & ~(both & (y > 0))
    x = torch.where(free, y, torch.where(from_least, least + distance, most - distance))
    inner = torch.nn.functional.logsigmoid(y) + torch.nn.functional.logsigmoid(-y) + width.log()
    ladj = torch.where(both, inner, growth)
    bottom, top = inside(low.to(y.dtype), high.to(y.dtype))
    return torch.minimum(torch.maximum(x, bottom), top), ladj


def inside(low: Float[Tensor, "d"], high: Float[Tensor, "d"]) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    """The least and the greatest normal numbers of the bounds' type strictly between them, each (d,)."""
    info = torch.finfo(low.dtype)
    up, down = torch.full_like(low, math.inf), torch.full_like(high, -math.inf)
    bottom = torch.maximum(torch.nextafter(low, up), low + info.tiny).clamp(min=info.min)
    top = torch.minimum(torch.nextafter(high, down), high - info.tiny).clamp(max=info.max)
    return bottom, top


def contrasts(d: int) -> Float[Tensor, "{d} {d}-1"]:
    """Orthonormal columns, orthogonal to the ones: the j-th contrasts the first j parts with the next; float64."""
    j = torch.arange(1, d, dtype=torch.float64)
    rows = torch.arange(d)[:, None]
    before = (j * (j + 1)).rsqrt()
    return torch.where(rows < j, before, torch.where(rows == j, -j * before, 0.0))


def simplex_to_space(x: Columns) -> tuple[Float[Tensor, "n d-1"], Float[Tensor, "n"]]:
    """Positive rows x (n, d) of sum 1 → y (n, d - 1), and log|det dy / d(x_1, …, x_{d-1})| (n,)."""
    log_x = x.log()
    y = log_x @ contrasts(x.shape[-1]).to(x)
    return y, -log_x.sum(-1) - 0.5 * math.log(x.shape[-1])


def space_to_simplex(y: Float[Tensor, "n e"]) -> tuple[Float[Tensor, "n e+1"], Float[Tensor, "n"]]:
    """The inverse of `simplex_to_space`: y (n, e) → positive rows of sum 1 (n, e + 1), and its log-determinant (n,)."""
    d = y.shape[-1] + 1
    log_x = (y @ contrasts(d).T.to(y)).log_softmax(-1)
    return log_x.exp().clamp(min=torch.finfo(y.dtype).tiny), log_x.sum(-1) + 0.5 * math.log(d)
