"""Draws given a part of an item, a rough item or its low resolution, by any denoiser and without training.

All are walks of `maths.samplers` whose estimate, or whose x_t, is corrected at every step. Paths may have one sigma per
channel, as `Denoising.schedule` gives them.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
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


def completed(
    estimate: Callable[[Events, float], Events],
    known: Float[Tensor, "n *event"],
    mask: Bool[Tensor, "n *event"],
    levels: Sequence[float],
    normal: Noise,
    uniform: Callable[[], Tensor],
    particles: int,
) -> Float[Tensor, "items *event"]:
    """Items that equal `known` where `mask` is true, each of `particles` walks whose estimates are led to the known
    part and which are resampled by how well they meet it: exact for many of them and steps (Wu et al., 2023, arXiv
    2306.17775).

    Args:
        estimate: E[x | x + s noise] of x and s, differentiable; all in units of the spread of the data.
        known: with each item `particles` times in a row.
        levels: s, falling to 0, or to the level at which the walks end.
        normal: standard normals like `known`.
        uniform: numbers in (0, 1), (n, 1), of which the first of each `particles` is used.

    Returns:
        One item for each `particles` rows, x + s noise of the last level.
    """
    x, log_w = levels[0] * normal(), torch.zeros(len(known), device=known.device)
    before = torch.zeros_like(log_w)
    for s, u in zip(levels[:-1], levels[1:], strict=True):
        with torch.inference_mode(False), torch.enable_grad():  # as if x given x_t were normal, of this variance
            at = x.detach().clone().requires_grad_()
            data = estimate(at, s)
            gap = torch.where(mask, known - data, 0.0).flatten(1)
            met = -0.5 * (1 + s**-2) * gap.square().sum(1)
            (slope,) = torch.autograd.grad(met.sum(), at)
        data, met, slope = data.detach(), met.detach(), slope.nan_to_num(0.0)
        log_w = log_w + met - before
        poor = few_count(log_w, particles)
        if bool(poor.any()):
            rows = resampled(log_w, uniform(), particles, poor)
            x, data, met, slope = x[rows], data[rows], met[rows], slope[rows]
            log_w = log_w.masked_fill(poor.repeat_interleave(particles), 0.0)
        if u == 0:
            x = data
            break
        noise, random = normal(), u * (1 - (u / s) ** 2) ** 0.5
        shift = (1 - (u / s) ** 2) * s * s * slope
        x = data + (u / s) ** 2 * (x - data) + shift + random * noise
        log_w = log_w - ((shift / random) * noise + 0.5 * (shift / random).square()).flatten(1).sum(1)
        before = met
    rows = resampled(log_w, uniform(), particles, torch.ones_like(poor))[::particles]
    return torch.where(mask[rows], known[rows], x[rows]) if levels[-1] == 0 else x[rows]


def few_count(log_w: Float[Tensor, "n"], group: int) -> Bool[Tensor, "groups"]:
    """Whether the weights of each `group` rows are those of fewer than half as many."""
    weights = log_w.reshape(-1, group).double().softmax(1)
    return 1 / weights.square().sum(1) < 0.5 * group


def resampled(
    log_w: Float[Tensor, "n"], u: Float[Tensor, "n 1"], group: int, which: Bool[Tensor, "groups"]
) -> Int[Tensor, "n"]:
    """Rows that go on, of each `group` in a row as their weights require, by systematic resampling with one number u of
    each group; all rows of groups that are not `which`."""
    weights = log_w.reshape(-1, group).double().softmax(1)
    first = torch.arange(group, device=u.device)
    at = (u.reshape(-1, group)[:, :1].double() + first) / group
    found = torch.searchsorted(weights.cumsum(1).contiguous(), at.contiguous()).clamp(max=group - 1)
    rows = torch.where(which[:, None], found, first)
    return (rows + group * torch.arange(len(weights), device=u.device)[:, None]).flatten()


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
