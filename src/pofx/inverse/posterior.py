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
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pofx.artifact import Artifact, run_of
from pofx.core.errors import DataError, Unsupported, unknown
from pofx.core.event import Continuous, Discrete
from pofx.core.generative import Decoding, NormalComponents
from pofx.core.model import Completing, Denoising, Explicit, Infilling
from pofx.core.options import checked
from pofx.inverse.each import STRIDE, EachPosterior, each_of, has_gaps, in_numbers, known_parts, several_of
from pofx.inverse.item_posterior import ItemPosterior, check_counts, item_shape, measured, real_items
from pofx.inverse.latent import MOVES, RATE, STEPS
from pofx.inverse.methods import METHODS, check_options
from pofx.inverse.noise import USUAL, Noise, stated_noise
from pofx.inverse.operator import Operator
from pofx.inverse.operators.grid import Mask
from pofx.inverse.operators.named import operator_of
from pofx.inverse.operators.projection import Matrix
from pofx.inverse.problem import decomposable, flat
from pofx.inverse.tiled import Tiled

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


@checked
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
) -> ItemPosterior | EachPosterior:
    """The posterior of the items behind measurements y = A(x) + noise, with a trained run as the prior.

    Items are real numbers here: pictures from 0 to 1, channels first; points and tables in their units.

    Args:
        run: an `Artifact`, or the folder of one.
        y: measurements (n, *out), real or complex; numbers that are NaN are unknown, whatever the operator. None where
            they come later, by `at` or `check`.
        operator: by name (denoise, inpaint, superres, grey, blur, motion, sensing, mri, tomography, phase), an
            `Operator`, a matrix, dense or sparse, a linear operator of scipy or pylops, an object with `A` and
            `A_adjoint` (as in deepinv), any differentiable function of tensors, or a linear
            one of numpy's arrays; a list of these, one for each measurement.
        noise: the deviation of Gaussian noise, "unknown", or "poisson(gain)"; None is that of a physics object which
            states it, else 0.05.
        method: how to draw; "auto" chooses by what the model can do.
        condition: of conditional models, one for all measurements or one for each.
        operator_options: of an operator that is given by its name; an array with an axis more (masks (n, height,
            width), kernels, coils, matrices) has an entry for each measurement.
        options: of the method.
        shape: of the items, where they are larger than those of the run, a diffusion or `gmm` of patches.

    Raises:
        Unsupported: no method fits this model and measurement; the message names models that do.
        UsageError: an unknown operator, method or option.
        DataError: measurements of another shape than the operator's.
    """
    artifact, options_of = run_of(run), dict(operator_options or {})
    operator = np.asarray(operator) if in_numbers(operator) else operator
    several = each_of(operator, options_of, item_shape(artifact) if shape is None else shape)
    if several is not None:

        def make(one: Any, its: dict[str, Any], y: Any, condition: Any) -> ItemPosterior:
            return _of_one(artifact, y, one, noise, method, condition, its, options, shape)

        return several_of(make, *several, y, condition)
    if y is not None and has_gaps(y):
        holes = isinstance(operator, str) and operator == "inpaint" and not options_of  # that are the mask
        whole = operator_of("denoise" if holes else operator, _shape_for(artifact, operator, shape), options_of)
        noise = stated_noise(operator) if noise is None else noise
        made, rows, y = known_parts(whole, y)

        def known(one: Any, its: dict[str, Any], y: Any, condition: Any) -> ItemPosterior:
            return _of_one(artifact, y, one, noise, method, condition, its, options, shape)

        if len(made) == 1:
            return known(made[0], {}, y, condition)
        return several_of(known, [(one, {}) for one in made], rows, y, condition)
    return _of_one(artifact, y, operator, noise, method, condition, options_of, options, shape)


def _of_one(
    artifact: Artifact, y: Any, operator: Any, noise: Any, method: str, condition: Any,
    operator_options: Mapping[str, Any], options: Mapping[str, Any] | None, shape: Sequence[int] | None,
) -> ItemPosterior:  # fmt: skip
    """The posterior of measurements of one operator."""
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
        check_counts(made.forward(torch.zeros(1, *made.shape)) if y is None else made.taken(y))
    taken, chosen = None if y is None else made.taken(y), able[0] if method == "auto" else method
    check_options(chosen, options or {}, OTHERS[chosen] if chosen in OTHERS else METHODS[chosen].options)
    return ItemPosterior(artifact, made, level, taken, chosen, condition, dict(options or {}))


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
    if isinstance(model, NormalComponents) and isinstance(event, Continuous):
        found.append("hmc")
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


@checked
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
        operator: as in `posterior`; of another operator for each item the measurements are a list, of another mask
            they are whole items that are NaN where nothing is known.
        noise: as in `posterior`.
        operator_options: as in `posterior`.
        seed: of the noise.
    """
    artifact = run_of(run)
    operator = np.asarray(operator) if in_numbers(operator) else operator
    truth, shape, its = real_items(artifact, items), item_shape(artifact), dict(operator_options or {})
    several = each_of(operator, its, shape)
    if several is None:
        return _measured(operator, its, shape, truth, noise, seed).numpy(), truth.numpy()
    made, rows = several
    if sum(len(one) for one in rows) != len(truth):
        raise DataError(f"there must be an item for each of {sum(map(len, rows))} operators (got {len(truth)})")
    found: list[Any] = [None] * len(truth)
    for k, ((one, own), at) in enumerate(zip(made, rows, strict=True)):
        y = _measured(one, own, shape, truth[at], noise, seed + STRIDE * k)
        known = operator_of(one, shape, own)
        if isinstance(known, Mask):
            whole = torch.full((len(y), *shape), torch.nan)
            whole[:, known.mask] = y
            y = whole
        for i, value in zip(at, y.numpy(), strict=True):
            found[i] = value
    alike = len({value.shape for value in found}) == 1
    return (np.stack(found) if alike else found), truth.numpy()  # type: ignore[return-value]


def _measured(
    operator: Any, options: Mapping[str, Any], shape: tuple[int, ...], truth: Tensor, noise: Any, seed: int
) -> Tensor:
    level = Noise.of(stated_noise(operator) if noise is None else noise)
    if level.unknown:
        raise DataError("noise must be known to simulate it: state its deviation")
    return measured(operator_of(operator, shape, options), level, truth, seed)
