"""Sharpened draws: temperature, top-k, top-p (nucleus) and min-p on a categorical distribution.

Fan, Lewis and Dauphin, 2018, arXiv 1805.04833 (top-k); Holtzman, Buys, Du, Forbes and Choi, 2020, arXiv 1904.09751
(top-p); Nguyen et al., 2024, arXiv 2407.01082 (min-p). Draws from a sharpened conditional are not draws from the
model's distribution.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.errors import UsageError


def check_sharpening(temperature: float = 1.0, top_k: float = 0, top_p: float = 1.0, min_p: float = 0.0) -> None:
    """Refuse values that `sharpen` cannot take.

    Raises:
        UsageError: as of `sharpen`.
    """
    if not 0 <= temperature < math.inf:
        raise UsageError(f"temperature must be a number from 0 up (got {temperature!r}): pass temperature=0.8")
    if top_k < 0 or top_k % 1:
        raise UsageError(f"top_k must be a whole number from 0 up (got {top_k!r}): pass top_k=10, or 0 to keep all")
    if not 0 < top_p <= 1:
        raise UsageError(f"top_p must lie in (0, 1] (got {top_p!r}): pass top_p=0.9")
    if not 0 <= min_p <= 1:
        raise UsageError(f"min_p must lie in [0, 1] (got {min_p!r}): pass min_p=0.05, or 0 to keep all")


def sharpen(
    logits: Float[Tensor, "*event classes"],
    temperature: float = 1.0,
    top_k: float = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> Float[Tensor, "*event classes"]:
    """logits (…, classes) → logits of the sharpened distribution; excluded classes are at -inf.

    Args:
        temperature: divides the logits; 0 keeps the most probable class alone.
        top_k: keeps the k most probable classes; 0 keeps all.
        top_p: keeps the fewest classes whose probability, after temperature and top_k, reaches p.
        min_p: keeps the classes whose probability, after temperature, is at least this share of the largest one.

    Raises:
        UsageError: a temperature that is not finite or below 0, a top_k that is not a whole number from 0 up, or a
            top_p outside (0, 1], or a min_p outside [0, 1].
    """
    check_sharpening(temperature, top_k, top_p, min_p)
    if temperature == 0:
        temperature, top_k = 1.0, 1
    if temperature != 1:
        logits = logits / temperature
    if min_p > 0:
        least = logits.amax(-1, keepdim=True) + math.log(min_p)
        logits = logits.masked_fill(logits < least, -torch.inf)
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(int(top_k), -1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p < 1:
        p, place = logits.softmax(-1).sort(-1, descending=True)
        before = p.cumsum(-1) - p  # the probability of the classes that are more probable
        excluded = torch.zeros_like(before, dtype=torch.bool).scatter(-1, place, before >= top_p)
        logits = logits.masked_fill(excluded, -torch.inf)
    return logits
