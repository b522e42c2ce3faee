"""Causal self-attention with rotary positions, over whole sequences or from a cache of keys and values.

The turn of a query by its place and of a key by its own leaves a product that knows their distance alone (Su et al.,
2021, arXiv 2104.09864). On the CPU a sequence is attended block by block, each to what lies at or before it: half of
the products of a full square are never made, and plain products are several times faster in bf16 than a fused kernel.
What lies ahead is at -inf (a large negative number can be outgrown by the scores), so it has no weight at all.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.nets.vector.linear import Linear

BLOCK = 128  # queries that are attended together on the CPU

Heads = Float[Tensor, "n heads length size"]


def turns(length: int, size: int, base: float = 10_000.0) -> Float[Tensor, "{length} {size}//2 2"]:
    """Cosine and sine of the angles place * base^(-2i / size): float32 (length, size / 2, 2)."""
    rates = base ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.stack((angle.cos(), angle.sin()), -1).float()


def turn(
    x: Float[Tensor, "n length heads size"], by: Float[Tensor, "length half 2"]
) -> Float[Tensor, "n length heads size"]:
    """Turn neighbouring pairs of features by the angles of their places; never below float32 inside."""
    wide = x if x.dtype == torch.float64 else x.float()
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)))
    turned = pairs * torch.view_as_complex(by.to(wide.dtype))[:, None]
    return torch.view_as_real(turned).flatten(-2).to(x.dtype)


def causal(q: Heads, k: Heads, v: Heads) -> Heads:
    """Attention of each place to the places up to it: (n, heads, length, size)."""
    if q.device.type != "cpu":
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    n, heads, length, size = q.shape
    q, k, v = (t.reshape(n * heads, length, size) for t in (q, k, v))
    ahead = torch.full((BLOCK, BLOCK), -torch.inf, dtype=q.dtype).triu(1)
    parts = []
    for first in range(0, length, BLOCK):
        last = min(first + BLOCK, length)
        wide = nn.functional.pad(ahead[: last - first, : last - first], (first, 0))
        scores = torch.baddbmm(wide, q[:, first:last], k[:, :last].transpose(1, 2), alpha=1 / math.sqrt(size))
        parts.append(torch.bmm(scores.softmax(-1), v[:, :last]))
    return (torch.cat(parts, 1) if len(parts) > 1 else parts[0]).reshape(n, heads, length, size)


class CausalAttention(nn.Module):
    """Queries, keys and values from one map, heads, and a map back: (n, length, width) → the same.

    Raises:
        UsageError: heads that do not divide the width, or into features of odd number.
    """

    table: Tensor

    def __init__(self, width: int, heads: int, length: int, *, rotary: bool = True, bias: bool = False) -> None:
        super().__init__()
        if width % heads or (rotary and width // heads % 2):
            raise UsageError(f"width must be {heads} heads of an even size (got {width}): pass width={32 * heads}")
        self.heads, self.rotary, self.length = heads, rotary, length
        self.inward = Linear(width, 3 * width, bias=bias)
        self.outward = Linear(width, width, bias=bias)
        self.register_buffer("table", turns(length, width // heads) if rotary else None, persistent=False)

    def project(
        self, h: Float[Tensor, "n length width"], first: int = 0
    ) -> tuple[
        Float[Tensor, "n length heads size"], Float[Tensor, "n length heads size"], Float[Tensor, "n length heads size"]
    ]:
        """Queries, keys and values of places first, first + 1, …, turned: (n, length, heads, size) each."""
        both, v = self.inward(h).unflatten(-1, (-1, h.shape[-1] // self.heads)).split((2 * self.heads, self.heads), 2)
        if self.rotary:
            both = turn(both, self.table[first : first + h.shape[1]])
        q, k = both.chunk(2, 2)
        return q, k, v

    def forward(self, h: Float[Tensor, "n length width"]) -> Float[Tensor, "n length width"]:
        """h (n, length, width) → (n, length, width)."""
        q, k, v = (t.transpose(1, 2) for t in self.project(h))
        out: Tensor = self.outward(causal(q, k, v).transpose(1, 2).flatten(2))
        return out


class AttentionCache:
    """Keys and values of the places so far, written in place: each further place costs one product with each."""

    def __init__(self, net: CausalAttention, n: int) -> None:
        weight = net.inward.weight
        self.net, self.length, self.size = net, 0, weight.shape[1] // net.heads
        self.k = weight.new_empty(n * net.heads, net.length, self.size)
        self.v = torch.empty_like(self.k)
        self.none = weight.new_zeros(())

    def advance(self, h: Float[Tensor, "n 1 width"]) -> Float[Tensor, "n 1 width"]:
        """The output at the next place: h (n, 1, width) → (n, 1, width)."""
        q, k, v = self.net.project(h, self.length)
        self.k[:, self.length], self.v[:, self.length] = k.reshape(-1, self.size), v.reshape(-1, self.size)
        self.length += 1
        keys, values = self.k[:, : self.length], self.v[:, : self.length]
        q = q.reshape(-1, 1, self.size)
        scores = torch.baddbmm(self.none, q, keys.transpose(1, 2), beta=0, alpha=1 / math.sqrt(self.size))
        out: Tensor = self.net.outward(torch.bmm(scores.softmax(-1), values).view(len(h), 1, -1))
        return out
