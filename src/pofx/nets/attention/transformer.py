"""A causal transformer: blocks of attention and of a two-layer net, each on a normed copy of the stream it adds to.

Vaswani et al., 2017, arXiv 1706.03762; norms before the branches after Xiong et al., 2020, arXiv 2002.04745, by the
root mean square alone after Zhang and Sennrich, 2019, arXiv 1910.07467; gated units after Shazeer, 2020,
arXiv 2002.05202. Branches start small, by 1 / sqrt(2 layers), so that the stream starts near what enters it.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.core.errors import unknown
from pofx.nets.attention.self_attention import AttentionCache, CausalAttention
from pofx.nets.vector.linear import Linear

ACTIVATIONS = ("swiglu", "gelu", "gelu-tanh")
NORMS = ("rms", "layer")


def _norm(kind: str, width: int) -> nn.Module:
    return nn.RMSNorm(width, eps=1e-6) if kind == "rms" else nn.LayerNorm(width, eps=1e-5)


class Feedforward(nn.Module):
    """Two layers at each place alone; "swiglu" has two thirds of the units, so that both have as many weights."""

    def __init__(self, width: int, expansion: float, activation: str, bias: bool = False) -> None:
        super().__init__()
        self.gated, self.curve = activation == "swiglu", "tanh" if activation == "gelu-tanh" else "none"
        units = max(8, 8 * round(width * expansion * (2 / 3 if self.gated else 1) / 8))
        self.inward = Linear(width, units * (2 if self.gated else 1), bias=bias)
        self.outward = Linear(units, width, bias=bias)

    def forward(self, h: Float[Tensor, "n length width"]) -> Float[Tensor, "n length width"]:
        """h (n, length, width) → (n, length, width)."""
        a = self.inward(h)
        if self.gated:
            gate, a = a.chunk(2, -1)
            a = nn.functional.silu(gate) * a
        else:
            a = nn.functional.gelu(a, approximate=self.curve)
        out: Tensor = self.outward(a)
        return out


class Block(nn.Module):
    """One layer: attention, then a net at each place."""

    def __init__(
        self,
        width: int,
        heads: int,
        length: int,
        *,
        expansion: float = 4,
        activation: str = "swiglu",
        rotary: bool = True,
        dropout: float = 0.0,
        norm: str = "rms",
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.first, self.second = _norm(norm, width), _norm(norm, width)
        self.attention = CausalAttention(width, heads, length, rotary=rotary, bias=bias)
        self.feedforward = Feedforward(width, expansion, activation, bias)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, h: Float[Tensor, "n length width"], cache: AttentionCache | None = None
    ) -> Float[Tensor, "n length width"]:
        """h (n, length, width) → (n, length, width); with a cache, of its next place alone."""
        normed = self.first(h)
        h = h + self.dropout(self.attention(normed) if cache is None else cache.advance(normed))
        out: Tensor = h + self.dropout(self.feedforward(self.second(h)))
        return out


class Transformer(nn.Module):
    """(n, length, width) → (n, length, width), each place from those up to it, normed at the end.

    Raises:
        UsageError: an unknown activation, or a width that the heads do not divide.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        length: int,
        *,
        expansion: float = 4,
        activation: str = "swiglu",
        rotary: bool = True,
        dropout: float = 0.0,
        norm: str = "rms",
        bias: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        self.blocks = nn.ModuleList(
            Block(
                width,
                heads,
                length,
                expansion=expansion,
                activation=activation,
                rotary=rotary,
                dropout=dropout,
                norm=norm,
                bias=bias,
            )
            for _ in range(layers)
        )
        self.norm = _norm(norm, width)
        for name, weight in self.named_parameters():
            if bias and name.endswith("ward.bias"):
                nn.init.zeros_(weight)
            if weight.ndim == 2:
                std = weight.shape[1] ** -0.5
                nn.init.normal_(weight, std=std / math.sqrt(2 * layers) if "outward" in name else std)

    def forward(self, h: Float[Tensor, "n length width"]) -> Float[Tensor, "n length width"]:
        """h (n, length, width) → (n, length, width)."""
        for block in self.blocks:
            h = block(h)
        out: Tensor = self.norm(h)
        return out

    def begin(self, n: int) -> "TransformerCache":
        """The state before any place is known, for n items."""
        return TransformerCache(self, n)


class TransformerCache:
    """Keys and values of every layer: a further place costs one pass of one place."""

    def __init__(self, net: Transformer, n: int) -> None:
        self.net = net
        self.caches = [AttentionCache(block.attention, n) for block in net.blocks]  # type: ignore[arg-type]

    @torch.no_grad()
    def advance(self, h: Float[Tensor, "n 1 width"]) -> Float[Tensor, "n 1 width"]:
        """The features of the next place: h (n, 1, width) → (n, 1, width)."""
        for block, cache in zip(self.net.blocks, self.caches, strict=True):
            h = block(h, cache)
        out: Tensor = self.net.norm(h)
        return out
