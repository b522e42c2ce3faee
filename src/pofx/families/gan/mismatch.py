"""Conditions of other items, under which real items count as samples (Reed et al., 2016, arXiv 1605.05396)."""

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def others_of(c: Any, n: int, device: torch.device) -> Int[Tensor, "n"]:
    """For each item of a batch another one: its neighbour; under texts, for half of them, the one whose text differs in
    the fewest places, so that every word counts and not only what is seen at once."""
    neighbours = torch.arange(n, device=device).roll(1)
    if not isinstance(c, Tensor) or c.ndim != 2 or c.is_floating_point():
        return neighbours
    apart = (c[:, None] != c[None]).sum(2).float()
    apart = torch.where(apart > 0, apart + torch.rand_like(apart), torch.inf)
    least, nearest = apart.min(1)
    return torch.where((torch.rand(n, device=device) < 0.5) & least.isfinite(), nearest, neighbours)


def differing(a: Any, b: Any) -> Bool[Tensor, "n"]:
    """Which items of two conditions of the same event differ."""
    if isinstance(a, dict):
        return torch.stack([differing(a[key], b[key]) for key in a]).any(0)
    return (a != b).flatten(1).any(1) if a.ndim > 1 else a != b
