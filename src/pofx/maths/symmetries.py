"""The eight symmetries of a square, with either sign: which of them makes one set of images most like another.

Sets without pairs fix a translation only up to changes that leave both distributions as they are (Galanti, Wolf and
Benaim, 2018, arXiv 1709.00074, "The role of minimal complexity functions in unsupervised learning of semantic
mappings"), so that a translator starts best from the simplest map that brings the sets near to each other.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from pofx.maths.frechet import frechet_distance

COUNT = 8  # four turns, each also of the mirrored image
COMPARED = 12  # cells a side that are compared
CLEARLY = 0.7  # a symmetry is chosen only if it leaves at most this share of the distance


def turned(x: Float[Tensor, "n channels H W"], symmetry: int) -> Float[Tensor, "n channels h w"]:
    """Images mirrored from left to right for 4 to 7, then turned `symmetry` % 4 times by a quarter."""
    return torch.rot90(x.flip(-1) if symmetry >= COUNT // 2 else x, symmetry % 4, (-2, -1))


def turned_back(x: Float[Tensor, "n channels h w"], symmetry: int) -> Float[Tensor, "n channels H W"]:
    """The inverse of `turned`."""
    x = torch.rot90(x, -(symmetry % 4), (-2, -1))
    return x.flip(-1) if symmetry >= COUNT // 2 else x


def nearest_symmetry(
    a: Float[Tensor, "n channels H W"], b: Float[Tensor, "m more h w"], *, signed: bool = True
) -> tuple[int, float]:
    """The symmetry and the sign (1 or -1) of images a after which means and covariances of coarse pixels are nearest to
    those of images b, by the Fréchet distance; (0, 1.0) where none is clearly better than a as it is."""
    sides = (min(COMPARED, b.shape[-2]), min(COMPARED, b.shape[-1]))

    def coarse(x: Tensor) -> Tensor:
        return adaptive_avg_pool2d(x.detach().float().mean(1, keepdim=True), sides).flatten(1).cpu()

    fits = [k for k in range(COUNT) if k == 0 or turned(a, k).shape[-2:] == b.shape[-2:]]
    wanted = coarse(b).numpy()
    distances = {
        (k, sign): frechet_distance((sign * coarse(turned(a, k))).numpy(), wanted)
        for k in fits
        for sign in ((1.0, -1.0) if signed else (1.0,))
    }
    best = min(distances, key=lambda key: distances[key])
    return best if distances[best] <= CLEARLY * distances[0, 1.0] else (0, 1.0)
