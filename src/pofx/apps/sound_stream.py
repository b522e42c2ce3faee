"""Sound while it is drawn: chunks of a clip, each as soon as its samples are known.

A model of samples in their order (`wavenet`) knows a sample before the next one, and its cache of convolution states
makes each cost the same (Paine et al., 2016, arXiv 1611.09482). The chunks, joined, are the clip that `run.sample`
draws of the same seed.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from pofx.conditioned import condition_events, raw_condition
from pofx.core.errors import Unsupported, UsageError
from pofx.core.random import Streams
from pofx.families.autoregressive.conditionals import Conditionals
from pofx.maths.distributions import categorical_draw
from pofx.maths.sharpening import sharpen
from pofx.represent.audio import LEVELS, MuLaw, linear

PUBLIC = ("stream_sound",)


def stream_sound(
    run: Any,
    condition: Any = None,
    *,
    chunk: float = 0.1,
    prefix: Any = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    seed: int = 0,
) -> Iterator[np.ndarray]:
    """Chunks float32 (samples,) of one clip in [-1, 1], of so many seconds each, the last one shorter.

    Args:
        condition: as of `Artifact.sample`.
        prefix: a clip with which it begins, which is not repeated in the chunks.
        temperature: as of `Artifact.sample`.
        top_k: as of `Artifact.sample`.
        top_p: as of `Artifact.sample`.
        min_p: as of `Artifact.sample`.

    Raises:
        Unsupported: a model that does not draw samples in their order.
        UsageError: a chunk that is not positive.
    """
    model, view = run.model, run.representation
    if not (isinstance(model, Conditionals) and model.in_order and isinstance(view, MuLaw)):
        raise Unsupported(f"{run.name} does not draw sound sample by sample: train wavenet on recordings")
    if not chunk > 0:
        raise UsageError(f"chunk must be more than 0 seconds (got {chunk}): pass chunk=0.1")
    return _chunks(run, condition, max(1, round(chunk * view.rate)), prefix, (temperature, top_k, top_p, min_p), seed)


def _chunks(
    run: Any, condition: Any, size: int, prefix: Any, sharpened: tuple[float, int, float, float], seed: int
) -> Iterator[np.ndarray]:
    model, view = run.model, run.representation
    with torch.inference_mode():  # never across a yield, where the caller's code would run in it
        stated = condition_events(run, raw_condition(run, condition, 1, seed))
        noise = Streams(seed, 1, device=run.device).uniform(view.length)
        known = [] if prefix is None else view.prefix(prefix)[0].tolist()
        known = [level for level in known if level >= 0]
        cursor = model.cursor(1, stated)
    levels: list[int] = []
    for place in range(view.length):
        with torch.inference_mode():
            drawn = categorical_draw(sharpen(cursor.logits(), *sharpened), noise[:, place])
            if place < len(known):
                drawn = torch.full_like(drawn, known[place])
            level = int(drawn[0])
            if level != LEVELS:
                cursor.put(drawn)
        if level == LEVELS:
            break
        if place >= len(known):
            levels.append(level)
        if len(levels) == size:
            yield linear(np.array(levels))
            levels = []
    if levels:
        yield linear(np.array(levels))
