"""Mixtures of logistics on ordered levels: a smooth density whose mass between half-levels is the level's probability.

Salimans et al., 2017 (PixelCNN++, arXiv 1701.05517). Levels 0 … L - 1 sit at -1 + 2 k / (L - 1); the outermost two take
the tails, so that the masses sum to 1 for all parameters. The mass of an inner bin uses the identity
σ(a) - σ(b) = σ(a) σ(-b) (1 - e^{-(a - b)}), which loses no digits in either tail.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pofx.maths.distributions import categorical_draw

LOWEST_LOG_SCALE, HIGHEST_LOG_SCALE = -7.0, 7.0  # beyond, the masses of inner bins leave the numbers of float32


def split(
    raw: Float[Tensor, "*event outputs"],
) -> tuple[Float[Tensor, "*event m"], Float[Tensor, "*event m"], Float[Tensor, "*event m"]]:
    """raw (…, 3 m) → log-weights, means and log-scales, each (…, m), in float32 at least."""
    raw = raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw
    logits, means, log_scales = raw.chunk(3, -1)
    return logits.log_softmax(-1), means, log_scales.clamp(LOWEST_LOG_SCALE, HIGHEST_LOG_SCALE)


def log_mass(raw: Float[Tensor, "*event outputs"], x: Int[Tensor, "*event"], levels: int) -> Float[Tensor, "*event"]:
    """log P(level = x): raw (…, 3 m), x int64 (…) → (…) nats."""
    log_weights, means, log_scales = split(raw)
    return (log_weights + log_bins(means, log_scales, x[..., None], levels)).logsumexp(-1)


def log_bins(
    means: Float[Tensor, "*#bins"], log_scales: Float[Tensor, "*#bins"], x: Int[Tensor, "*#bins"], levels: int
) -> Float[Tensor, "*bins"]:
    """log P(level = x) of single logistics, elementwise."""
    if levels == 1:  # a single level is certain
        return 0.0 * (means + log_scales + x)
    half = 1.0 / (levels - 1)
    centred = (2.0 * half * x.to(means.dtype) - 1.0) - means
    inverse = (-log_scales).exp()
    upper, lower = (centred + half) * inverse, (centred - half) * inverse
    log_below = torch.nn.functional.logsigmoid(upper)  # log σ(a): everything below the upper edge
    log_above = torch.nn.functional.logsigmoid(-lower)  # log σ(-b): everything above the lower edge
    inner = log_below + log_above + torch.log(-torch.expm1(-2.0 * half * inverse))
    return torch.where(x == 0, log_below, torch.where(x == levels - 1, log_above, inner))


def draw(raw: Float[Tensor, "*event outputs"], u: Float[Tensor, "*event 2"], levels: int) -> Int[Tensor, "*event"]:
    """Levels for two uniforms each: raw (…, 3 m), u (…, 2) in (0, 1) → int64 (…)."""
    log_weights, means, log_scales = split(raw)
    pick = categorical_draw(log_weights, u[..., 0])[..., None]
    mean, log_scale = means.gather(-1, pick)[..., 0], log_scales.gather(-1, pick)[..., 0]
    return nearest(mean + log_scale.exp() * torch.logit(u[..., 1]), levels)


def mode(raw: Float[Tensor, "*event outputs"], levels: int) -> Int[Tensor, "*event"]:
    """The level nearest to the centre of the heaviest component: raw (…, 3 m) → int64 (…)."""
    log_weights, means, _ = split(raw)
    return nearest(means.gather(-1, log_weights.argmax(-1, keepdim=True))[..., 0], levels)


def nearest(value: Float[Tensor, "*event"], levels: int) -> Int[Tensor, "*event"]:
    """The level nearest to a value on the scale from -1 to 1."""
    return ((value.clamp(-1.0, 1.0) + 1.0) * (0.5 * (levels - 1))).round().long()
