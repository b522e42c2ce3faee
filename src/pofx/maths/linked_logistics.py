"""Mixtures of discretised logistics over the channels of a cell, whose means follow the channels before.

All channels share one component: p(x) = sum over k of π_k · product over c of P_k(x_c | x_1, …, x_{c-1}), where the
mean of channel c is linear in the earlier values. Given those, the conditional of channel c is again a mixture, with
weights in proportion to π_k times the likelihood of the earlier channels under component k; so terms and tables are
exact. Salimans, Karpathy, Chen and Kingma, 2017, PixelCNN++, arXiv 1701.05517 (section 2.2, equation 3).

One cell is described by raw (…, count(channels, m)): m log-weights, then means and log-scales of every channel, then
the coefficients of the earlier channels, whose tanh is taken.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pofx.maths.discretised_logistic import HIGHEST_LOG_SCALE, LOWEST_LOG_SCALE, log_bins


class Parts(NamedTuple):
    """A mixture: log-weights (…, m), means and log-scales (…, channels, m), coefficients (…, pairs, m)."""

    log_weights: Tensor
    means: Tensor
    log_scales: Tensor
    links: Tensor


def count(channels: int, m: int) -> int:
    """How many numbers describe a cell with m components."""
    return m * (1 + 2 * channels + channels * (channels - 1) // 2)


def split(raw: Float[Tensor, "*cells outputs"], channels: int) -> Parts:
    """raw (…, outputs) → the parts of the mixture, in float32 at least."""
    raw = raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw
    pairs = channels * (channels - 1) // 2
    parts = raw.unflatten(-1, (1 + 2 * channels + pairs, -1))
    weights, means, log_scales, links = parts.split((1, channels, channels, pairs), -2)
    log_scales = log_scales.clamp(LOWEST_LOG_SCALE, HIGHEST_LOG_SCALE)
    return Parts(weights[..., 0, :].log_softmax(-1), means, log_scales, links.tanh())


def linked_mean(parts: Parts, values: Float[Tensor, "*cells channels"], channel: int) -> Float[Tensor, "*cells m"]:
    """The means of one channel, given the values of those before it on the scale from -1 to 1."""
    first = channel * (channel - 1) // 2
    links = parts.links[..., first : first + channel, :]
    mean: Tensor = parts.means[..., channel, :] + (links * values[..., :channel, None]).sum(-2)
    return mean


def log_terms(
    raw: Float[Tensor, "*cells outputs"], x: Int[Tensor, "*cells channels"], levels: int
) -> Float[Tensor, "*cells channels"]:
    """log p(x_c | x_1, …, x_{c-1}) in nats for each channel: (…, channels)."""
    parts, channels = split(raw, x.shape[-1]), x.shape[-1]
    values = on_scale(x, levels, parts.means.dtype)
    so_far, joint = parts.log_weights, []
    for c in range(channels):  # sum over channels before the sum over components
        mean = linked_mean(parts, values, c)
        so_far = so_far + log_bins(mean, parts.log_scales[..., c, :], x[..., c, None], levels)
        joint.append(so_far.logsumexp(-1))
    return torch.stack([joint[0], *(b - a for a, b in zip(joint[:-1], joint[1:], strict=True))], -1)


def channel_logits(
    raw: Float[Tensor, "*cells outputs"], x: Int[Tensor, "*cells channels"], levels: int, channel: int
) -> Float[Tensor, "*cells {levels}"]:
    """log p(x_c = level | x_1, …, x_{c-1}) of one channel c for every level: (…, levels)."""
    parts = split(raw, x.shape[-1])
    values = on_scale(x, levels, parts.means.dtype)
    weights = parts.log_weights
    for c in range(channel):
        mean = linked_mean(parts, values, c)
        weights = weights + log_bins(mean, parts.log_scales[..., c, :], x[..., c, None], levels)
    mean, log_scale = linked_mean(parts, values, channel), parts.log_scales[..., channel, :]
    table = log_bins(
        mean[..., None, :], log_scale[..., None, :], torch.arange(levels, device=x.device)[:, None], levels
    )
    return (weights.log_softmax(-1)[..., None, :] + table).logsumexp(-1)


def start(
    x: Int[Tensor, "n *event"], levels: int, m: int
) -> tuple[Float[Tensor, "{m}"], Float[Tensor, "*event {m}"], Float[Tensor, "*event {m}"]]:
    """Log-weights, means and log-scales near the distribution of each dimension of x.

    Means are quantiles, a quarter of the spread wide: narrower ones need the last digit of a mean before it
    knows which component to take. The last component is broad and light, for values that are rare.
    """
    values = on_scale(x, levels, torch.get_default_dtype()).sort(0).values
    narrow = max(m - 1, 1)
    places = ((torch.arange(narrow, device=x.device) + 0.5) / narrow * len(x)).long()
    means = values[places].movedim(0, -1)
    scales = (0.25 * values.std(0, correction=0)).clamp(min=0.5 / max(levels - 1, 1))[..., None].expand_as(means)
    log_weights = torch.zeros(m, device=x.device)
    if m > 1:
        log_weights[-1] = math.log(0.02 * m)
        means = torch.cat((means, torch.zeros_like(means[..., :1])), -1)
        scales = torch.cat((scales, torch.full_like(scales[..., :1], 0.5)), -1)
    return log_weights, means, scales.log()


def on_scale(x: Int[Tensor, "*event"], levels: int, dtype: torch.dtype) -> Float[Tensor, "*event"]:
    """Levels 0 … levels - 1 → values from -1 to 1."""
    return x.to(dtype) * (2.0 / max(levels - 1, 1)) - 1.0
