"""p(item | measurement) of one operator with a trained run as the prior: draws, and how they fare on held-out items."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pofx.artifact import Artifact
from pofx.core.entry import float32
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.event import Bounded, Discrete, select
from pofx.core.generative import Decoding, NormalComponents
from pofx.core.items import Items
from pofx.core.model import Denoising, Density, Explicit
from pofx.core.options import Range, check_value
from pofx.core.progress import blocks
from pofx.core.random import Still, Streams
from pofx.inverse.exact import completed, exact_draws
from pofx.inverse.latent import annealed, found
from pofx.inverse.methods import METHODS
from pofx.inverse.noise import Noise
from pofx.inverse.operator import Operator
from pofx.inverse.operators.grid import Mask
from pofx.inverse.problem import Problem, flat
from pofx.inverse.restoration import Check, Restoration, checked
from pofx.inverse.spaces import Codes, Space, Whitened, dear_codes
from pofx.inverse.tiled import Tiled
from pofx.inverse.walk import Walker

Draws = Annotated[int, Range(1, 1_000_000_000)]
LEAST = 19  # draws behind intervals of 90 %
ROWS = 256  # of a batch of guided sampling
PLACES, MOST = 1_600_000, 4096  # numbers and rows of one elsewhere than on a processor, where small batches idle
FAR = 5.0  # deviations of the noise between draws and their measurement that are reported
PARTICLES = 128  # of annealing, at least
START, WIDE = -2.0, 1.5  # mean and deviation of the logarithm of an unknown deviation of the noise, for `hmc`


@dataclass(frozen=True, eq=False)
class Drawn:
    """Draws as events x (m · n, *event), of which kind they are, evaluations, and levels of noise as found (m,)."""

    x: Tensor
    kind: str
    evaluations: int = 0
    level: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class ItemPosterior:
    """p(item | measurement) for one or several measurements of one operator; made by `posterior`."""

    run: Artifact
    operator: Operator
    noise: Noise
    y: Tensor | None
    method: str
    condition: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def sample(self, n: int = 16, *, seed: int = 0) -> Restoration:
        """n draws of the item behind each measurement; the same seed gives the same draws.

        Raises:
            UsageError: n is below 1, or there are no measurements.
            Unsupported: the method cannot use this operator or noise.
        """
        check_draws(n, self.y)
        assert self.y is not None
        with float32(), torch.no_grad():
            return self.restored(self.y, self.drawn(self.y, int(n), int(seed)), int(n))

    def at(self, y: Any) -> "ItemPosterior":
        """The same for other measurements."""
        return ItemPosterior(
            self.run, self.operator, self.noise, self.operator.taken(y), self.method, self.condition, self.options
        )

    def check(self, items: Any, *, draws: int = 39, seed: int = 0) -> Check:
        """Measure held-out items, restore them, and compare: PSNR of means, coverage of intervals.

        Args:
            items: in data space, which the run was not trained on.
            draws: for each; 19 are the fewest for intervals of 90 %.

        Raises:
            UsageError: fewer draws.
        """
        check_value("draws", draws, Draws)
        if draws < LEAST:
            raise UsageError(f"draws must be at least {LEAST}, for intervals of 90 % (got {draws}): pass draws={LEAST}")
        truth = real_items(self.run, items)
        if tuple(truth.shape[1:]) != self.operator.shape:
            raise DataError(f"held-out items must have the operator's shape {self.operator.shape} (got {truth.shape})")
        y = measured(self.operator, self.noise, truth, seed + 1)
        return checked(self.at(y).sample(draws, seed=seed), truth.numpy())

    def drawn(self, y: Tensor, n: int, seed: int) -> Drawn:
        """n draws in a row as events for each of these measurements."""
        run = self.run
        y = y.to(run.device)
        given = self._condition(len(y), seed)
        evaluations, level = 0, None
        if self.method == "complete":
            assert isinstance(self.operator, Mask)
            view = run.representation
            event = view.event
            assert isinstance(event, Discrete)
            whole = torch.zeros(len(y), *self.operator.shape)
            whole[:, self.operator.mask] = y.cpu()
            classes = (whole * (event.largest - 1)).round().long().clamp(0, event.largest - 1).to(run.device)
            x = completed(run.model, classes, self.operator, given, n, seed, run.name)
            kind = "exact" if isinstance(run.model, Explicit) and run.model.density is Density.EXACT else "approximate"
        elif self.method in ("hmc", "map"):
            x, level = self._walked(y, given, n, seed)
            every = getattr(run.model, "lossless", False) or isinstance(run.model, NormalComponents)
            kind = "point" if self.method == "map" else "exact" if every else "approximate"
        elif self.method == "exact":
            assert isinstance(run.model, NormalComponents)
            x, deviation = exact_draws(self._problem(y), run.model, given, n, seed)
            level = None if deviation is None else deviation.numpy()
            kind = "exact"
        else:
            x, evaluations, level = self._guided(y, given, n, seed)
            kind = METHODS[self.method].draws
        return Drawn(x, kind, evaluations, level)

    def _condition(self, m: int, seed: int) -> Any:
        """Conditions of m measurements as events. Denoisers do without where none is given."""
        if self.run.conditioning is None:
            return None
        if self.condition is None and self.method in METHODS:
            return None
        return self.run.condition_events(self.condition, m, seed)

    def _problem(self, y: Tensor, unit: Tensor | float = 1.0) -> Problem:
        view, event = self.run.representation, self.run.model.event
        assert not isinstance(event, dict)
        tiled = self.operator.shape != item_shape(self.run)
        shape = self.operator.shape if tiled else event.shape
        return Problem(
            self.operator, self.noise, flat(y), shape, lambda z: view.real(z * unit), view.straight,
            torch.ones(len(y), 1, device=y.device),
        )  # fmt: skip

    def _guided(self, y: Tensor, given: Any, n: int, seed: int) -> tuple[Tensor, int, np.ndarray | None]:
        model = self.run.model
        assert isinstance(model, Denoising)
        if self.operator.shape != item_shape(self.run):
            model = Tiled(model, self.operator.shape)
        whole = self._problem(y, model.spread)
        wide = PLACES // math.prod(self.operator.shape)
        group = max(1, (ROWS if y.device.type == "cpu" else min(max(ROWS, wide), MOST)) // n)
        parts, count, found_levels = [], 0, []
        for at in blocks(len(y), group):
            rows = torch.arange(len(y), device=y.device)[at].repeat_interleave(n)
            streams = Streams(seed, len(rows), device=y.device)
            streams.ids = (rows << 20) + torch.arange(n, device=y.device).repeat(len(rows) // n)
            part = whole.rows(rows)
            if whole.noise.unknown:
                part = part.at_level(part.y.std(1, keepdim=True).clamp(min=1e-3))
            walk = Walker(part, model, None if given is None else select(given, rows), streams, n)
            drawn = METHODS[self.method].run(walk, self.options) * model.spread
            learned = isinstance(model.event, Bounded) and not isinstance(self.run.model, NormalComponents)
            parts.append(drawn.clamp(-1, 1) if learned else drawn)  # guidance may lead beyond what items can be
            count = walk.count
            found_levels.append(walk.problem.level[:, 0])
        level = torch.cat(found_levels).reshape(-1, n).mean(1).cpu().numpy() if whole.noise.unknown else None
        return torch.cat(parts), count, level

    def _walked(self, y: Tensor, given: Any, n: int, seed: int) -> tuple[Tensor, np.ndarray | None]:
        """Events (m · n, *event) by a walk through codes or items, see `spaces`, and levels of noise as found (m,)."""
        model, view = self.run.model, self.run.representation
        unknown_level = self.noise.unknown
        by_items = isinstance(model, NormalComponents) or (self.method == "hmc" and dear_codes(model))
        out, levels = [], []
        whole: Space | None = None  # that of all measurements
        for i in range(len(y)):
            condition = None if given is None else select(given, slice(i, i + 1))
            space = whole or self._space(condition, by_items, seed)
            if by_items and condition is None:
                whole = space
            at, d = space, space.d
            one = Problem(
                self.operator, self.noise, flat(y[i : i + 1]), (d,),
                lambda z, at=at: view.real(at.event(z)), False, torch.ones(1, 1, device=y.device),
            )  # fmt: skip

            def fit(z: Tensor, one: Problem = one, d: int = d) -> Tensor:
                problem = one.at_level(z[:, d:].exp()) if unknown_level else one
                return problem.log_likelihood(z[:, :d])

            def prior(z: Tensor, at: Space = at, d: int = d) -> Tensor:
                value = at.log_prior(z[:, :d])
                return value - 0.5 * ((z[:, d] - START) / WIDE).square() if unknown_level else value

            count = max(n, PARTICLES) if self.method == "hmc" else n
            streams = Streams(seed, count, first=i << 20, device=y.device)
            start = at.start(streams)
            if unknown_level:
                start = torch.cat((start, START + WIDE * streams.normal(1)), 1)
            if self.method == "hmc":
                z, _ = annealed(start, prior, fit, n, streams, **self.options)
            else:
                z = found(start, lambda z: prior(z) + fit(z), **self.options)
                z = z[(prior(z) + fit(z)).argsort(descending=True)]
            levels.append(float(z[:, d].exp().mean()) if unknown_level else 0.0)
            with torch.no_grad():
                out.append(at.event(z[:, :d]))
        return torch.cat(out), np.array(levels) if unknown_level else None

    def _space(self, condition: Any, by_items: bool, seed: int) -> Space:
        """Where to walk for one measurement."""
        model = self.run.model
        if by_items:
            assert isinstance(model, Explicit)
            return Whitened(model, condition, seed, self.run.device)
        assert isinstance(model, Decoding)
        return Codes(model, condition)

    def restored(self, y: Tensor, found: Drawn, n: int) -> Restoration:
        """What draws mean for items and measurements."""
        view, x, level = self.run.representation, found.x, found.level
        y = y.to(self.run.device)
        real = view.real(x)
        residual = self._residual(y, real, n, level)
        if float(np.median(residual)) > FAR:
            warnings.warn(
                f"draws by {self.method} are {np.median(residual):.3g} deviations of the noise from their measurement "
                "(1 is right): compare the noise, the operator and the units of y (pictures are 0 to 1), or take "
                "more steps",
                stacklevel=4,
            )
        shown = self.operator.shown(y) if self.operator.linear or not y.is_complex() else y.abs()
        levels = getattr(view, "levels", 0)
        return Restoration(
            real.reshape(-1, n, *real.shape[1:]).cpu().numpy().astype(np.float32),
            self.in_data_space(x),
            shown.detach().cpu().numpy(),
            residual,
            self.method,
            found.kind,
            found.evaluations,
            1 / (levels - 1) if levels > 1 else 0.0,
            level,
        )

    def in_data_space(self, x: Tensor) -> Any:
        """Events (k, *event) as items."""
        view = self.run.representation
        raw = view.decode(x.round().long() if isinstance(view.event, Discrete) and x.is_floating_point() else x)
        return view.items(raw.cpu())

    def _residual(self, y: Tensor, real: Tensor, n: int, level: np.ndarray | None) -> np.ndarray:
        rows = flat(y).repeat_interleave(n, 0)
        seen = torch.cat([flat(self.operator.forward(part)) for part in real.split(ROWS)])
        scale = self.noise.deviation(rows)
        if level is not None:
            scale = torch.from_numpy(level).float().to(y.device).repeat_interleave(n)[:, None]
        elif self.noise.unknown:
            scale = torch.ones_like(scale)
        off = ((rows - seen) / scale).square()
        empty = ((rows == 0) & (seen == 0)).all(0)  # masked, by physics of another library
        off = off if bool(empty.all()) else off[:, ~empty]
        return np.asarray(off.mean(1).sqrt().reshape(-1, n).cpu().numpy())


def check_draws(n: int, y: Tensor | None) -> None:
    """Refuse draws of no number or without measurements."""
    check_value("n", n, Draws)
    if y is None:
        raise UsageError("measurements are missing: pass y")


def check_counts(y: Tensor) -> None:
    """Refuse measurements that no Poisson noise can have made."""
    if y.is_complex():
        raise UsageError("Poisson noise is of real measurements (these are complex): state a deviation")
    if bool((y < -1e-3).any()):
        raise DataError(f"Poisson measurements must be at least 0 (got {float(y.min()):.3g}): state a deviation")


def item_shape(run: Artifact) -> tuple[int, ...]:
    """The shape of the items of a run as real tensors, which operators take.

    Raises:
        Unsupported: its items are no real numbers.
    """
    event = run.representation.event
    if isinstance(event, dict):
        raise Unsupported(f"{run.representation.kind} items have several parts: choose a view of real numbers")
    x = torch.zeros(1, *event.shape, dtype=torch.int64 if isinstance(event, Discrete) else torch.float32)
    with torch.no_grad():
        return tuple(run.representation.real(x.to(run.device)).shape[1:])


def real_items(run: Artifact, items: Any) -> Tensor:
    """Items in data space as the real tensors (n, *shape) that operators take."""
    values = items.values if isinstance(items, Items) else items
    with torch.no_grad():
        raw = run.representation.tensor(run.representation.as_batch(values)).to(run.device)
        return (
            run.representation.real(run.representation.events(raw, Still(0, len(raw), device=run.device))).float().cpu()
        )


def measured(operator: Operator, noise: Noise, x: Tensor, seed: int) -> Tensor:
    """Measurements (n, *out) of real items, with noise."""
    with torch.no_grad():
        clean = operator.forward(x)
        if noise.gain is not None:
            check_counts(clean)
        real = flat(clean)
        noisy = noise.added(real, Streams(seed, len(x)).normal(real.shape[1]), seed)
    if clean.is_complex():
        return torch.view_as_complex(noisy.reshape(*clean.shape, 2).contiguous())
    return noisy.reshape(clean.shape)
