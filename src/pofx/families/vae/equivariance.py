"""EQ-VAE: turned or smaller spatial codes decode to turned or smaller items, which makes them easier to model.

Kouzelis et al., 2025, arXiv 2502.09509: the decoder meets τ(z) with τ(x) as its target, for a quarter turn (squares), a
half turn, or half the size. What it gives is turned or spread back and compared with x by the observation model, at
half the size with every second row and column of x, so that classes and levels serve as well as real numbers.
"""

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from pofx.families.vae.embedded import Given

CHANGES = ("half turn", "smaller", "quarter turn")


def equivariance(
    model: Any, z: Float[Tensor, "n size"], x: Shaped[Tensor, "n channels H W"], condition: Given
) -> Float[Tensor, ""]:
    """-log p(τ x | τ z) of one random change, in nats per item of the full size."""
    code, context = z.reshape(len(z), *model.networks.code), model.embedded(condition).vector
    square = code.shape[-1] == code.shape[-2] and x.shape[-1] == x.shape[-2]
    how = CHANGES[int(torch.randint(3 if square else 2, ()))]
    known = torch.ones_like(x, dtype=torch.bool)
    if how == "smaller":
        size = (-(-x.shape[-2] // 2), -(-x.shape[-1] // 2))
        small = torch.nn.functional.avg_pool2d(code, 2, ceil_mode=True)
        raw = model.networks.decoder(small, context, size)
        raw = raw.repeat_interleave(2, -1).repeat_interleave(2, -2)[..., : x.shape[-2], : x.shape[-1]]
        known = torch.zeros_like(known)
        known[..., ::2, ::2] = True
    else:
        turns = 2 if how == "half turn" else 1
        raw = torch.rot90(model.networks.decoder(torch.rot90(code, turns, (-2, -1)), context), -turns, (-2, -1))
    raw = model.networks.arranged(raw.float()) + model.marginals
    logs: Tensor = model.likelihood.log_prob(raw, x, known)
    return -logs.mean() * known.numel() / known.sum()
