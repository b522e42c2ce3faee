"""Drawing items: events by streams of random numbers, batch by batch, back to data space with their conditions.

Item i depends on its stream alone, so that requests of several seeds share a batch and each has the very items that it
would have had alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pofx.conditioned import condition_events, raw_condition, warn_of_failure
from pofx.core.event import Discrete, concatenated, each, select
from pofx.core.items import Items
from pofx.core.model import X
from pofx.core.progress import blocks
from pofx.core.random import Joined, Streams
from pofx.data.kind import named
from pofx.partial import Partial
from pofx.parts import Parts

NOT_OF_ITEMS = ("exact_duplicates", "overlap_rule", "label_names")  # facts of a data set that its samples do not share
INSIDE = 1 << 41  # between the seed of events and that of what they leave open


@dataclass(frozen=True)
class Request:
    """n items of a seed, under a condition as in `Artifact.sample`."""

    n: int
    seed: int = 0
    condition: Any = None


def streams(seed: int, n: int, device: torch.device) -> tuple[Streams, Streams]:
    """The random numbers of the events of n items, and of what the events leave open."""
    return Streams(seed, n, device=device), Streams(seed + INSIDE, n, device=device)


def drawn(
    run: Parts,
    partial: Partial,
    raw: Any,
    stated: X | None,
    events: Streams,
    inside: Streams,
    batch_size: int,
    options: Mapping[str, Any],
) -> Items:
    """Items with the conditions under which they were drawn.

    Args:
        raw, stated: the conditions, raw and as events.
        events, inside: see `streams`.
    """
    return as_items(run, _walked(run, partial, stated, events, inside, batch_size, options), raw)


def _walked(
    run: Parts,
    partial: Partial,
    stated: X | None,
    events: Streams,
    inside: Streams,
    batch_size: int,
    options: Mapping[str, Any],
) -> Any:
    """Raw items, batch by batch."""
    found = []
    for at in blocks(len(events), batch_size):
        part = events[at]
        c = None if stated is None else select(stated, at)
        x = run.representation.under(c).drawn(partial.sample(at, c, part, options), inside[at])
        found.append(each(partial.kept(x, at), Tensor.cpu))
    return concatenated(found)


def as_items(run: Parts, found: Any, raw: Any) -> Items:
    """Raw items under raw conditions, in data space."""
    facts = {k: v for k, v in run.card.get("data", {}).get("facts", {}).items() if k not in NOT_OF_ITEMS}
    items = Items(run.representation.kind, run.representation.items(found), facts=facts)
    if run.conditioning is None or raw is None:
        return items
    columns = run.condition_columns
    of_column = {"column": columns[0]} if len(columns) == 1 and named(run.conditioning.kind).labels else {}
    used = Items(run.conditioning.kind, run.conditioning.items(raw), facts=of_column)
    names_of = run.card.get("label_names")
    if names_of and isinstance(run.model.condition, Discrete) and run.model.condition.shape == ():
        numbers = {str(name): k for k, name in enumerate(names_of)}
        return replace(items, condition=used, labels=np.array([numbers.get(str(v), -1) for v in used.values]))
    return replace(items, condition=used)


@torch.inference_mode()
def draw_each(run: Parts, requests: Sequence[Request], batch_size: int, options: Mapping[str, Any]) -> list[Items]:
    """The items of every request, drawn together: those that it would have alone."""
    warn_of_failure(run)
    raws = [raw_condition(run, r.condition, r.n, r.seed) for r in requests]
    pairs = [streams(r.seed, r.n, run.device) for r in requests]
    events, inside = (Joined([pair[k] for pair in pairs]) for k in (0, 1))
    raw = None if raws[0] is None else concatenated(raws)
    every = _walked(run, Partial(run.model), condition_events(run, raw), events, inside, batch_size, options)
    parts, start = [], 0
    for request, of in zip(requests, raws, strict=True):
        parts.append(as_items(run, select(every, slice(start, start + request.n)), of))
        start += request.n
    return parts
