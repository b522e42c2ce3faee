"""Autoregressive bijections: each dimension is transformed elementwise, given those before it in an order.

One masked network computes the parameters of all dimensions at once, so that the density costs one pass; the inverse
goes dimension by dimension. Papamakarios, Pavlakou and Murray (2017), "Masked autoregressive flow", arXiv 1705.07057.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pofx.families.flow.chain import Bijection
from pofx.families.flow.coupling import Transformer
from pofx.nets.masked import MaskedResidual
from pofx.nets.waves import waves


class Autoregressive(Bijection):
    """y_i = transformer(x_i; parameters that depend on the x_j with place[j] < place[i])."""

    place: Tensor

    def __init__(
        self,
        place: Int[Tensor, "d"],
        transformer: Transformer,
        width: int,
        blocks: int,
        *,
        context: int = 0,
        dropout: float = 0.0,
        octaves: int = 0,
    ) -> None:
        super().__init__()
        self.register_buffer("place", place, persistent=False)
        self.transformer, self.octaves = transformer, octaves
        features, size = 1 + 2 * octaves, transformer.size
        self.net = MaskedResidual(len(place), features, size, width, blocks, context=context, dropout=dropout)
        for parameter in self.net.last.parameters():  # the identity at first
            nn.init.zeros_(parameter)
        if self.net.context_last is not None:
            nn.init.zeros_(self.net.context_last.weight)

    def forward(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        y, ladj = self.transformer(x, self.net(waves(x, self.octaves), self.place, context))
        return y, ladj.sum(-1)

    def inverse(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n d"]:
        if torch.is_grad_enabled():
            return self._inverse_by_passes(y, context)
        x, cache = torch.zeros_like(y), self.net.begin(len(y), context)
        for step, i in enumerate(self.place.argsort().tolist()):
            raw = cache.advance(step, i)[:, None]
            found, _ = self.transformer(y[:, i : i + 1], raw, inverse=True)
            cache.put(i, waves(found[:, 0], self.octaves))
            x[:, i : i + 1] = found
        return x

    def _inverse_by_passes(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None
    ) -> Float[Tensor, "n d"]:
        """The inverse through which gradients flow: a whole pass per dimension, nothing in place."""
        x = torch.zeros_like(y)
        for i in self.place.argsort().tolist():
            raw = self.net(waves(x, self.octaves), self.place, context)[:, i : i + 1]
            found, _ = self.transformer(y[:, i : i + 1], raw, inverse=True)
            x = torch.cat((x[:, :i], found, x[:, i + 1 :]), -1)
        return x
