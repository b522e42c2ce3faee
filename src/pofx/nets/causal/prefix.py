"""One hidden layer after every prefix of the positions, with shared weights: all outputs for one output's cost.

The pre-activation after k positions is a running sum, a_k = bias + sum of the first k positions' contributions, so that
d positions cost O(d width) per item. Larochelle and Murray, 2011, "The neural autoregressive distribution estimator".
SiLU replaces the logistic function of the paper: 102 instead of 120 nats after 300 steps on binarised MNIST. A position
that is known also adds a vector of its own, which distinguishes "known" from "zero": the masks as inputs of Uria,
Murray and Larochelle, 2014, "A deep and tractable density estimator", arXiv 1310.1757.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pofx.nets.vector.linear import Linear

silu = nn.functional.silu


class PrefixHidden(nn.Module):
    """Positions' features → positions' outputs, each of the positions that come before it in a given order.

    `positions` inputs of `features` numbers each become `positions` outputs of `outputs` numbers each. Weights belong
    to positions, whatever their order. Sums go from block to block of `block` positions, and within a block by one
    masked product: few passes over the memory, the same numbers.
    """

    def __init__(
        self,
        positions: int,
        features: int,
        outputs: int,
        width: int = 500,
        *,
        context: int = 0,
        dropout: float = 0.0,
        block: int = 16,
    ) -> None:
        super().__init__()
        self.positions, self.features, self.outputs, self.block = positions, features, outputs, block
        self.inward = nn.Parameter(torch.randn(positions, features + 1, width) / (positions * (features + 1)) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(width))
        self.outward = nn.Parameter(0.1 * torch.randn(positions, width, outputs) / width**0.5)
        self.context = Linear(context, width) if context else None
        self.context_last = Linear(context, positions * outputs, bias=False) if context else None
        self.dropout = nn.Dropout(dropout)

    def start(self, n: int, context: Float[Tensor, "n context"] | None) -> Float[Tensor, "n width"]:
        """The pre-activation before any position is known: (n, width)."""
        start = self.bias.expand(n, -1)
        return start if self.context is None else start + self.context(context)

    def forward(
        self,
        x: Float[Tensor, "n positions features"],
        place: Int[Tensor, "positions"],
        context: Float[Tensor, "n context"] | None = None,
    ) -> Float[Tensor, "n positions outputs"]:
        """x (n, positions, features), place (positions,), context (n, context) → (n, positions, outputs)."""
        n, order = len(x), place.argsort()
        x = torch.cat((x, torch.ones_like(x[..., :1])), -1)[:, order]
        inward, outward = self.inward[order], self.outward[order]
        a = self.start(n, context)
        kept = self.dropout(torch.ones_like(a))  # units are dropped for a whole item
        earlier = torch.ones(self.block, self.block, dtype=x.dtype, device=x.device).tril(-1)
        out = []
        for first in range(0, self.positions, self.block):
            part, weight = x[:, first : first + self.block], inward[first : first + self.block].flatten(0, 1)
            size = part.shape[1]
            seen = earlier[:size, None, :size, None] * part[None]  # (block, n, block, features)
            h = silu(a + (seen.reshape(size * n, -1) @ weight).reshape(size, n, -1))
            h = h * kept if self.training else h
            out.append(torch.bmm(h, outward[first : first + size]))
            a = a + part.flatten(1) @ weight
        shaped = torch.cat(out).transpose(0, 1)[:, place]
        if self.context_last is not None:
            shaped = shaped + self.context_last(context).reshape(shaped.shape)
        return shaped

    def begin(self, n: int, context: Float[Tensor, "n context"] | None = None) -> "PrefixCache":
        """The state before any position is known, for n items."""
        return PrefixCache(self, n, context)


class PrefixCache:
    """The running pre-activation: each further position costs O(width)."""

    def __init__(self, net: PrefixHidden, n: int, context: Float[Tensor, "n context"] | None) -> None:
        self.net, self.a = net, net.start(n, context)
        self.last = None if net.context_last is None else net.context_last(context).reshape(n, net.positions, -1)

    def advance(self, step: int, position: int) -> Float[Tensor, "n outputs"]:
        """The outputs of `position`, which is number `step` in the order: (n, outputs)."""
        out = silu(self.a) @ self.net.outward[position]
        return out if self.last is None else out + self.last[:, position]

    def put(self, position: int, features: Float[Tensor, "n features"]) -> None:
        """A position has become known: features (n, features)."""
        weight = self.net.inward[position]
        self.a = self.a + features @ weight[:-1] + weight[-1]
