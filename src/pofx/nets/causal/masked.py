"""Masked residual perceptrons: output p sees only the inputs that come before p in an order.

A hidden unit of degree m sees inputs at positions below m and hidden units of degree at most m; output p sees hidden
units of degree at most p. Masks multiply the weights in the forward pass, never in place. Germain et al., 2015, "MADE:
masked autoencoder for distribution estimation", arXiv 1502.03509; residual blocks as in Durkan and Nash, 2019,
"Autoregressive energy machines", arXiv 1904.05626.
"""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pofx.maths.products import linear
from pofx.nets.vector.linear import Linear

relu, silu = nn.functional.relu, nn.functional.silu
Activation = Callable[[Tensor], Tensor]


class MaskedLinear(nn.Linear):
    """A linear layer whose weight is multiplied by a mask given with each call.

    The mask is of the weight's dtype and of shape (a, b), where a divides the outputs and b the inputs: one entry for
    each block of the weight.
    """

    def forward(  # type: ignore[override]
        self,
        x: Float[Tensor, "n inputs"],
        mask: Float[Tensor, "a b"],
        onto: Float[Tensor, "n outputs"] | None = None,
        *,
        relu: bool = False,
        by_unit: bool = False,
    ) -> Float[Tensor, "n outputs"]:
        """x (n, inputs) → (n, outputs), with what `linear` does right after."""
        return linear(x, self._masked(mask, x.device.type), self.bias, onto, relu=relu, by_unit=by_unit)

    def _masked(self, mask: Float[Tensor, "a b"], device: str) -> Float[Tensor, "outputs inputs"]:
        # under autocast the product is cheaper in the lower precision, and as exact
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.weight.dtype
        weight, mask = self.weight.to(dtype), mask.to(dtype)
        if mask.shape == weight.shape:
            return weight * mask
        a, b = mask.shape
        blocks = weight.reshape(a, -1, b, self.in_features // b) * mask[:, None, :, None]
        return blocks.reshape(weight.shape)


def _unchanged(x: Tensor) -> Tensor:
    return x


class MaskedResidual(nn.Module):
    """Positions' features → positions' outputs, causal in a given order of the positions.

    `positions` inputs of `features` numbers each become `positions` outputs of `outputs` numbers each. Hidden units are
    sorted by degree, so that a sampler can compute the units of one degree after the other (`begin`, `advance`). A
    block is h + W a(V h), a the activation; with `pre_activation` it is h + W a(V a(h)), and with `last_activation` the
    last layer sees a(h).
    """

    degree: Tensor
    hidden_mask: Tensor
    natural_first: Tensor
    natural_last: Tensor

    def __init__(
        self,
        positions: int,
        features: int,
        outputs: int,
        width: int = 512,
        blocks: int = 2,
        *,
        context: int = 0,
        dropout: float = 0.0,
        activation: Activation = silu,
        pre_activation: bool = True,
        last_activation: bool = True,
    ) -> None:
        super().__init__()
        self.positions, self.features, self.outputs = positions, features, outputs
        self.activation = activation
        self.before = activation if pre_activation else _unchanged
        self.at_last = activation if last_activation else _unchanged
        self.first = MaskedLinear(positions * features, width)
        self.inner = nn.ModuleList(MaskedLinear(width, width) for _ in range(blocks))
        self.outer = nn.ModuleList(MaskedLinear(width, width) for _ in range(blocks))
        self.last = MaskedLinear(width, positions * outputs)
        self.contexts = nn.ModuleList(Linear(context, width) for _ in range(blocks + 1)) if context else None
        self.context_last = Linear(context, positions * outputs, bias=False) if context else None
        self.dropout = nn.Dropout(dropout)
        for layer in (*self.outer, self.last, *((self.context_last,) if self.context_last is not None else ())):
            with torch.no_grad():
                layer.weight.mul_(0.1)
        degree = torch.arange(width) * positions // width
        self.register_buffer("degree", degree, persistent=False)
        self.register_buffer("hidden_mask", (degree[:, None] >= degree[None, :]).float(), persistent=False)
        natural = torch.arange(positions)
        self.register_buffer("natural_first", self.first_mask(natural), persistent=False)
        self.register_buffer("natural_last", self.last_mask(natural), persistent=False)
        self.ends = torch.searchsorted(degree, torch.arange(positions + 1)).tolist()  # of the units of lower degree

    @property
    def matrices(self) -> list[nn.Parameter]:
        """The weights between hidden layers."""
        return [p for part in (self.inner, self.outer) for p in part.parameters() if p.ndim == 2]

    def first_mask(self, place: Int[Tensor, "positions"]) -> Float[Tensor, "width positions"]:
        """Which positions the first layer sees: (width, positions); place[i] is that of position i in the order."""
        return (self.degree[:, None] > place[None, :]).to(self.first.weight.dtype)

    def last_mask(self, place: Int[Tensor, "positions"]) -> Float[Tensor, "positions width"]:
        """Which hidden units the positions' outputs see: (positions, width)."""
        return (place[:, None] >= self.degree[None, :]).to(self.last.weight.dtype)

    def forward(
        self,
        x: Float[Tensor, "n positions features"],
        place: Int[Tensor, "positions"] | None = None,
        context: Float[Tensor, "n context"] | None = None,
    ) -> Float[Tensor, "n positions outputs"]:
        """x (n, positions, features), place (positions,), context (n, context) → (n, positions, outputs).

        Without `place` the order is the natural one, and outputs lie one after the other in memory, each for all items.
        """
        first_mask = self.natural_first if place is None else self.first_mask(place)
        last_mask = self.natural_last if place is None else self.last_mask(place)
        h = self.first(x.flatten(1), first_mask)
        if self.contexts is not None:
            h = h + self.contexts[0](context)
        for i, (inner, outer) in enumerate(zip(self.inner, self.outer, strict=True)):
            if self.contexts is None and self.activation is relu:
                r = inner(self.before(h), self.hidden_mask, relu=True)
            else:
                given = None if self.contexts is None else self.contexts[i + 1](context)
                r = self.activation(inner(self.before(h), self.hidden_mask, given))
            h = outer(self.dropout(r), self.hidden_mask, h)
        out = self.last(self.dropout(self.at_last(h)), last_mask, by_unit=place is None)
        if self.context_last is not None:
            out = out + self.context_last(context)
        shaped: Tensor = out.unflatten(1, (self.positions, self.outputs))
        return shaped

    def begin(self, n: int, context: Float[Tensor, "n context"] | None = None) -> "MaskedCache":
        """The state before any position is known, for n items."""
        return MaskedCache(self, n, context)


class MaskedCache:
    """Hidden units of the degrees reached so far: a whole pass over the positions costs one forward pass."""

    def __init__(self, net: MaskedResidual, n: int, context: Float[Tensor, "n context"] | None) -> None:
        self.net = net
        weight = net.first.weight
        self.x = weight.new_zeros(n, net.positions * net.features)
        biases = [net.first.bias, *(cast(MaskedLinear, layer).bias for layer in net.inner)]
        start = [bias.expand(n, -1) for bias in biases]
        if net.contexts is not None:
            start = [bias + cast(Linear, layer)(context) for bias, layer in zip(start, net.contexts, strict=True)]
        self.start: list[Tensor] = start
        self.blocks = [
            (cast(MaskedLinear, inner), cast(MaskedLinear, outer))
            for inner, outer in zip(net.inner, net.outer, strict=True)
        ]
        width, blocks = weight.shape[0], len(net.inner)
        self.active = [weight.new_zeros(n, width) for _ in range(blocks + 1)]  # what blocks and the last layer see
        self.inside = [weight.new_zeros(n, width) for _ in range(blocks)]
        self.last = net.last.bias.expand(n, -1)
        if net.context_last is not None:
            self.last = self.last + net.context_last(context)

    def put(self, position: int, features: Float[Tensor, "n features"]) -> None:
        """A position has become known: features (n, features)."""
        self.x[:, position * self.net.features : (position + 1) * self.net.features] = features

    def advance(self, step: int, position: int) -> Float[Tensor, "n outputs"]:
        """The outputs of `position`, which is number `step` in the order: (n, outputs). Steps come in order."""
        net, part, seen = self.net, slice(*self.net.ends[step : step + 2]), slice(0, self.net.ends[step + 1])
        if part.start < part.stop:  # inputs that are not known yet are zero, so the first layer needs no mask
            h = self.start[0][:, part] + self.x @ net.first.weight[part].T
            for i, (inner, outer) in enumerate(self.blocks):
                self.active[i][:, part] = net.before(h)
                r = self.start[i + 1][:, part] + self.active[i][:, seen] @ inner.weight[part, seen].T
                self.inside[i][:, part] = net.activation(r)
                h = h + outer.bias[part] + self.inside[i][:, seen] @ outer.weight[part, seen].T
            self.active[-1][:, part] = net.at_last(h)
        out = slice(position * net.outputs, (position + 1) * net.outputs)
        return self.last[:, out] + self.active[-1][:, seen] @ net.last.weight[out, seen].T
