"""Whether a trained model can be right: its weights, samples and probabilities on a few items.

A training can diverge and still end: its losses stay finite while samples reach 1e26, or while the probability of an
item exceeds 1, or while training items are less probable than they are by pure chance. Such weights are no result.
"""

import math

import torch
from torch import Tensor

from pofx.core.event import Continuous, Discrete, Event, select
from pofx.core.finite import broken
from pofx.core.model import Batch, Density, Explicit, Model, X
from pofx.core.random import Streams

SAMPLES = 8
ITEMS = 16  # whose probability is computed
FAR = 1e4  # times the largest training value, beyond which a sample is impossible
SURE = 5.0  # standard errors


@torch.no_grad()
def fault(model: Model, data: Batch) -> str | None:
    """What is impossible about a trained model, given some of its training items; None where nothing is."""
    found = broken(model)
    if found is None and _has_reals(model.event):
        found = _samples(model, data)
    if found is None and isinstance(model, Explicit) and isinstance(model.event, Discrete):
        found = _mass(model, data) if model.density is Density.ESTIMATE else None
    return found


def _has_reals(event: Event) -> bool:
    """Whether samples can leave their range at all: classes cannot."""
    return any(map(_has_reals, event.values())) if isinstance(event, dict) else isinstance(event, Continuous)


def _samples(model: Model, data: Batch) -> str | None:
    n = min(SAMPLES, len(data))
    condition = None if data.condition is None else select(data.condition, slice(0, n))
    device = _tensors(data.x)[0].device
    drawn = model.sample(n, condition, generator=Streams(0, n, device=device))
    for mine, theirs in zip(_tensors(drawn), _tensors(data.x), strict=True):
        if not mine.is_floating_point():
            continue
        if not bool(mine.isfinite().all()):
            return f"{int((~mine.isfinite()).flatten(1).any(1).sum())} of {n} samples are not finite"
        reach, most = float(theirs.abs().max()), float(mine.abs().max())
        if most > FAR * max(reach, 1e-30):
            return f"a sample reaches {most:.2g}, where training items reach {reach:.2g}"
    return None


def _mass(model: Explicit, data: Batch) -> str | None:
    n = min(ITEMS, len(data))
    condition = None if data.condition is None else select(data.condition, slice(0, n))
    log_p, noise = model.log_prob_estimate(select(data.x, slice(0, n)), condition)
    error = torch.zeros_like(log_p) if noise is None else noise
    error = error.hypot(torch.full_like(error, model.log_prob_error() or 0.0))
    if bool(log_p.isnan().any()):
        return f"log p of {int(log_p.isnan().sum())} of {n} items is NaN"
    worst = int((log_p - SURE * error).argmax())
    if float(log_p[worst] - SURE * error[worst]) > 0:
        return f"log p of an item is {float(log_p[worst]):+.1f} ± {float(error[worst]):.1g} nats, a probability above 1"
    assert isinstance(model.event, Discrete)
    uniform = -sum(map(math.log, model.event.counts))
    best = float((log_p + SURE * error).mean())
    if best < uniform:
        return (
            f"the mean log p of training items is {float(log_p.mean()):.0f} nats, below the {uniform:.0f} of evenly "
            "distributed ones"
        )
    return None


def _tensors(x: X) -> list[Tensor]:
    return [t for part in x.values() for t in _tensors(part)] if isinstance(x, dict) else [x]
