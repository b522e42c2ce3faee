"""A causal transformer over tokens of numbers: patches of a grid, stretches of a signal, or columns.

Every token's outputs come from the tokens before it; a learned start comes before the first. Zhai et al. (2024),
"Normalizing flows are capable generative models", arXiv 2412.06329, has such a network in every block; one with a
density of real tokens at the end is that of Tschannen et al. (2024), "GIVT", arXiv 2312.02116.
"""

import math

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.nets.attention.transformer import Transformer
from pofx.nets.image.patches import gathered, grid_positions
from pofx.nets.vector.linear import Linear

HEAD = 32  # features of a head, where the width is a multiple of it
SEEN = 8.0  # standard deviations: a network that saw farther would extrapolate, and one far item cost a million nats
SIDE = 7  # tokens along the longest side of a grid, at most, where the patch is left open


class TokenTransformer(nn.Module):
    """(n, count, numbers) and a context (n, context) → (n, count, outputs), each token's from those before it; zero at
    the start.

    Args:
        counts: tokens along each axis.
        reverse: whether they come from the last to the first; the caller reverses them, positions follow.
    """

    def __init__(
        self,
        counts: tuple[int, ...],
        numbers: int,
        outputs: int,
        width: int,
        layers: int,
        *,
        context: int = 0,
        dropout: float = 0.0,
        reverse: bool = False,
    ) -> None:
        super().__init__()
        heads = max(1, width // HEAD)
        if width % (2 * heads):
            raise UsageError(f"width must be a multiple of {HEAD} (got {width}): pass width={HEAD * heads}")
        self.count, positions = math.prod(counts), grid_positions(counts, width)
        self.inward = Linear(numbers, width)
        self.start = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(positions.flip(0) if reverse else positions)
        self.given = Linear(context, width, bias=False) if context else None
        self.net = Transformer(width, layers, heads, self.count, dropout=dropout)
        self.outward = Linear(width, outputs)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    @property
    def matrices(self) -> list[nn.Parameter]:
        """The weights between hidden layers."""
        return [p for p in self.net.parameters() if p.ndim == 2]

    def forward(
        self, x: Float[Tensor, "n count numbers"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n count outputs"]:
        h = torch.cat((self.start.expand(len(x), -1, -1), self.embedded(x[:, :-1]).to(self.start.dtype)), 1)
        out: Tensor = self.outward(self.net(self.placed(h, context, 0)))
        return out

    def embedded(self, x: Float[Tensor, "n some numbers"]) -> Float[Tensor, "n some width"]:
        """What the network sees of tokens: bounded numbers, so that one outlier costs a bounded number of nats."""
        out: Tensor = self.inward((SEEN * torch.tanh(x / SEEN)).to(self.inward.weight.dtype))
        return out

    def placed(
        self, h: Float[Tensor, "n some width"], context: Float[Tensor, "n context"] | None, first: int
    ) -> Float[Tensor, "n some width"]:
        h = h + self.places[first : first + h.shape[1]]
        return h if self.given is None or context is None else h + self.given(context)[:, None]

    def begin(self, n: int, context: Float[Tensor, "n context"] | None = None) -> "TokenCursor":
        """The outputs of n items token by token."""
        return TokenCursor(self, n, context)


class TokenCursor:
    """One token after the other, over a cache of keys and values."""

    def __init__(self, net: TokenTransformer, n: int, context: Float[Tensor, "n context"] | None) -> None:
        self.net, self.context, self.step = net, context, 0
        self.cache, self.h = net.net.begin(n), net.start.expand(n, -1, -1)

    @torch.no_grad()
    def outputs(self) -> Float[Tensor, "n outputs"]:
        """Those of the next token."""
        features = self.cache.advance(self.net.placed(self.h, self.context, self.step))
        out: Tensor = self.net.outward(features[:, 0])
        return out

    @torch.no_grad()
    def put(self, token: Float[Tensor, "n numbers"]) -> None:
        """The token has become known."""
        self.h = self.net.embedded(token[:, None])
        self.step += 1


def tokens(shape: tuple[int, ...], patch: int = 0) -> tuple[Int[Tensor, "count numbers"], tuple[int, ...]]:
    """The dimensions of every token of an event in raster order, -1 where a patch reaches over an edge, and how many
    tokens lie along each axis. A vector is a row of numbers without channels; the patch is by default 1 for a vector
    and a seventh of the longest side of a grid."""
    vector = len(shape) == 1
    patch = patch or (1 if vector else max(1, -(-max(shape[1:]) // SIDE)))
    grid = (1, *shape) if vector else shape
    index = torch.arange(1.0, math.prod(grid) + 1, dtype=torch.float64).reshape(1, *grid)
    table = gathered(index, patch)[0]
    return table.flatten(1).T.long() - 1, tuple(table.shape[1:])


def gathered_tokens(
    y: Shaped[Tensor, "n dims"], slots: Int[Tensor, "count numbers"]
) -> Shaped[Tensor, "n count numbers"]:
    """Flat numbers as the tokens of this table; zero where a token has none."""
    return y[:, slots.clamp(min=0)] * (slots >= 0)


def spread_tokens(
    y: Shaped[Tensor, "n count numbers"], slots: Int[Tensor, "count numbers"]
) -> Shaped[Tensor, "n dims"]:
    """The inverse of `gathered_tokens`."""
    at = slots.flatten()
    flat = y.flatten(1)[:, at >= 0]
    out = torch.empty_like(flat)
    out[:, at[at >= 0]] = flat
    return out
