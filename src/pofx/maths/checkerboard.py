"""Checkerboards: how unevenly a transposed convolution covers its outputs, and the peak that leaves in a spectrum.

Odena, Dumoulin and Olah, 2016, doi 10.23915/distill.00003. With stride s an output cell of phase p gets only the taps
p, p + s, … of the kernel. A constant input makes a pattern of period s, unless the taps of all phases have equal sums.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def overlap_gains(weight: Float[Tensor, "inputs outputs *kernel"], stride: tuple[int, ...]) -> Tensor:
    """The sum of the taps of every phase: (inputs, outputs, phases), in row-major order of the phases."""
    sums = weight
    for axis, step in enumerate(stride, 2):
        taps = sums.shape[axis]
        short = -taps % step
        if short:
            zeros = sums.new_zeros(*sums.shape[:axis], short, *sums.shape[axis + 1 :])
            sums = torch.cat((sums, zeros), axis)
        sums = sums.unflatten(axis, (-1, step)).sum(axis)
    return sums.flatten(2)


def overlap_imbalance(weight: Float[Tensor, "inputs outputs *kernel"], stride: tuple[int, ...]) -> Float[Tensor, ""]:
    """The variance of the gains over phases, relative to their mean square: 0 where all phases are alike, at most 1.

    Its root is the size of the pattern that a constant input leaves, relative to the whole output.
    """
    gains = overlap_gains(weight, stride)
    return gains.var(2, unbiased=False).mean() / gains.square().mean().clamp(min=1e-20)


def evened(weight: Float[Tensor, "inputs outputs *kernel"], stride: tuple[int, ...]) -> Tensor:
    """The nearest kernel whose phases have equal gains: what each lacks of their mean is shared among its taps.

    Phases that no tap reaches, as of kernels shorter than the stride, stay without gain.
    """
    taps = overlap_gains(torch.ones_like(weight[:1, :1]), stride)  # of each phase
    gains = overlap_gains(weight, stride)
    share = (gains[..., taps[0, 0] > 0].mean(2, keepdim=True) - gains) / taps.clamp(min=1)
    more = share.unflatten(2, stride)
    at = [torch.arange(size, device=weight.device) % step for size, step in zip(weight.shape[2:], stride, strict=True)]
    for axis, index in enumerate(at, 2):
        more = more.index_select(axis, index)
    return weight + more


def periodic_peak(images: Float[Tensor, "n channels H W"], period: int = 2) -> float:
    """Power of a pattern of this period along rows, columns or both, over that of the neighbouring frequencies; the
    largest of the three. 1 for images without such a pattern, and where a side is no multiple of the period or short.
    """
    power = torch.fft.fft2(images.double()).abs().square().mean((0, 1))
    height, width = power.shape
    fits = [side % period == 0 and side >= 2 * period + 2 for side in (height, width)]
    rows, columns = height // period, width // period
    found = []
    for (row, column), moves in (
        ((rows, 0), [(1, 0)] if fits[0] else []),
        ((0, columns), [(0, 1)] if fits[1] else []),
        ((rows, columns), [(1, 0), (0, 1)] if all(fits) else []),
    ):
        beside = [power[(row + s * a) % height, (column + s * b) % width] for a, b in moves for s in (-1, 1)]
        if beside:
            found.append(float(power[row, column] / torch.stack(beside).mean().clamp(min=1e-20)))
    return max(found, default=1.0)
