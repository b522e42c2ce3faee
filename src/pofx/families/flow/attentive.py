"""An autoregressive bijection of patches: a causal transformer gives every patch its maps from those before.

Zhai et al. (2024), "Normalizing flows are capable generative models", arXiv 2412.06329. A token is a patch of a grid or
a group of columns; its numbers do not see one another, so that bijections in alternating orders are stacked. The
inverse goes token by token over a cache of keys and values, or by sweeps over all tokens (Jacobi iterations), which are
exact after as many sweeps as there are tokens. Both can be guided: the maps given a condition are led away from those
without one.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.families.flow.autoregressive import Triangular
from pofx.families.flow.coupling import Elementwise
from pofx.maths.guidance import mixed
from pofx.nets.attention.token_transformer import TokenTransformer, tokens


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
        self.count, self.numbers, self.jacobi = *table.shape, jacobi
        self.register_buffer("slots", (table >= 0).flatten().nonzero()[:, 0], persistent=False)
        self.ends = [0, *(table >= 0).sum(1).cumsum(0).tolist()]
        self.net = TokenTransformer(
            counts,
            self.numbers,
            self.numbers * transformer.size,
            width,
            layers,
            context=context,
            dropout=dropout,
            reverse=reverse,
        )

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
        cursors = [self.net.begin(len(y), context) for context in contexts]
        x = torch.zeros_like(y)
        for t in range(self.count):
            low, high = self.ends[t], self.ends[t + 1]
            within = self.slots[low:high] - t * self.numbers
            raws = [c.outputs().reshape(len(y), self.numbers, -1)[:, within].to(y.dtype) for c in cursors]
            raw = raws[0] if len(raws) == 1 else mixed(raws[1], raws[0], guidance)
            x[:, low:high] = self.transformer(y[:, low:high], raw, inverse=True)[0]
            token = torch.zeros(len(y), self.numbers, dtype=y.dtype, device=y.device)
            token[:, within] = x[:, low:high]
            for cursor in cursors:
                cursor.put(token)
        return x

    def _raw(self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None) -> Float[Tensor, "n d size"]:
        n, size = len(x), self.count * self.numbers
        held = x if x.shape[1] == size else x.new_zeros(n, size).index_copy(1, self.slots, x)
        raw = self.net(held.reshape(n, self.count, self.numbers), context).reshape(n, size, -1)
        return (raw if x.shape[1] == size else raw[:, self.slots]).to(x.dtype)

    def _ordered(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return x[:, self.order]

    def _restored(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return x[:, self.back]
