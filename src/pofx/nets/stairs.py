"""Products with weights below a staircase: what is zero by a mask is not multiplied.

A masked network whose units are sorted by degree has weights whose allowed entries lie below a staircase. Cut into a
few runs of rows, each run needs only the columns up to its last step: with c runs (c + 1) / 2c of the work. Outputs
lie unit by unit in memory, so that a run of units is one block of it.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Stairs = tuple[tuple[int, int, int], ...]  # runs of rows: first, end, and the end of the columns they see


def staircase_runs(positions: int, width: int) -> list[tuple[int, int]]:
    """Positions in at most 8 runs (first, end), so that `width` units sorted by position make runs of at least 32."""
    count = max(1, min(8, width // 32, positions))
    cuts = [round(positions * i / count) for i in range(count + 1)]
    return list(zip(cuts[:-1], cuts[1:], strict=True))


def stairs_linear(
    x: Float[Tensor, "n inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, "outputs"],
    mask: Float[Tensor, "a b"],
    stairs: Stairs,
    onto: Float[Tensor, "n outputs"] | None = None,
) -> Float[Tensor, "n outputs"]:
    """onto + x (weight · mask)ᵀ + bias, where the mask has one entry per block of the weight, zero above the stairs.

    `stairs` covers all rows in turn, and the columns that its runs see never become fewer.
    """
    out: Tensor = _StairsLinear.apply(x, weight, bias, onto, mask, stairs)
    return out


def _masked(weight: Tensor, mask: Tensor) -> Tensor:
    a, b = mask.shape
    outputs, inputs = weight.shape
    if mask.shape == weight.shape:
        return weight * mask
    return (weight.reshape(a, outputs // a, b, inputs // b) * mask[:, None, :, None]).reshape(weight.shape)


class _StairsLinear(torch.autograd.Function):
    """A backward that is itself differentiated multiplies the zeros as well."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, onto: Tensor | None, mask: Tensor, stairs: Stairs
    ) -> Tensor:
        masked = _masked(weight, mask)
        ctx.save_for_backward(x, weight, masked, mask)
        ctx.stairs = stairs
        x = x.T
        out = bias[:, None].repeat(1, x.shape[1]) if onto is None else onto.T + bias[:, None]  # new, to be added to
        for first, end, seen in stairs:
            out[first:end].addmm_(masked[first:end, :seen], x[:seen])
        return out.T

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor | None, None, None]:
        x, weight, masked, mask = ctx.saved_tensors
        onto = g if ctx.needs_input_grad[3] else None
        if torch.is_grad_enabled():
            return g @ _masked(weight, mask), _masked(g.T @ x, mask), g.sum(0), onto, None, None
        gx = gweight = None
        g = g.T
        if ctx.needs_input_grad[1]:
            gweight = torch.zeros_like(weight)
            for first, end, seen in ctx.stairs:
                torch.mm(g[first:end], x[:, :seen], out=gweight[first:end, :seen])
            gweight = _masked(gweight, mask)
        if ctx.needs_input_grad[0]:
            gx = x.new_zeros(x.shape[1], len(x))
            left = 0
            for first, _, seen in ctx.stairs:
                if seen > left:
                    torch.mm(masked[first:, left:seen].T, g[first:], out=gx[left:seen])
                    left = seen
            gx = gx.T
        return gx, gweight, g.sum(1), onto, None, None
