"""An autoregressive bijection of patches: a causal transformer gives every patch its maps from those before.

Zhai et al. (2024), "Normalizing flows are capable generative models", arXiv 2412.06329. A token is a patch of a grid or
a group of columns; its numbers do not see one another, so that bijections in alternating orders are stacked. The
inverse goes token by token over a cache of keys and values, or by sweeps over all tokens (Jacobi iterations), which are
exact after as many sweeps as there are tokens. Both can be guided: the maps given a condition are led away from those
without one.
"""

import math
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.families.flow.autoregressive import Triangular
from pofx.families.flow.circle import SEEN
from pofx.families.flow.coupling import Elementwise
from pofx.maths.guidance import mixed
from pofx.nets.attention.transformer import Transformer
from pofx.nets.image.patches import gathered, grid_positions
from pofx.nets.vector.linear import Linear

HEAD = 32  # features of a head, where the width is a multiple of it


class Attentive(Triangular):
    """y = transformer(x; parameters from the tokens before), tokens in raster order or the reverse of it.

    Args:
        patch: side of the squares of positions, or numbers of the stretch, that become one token.
        jacobi: whether the inverse goes by sweeps instead of token by token; to the same result.
    """

    autocasts: ClassVar[bool] = True
    slots: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        patch: int,
        reverse: bool,
        transformer: Elementwise,
        width: int,
        layers: int,
        *,
        context: int = 0,
        dropout: float = 0.0,
        jacobi: bool = False,
    ) -> None:
        table, counts = tokens(shape, patch)
        table = table.flip(0) if reverse else table
        order = table[table >= 0]
        super().__init__(len(order), order, transformer)
        heads = max(1, width // HEAD)
        if width % (2 * heads):
            raise UsageError(f"width must be a multiple of {HEAD} (got {width}): pass width={HEAD * heads}")
        self.count, self.numbers, self.jacobi = *table.shape, jacobi
        self.register_buffer("slots", (table >= 0).flatten().nonzero()[:, 0], persistent=False)
        self.ends = [0, *(table >= 0).sum(1).cumsum(0).tolist()]
        positions = grid_positions(counts, width)
        self.inward = Linear(self.numbers, width)
        self.begin = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(positions.flip(0) if reverse else positions)
        self.given = Linear(context, width, bias=False) if context else None
        self.net = Transformer(width, layers, heads, self.count, dropout=dropout)
        self.outward = Linear(width, self.numbers * transformer.size)
        for parameter in self.outward.parameters():  # the identity at first
            nn.init.zeros_(parameter)

    @property
    def matrices(self) -> list[nn.Parameter]:
        """The weights between hidden layers."""
        return [p for p in self.net.parameters() if p.ndim == 2]

    def sweeps(self) -> bool:
        return self.jacobi

    def guided_inverse(
        self,
        y: Float[Tensor, "n d"],
        context: Float[Tensor, "n context"],
        free: Float[Tensor, "n context"],
        guidance: float,
    ) -> Float[Tensor, "n d"]:
        """The inverse of maps whose parameters are free + guidance (conditional - free)."""
        return self._restored(self._by_cache(self._ordered(y), [context, free], guidance))

    def one_by_one(self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None) -> Float[Tensor, "n d"]:
        return self._by_cache(y, [context], 1.0)

    @torch.no_grad()
    def _by_cache(self, y: Tensor, contexts: list[Tensor | None], guidance: float) -> Tensor:
        """Token by token: one cache for each context."""
        caches = [self.net.begin(len(y)) for _ in contexts]
        x = torch.zeros_like(y)
        h = self.begin.expand(len(y), -1, -1)
        for t in range(self.count):
            low, high = self.ends[t], self.ends[t + 1]
            within = self.slots[low:high] - t * self.numbers
            raws = []
            for context, cache in zip(contexts, caches, strict=True):
                features = cache.advance(self._placed(h, context, t))
                raws.append(self.outward(features[:, 0]).reshape(len(y), self.numbers, -1)[:, within].to(y.dtype))
            raw = raws[0] if len(raws) == 1 else mixed(raws[1], raws[0], guidance)
            x[:, low:high] = self.transformer(y[:, low:high], raw, inverse=True)[0]
            token = torch.zeros(len(y), self.numbers, dtype=y.dtype, device=y.device)
            token[:, within] = x[:, low:high]
            h = self.inward(_seen(token, self.inward.weight.dtype))[:, None]
        return x

    def _raw(self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None) -> Float[Tensor, "n d size"]:
        n, size = len(x), self.count * self.numbers
        held = x if x.shape[1] == size else x.new_zeros(n, size).index_copy(1, self.slots, x)
        seen = _seen(held.reshape(n, self.count, self.numbers)[:, :-1], self.inward.weight.dtype)
        h = torch.cat((self.begin.expand(n, -1, -1), self.inward(seen).to(self.begin.dtype)), 1)
        raw = self.outward(self.net(self._placed(h, context, 0))).reshape(n, size, -1)
        return (raw if x.shape[1] == size else raw[:, self.slots]).to(x.dtype)

    def _placed(self, h: Tensor, context: Tensor | None, first: int) -> Tensor:
        h = h + self.places[first : first + h.shape[1]]
        return h if self.given is None or context is None else h + self.given(context)[:, None]

    def _ordered(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return x[:, self.order]

    def _restored(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return x[:, self.back]


def _seen(x: Tensor, dtype: torch.dtype) -> Tensor:
    """What the network sees of numbers: bounded, so that one outlier costs a bounded number of nats."""
    return (SEEN * torch.tanh(x / SEEN)).to(dtype)


def tokens(shape: tuple[int, ...], patch: int) -> tuple[Int[Tensor, "count numbers"], tuple[int, ...]]:
    """The dimensions of every token of an event in raster order, -1 where a patch reaches over an edge, and how many
    tokens lie along each axis. A vector is a row of numbers without channels."""
    grid = (1, *shape) if len(shape) == 1 else shape
    index = torch.arange(1.0, math.prod(grid) + 1, dtype=torch.float64).reshape(1, *grid)
    table = gathered(index, patch)[0]
    return table.flatten(1).T.long() - 1, tuple(table.shape[1:])
