"""Draws given a part of an item, a rough item or its low resolution, by any denoiser and without training.

All are walks of `maths.samplers` whose estimate, or whose x_t, is corrected at every step. Paths may have one sigma per
channel, as `Denoising.schedule` gives them.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from pofx.maths.paths import Path, Point
from pofx.maths.samplers import Denoise, Events, Noise, Place, Walk, added, ddim, is_data


def path_of(schedule: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Path:
    """The path of a schedule, t → (alpha, sigma); its slopes are not known."""

    def path(t: Tensor) -> Point:
        alpha, sigma = schedule(t)
        alpha = alpha.expand(torch.broadcast_shapes(alpha.shape, sigma.shape))
        return Point(alpha, sigma, torch.full_like(alpha, torch.nan), torch.full_like(sigma, torch.nan))

    return path


def inpainted(
    denoise: Denoise,
    x: Events,
    known: Float[Tensor, "n *event"],
    mask: Bool[Tensor, "n *event"],
    walk: Walk,
    noise_of_known: Noise,
    repeats: int = 1,
) -> Events:
    """From noise x to items that equal `known` where `mask` is true (Lugmayr et al., 2022, RePaint, arXiv 2201.09865).

    After each step the known part is replaced by itself at the very level of noise of the rest. Repeats go back to the
    level before and walk again, so that the parts come to fit each other.
    """
    for here, there in walk.steps():
        for k in range(repeats):
            x = ddim(denoise, x, _Step(walk, here, there))
            fixed = there.alpha * known
            if not is_data(there):
                fixed = fixed + there.sigma * noise_of_known()
            x = torch.where(mask, fixed, x)
            if is_data(there):
                break
            if k < repeats - 1 and bool((here.alpha > 0).all()):
                x = here.alpha / there.alpha * x + added(here, there).sqrt() * walk.fresh()
    return x


class _Step(Walk):
    """One step of a walk."""

    def __init__(self, walk: Walk, here: Place, there: Place) -> None:
        super().__init__(walk.path, walk.times, walk.noise, walk.eta)
        object.__setattr__(self, "ends", [here, there])

    @property
    def places(self) -> list[Place]:
        return self.ends  # type: ignore[attr-defined,no-any-return]


def from_rough(x: Events, place: Place, noise: Events) -> Events:
    """A rough item, noised to the level from which its walk begins (Meng et al., 2022, SDEdit, arXiv 2108.01073)."""
    return place.alpha * x + place.sigma * noise


def reduced(x: Float[Tensor, "n channels *sides"], factor: int) -> Float[Tensor, "n channels *fewer"]:
    """The means of blocks of `factor` positions along each side."""
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.ndim - 3]
    return pool(x, factor)


def consistent(denoise: Denoise, low: Float[Tensor, "n channels *fewer"], factor: int) -> Denoise:
    """The estimate, moved to the nearest one whose blocks have these means (Wang et al., 2023, DDNM, 2212.00490); of
    channels together where `low` has one and the estimate several."""

    def projected(x: Events, t: Tensor) -> Events:
        data = denoise(x, t)
        mean = data.mean(1, keepdim=True) if low.shape[1] == 1 else data
        gap = low - (reduced(mean, factor) if factor > 1 else mean)
        for axis in range(2, gap.ndim):
            gap = gap.repeat_interleave(factor, axis)
        return data + gap

    return projected
