"""Coordinates → their sines and cosines at octaves: what lets a network of few inputs learn sharp functions soon.

Tancik et al., 2020, "Fourier features let networks learn high frequency functions", arXiv 2006.10739.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def waves(x: Float[Tensor, "*places"], count: int) -> Float[Tensor, "*places {1+2*count}"]:
    """x (…) → x and its sines and cosines at `count` octaves, the slowest of period 8: (…, 1 + 2 count).

    Slow waves separate places that fast ones confuse; x itself separates what lies more than a period apart.
    """
    if count == 0:
        return x[..., None]
    angles = (math.pi / 4) * x[..., None] * 2.0 ** torch.arange(count, dtype=x.dtype, device=x.device)
    return torch.cat((x[..., None], angles.sin(), angles.cos()), -1)
