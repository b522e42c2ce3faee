"""The Haar wavelet (Haar, 1910) of grids: every square of four numbers ↔ its mean and three differences, a rotation."""

import torch
from jaxtyping import Float
from torch import Tensor


def haar(x: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n c h2 w2"], Float[Tensor, "n c3 h2 w2"]]:
    """A grid of even sides → twice the means of its squares, and their differences along rows, columns and both: the
    map is orthonormal, so that densities stay as they are."""
    a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
    details = torch.cat((a - b + c - d, a + b - c - d, a - b - c + d), 1)
    return (a + b + c + d) / 2, details / 2


def unhaar(coarse: Float[Tensor, "n c h2 w2"], details: Float[Tensor, "n c3 h2 w2"]) -> Float[Tensor, "n c h w"]:
    """The inverse of `haar`."""
    across, down, both = details.chunk(3, 1)
    upper = torch.stack(((coarse + across + down + both) / 2, (coarse - across + down - both) / 2), -1).flatten(-2)
    lower = torch.stack(((coarse + across - down - both) / 2, (coarse - across - down + both) / 2), -1).flatten(-2)
    return torch.stack((upper, lower), -2).flatten(-3, -2)
