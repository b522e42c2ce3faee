"""Conditions → vectors: the one place where a class number or a vector becomes something a network can add."""

import math

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from pofx.core.event import Continuous, Discrete, Event
from pofx.nets.vector.linear import Linear
from pofx.nets.vector.mlp import MLP


class Conditioner(nn.Module):
    """Embeds a condition: class numbers by a table (summed over positions), vectors by a linear map plus a network of
    one hidden layer, which starts at zero: families that only add an embedding to shifts then learn from |c| as well.

    `width` is 0 without a condition, so that nets can be built with `context=conditioner.width`; `null=True` adds the
    embedding of "no condition" (classifier-free guidance; Ho and Salimans, 2022, arXiv 2207.12598).
    """

    def __init__(self, condition: Event | None, width: int = 64, *, null: bool = False) -> None:
        super().__init__()
        self.width = width if condition is not None else 0
        self.table: nn.Embedding | None = None
        self.linear: Linear | None = None
        self.curved: MLP | None = None
        if isinstance(condition, Discrete):
            self.table = nn.Embedding(condition.classes, width)
        elif isinstance(condition, Continuous):
            self.linear = Linear(math.prod(condition.shape), width)
            self.curved = MLP(math.prod(condition.shape), width, (width,), zero=True)
        self.null = nn.Parameter(torch.zeros(width)) if null and condition is not None else None

    def forward(
        self, condition: Shaped[Tensor, "n *condition"] | None, drop: Bool[Tensor, "n"] | None = None
    ) -> Float[Tensor, "n width"] | None:
        """condition (n, …), drop bool (n,) → (n, width), or None without a condition."""
        if condition is None:
            return None
        if self.table is not None:
            embedded = self.table(condition.reshape(len(condition), -1)).sum(1)
        elif self.linear is not None and self.curved is not None:
            flat = condition.reshape(len(condition), -1).to(self.linear.weight.dtype)
            embedded = self.linear(flat) + self.curved(flat)
        else:
            return None
        if drop is not None and self.null is not None:
            embedded = torch.where(drop[:, None], self.null.to(embedded.dtype), embedded)
        return embedded
