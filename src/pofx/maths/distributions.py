"""Log-densities and inverse-CDF draws that several families share. Draws take their noise as an argument."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

from pofx.core.random import Streams

FARTHEST = 1e18  # about where a square leaves float32


def zero_when_far(
    log_prob: Callable[[Float[Tensor, "n *event"]], Float[Tensor, "n"]], x: Float[Tensor, "n *event"]
) -> Float[Tensor, "n"]:
    """log_prob(x), and -inf where x is so far away that computing it overflows: (n,).

    Densities with normal tails at a scale near 1 are zero there in any number format.
    """
    near, far = near_items(x)
    return log_prob(near).masked_fill(far, -math.inf)


def near_items(x: Float[Tensor, "n *event"]) -> tuple[Float[Tensor, "n *event"], Bool[Tensor, "n"]]:
    """x with zeros in the place of items that are so far away that squares overflow, and which these are: (n,)."""
    far = (x.abs() >= FARTHEST).flatten(1).any(1)
    return x.masked_fill(far.reshape(-1, *[1] * (x.ndim - 1)), 0.0), far


def normal_log_prob(
    x: Float[Tensor, "*#event"],
    mean: Float[Tensor, "*#event"] | float = 0.0,
    log_std: Float[Tensor, "*#event"] | float = 0.0,
) -> Float[Tensor, "*event"]:
    """log N(x; mean, exp(log_std)²), elementwise."""
    log_std = torch.as_tensor(log_std, dtype=x.dtype, device=x.device)
    return -0.5 * ((x - mean) * (-log_std).exp()) ** 2 - log_std - 0.5 * math.log(2 * math.pi)


def categorical_log_prob(logits: Float[Tensor, "*event classes"], x: Int[Tensor, "*event"]) -> Float[Tensor, "*event"]:
    """log softmax(logits)[x]: logits (…, classes), x int64 (…) → (…); float32 at least."""
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    if logits.shape[-1] == 2:  # six times as fast as a table of two
        more = logits[..., 1] - logits[..., 0]
        return logsigmoid(torch.where(x == 1, more, -more))
    lost = cross_entropy(logits.reshape(x.numel(), logits.shape[-1]), x.flatten(), reduction="none")  # in one pass
    return -lost.reshape(x.shape)


def categorical_draw(logits: Float[Tensor, "*event classes"], u: Float[Tensor, "*event"]) -> Int[Tensor, "*event"]:
    """The class at which the cumulated probability passes u in (0, 1): logits (…, classes), u (…) → int64 (…)."""
    if logits.shape[-1] == 2:  # the same by one sigmoid, without a table
        return (torch.sigmoid(logits[..., 0].double() - logits[..., 1]) < u).long()
    cdf = logits.double().softmax(-1).cumsum(-1)
    return (cdf < u[..., None].double() * cdf[..., -1:]).sum(-1).clamp(max=logits.shape[-1] - 1)


def bernoulli_draw(logits: Float[Tensor, "n *event"], generator: Streams) -> Int[Tensor, "n *event"]:
    """1 with the probability sigmoid(logit), else 0: int64 (n, *event).

    Eight random bits decide, but where they equal those of the probability, one time in 256: 23 more bits do there. A
    word of the streams serves four numbers, which takes a third of the time of as many uniforms.
    """
    least = 256 * torch.sigmoid(-logits.float())  # what a uniform of 256 units must pass
    high = generator.bytes(math.prod(logits.shape[1:])).reshape(logits.shape).float()
    one, tied = high >= least, (high < least) & (high + 1 > least)
    return (one | (tied & (high + generator.uniform_where(tied) > least))).long()


def class_counts(x: Int[Tensor, "n *event"], classes: int) -> Int[Tensor, "*event {classes}"]:
    """How often each class occurs at each place: x int64 (n, *shape) → int64 (*shape, classes)."""
    size = math.prod(x.shape[1:])
    at = x.reshape(len(x), size) + classes * torch.arange(size, device=x.device)
    return torch.bincount(at.flatten(), minlength=size * classes).reshape(*x.shape[1:], classes)


def sum_event(x: Num[Tensor, "n *event"]) -> Num[Tensor, "n"]:
    """Sum over every axis but the first: (n, …) → (n,)."""
    return x.flatten(1).sum(1)
