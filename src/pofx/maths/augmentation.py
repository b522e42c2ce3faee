"""Differentiable random changes of grids (n, C, H, W): what a critic of few data must see on both sides alike.

Each operation changes an item with probability p and lets gradients through. With p = 1 and the policy "colour,
translation, cutout" it is DiffAugment (Zhao et al., 2020, arXiv 2006.10738); with p led by the overfitting of the
critic, adaptive augmentation (ADA; Karras et al., 2020, arXiv 2006.06676): as long as p is below 1, the operations are
invertible as maps of distributions, and do not leak into the samples.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from pofx.core.errors import unknown

Grids = Float[Tensor, "n C H W"]
SHIFT, HOLE = 1 / 8, 1 / 2  # largest translation, side of the cut square: shares of the sides (DiffAugment)


def _chosen(x: Tensor, p: Tensor | float) -> Bool[Tensor, "n 1 1 1"]:
    return torch.rand(len(x), 1, 1, 1, device=x.device) < p


def colour(x: Grids, p: Tensor | float) -> Grids:
    """Brightness + U(-½, ½), saturation × U(0, 2) where there are three channels, contrast × U(½, 3/2)."""
    n, on = len(x), _chosen(x, p).to(x.dtype)

    def noise() -> Tensor:
        return torch.rand(n, 1, 1, 1, device=x.device, dtype=x.dtype)

    x = x + on * (noise() - 0.5)
    if x.shape[1] == 3:
        grey = x.mean(1, keepdim=True)
        x = torch.lerp(x, grey + (x - grey) * 2 * noise(), on)
    middle = x.mean((1, 2, 3), keepdim=True)
    return torch.lerp(x, middle + (x - middle) * (noise() + 0.5), on)


def _warped(x: Grids, matrix: Float[Tensor, "n 2 3"], nearest: bool = False) -> Grids:
    """Items resampled where an affine map of the square [-1, 1]² leads; beyond it, the nearest cells of the edge."""
    places = affine_grid(matrix.to(x.dtype), list(x.shape), align_corners=False)
    mode = "nearest" if nearest else "bilinear"
    return grid_sample(x, places, mode=mode, padding_mode="border", align_corners=False)


def _identity(x: Grids) -> Float[Tensor, "n 2 3"]:
    return torch.eye(2, 3, dtype=torch.float32, device=x.device).repeat(len(x), 1, 1)


def translation(x: Grids, p: Tensor | float) -> Grids:
    """A shift by whole cells, at most an eighth of each side; zeros move in."""
    n, _, h, w = x.shape
    on = _chosen(x, p)[:, 0, 0]
    moves = [(torch.randint(-round(s * SHIFT), round(s * SHIFT) + 1, (n, 1), device=x.device) * on) for s in (h, w)]
    rows = torch.arange(h, device=x.device) + moves[0]
    columns = torch.arange(w, device=x.device) + moves[1]
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None]
    at = (rows.clamp(0, h - 1)[:, :, None] * w + columns.clamp(0, w - 1)[:, None]).reshape(n, 1, h * w)
    moved = x.flatten(2).gather(2, at.expand(-1, x.shape[1], -1)).reshape(x.shape)
    return moved * inside[:, None].to(x.dtype)


def cutout(x: Grids, p: Tensor | float) -> Grids:
    """A rectangle of half of each side, wherever its middle falls, is set to zero."""
    n, _, h, w = x.shape
    cut = _chosen(x, p)[:, 0]
    for axis, side in ((1, h), (2, w)):
        middle = torch.randint(side, (n, 1, 1), device=x.device)
        places = torch.arange(side, device=x.device).reshape([1, side, 1] if axis == 1 else [1, 1, side])
        cut = cut & ((places - middle).abs() * 2 < max(side * HOLE, 1))
    return torch.where(cut[:, None], torch.zeros((), dtype=x.dtype, device=x.device), x)


def flip(x: Grids, p: Tensor | float) -> Grids:
    """Left and right exchanged, in half of the chosen items."""
    return torch.where(_chosen(x, p) & _chosen(x, 0.5), x.flip(3), x)


def quarter_turns(x: Grids, p: Tensor | float) -> Grids:
    """0 to 3 turns by 90° of square grids; half turns alone where the sides differ."""
    turns = torch.randint(4, (len(x), 1, 1, 1), device=x.device) * _chosen(x, p)
    if x.shape[2] != x.shape[3]:
        turns = turns // 2 * 2
    for k in (1, 2, 3):
        if k == 2 or x.shape[2] == x.shape[3]:
            x = torch.where(turns == k, x.rot90(k, (2, 3)), x)
    return x


def affine(x: Grids, p: Tensor | float) -> Grids:
    """Scale by 2^N(0, 0.2²), both sides apart too, and turn by U(-π, π) with probability 1 - √(1 - p), as ADA does."""
    n, on = len(x), _chosen(x, p)[:, 0, 0, 0]
    sizes = torch.exp2(0.2 * torch.randn(n, 2, dtype=torch.float32, device=x.device) * on[:, None])
    turned = _chosen(x, 1 - (1 - torch.as_tensor(p)).clamp(min=0).sqrt().to(x.device))[:, 0, 0, 0]
    angle = (torch.rand(n, dtype=torch.float32, device=x.device) * 2 - 1) * math.pi * turned
    ratio = x.shape[2] / x.shape[3]
    cos, sin = angle.cos(), angle.sin()
    matrix = _identity(x)
    matrix[:, 0, 0], matrix[:, 0, 1] = cos * sizes[:, 0], -sin * ratio * sizes[:, 1]
    matrix[:, 1, 0], matrix[:, 1, 1] = sin / ratio * sizes[:, 0], cos * sizes[:, 1]
    return _warped(x, matrix)


OPERATIONS: dict[str, Callable[[Tensor, Tensor | float], Tensor]] = {
    "flip": flip,
    "quarter-turns": quarter_turns,
    "affine": affine,
    "translation": translation,
    "colour": colour,
    "cutout": cutout,
}


def augment(x: Grids, policy: Sequence[str], p: Tensor | float = 1.0) -> Grids:
    """The operations of a policy, in their own order of `OPERATIONS`, each with probability p per item.

    Raises:
        UsageError: an unknown operation.
    """
    for name in policy:
        if name not in OPERATIONS:
            raise unknown("augmentation", name, OPERATIONS)
    for name, operation in OPERATIONS.items():
        if name in policy:
            x = operation(x, p)
    return x
