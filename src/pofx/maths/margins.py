"""Margins by smoothed quantiles: a distribution function through the quantiles of a sample, with normal tails.

Between knots at quantiles the distribution function is linear; beyond the outermost ones, at the shares p and 1 - p,
the tails are those of a normal distribution whose scale is estimated from what lies there. So a value has a density, a
standard normal score z = Φ⁻¹(F(x)), and the inverse, in closed form.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

NARROWEST = 1e-6  # gap between knots, as a share of their span


@dataclass(frozen=True)
class Margins:
    """Knots (d, k), ascending, at the shares `shares` (d, k); scales (d, 2) of the tails below and above; float64."""

    knots: Tensor
    shares: Tensor
    tails: Tensor

    def to(self, device: torch.device) -> "Margins":
        return self if self.knots.device == device else Margins(*(v.to(device) for v in vars(self).values()))

    def scores(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """Normal scores z of x, and log |dz/dx| + log φ(z) = log f(x): (n, d) each."""
        knots, shares = self.knots.to(x.dtype), self.shares.to(x.dtype)
        at = torch.searchsorted(knots, x.T.contiguous(), right=True).T - 1
        last = knots.shape[1] - 1
        below, above = at < 0, at >= last
        cell = at.clamp(0, last - 1)
        left, right = knots.T.gather(0, cell), knots.T.gather(0, cell + 1)
        low, high = shares.T.gather(0, cell), shares.T.gather(0, cell + 1)
        slope = (high - low) / (right - left)
        inside = torch.special.ndtri((low + slope * (x - left)).clamp(1e-300, 1 - 1e-16))
        first, final = torch.special.ndtri(shares[:, 0]), torch.special.ndtri(shares[:, -1])
        under = first + (x - knots[:, 0]) / self.tails[:, 0].to(x.dtype)
        over = final + (x - knots[:, -1]) / self.tails[:, 1].to(x.dtype)
        z = torch.where(below, under, torch.where(above, over, inside))
        scale = torch.where(below, self.tails[:, 0].to(x.dtype), self.tails[:, 1].to(x.dtype))
        normal = -0.5 * z.square() - 0.5 * math.log(2 * math.pi)
        return z, torch.where(below | above, normal - scale.log(), slope.log())

    def values(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The inverse of `scores`."""
        knots, shares = self.knots.to(z.dtype), self.shares.to(z.dtype)
        u = torch.special.ndtr(z)
        last = knots.shape[1] - 1
        at = torch.searchsorted(shares, u.T.contiguous(), right=True).T - 1
        cell = at.clamp(0, last - 1)
        left, right = knots.T.gather(0, cell), knots.T.gather(0, cell + 1)
        low, high = shares.T.gather(0, cell), shares.T.gather(0, cell + 1)
        inside = left + (u - low) / (high - low) * (right - left)
        first, final = torch.special.ndtri(shares[:, 0]), torch.special.ndtri(shares[:, -1])
        under = knots[:, 0] + (z - first) * self.tails[:, 0].to(z.dtype)
        over = knots[:, -1] + (z - final) * self.tails[:, 1].to(z.dtype)
        return torch.where(z < first, under, torch.where(z >= final, over, inside))


def margins(x: Float[Tensor, "n d"], count: int) -> Margins:
    """The margins of a sample, with `count` knots each; equal quantiles are drawn apart a little."""
    n, d = x.shape
    edge = 1.0 / (count + 1)
    share = torch.linspace(edge, 1 - edge, count, dtype=torch.float64)
    knots = torch.quantile(x, share, dim=0).T.contiguous() if n < 1_000_000 else _quantiles(x, share)
    span = (knots[:, -1:] - knots[:, :1]).clamp(min=1e-9 * (1 + knots.abs().amax(1, keepdim=True)))
    apart = span * NARROWEST * torch.arange(count)
    knots = (knots - apart).cummax(1).values + apart  # strictly ascending
    ends = torch.special.ndtri(share[[0, -1]])
    tails = []
    for j in range(d):
        scales = []
        for end, side in ((0, -1), (-1, 1)):
            beyond = (side * (x[:, j] - knots[j, end])).clamp(min=0)
            away = beyond[beyond > 0]
            near = (knots[j, 1] - knots[j, 0]) if end == 0 else (knots[j, -1] - knots[j, -2])
            z = abs(float(ends[end]))
            mills = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) / edge - z  # mean excess of a normal tail
            scales.append((away.sum() + near) / (len(away) + 1) / mills)
        tails.append(torch.stack(scales).clamp(min=float(span[j]) * NARROWEST))
    return Margins(knots, share.expand(d, count).contiguous(), torch.stack(tails))


def _quantiles(x: Float[Tensor, "n d"], share: Float[Tensor, "k"]) -> Float[Tensor, "d k"]:
    ordered = x.sort(0).values
    return ordered[(share * (len(x) - 1)).round().long()].T.contiguous()
