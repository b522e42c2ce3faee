"""Muon: steps along the orthogonal matrix nearest to the momentum of a weight matrix (Jordan et al., 2024).

Five iterations of Newton and Schulz take its singular values near 1. The step is scaled to the length of AdamW's, 0.2
√max(a, b), so that it takes the same rate and decay (Liu et al., 2025, arXiv 2502.16982). As `torch.optim.Muon`, whose
iterations are always in bf16, ten times slower than fp32 on processors without instructions for it; here they are in
bf16 where that is faster, and matrices of one shape are iterated together. The kernels of a convolution are one matrix,
a row for each channel that it gives.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pofx.train.devices import multiplies_bf16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS, EPS = 5, 1e-7


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; decoupled weight decay."""

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault((*p.shape,), []).append(p)
            for shape, members in alike.items():
                ahead = []
                for p in members:
                    state, grad = self.state[p], p.grad
                    assert grad is not None
                    if "momentum_buffer" not in state:
                        state["momentum_buffer"] = torch.zeros_like(grad)
                    momentum = state["momentum_buffer"]
                    momentum.lerp_(grad, 1 - group["momentum"])
                    ahead.append(grad.lerp(momentum, group["momentum"]))
                moves = orthogonal(torch.stack(ahead).flatten(2)).to(members[0].dtype)
                rate = group["lr"] * 0.2 * max(moves.shape[1:]) ** 0.5
                for p, move in zip(members, moves.unflatten(2, shape[1:]), strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(move, alpha=rate)


def orthogonal(x: Tensor) -> Tensor:
    """Matrices (n, a, b) with their singular values moved near 1."""
    fast = x.device.type == "cuda" or multiplies_bf16()
    tall = x.shape[1] > x.shape[2]
    y = (x.mT if tall else x).to(torch.bfloat16 if fast else torch.float32)
    y = y / y.flatten(1).norm(dim=1).clamp(min=EPS)[:, None, None]
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        gram = y @ y.mT
        y = torch.baddbmm(y, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), y, beta=a)
    return y.mT if tall else y
