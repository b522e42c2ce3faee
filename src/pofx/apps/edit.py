"""Edits of items by a trained denoiser, without training: the part under a mask is drawn anew, a rough item is made
probable, a small one is enlarged.

Everything is done through `Denoising.schedule` and `Denoising.denoise`: any diffusion or flow-matching run will do.
Sources of the methods are in `maths.editing`.
"""

from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pofx.artifact import Artifact
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.event import Bounded
from pofx.core.model import Denoising
from pofx.core.options import Count, Depth, Range, Real, checked
from pofx.core.random import Still, Streams
from pofx.maths.editing import consistent, from_rough, inpainted, path_of, reduced
from pofx.maths.samplers import Denoise, Walk, ddim, times_of

PUBLIC = ("edit",)


@checked
def edit(
    artifact: Any,
    values: Any,
    *,
    mask: Any = None,
    strength: Annotated[Real, Range(0, 1, above=True)] | None = None,
    enlarge: Annotated[int, Range(2, 256)] | None = None,
    condition: Any = None,
    steps: Count = 50,
    repeats: Depth = 4,
    eta: Annotated[Real, Range(0, 1)] = 1.0,
    seed: int = 0,
) -> Any:
    """Items like `values`, drawn given one of: what the mask leaves, their rough shape, their means over blocks.

    Args:
        values: items in data space.
        mask: true where items are drawn anew, of the shape of an item, with or without channels, or one for each;
            the rest is returned exactly (RePaint). A mask around a picture paints on beyond it.
        strength: without a mask: noise, as a share of the walk, from which the item is drawn again (SDEdit); small
            values stay near it, 1 forgets it.
        enlarge: items whose blocks of so many positions have the means of these items' blocks.
        steps: of the walk.
        repeats: times that each step is walked where there is a mask.
        eta: random share of each step, as of DDIM.

    Raises:
        Unsupported: a model that does not denoise.
        UsageError: not exactly one of mask, strength and enlarge.
        DataError: items or a mask of another shape.
    """
    model = artifact.model
    if not isinstance(model, Denoising):
        raise Unsupported(f"{artifact.name} does not denoise: edit with a diffusion or flow-matching run")
    if (mask is not None) + (strength is not None) + (enlarge is not None) != 1:
        raise UsageError("an edit has one of mask, strength and enlarge: pass mask=… to draw a part anew")
    raw = artifact.representation.tensor(values).to(artifact.device)
    n, device = len(raw), artifact.device
    given = artifact.condition_events(condition, n, seed)
    with torch.inference_mode():
        x, _ = artifact.representation.encode(raw, Still(0, n, device=device))
        x = _edited(artifact, x, raw, mask, strength, enlarge, given, int(steps), int(repeats), float(eta), seed)
        drawn = artifact.representation.decode(x)
        if mask is not None:
            drawn = torch.where(_mask(mask, raw), drawn, raw)
    return artifact.representation.items(drawn.cpu())


def _edited(
    artifact: Artifact,
    x: Tensor,
    raw: Tensor,
    mask: Any,
    strength: float | int | None,
    enlarge: int | None,
    given: Any,
    steps: int,
    repeats: int,
    eta: float,
    seed: int,
) -> Tensor:
    model, shape = artifact.model, x.shape[1:]
    assert isinstance(model, Denoising)
    path = path_of(model.schedule)
    streams, others = (Streams(seed + k, len(x), device=x.device) for k in (0, 1 << 41))
    times = times_of(path, steps, "even", x.device)
    if strength is not None:
        times = times * float(strength)
    walk = Walk(path, times, lambda: streams.normal(*shape), eta=eta)
    denoise = _denoiser(model, given)
    first = walk.at(times[0])
    begun = from_rough(x, first, streams.normal(*shape))
    if strength is not None:
        return ddim(denoise, begun, walk)
    if mask is not None:
        free = ~_mask(mask, x)
        begun = from_rough(x * free, first, others.normal(*shape))
        return inpainted(denoise, begun, x, free, walk, lambda: others.normal(*shape), repeats)
    assert enlarge is not None
    if x.ndim < 3 or any(side % enlarge for side in x.shape[2:]):
        raise DataError(f"enlarge must divide the sides of an item (got {enlarge} for {tuple(shape)})")
    return ddim(consistent(denoise, reduced(x, enlarge), enlarge), begun, walk)


def _denoiser(model: Denoising, given: Any) -> Denoise:
    """The estimate in the units of the event, cut off at its bounds."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        data = model.denoise(x, t, given)
        return data.clamp(-1, 1) if isinstance(model.event, Bounded) else data

    return denoise


def _mask(mask: Any, x: Tensor) -> Tensor:
    """Where items are drawn anew: bool of the shape of x (n, channels, *sides).

    Raises:
        DataError: a mask that is of the shape neither of an item nor of its places.
    """
    array = torch.as_tensor(np.asarray(mask) > 0, device=x.device)
    for shaped in (array, array[None], array[:, None] if array.ndim else array):
        if shaped.ndim <= x.ndim and all(a in (1, b) for a, b in zip(shaped.shape[::-1], x.shape[::-1], strict=False)):
            return shaped.expand(x.shape)
    raise DataError(f"mask must have the shape of an item, {tuple(x.shape[1:])} (got {tuple(array.shape)})")
