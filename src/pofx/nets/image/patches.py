"""Squares, cubes or stretches of positions ↔ channels, for grids of one, two or three axes of any size."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def gathered(x: Float[Tensor, "n channels *sides"], patch: int) -> Float[Tensor, "n more *fewer"]:
    """Each patch of positions as channels, channel by channel; sides are filled up with zeros to multiples of it."""
    sides = x.shape[2:]
    if patch == 1:
        return x
    if any(side % patch for side in sides):
        x = F.pad(x, [v for side in reversed(sides) for v in (0, -side % patch)])
    if len(sides) == 2:
        return F.pixel_unshuffle(x, patch)
    rank, counts = len(sides), [side // patch for side in x.shape[2:]]
    x = x.reshape(*x.shape[:2], *[v for count in counts for v in (count, patch)])
    x = x.permute(0, 1, *[3 + 2 * i for i in range(rank)], *[2 + 2 * i for i in range(rank)])
    return x.reshape(len(x), -1, *counts)


def spread(x: Float[Tensor, "n more *fewer"], patch: int, sides: tuple[int, ...]) -> Float[Tensor, "n channels *sides"]:
    """The inverse of `gathered`, for a grid of these sides."""
    if patch > 1:
        rank, counts = len(sides), x.shape[2:]
        if rank == 2:
            x = F.pixel_shuffle(x, patch)
        else:
            x = x.reshape(len(x), -1, *[patch] * rank, *counts)
            x = x.permute(0, 1, *[v for i in range(rank) for v in (2 + rank + i, 2 + i)])
            x = x.reshape(*x.shape[:2], *[count * patch for count in counts])
    for axis, side in enumerate(sides):
        x = x.narrow(2 + axis, 0, side)
    return x


def grid_positions(counts: tuple[int, ...], width: int) -> Float[Tensor, "places {width}"]:
    """Sines and cosines of the coordinates of every place of a grid: the start of learned positions."""
    each = -(-width // (2 * len(counts)))
    rate = 10_000.0 ** (-torch.arange(each) / each)
    axes = torch.meshgrid(*[torch.arange(count).float() for count in counts], indexing="ij")
    parts = [f(axis.flatten()[:, None] * rate) for axis in axes for f in (torch.sin, torch.cos)]
    return torch.cat(parts, 1)[:, :width]


def near_positions(counts: tuple[int, ...], width: int) -> Float[Tensor, "places {width}"]:
    """As `grid_positions`, with periods from 2π places to twice each axis, so that places are the more alike the nearer
    they are; products of others with themselves hardly separate neighbours from far places of a small grid."""
    each = -(-width // (2 * len(counts)))
    parts = []
    for axis, count in zip(torch.meshgrid(*[torch.arange(count).float() for count in counts], indexing="ij"), counts,
                           strict=True):  # fmt: skip
        rate = min(1.0, math.pi / count) ** torch.linspace(0, 1, each)
        parts += [f(axis.flatten()[:, None] * rate) for f in (torch.sin, torch.cos)]
    return torch.cat(parts, 1)[:, :width]
