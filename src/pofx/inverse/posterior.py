"""From y back to x: p(item | measurement) with a trained run as the prior, by what its model can do.

| the model | and the measurement | how |
|---|---|---|
| a mixture of normals on an affine view | linear, Gaussian noise | exact, in closed form |
| completes parts of classes | a mask, no noise | exact for models of any subset, by `complete` |
| a denoiser | any | guided sampling, see `methods`; of pictures larger than those of the run patch by patch |
| draws by decoding a code, with a density | any | annealed particles with Hamiltonian moves over codes |
| draws by decoding a code, without one | any | descent to modes from several starts |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pofx.artifact import Artifact, run_of
from pofx.core.entry import float32
from pofx.core.errors import DataError, Unsupported, UsageError, unknown
from pofx.core.event import Bounded, Discrete, dims, select
from pofx.core.generative import Decoding, NormalComponents
from pofx.core.items import Items
from pofx.core.model import Completing, Denoising, Explicit, Infilling, Marginal
from pofx.core.random import Still, Streams
from pofx.inverse.exact import completed, exact_draws
from pofx.inverse.latent import MOVES, RATE, STEPS, annealed, found
from pofx.inverse.methods import METHODS, check_options
from pofx.inverse.noise import USUAL, Noise, stated_noise
from pofx.inverse.operator import Operator
from pofx.inverse.operators.grid import Mask
from pofx.inverse.operators.named import operator_of
from pofx.inverse.operators.projection import Matrix
from pofx.inverse.problem import Problem, decomposable, flat
from pofx.inverse.restoration import Check, Restoration, checked
from pofx.inverse.tiled import Tiled
from pofx.inverse.walk import Walker

PUBLIC = ("measure", "posterior")

# the methods of denoisers by measurement, chosen in docs/benchmarks.md
LINEAR, MIXING, OTHER = "pigdm", "mmps", "split-gibbs"
OTHERS: Mapping[str, Mapping[str, Any]] = {  # the other methods, with their options
    "exact": {},
    "complete": {},
    "hmc": {"moves": MOVES},
    "map": {"steps": STEPS, "rate": RATE},
}
SPREAD = 0.3  # share of the columns of a matrix that a row sees, from which on it mixes all places
LEAST = 19  # draws behind intervals of 90 %
ROWS = 256  # of a batch of guided sampling
PARTICLES = 128  # of annealing, at least
START, WIDE = -2.0, 1.5  # mean and deviation of the logarithm of an unknown deviation of the noise, for `hmc`


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
        if n < 1:
            raise UsageError(f"n must be at least 1 (got {n})")
        if self.y is None:
            raise UsageError("measurements are missing: pass y")
        with float32(), torch.no_grad():
            return self._sampled(self.y, int(n), int(seed))

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
        if draws < LEAST:
            raise UsageError(f"draws must be at least {LEAST}, for intervals of 90 % (got {draws}): pass draws={LEAST}")
        truth = real_items(self.run, items)
        if tuple(truth.shape[1:]) != self.operator.shape:
            raise DataError(f"held-out items must have the operator's shape {self.operator.shape} (got {truth.shape})")
        y = measured(self.operator, self.noise, truth, seed + 1)
        return checked(self.at(y).sample(draws, seed=seed), truth.numpy())

    def _sampled(self, y: Tensor, n: int, seed: int) -> Restoration:
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
            kind = "exact" if isinstance(run.model, Marginal | Completing) else "approximate"
        elif self.method in ("hmc", "map"):
            x, level = self._codes(y, given, n, seed)
            kind = "point" if self.method == "map" else "exact" if getattr(run.model, "lossless", 0) else "approximate"
        elif self.method == "exact":
            assert isinstance(run.model, NormalComponents)
            x, deviation = exact_draws(self._problem(y), run.model, given, n, seed)
            level = None if deviation is None else deviation.numpy()
            kind = "exact"
        else:
            x, evaluations, level = self._guided(y, given, n, seed)
            kind = METHODS[self.method].draws
        return self._restoration(y, x, n, kind, evaluations, level)

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
        group = max(1, ROWS // n)
        parts, count, found_levels = [], 0, []
        for first in range(0, len(y), group):
            rows = torch.arange(first, min(first + group, len(y)), device=y.device).repeat_interleave(n)
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

    def _codes(self, y: Tensor, given: Any, n: int, seed: int) -> tuple[Tensor, np.ndarray | None]:
        model, view = self.run.model, self.run.representation
        assert isinstance(model, Decoding) and not isinstance(model.code, dict)
        d, unknown_level = dims(model.code), self.noise.unknown
        out, levels = [], []
        for i in range(len(y)):
            condition = None if given is None else select(given, slice(i, i + 1))
            one = Problem(
                self.operator, self.noise, flat(y[i : i + 1]), (d,),
                lambda z, c=condition: view.real(self._decoded(z, c)), False, torch.ones(1, 1, device=y.device),
            )  # fmt: skip

            def fit(z: Tensor, one: Problem = one) -> Tensor:
                at = one.at_level(z[:, d:].exp()) if unknown_level else one
                return at.log_likelihood(z[:, :d])

            def prior(z: Tensor) -> Tensor:
                value = model.log_prior(z[:, :d])
                return value - 0.5 * ((z[:, d] - START) / WIDE).square() if unknown_level else value

            count = max(n, PARTICLES) if self.method == "hmc" else n
            streams = Streams(seed, count, first=i << 20, device=y.device)
            start = model.prior_codes(count, generator=streams).flatten(1)
            if unknown_level:
                start = torch.cat((start, START + WIDE * streams.normal(1)), 1)
            if self.method == "hmc":
                z, _ = annealed(start, prior, fit, n, streams, **self.options)
            else:
                z = found(start, lambda z: prior(z) + fit(z), **self.options)
                z = z[(prior(z) + fit(z)).argsort(descending=True)]
            levels.append(float(z[:, d].exp().mean()) if unknown_level else 0.0)
            with torch.no_grad():
                out.append(self._decoded(z[:, :d], condition))
        return torch.cat(out), np.array(levels) if unknown_level else None

    def _decoded(self, z: Tensor, condition: Any) -> Tensor:
        """The events of flat codes (n, d) under one condition."""
        model = self.run.model
        assert isinstance(model, Decoding) and not isinstance(model.code, dict)
        given = (
            None if condition is None else select(condition, torch.zeros(len(z), dtype=torch.int64, device=z.device))
        )
        return model.expected(z.reshape(len(z), *model.code.shape), given)  # type: ignore[no-any-return]

    def _restoration(
        self, y: Tensor, x: Tensor, n: int, kind: str, evaluations: int, level: np.ndarray | None
    ) -> Restoration:
        view = self.run.representation
        event = view.event
        real = view.real(x)
        residual = self._residual(y, real, n, level)
        raw = view.decode(x.round().long() if isinstance(event, Discrete) and x.is_floating_point() else x)
        shown = self.operator.shown(y) if self.operator.linear or not y.is_complex() else y.abs()
        levels = getattr(view, "levels", 0)
        return Restoration(
            real.reshape(-1, n, *real.shape[1:]).cpu().numpy().astype(np.float32),
            view.items(raw.cpu()),
            shown.detach().cpu().numpy(),
            residual,
            self.method,
            kind,
            evaluations,
            1 / (levels - 1) if levels > 1 else 0.0,
            level,
        )

    def _residual(self, y: Tensor, real: Tensor, n: int, level: np.ndarray | None) -> np.ndarray:
        rows = flat(y).repeat_interleave(n, 0)
        seen = torch.cat([flat(self.operator.forward(part)) for part in real.split(ROWS)])
        scale = self.noise.deviation(rows)
        if level is not None:
            scale = torch.from_numpy(level).float().to(y.device).repeat_interleave(n)[:, None]
        elif self.noise.unknown:
            scale = torch.ones_like(scale)
        return np.asarray(((rows - seen) / scale).square().mean(1).sqrt().reshape(-1, n).cpu().numpy())


def posterior(
    run: Any,
    y: Any = None,
    operator: Any = "denoise",
    noise: Any = None,
    *,
    method: str = "auto",
    condition: Any = None,
    operator_options: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    shape: Sequence[int] | None = None,
) -> ItemPosterior:
    """The posterior of the items behind measurements y = A(x) + noise, with a trained run as the prior.

    Items are real numbers here: pictures from 0 to 1, channels first; points and tables in their units.

    Args:
        run: an `Artifact`, or the folder of one.
        y: measurements (n, *out), real or complex; None where they come later, by `at` or `check`.
        operator: by name (denoise, inpaint, superres, grey, blur, motion, sensing, mri, tomography, phase), an
            `Operator`, a matrix, an object with `A` and `A_adjoint` (as in deepinv), or any differentiable function of
            tensors.
        noise: the deviation of Gaussian noise, "unknown", or "poisson(gain)"; None is that of a physics object which
            states it, else 0.05.
        method: how to draw; "auto" chooses by what the model can do.
        condition: of conditional models, one for all measurements or one for each.
        operator_options: of an operator that is given by its name.
        options: of the method.
        shape: of the items, where they are larger than those of the run, a diffusion or `gmm` of patches.

    Raises:
        Unsupported: no method fits this model and measurement; the message names models that do.
        UsageError: an unknown operator, method or option.
        DataError: measurements of another shape than the operator's.
    """
    artifact = run_of(run)
    made = operator_of(operator, _shape_for(artifact, operator, shape), operator_options)
    level = Noise.of(stated_noise(operator) if noise is None else noise)
    if made.linear is False and level.sigma == 0:
        level = Noise(1e-3)
    known = (*OTHERS, *METHODS)
    if method not in ("auto", *known):
        raise unknown("method", method, known)
    able = methods_for(artifact, made, level)
    whole = isinstance(made, Mask) and isinstance(artifact.model, Infilling | Completing) and level.sigma != 0
    if not able and whole and methods_for(artifact, made, Noise(0.0)):
        raise Unsupported(
            f"{artifact.name} completes exact values alone (got noise {noise or USUAL}): pass noise=0, or choose gmm "
            "with the view unit, flow-matching, a VAE or a flow"
        )
    if not able:
        raise Unsupported(
            f"{artifact.name} cannot be the prior of this measurement: choose gmm with the view unit, flow-matching, a "
            "VAE or a flow"
        )
    if method != "auto" and method not in able:
        raise Unsupported(f"{artifact.name} cannot use the method {method} here: choose {', '.join(able)}")
    if level.gain is not None:
        _check_counts(made.forward(torch.zeros(1, *made.shape)) if y is None else made.taken(y))
    taken, chosen = None if y is None else made.taken(y), able[0] if method == "auto" else method
    check_options(chosen, options or {}, OTHERS[chosen] if chosen in OTHERS else METHODS[chosen].options)
    return ItemPosterior(artifact, made, level, taken, chosen, condition, dict(options or {}))


def _check_counts(y: Tensor) -> None:
    """Refuse measurements that no Poisson noise can have made."""
    if y.is_complex():
        raise UsageError("Poisson noise is of real measurements (these are complex): state a deviation")
    if bool((y < -1e-3).any()):
        raise DataError(f"Poisson measurements must be at least 0 (got {float(y.min()):.3g}): state a deviation")


def methods_for(run: Artifact, operator: Operator, noise: Noise) -> tuple[str, ...]:
    """The methods that this run has for a measurement, the default first."""
    model, view, event = run.model, run.representation, run.model.event
    found: list[str] = []
    linear = operator.linear and view.straight
    whole = noise.gain is None and decomposable(operator.shape, flat(operator._blank).shape[1])
    usable = {name: one for name, one in METHODS.items() if whole or not one.decomposes}
    if operator.shape != item_shape(run):  # patch by patch: without gradients through all patches first
        names = [name for name, one in usable.items() if name != "diffpir" and (linear or not one.linear)]
        return ("diffpir", *names) if linear and not noise.unknown else ("split-gibbs", "daps")
    if isinstance(model, NormalComponents) and linear and noise.gain is None:
        found.append("exact")
    if isinstance(event, Discrete) and isinstance(operator, Mask) and isinstance(model, Infilling | Completing):
        if noise.sigma == 0:
            found.append("complete")
    if isinstance(model, Denoising):
        first = OTHER if not linear or noise.unknown else MIXING if mixing(operator) else LINEAR
        guided = [name for name, one in usable.items() if (linear or not one.linear) and name != first]
        found += [first, *(name for name in guided if not noise.unknown or name == "daps")]
    if isinstance(model, Decoding) and not isinstance(model.code, dict | Discrete):
        found += ["hmc", "map"] if isinstance(model, Explicit) else ["map", "hmc"]
    return tuple(found)


def mixing(operator: Operator) -> bool:
    """Whether each of few numbers sees all places, as random projections do: the share of the columns of a matrix that
    its rows spread over is that of random numbers, 2 / π, or near it."""
    if not isinstance(operator, Matrix) or operator.matrix.shape[0] >= operator.matrix.shape[1]:
        return False
    size = operator.matrix.abs().double()
    share = size.sum(1).square() / (size.shape[1] * size.square().sum(1)).clamp(min=1e-300)
    return bool(share.mean() > SPREAD)


def _shape_for(run: Artifact, operator: Any, stated: Sequence[int] | None = None) -> tuple[int, ...]:
    """The shape of items for an operator: that of the run's, or a larger one, patch by patch, which is stated or an
    `Operator`'s."""
    shape = item_shape(run)
    wanted = operator.shape if isinstance(operator, Operator) else shape if stated is None else tuple(stated)
    if wanted == shape:
        return shape
    if not isinstance(run.model, Denoising):
        if stated is None:
            return shape
        raise Unsupported(
            f"{run.name} restores items of its own shape {shape} alone (got {wanted}): choose a diffusion run or gmm "
            "with the view unit, whose patches cover larger ones"
        )
    Tiled(run.model, wanted)  # refuses other shapes
    return wanted


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
            _check_counts(clean)
        real = flat(clean)
        noisy = noise.added(real, Streams(seed, len(x)).normal(real.shape[1]), seed)
    if clean.is_complex():
        return torch.view_as_complex(noisy.reshape(*clean.shape, 2).contiguous())
    return noisy.reshape(clean.shape)


def measure(
    run: Any,
    items: Any,
    operator: Any = "denoise",
    noise: Any = None,
    *,
    operator_options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Simulated measurements of items (n, *out), and the items as the real numbers that were measured (n, *shape).

    Args:
        run: whose view of the items is used, an `Artifact` or a folder.
        items: in data space.
        operator: as in `posterior`.
        noise: as in `posterior`.
        operator_options: as in `posterior`.
        seed: of the noise.
    """
    artifact = run_of(run)
    level = Noise.of(stated_noise(operator) if noise is None else noise)
    if level.unknown:
        raise DataError("noise must be known to simulate it: state its deviation")
    truth = real_items(artifact, items)
    made = operator_of(operator, item_shape(artifact), operator_options)
    return measured(made, level, truth, seed).numpy(), truth.numpy()
