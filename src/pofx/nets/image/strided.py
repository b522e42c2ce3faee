"""Convolutions that halve a grid, also a narrow one: kernels of bf16 on processors leave what they make of inputs
narrower than themselves partly unset (oneDNN with AMX, found in PyTorch 2.13), so that these are computed in float32.
"""

import torch
from torch import Tensor, nn


class Halving(nn.Conv2d):
    """(n, a, H, W) → (n, b, H // 2, W // 2): a kernel of 4 at stride 2."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """(n, a, H, W) → (n, b, H // 2, W // 2); H and W are at least 2."""
        if input.shape[-1] >= self.kernel_size[1]:
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype)).to(input.dtype)
