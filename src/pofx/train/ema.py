"""Averaged weights: an exponential moving average whose half-life is counted in items, with a ramp.

beta = 0.5^(batch / h), h = min(half-life, ramp × items seen) (Karras et al., 2020, arXiv 2006.06676; 2024,
arXiv 2312.02696): the same average whatever the batch size, and no memory of the initial weights in short runs.
"""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class Average(Generic[M]):
    """A copy of a model that follows it; buffers are copied, parameters averaged."""

    def __init__(self, model: M, half_life: float, ramp: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.half_life, self.ramp = half_life, ramp
        self.mine: list[torch.Tensor] = list(self.model.parameters())
        self.theirs: list[torch.Tensor] = list(model.parameters())
        pairs = zip(self.model.modules(), model.modules(), strict=True)
        self.holders = [(mine, theirs) for mine, theirs in pairs if theirs._buffers]

    @torch.no_grad()
    def update(self, batch: int, seen: int) -> None:
        """Follow the model after a step on `batch` items, `seen` items in all."""
        half_life = min(self.half_life, self.ramp * seen) if self.ramp else self.half_life
        beta = 0.5 ** (batch / half_life) if half_life > 0 else 0.0
        if self.mine:
            torch._foreach_lerp_(self.mine, self.theirs, 1.0 - beta)
        self.copy_buffers()

    @torch.no_grad()
    def copy_buffers(self) -> None:
        """Take the buffers of the model as they are."""
        for mine, theirs in self.holders:
            for name, value in theirs._buffers.items():
                held = mine._buffers[name]
                if held is not None and value is not None:
                    held.copy_(value)
