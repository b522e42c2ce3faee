"""Distances of clouds of points, and how a set of generated clouds covers a set of real ones.

Chamfer: mean squared distance to the nearest point, both directions. EMD: the least mean distance of a one-to-one
matching, exact. MMD is the mean distance of a real cloud to the nearest generated one, COV the share of real ones that
are nearest to some generated one (Achlioptas et al., 2018, arXiv 1707.02392), 1-NNA the accuracy with which the
nearest neighbour separates both, 0.5 at best (Yang et al., 2019, arXiv 1906.12320). MMD flatters a single mean shape
and COV noise, so the three go together.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def chamfer(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    """Mean squared distance to the nearest point of the other cloud, of both."""
    between = torch.cdist(a, b).square()
    return float(between.min(1).values.mean() + between.min(0).values.mean())


def earth_movers(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> float:
    """The least mean distance of a one-to-one matching of as many points."""
    between = torch.cdist(a, b)
    rows, columns = linear_sum_assignment(between.cpu().numpy())
    return float(between[rows, columns].mean())


def distances(
    x: Float[Tensor, "n points d"],
    y: Float[Tensor, "m others d"],
    distance: Callable[[Float[Tensor, "points d"], Float[Tensor, "others d"]], float] = chamfer,
) -> Float[Tensor, "n m"]:
    """The distance of every cloud of x to every one of y."""
    return torch.tensor([[distance(a, b) for b in y] for a in x])


def jaccard(x: Float[Tensor, "n voxels"], y: Float[Tensor, "m voxels"]) -> Float[Tensor, "n m"]:
    """1 - intersection over union of every pair of solids, whose voxels are 0 or 1."""
    both = x @ y.T
    return 1 - both / (x.sum(1)[:, None] + y.sum(1)[None] - both).clamp(min=1)


def coverage(
    within_real: Float[Tensor, "r r"], between: Float[Tensor, "r g"], within_generated: Float[Tensor, "g g"]
) -> dict[str, float]:
    """MMD, COV and 1-NNA from distances of real to real, real to generated and generated to generated items."""
    infinite = float("inf")
    a, b = (w.clone().fill_diagonal_(infinite) for w in (within_real, within_generated))
    real_wins = a.min(1).values < between.min(1).values
    generated_wins = b.min(1).values < between.min(0).values
    return {
        "MMD": float(between.min(1).values.mean()),
        "COV": len(set(between.argmin(0).tolist())) / len(between),
        "1-NNA": float(torch.cat((real_wins, generated_wins)).float().mean()),
    }
