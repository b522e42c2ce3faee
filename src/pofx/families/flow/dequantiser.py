"""Dequantisers: levels k in {0, …, L - 1} become real values, by noise u in (0, 1) whose density q(u | k) is known.

    log P(k) >= E_q [log p(y) + log|dy/du| - log q(u | k)],   y = logit(m + (1 - 2m) (k + u) / L)

Ho, Chen, Srinivas, Duan and Abbeel (2019), "Flow++", arXiv 1902.00275, section 3.1: q is a flow that sees k. Here
u = Φ(v) with v = g(noise; k) for standard normal noise, so that q is uniform where g is the identity, as it starts.
The logit keeps draws among the levels (Dinh, Sohl-Dickstein and Bengio, 2017, arXiv 1605.08803, section 4.1).
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pofx.core.event import Discrete
from pofx.families.flow.composition import LinearMap, shuffled
from pofx.families.flow.coupling import Affine
from pofx.families.flow.grid import CheckerboardCoupling, EveryPlace, GridBijection, GridCoupling, squeeze, unsqueeze
from pofx.families.flow.multiscale import factors_of

NEAREST = 2.0**-15  # u keeps this far from its ends, so that float32 never rounds k + u up to k + 1


class Dequantiser(nn.Module):
    """Levels of a grid ↔ the real line.

    Args:
        steps: couplings of the learned noise; 0 keeps it uniform.
        margin: m above: how far the ends of the levels stay from 0 and 1.
    """

    def __init__(
        self, event: Discrete, *, steps: int, width: int, blocks: int, margin: float, scale_bound: float
    ) -> None:
        super().__init__()
        channels, height, breadth = event.shape
        self.levels, self.margin = event.largest, margin
        self.factors = factors_of(height, breadth)
        f, g = self.factors
        shape = (channels * f * g, height // f, breadth // g)
        affine, parts = Affine(scale_bound), list[GridBijection]()
        for step in range(steps):
            if step == 0:
                parts.append(GridCoupling(shape, shape[0], affine, width, blocks, beside=shape[0]))
            elif shape[0] == 1:
                parts.append(CheckerboardCoupling(shape, step % 2, affine, width, blocks, beside=1))
            else:
                parts.append(EveryPlace(LinearMap(shape[0], shuffled(shape[0], step))))
                parts.append(GridCoupling(shape, shape[0] // 2, affine, width, blocks, beside=shape[0]))
        self.parts = nn.ModuleList(parts)

    def forward(
        self, x: Int[Tensor, "n *event"], noise: Float[Tensor, "n *event"]
    ) -> tuple[Float[Tensor, "n *event"], Float[Tensor, "n"]]:
        """Levels and standard normal noise → y, and log|dy/du| - log q(u | x): (n,)."""
        seen = squeeze(x.to(noise.dtype) * (2.0 / max(self.levels - 1, 1)) - 1.0, self.factors)
        v, stretched = squeeze(noise, self.factors), noise.new_zeros(len(x))
        for part in self.parts:
            v, ladj = part(v, None, seen)
            stretched = stretched + ladj
        v = unsqueeze(v, self.factors)
        log_q = (0.5 * (v**2 - noise**2)).flatten(1).sum(1) - stretched
        y, ladj = self.line(x, torch.special.ndtr(v))
        return y, ladj - log_q

    def line(
        self, x: Int[Tensor, "n *event"], u: Float[Tensor, "n *event"]
    ) -> tuple[Float[Tensor, "n *event"], Float[Tensor, "n"]]:
        """Levels and u in [0, 1] → y and log|dy/du|: (n,)."""
        s = (x + u.clamp(NEAREST, 1 - NEAREST)) / self.levels
        low = self.margin + (1 - 2 * self.margin) * s
        high = self.margin + (1 - 2 * self.margin) * (1 - s)
        slope = math.log1p(-2 * self.margin) - math.log(self.levels)
        inner = low.log() + high.log()
        return low.log() - high.log(), (slope - inner).flatten(1).sum(1)

    def inverse(self, y: Float[Tensor, "n *event"]) -> Int[Tensor, "n *event"]:
        """y → the level in whose interval it lies, the nearest one outside."""
        s = (y.sigmoid() - self.margin) / (1 - 2 * self.margin)
        return (s * self.levels).floor().clamp(0, self.levels - 1).long()
