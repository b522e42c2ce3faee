"""Multi-layer perceptrons, plain and residual; a condition's embedding is added to every hidden layer."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.nets.vector.linear import Linear

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "silu": nn.functional.silu,
    "relu": nn.functional.relu,
    "leaky-relu": lambda x: nn.functional.leaky_relu(x, 0.2),
}


class MLP(nn.Module):
    """inputs → hidden layers with an activation → outputs; `zero=True` makes the last layer start at zero."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int] = (128, 128),
        *,
        context: int = 0,
        zero: bool = False,
        activation: str = "silu",
    ) -> None:
        super().__init__()
        self.activation = activation
        widths = [inputs, *hidden]
        self.layers = nn.ModuleList(Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.contexts = nn.ModuleList(Linear(context, b) for b in hidden) if context else None
        self.last = Linear(widths[-1], outputs)
        if zero:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

    def forward(
        self, x: Float[Tensor, "n inputs"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n outputs"]:
        """x (n, inputs), context (n, context) → (n, outputs)."""
        h = x
        for i, layer in enumerate(self.layers):
            h = layer(h)
            if self.contexts is not None and context is not None:
                h = h + self.contexts[i](context)
            h = ACTIVATIONS[self.activation](h)
        return self.last(h)


class ResidualMLP(nn.Module):
    """Linear, then blocks h + W relu(V h), then linear: deeper nets that still train (He et al., 2016).

    With `last_activation` the last layer sees relu(h). With `by_unit` the outputs lie unit by unit in memory, each for
    all items: what reads them unit by unit is faster.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 128,
        blocks: int = 2,
        *,
        context: int = 0,
        zero: bool = False,
        dropout: float = 0.0,
        last_activation: bool = True,
        by_unit: bool = False,
    ) -> None:
        super().__init__()
        self.last_activation, self.by_unit = last_activation, by_unit
        self.first = Linear(inputs, width)
        self.inner = nn.ModuleList(Linear(width, width) for _ in range(blocks))
        self.outer = nn.ModuleList(Linear(width, width) for _ in range(blocks))
        self.contexts = nn.ModuleList(Linear(context, width) for _ in range(blocks)) if context else None
        self.dropout = nn.Dropout(dropout)
        self.last = Linear(width, outputs)
        if zero:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

    @property
    def matrices(self) -> list[nn.Parameter]:
        """The weights between hidden layers."""
        return [p for part in (self.inner, self.outer) for p in part.parameters() if p.ndim == 2]

    def forward(
        self, x: Float[Tensor, "n inputs"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n outputs"]:
        """x (n, inputs), context (n, context) → (n, outputs)."""
        relu = torch.nn.functional.relu
        h = self.first(x)
        for i, (inner, outer) in enumerate(zip(self.inner, self.outer, strict=True)):
            if self.contexts is not None and context is not None:
                r = relu(inner(h, self.contexts[i](context)))
            else:
                r = inner(h, relu=True)
            h = outer(self.dropout(r), h)
        h = self.dropout(nn.functional.relu_(h) if self.last_activation else h)
        return self.last(h, by_unit=self.by_unit)
