"""Edits of items by a trained denoiser, without training: the part under a mask is drawn anew, a rough item is made
probable, a small one is enlarged, a grey one coloured, a picture continued beyond its edges, two items are joined by a
path, items of one domain become items of another.

Everything is done through `Denoising.schedule` and `Denoising.denoise`: any diffusion or flow-matching run will do.
Sources of the methods are in `maths.editing`. The part under a mask is drawn by `Infilling.complete` where a model has
that: circuits exactly, autoencoders and masked diffusions by their own conditionals; mixtures of normals draw it
within the levels of the others, models of discrete codes by a chain (`given_codes`). For other models, and for those
of real codes, what is known is a measurement of the item (`inverse.posterior`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from pofx.artifact import Artifact, run_of
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.event import Bounded, Continuous, count, select
from pofx.core.generative import Within
from pofx.core.model import Completing, Denoising, Encoding, Infilling
from pofx.core.options import Count, Depth, Range, Real, Stops, checked
from pofx.core.progress import blocks
from pofx.core.random import Still, Streams
from pofx.given_codes import knows_codes
from pofx.inverse.item_posterior import item_shape, real_items
from pofx.inverse.posterior import measure, posterior
from pofx.inverse.tiled import Tiled
from pofx.inverse.walk import levels
from pofx.maths.editing import completed, consistent, from_rough, inpainted, path_of, reduced
from pofx.maths.paths import time_at
from pofx.maths.samplers import Walk, ddim, times_of
from pofx.maths.symmetries import nearest_symmetry, turned
from pofx.represent.image import Dequantised, ImageView
from pofx.represent.learned import Learned

PUBLIC = ("edit",)

Margin = Annotated[int, Range(0, 4096)]  # places
Strength = Annotated[Real, Range(0, 1, above=True)]
ANEW, ONCE = 20, 50  # steps: long ones mix better where each is walked several times
LED, PARTICLES = 20, 4  # steps of particles, and how many for an item
APART = 1.0  # noise over the spread of the data, down to which particles walk: what an item is has been decided there
ROWS = 256  # of a batch of particles, whose gradients are taken
TOWARD = 0.5  # strength of a path between items
OF_CODES = 12  # steps of walks of codes, each with moves of their own
COMPARED = 96  # draws of each run by which two domains are held against one another
NEAR = 0.02  # deviation within which items of codes meet what is known, which is then returned exactly


@checked
def edit(
    artifact: Any,
    values: Any,
    *,
    mask: Any = None,
    strength: Strength | None = None,
    enlarge: Annotated[int, Range(2, 256)] | None = None,
    colour: bool = False,
    beyond: tuple[Margin, Margin, Margin, Margin] | None = None,
    toward: Any = None,
    into: Any = None,
    align: bool = True,
    stops: Stops = 8,
    condition: Any = None,
    steps: Count | None = None,
    repeats: Depth = 10,
    particles: Annotated[int, Range(0, 4096)] | None = None,
    eta: Annotated[Real, Range(0, 1)] = 1.0,
    seed: int = 0,
) -> Any:
    """Items like `values`, drawn given one of: what the mask leaves, their rough shape, their means over blocks or
    channels, what is within their edges, other items to go to, or a run of another domain.

    Args:
        artifact: a run, or its folder.
        values: items in data space.
        mask: true where items are drawn anew, of the shape of an item, with or without channels, or one for each;
            the rest is returned exactly. With `strength`, what is painted under the mask is a rough draft.
        strength: noise, as a share of the walk, from which items are drawn again (SDEdit); small values stay near the
            draft, 1 forgets it.
        enlarge: items whose blocks of so many positions have the means of these items' blocks; items may be of the
            run's size, or so many times smaller along each side.
        colour: items whose means over channels are those of these items, such as grey pictures with three channels.
        beyond: pictures continued by so many places at the top, the bottom, the left and the right, by overlapping
            patches of the size of the run's; what is given is returned exactly.
        toward: as many other items; the result is `stops` items for each pair, from the first to the second, which are
            returned exactly: mixtures, drawn again from one noise of `strength`, by default 0.5 (Ho et al., 2020).
        into: a run (or its folder) of another domain, of events of the same shape: items go to noise by the flow of
            their own run, and from it by that of the other (Su et al., 2023, arXiv 2203.08382). Nothing is random.
        align: codes on their path into another run are turned, mirrored or given the other sign where that makes draws
            of this run most like those of the other (`maths.symmetries`); without it pictures of opposite contrast lose
            what they show.
        condition: under which items are drawn, as in `sample`; None: a run that was trained with one does without.
        steps: of the walk; None is 20 where a part is drawn anew, 10 after particles, else 50.
        particles: walks of each item under a mask, led to what is known, of which those go on that meet it best (Wu et
            al., 2023, arXiv 2306.17775), until they have as much noise as data; the rest of the walk repeats its steps
            (RePaint). 0: repeated steps alone, as always beyond edges, with `strength`, or where a denoiser has no
            gradient. None is 4.
        repeats: times that each step is walked where there is a mask.
        eta: random share of each step, as of DDIM.

    Raises:
        Unsupported: a model that does not denoise, but for a mask alone, enlarge and colour.
        UsageError: not exactly one of mask, enlarge, colour, beyond, toward and into, or strength alone.
        DataError: items or a mask of another shape.
    """
    artifact = run_of(artifact)
    model = artifact.model
    others = (strength, enlarge, colour or None, beyond, toward, into)
    alone = mask is not None and all(other is None for other in others)
    if alone and (knows_codes(model, artifact.representation) or by_intervals(artifact)):
        raw = artifact.representation.tensor(values)
        whole, anew = (np.asarray(artifact.representation.items(v)) for v in (raw, _mask(mask, raw).to(raw.dtype)))
        gaps = np.ma.masked_array(whole, anew > 0)
        return artifact.sample(len(gaps), condition, seed=int(seed), prefix=gaps, with_condition=False)
    if alone and isinstance(model, Infilling):
        return _completed(artifact, model, values, mask, condition, int(seed))
    view, stated_ones = artifact.representation, [one for one in (mask, *others) if one is not None]
    constrained = len(stated_ones) == 1 and not (mask is None and enlarge is None and not colour)
    if constrained and (isinstance(view, Learned) or not isinstance(model, Denoising)):
        return _measured(artifact, values, mask, enlarge, condition, steps, int(seed))
    if not isinstance(model, Denoising):
        raise Unsupported(
            f"{artifact.name} does not denoise: edit with a diffusion or flow-matching run, or under a mask alone, by "
            "enlarge or by colour"
        )
    kinds = {"mask": mask, "enlarge": enlarge, "colour": colour or None, "beyond": beyond, "toward": toward}
    wanted = [name for name, value in {**kinds, "into": into}.items() if value is not None]
    wrong = strength is not None and wanted not in ([], ["mask"], ["toward"])
    if len(wanted) > 1 or (not wanted and strength is None) or wrong:
        given_ones = ", ".join([*wanted, *([] if strength is None else ["strength"])]) or "none"
        raise UsageError(
            f"an edit has one of mask, enlarge, colour, beyond, toward and into, or a strength, alone or with mask or "
            f"toward (got {given_ones}): pass mask=… to draw a part anew"
        )
    if isinstance(view, Learned) and (mask is not None or beyond is not None):
        raise Unsupported(
            f"{artifact.name} knows codes alone, which have no places of items: edit by a mask without strength, by "
            "enlarge, colour, strength, toward or into, or with a run of the items themselves"
        )
    raw = view.tensor(_whole(artifact, values, enlarge)).to(artifact.device)
    stated = condition is not None or into is not None  # a denoiser does without, which is better than a random one
    given = artifact.condition_events(condition, len(raw), seed) if stated else None
    led = alone and particles != 0 and differentiable(model, given)
    usual = ANEW // 2 if led else ANEW if mask is not None or beyond is not None else ONCE
    how = Walks(model, given, int(steps or usual), int(repeats), float(eta), int(seed))
    with torch.no_grad():
        x = _event(artifact, raw)
        if into is not None:
            return _into(artifact, x, run_of(into), how.given, align)
        if toward is not None:
            other = view.tensor(toward).to(artifact.device)
            if len(other) != len(raw):
                raise DataError(f"toward must be one item for each of {len(raw)} (got {len(other)}): pass pairs")
            found = view.decode(how.between(x, _event(artifact, other), float(strength or TOWARD), stops))
            found[0::stops], found[stops - 1 :: stops] = raw, other
        elif beyond is not None:
            found = _continued(artifact, how, x, raw, beyond)
        elif enlarge is not None:
            found = view.decode(how.enlarged(x, enlarge))
        elif colour:
            found = view.decode(how.coloured(x))
        elif mask is not None:
            known = ~_mask(mask, x)
            events = how.led(x, known, particles or PARTICLES) if led else how.filled(x, known, float(strength or 1.0))
            drawn = view.decode(events)
            found = torch.where(_mask(mask, raw), drawn, raw)
        else:
            found = view.decode(how.again(x, float(strength or 1.0)))
    return view.items(found.cpu())


def by_intervals(artifact: Artifact) -> bool:
    """Whether a run draws real pictures given the levels of some pixels."""
    return isinstance(artifact.model, Within) and isinstance(artifact.representation, Dequantised)


def _completed(artifact: Artifact, model: Infilling, values: Any, mask: Any, condition: Any, seed: int) -> Any:
    """Items whose part under the mask is drawn given the rest."""
    view = artifact.representation
    raw = view.tensor(values).to(artifact.device)
    given = artifact.condition_events(condition, len(raw), seed)
    drawn = []
    with torch.inference_mode():
        size = artifact.batch()
        for at in blocks(len(raw), size):
            part = raw[at]
            x = view.events(part, Streams.of_items(seed, part))
            streams = Streams(seed, len(raw), device=artifact.device)[at]
            known, c = ~_mask(mask, raw)[at].reshape(x.shape), None if given is None else select(given, at)
            drawn.append(view.decode(model.complete(x, known, c, generator=streams)).reshape(part.shape))
        found = torch.where(_mask(mask, raw), torch.cat(drawn).to(raw.dtype), raw)
    return view.items(found.cpu())


def _measured(
    artifact: Artifact, values: Any, mask: Any, enlarge: int | None, condition: Any, steps: int | None, seed: int
) -> Any:
    """Items drawn given a part, means of blocks or means of channels, by a model of codes or one that does not denoise:
    a part of an item is a measurement of it."""
    view, shape, noise = artifact.representation, item_shape(artifact), NEAR
    walk = {"steps": steps or OF_CODES, "inner": 4, "sweeps": 3} if isinstance(artifact.model, Denoising) else {}
    if mask is None:
        small, factor = np.asarray(values), enlarge or 1
        if enlarge and small.shape[1:3] != shape[1:3]:  # an item of the measurement's size
            small = small.repeat(factor, 1).repeat(factor, 2)
        options: dict[str, Any] = {"factor": factor} if enlarge else {}
        operator = "superres" if enlarge else "grey"
        y, _ = measure(artifact, small, operator, 0.0, operator_options=options)
        made = posterior(artifact, y, operator, noise, condition=condition, operator_options=options, options=walk)
        return made.sample(1, seed=seed).items
    raw, items = view.tensor(values), real_items(artifact, values)
    anew, known = _mask(mask, raw), ~_mask(mask, items)
    if isinstance(artifact.model, Completing) and not isinstance(artifact.model, Encoding):
        noise = 0.0  # parts of classes are completed exactly
    made = posterior(
        artifact, items, "inpaint", noise, condition=condition, operator_options={"mask": known.numpy()}, options=walk
    )
    drawn = view.tensor(made.sample(1, seed=seed).items)
    return view.items(torch.where(anew, drawn.reshape(raw.shape).to(raw.dtype), raw))


def _whole(artifact: Artifact, values: Any, factor: int | None) -> Any:
    """Items that are `factor` times too small along each side, each place a block; others as they are."""
    event = artifact.model.event
    sides = () if factor is None or isinstance(event, dict) else tuple(event.shape[1:])
    if factor is None or not sides or not isinstance(values, np.ndarray | Tensor | list):
        return values
    small = np.asarray(values)
    if tuple(side * factor for side in small.shape[1 : 1 + len(sides)]) != sides:
        return values
    for axis in range(1, 1 + len(sides)):
        small = small.repeat(factor, axis)
    return small


def _event(artifact: Artifact, raw: Tensor) -> Tensor:
    """Raw items as events, in the middle of what dequantisation makes of them."""
    x: Tensor = artifact.representation.encode(raw, Still(0, len(raw), device=raw.device))[0]
    return x


def _continued(artifact: Artifact, how: "Walks", x: Tensor, raw: Tensor, beyond: Sequence[int]) -> Tensor:
    """Raw pictures with margins drawn around them."""
    top, bottom, left, right = beyond
    if x.ndim != 4 or x.shape != raw.shape:
        raise Unsupported(f"{artifact.name} has no pictures to continue beyond their edges: choose a run of pictures")
    around = (left, right, top, bottom)
    canvas, known = F.pad(x, around), F.pad(torch.ones_like(x, dtype=torch.bool), around)
    tiled = Tiled(how.model, tuple(canvas.shape[1:]), joined=False)
    drawn = artifact.representation.decode(replace(how, model=tiled).filled(canvas, known, 1.0))
    return torch.where(known, F.pad(raw, around), drawn)


def _into(artifact: Artifact, x: Tensor, other: Artifact, given: Any, align: bool) -> Any:
    """Events x of one run as items of another, through the noise that their probability flows share.

    A turn, a mirror and a sign leave the distribution of the noise as it is, so that any of them may come between both
    flows. The flow of data g(x) is that of data x with g around it: with g between them x becomes g(x).
    """
    for run in (artifact, other):
        if not isinstance(run.model, Denoising) or not isinstance(run.model, Encoding):
            raise Unsupported(f"{run.name} has no flow to noise and back: choose diffusion or flow-matching runs")
    if artifact.model.event != other.model.event:
        raise UsageError(
            f"the other run must have the events of this one, {artifact.model.event} (got {other.model.event}): train "
            "both on items of one shape"
        )
    if other.conditioning is not None and (artifact.conditioning is None or given is None):
        raise Unsupported(f"{other.name} needs a condition of its own: choose a run without one")
    assert isinstance(artifact.model, Encoding) and isinstance(other.model, Encoding)
    code = artifact.model.encode(x, given)
    if align and x.ndim == 4 and artifact is not other and not isinstance(artifact.representation, Learned):
        symmetry, sign = nearest_symmetry(*(_typical(run, given) for run in (artifact, other)))
        code = sign * turned(code, symmetry)
    found = other.model.decode(code.to(other.device), None if other.conditioning is None else given)
    return other.representation.items(other.representation.decode(found).cpu())


def _typical(run: Artifact, given: Any) -> Tensor:
    """Draws of a run as events, always the same."""
    own = None
    if run.conditioning is not None and given is not None:
        own = select(given, torch.arange(COMPARED, device=run.device) % count(given))
    drawn: Tensor = run.model.sample(COMPARED, own, generator=Streams(0, COMPARED, device=run.device))
    return drawn


@dataclass(frozen=True)
class Walks:
    """Walks of one denoiser under conditions that are events."""

    model: Denoising
    given: Any
    steps: int
    repeats: int
    eta: float
    seed: int

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        """The estimate in the units of the event, cut off at its bounds."""
        given = self.given
        if given is not None and count(given) != len(x):  # several items in a row under each condition
            given = select(given, torch.arange(len(x), device=x.device) // (len(x) // count(given)))
        data: Tensor = self.model.denoise(x, t, given)
        return data.clamp(-1, 1) if isinstance(self.model.event, Bounded) else data

    def walk(self, x: Tensor, strength: float, streams: Streams, spacing: str = "even") -> Walk:
        """From a share of the noise to the data."""
        path = path_of(self.model.schedule)
        times = strength * times_of(path, self.steps, spacing, x.device)
        return Walk(path, times, lambda: streams.normal(*x.shape[1:]), eta=self.eta)

    def again(self, x: Tensor, strength: float, each: int = 1) -> Tensor:
        """Rough items, drawn again from a share of the noise, which `each` items in a row share."""
        streams = Streams(self.seed, len(x), device=x.device)
        streams.ids = streams.ids // each
        walk = self.walk(x, strength, streams)
        return ddim(self.denoise, from_rough(x, walk.at(walk.times[0]), walk.fresh()), walk)

    def between(self, x: Tensor, y: Tensor, strength: float, stops: int) -> Tensor:
        """Mixtures of each pair, `stops` in a row, drawn again."""
        share = torch.linspace(0, 1, stops, device=x.device).reshape(-1, *[1] * (x.ndim - 1))
        return self.again(((1 - share) * x[:, None] + share * y[:, None]).flatten(0, 1), strength, stops)

    def enlarged(self, x: Tensor, factor: int) -> Tensor:
        """Items with the means of blocks of these."""
        if x.ndim < 3 or any(side % factor for side in x.shape[2:]):
            sides = x.shape[2:]
            fit = [k for k in range(2, min(sides, default=1) + 1) if not any(side % k for side in sides)]
            mend = (
                f"pass enlarge={min(fit, key=lambda k: abs(k - factor))}" if fit else "its sides have no common divisor"
            )
            raise DataError(f"enlarge must divide the sides of an item (got {factor} for {tuple(x.shape[1:])}): {mend}")
        walk = self.walk(x, 1.0, Streams(self.seed, len(x), device=x.device))
        begun = from_rough(x, walk.at(walk.times[0]), walk.fresh())
        return ddim(consistent(self.denoise, reduced(x, factor), factor), begun, walk)

    def coloured(self, x: Tensor) -> Tensor:
        """Items with the means over channels of these."""
        if x.ndim < 3 or x.shape[1] < 2:
            raise DataError(
                f"colour needs items of several channels (got events of shape {tuple(x.shape[1:])}): edit by a run of "
                "coloured pictures"
            )
        walk = self.walk(x, 1.0, Streams(self.seed, len(x), device=x.device))
        begun = from_rough(x.mean(1, keepdim=True).expand_as(x), walk.at(walk.times[0]), walk.fresh())
        return ddim(consistent(self.denoise, x.mean(1, keepdim=True), 1), begun, walk)

    def led(self, x: Tensor, known: Tensor, particles: int) -> Tensor:
        """Items that equal x where known: particles decide what they are, repeated steps let their parts fit."""
        unit, path = self.model.spread.detach(), path_of(lambda t: _numbers(self.model, t))
        places = levels(LED, bottom=APART)[:-1]
        out, size = [], max(1, ROWS // particles)

        def time(s: float) -> Tensor:
            return time_at(path, torch.tensor(s, dtype=torch.float64, device=x.device).atan()).float()

        for at in blocks(len(x), size):
            many = torch.arange(len(x), device=x.device)[at].repeat_interleave(particles)
            streams = Streams(self.seed + (1 << 42), len(many), device=x.device)
            streams.ids = (many << 12) + torch.arange(particles, device=x.device).repeat(len(many) // particles)
            given = None if self.given is None else select(self.given, many)

            def estimate(z: Tensor, s: float, given: Any = given) -> Tensor:
                return self.model.denoise(z * unit * self.model.schedule(time(s))[0], time(s), given) / unit

            z = completed(
                estimate,
                x[many] / unit,
                known[many],
                places,
                lambda streams=streams: streams.normal(*x.shape[1:]),  # type: ignore[misc]
                lambda streams=streams: streams.uniform(1),  # type: ignore[misc]
                particles,
            )
            out.append(z * unit)
        last = time(places[-1])
        return self.filled(x, known, float(last), torch.cat(out) * self.model.schedule(last)[0])

    def filled(self, x: Tensor, known: Tensor, strength: float, begun: Tensor | None = None) -> Tensor:
        """Items that equal x where known; the rest begins as `begun`, or, below strength 1, as a draft."""
        streams, others = (Streams(self.seed + k, len(x), device=x.device) for k in (0, 1 << 41))
        half = float(self.model.schedule(torch.tensor(0.5, device=x.device))[0].flatten()[0])
        straight = x.ndim > 2 and abs(half - 0.5) < 1e-3  # the path of flow matching, whose data form near the noise
        shift = straight and begun is None
        walk, shape = self.walk(x, strength, streams, "shifted" if shift else "even"), x.shape[1:]
        if begun is None:
            draft = x if strength < 1 else x * known
            begun = from_rough(draft, walk.at(walk.times[0]), others.normal(*shape))
        return inpainted(self.denoise, begun, x, known, walk, lambda: others.normal(*shape), self.repeats)


def differentiable(model: Denoising, given: Any) -> bool:
    """Whether an estimate has a gradient in x_t: those that a function guides have none."""
    assert isinstance(model.event, Continuous)
    with torch.inference_mode(False), torch.enable_grad():
        at = torch.zeros(1, *model.event.shape, device=model.spread.device).requires_grad_()
        one = None if given is None else select(given, slice(0, 1))
        return model.denoise(at, torch.tensor(0.5, device=at.device), one).requires_grad


def _numbers(model: Denoising, t: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma in units of the spread of the data."""
    alpha, sigma = model.schedule(t)
    return alpha.flatten()[0], (sigma / model.spread).flatten()[0]


def _mask(mask: Any, x: Tensor) -> Tensor:
    """Where items are drawn anew: bool of the shape of x (n, channels, *sides).

    Raises:
        DataError: a mask that is of the shape neither of an item nor of its places, or has NaN.
    """
    given = np.asarray(mask)
    if given.dtype.kind not in "biuf":
        raise DataError(f"mask must be an array of truth values or numbers (got {given.dtype}): true is drawn anew")
    if given.dtype.kind == "f" and np.isnan(given).any():
        raise DataError(
            f"mask has {int(np.isnan(given).sum())} places that are NaN: write 1 where items are drawn anew"
        )
    array = torch.as_tensor(given > 0, device=x.device)
    for shaped in (array, array[None], array[:, None] if array.ndim else array):
        if shaped.ndim <= x.ndim and all(a in (1, b) for a, b in zip(shaped.shape[::-1], x.shape[::-1], strict=False)):
            return shaped.expand(x.shape)
    raise DataError(f"mask must have the shape of an item, {tuple(x.shape[1:])} (got {tuple(array.shape)})")


def pixels(artifact: Any, picture: np.ndarray, condition: Any = None) -> np.ndarray:
    """A picture uint8 (height, width) or with channels in the size, the channels and the levels of a run's items.

    Args:
        condition: under which a run of codes draws an item, to see what they are like.
    """
    view = artifact.representation
    if isinstance(view, ImageView) and len(view.shape) == 3:
        like = np.empty((*view.shape[1:], *([] if view.flat else view.shape[:1])))
    else:
        like = np.asarray(artifact.sample(1, condition))[0]
    channels = like.shape[2] if like.ndim == 3 else 1
    if channels not in (1, 3):
        raise DataError(
            f"the run's items have {channels} channels, a picture 1 or 3: give an array .npy or .npz of items"
        )
    levels = int(artifact.card.get("data", {}).get("facts", {}).get("levels", 256))
    image = Image.fromarray(np.asarray(picture, np.uint8)).convert("L" if channels == 1 else "RGB")
    small = np.asarray(image.resize((like.shape[1], like.shape[0]), Image.Resampling.BOX), np.float32)
    return np.round(small * (levels - 1) / 255).astype(np.uint8).reshape(like.shape)


def masked_area(mask: Any, sides: Any) -> np.ndarray:
    """A painted mask (height, width), levels or truth values, in the size of an item: true where most is painted."""
    painted = np.asarray(mask)
    painted = painted if painted.dtype == bool else painted > 127
    small = Image.fromarray(painted.astype(np.uint8) * 255).resize((sides[1], sides[0]), Image.Resampling.BOX)
    return np.asarray(small) > 127
