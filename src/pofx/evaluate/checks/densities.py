"""Densities: finite, normalised, agreeing with draws, as good on held-out items, causal, falling far from all data."""

from collections.abc import Iterator

import numpy as np
import torch

from pofx.artifact import Artifact
from pofx.core.event import Continuous, Discrete, dims, each
from pofx.core.model import Density, Explicit, Factored
from pofx.core.random import Streams
from pofx.data.dataset import Dataset
from pofx.evaluate.checks.finding import Finding, affordable, finding, some

PROBED = 24  # dimensions that are moved to see which terms follow
FAR = (10.0, 1e3)  # where tails are looked at, in spreads of the events


def _density(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    if artifact.density is Density.NONE:
        return
    test = affordable(artifact, dataset.test, seed)
    given = test.condition if artifact.model.condition is not None else None
    scored = artifact.score(test.values, given)
    bad = int((~np.isfinite(scored.value)).sum())
    result = "ok" if not bad else "failed"
    yield finding("finite density", result, f"{bad} of {len(test)} test items are not finite", "bound the scales")
    own = artifact.score(artifact.draw(len(test), given, seed=seed).values, given).value
    spread = np.hypot(own.std(), scored.value.std()) / len(test) ** 0.5
    z = float((scored.value.mean() - own.mean()) / max(spread, 1e-9))
    seen = f"test items score {scored.value.mean():.2f}, own samples {own.mean():.2f} {scored.unit}"
    ok = z > -4 or artifact.density is Density.RELATIVE
    mend = "test items look unlikely to the model: it overfits or is trained too briefly"
    yield finding("sample then score", "ok" if ok else "warning", f"{seen} (z {z:.1f})", mend)


def _normalisation(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    model, event = artifact.model, artifact.model.event
    if not isinstance(model, Explicit) or model.condition is not None or model.density < Density.ESTIMATE:
        return
    with torch.inference_mode():
        if isinstance(event, Discrete) and event.largest ** dims(event) <= 4096:
            digits = torch.arange(event.largest ** dims(event))
            places = event.largest ** torch.arange(dims(event))
            x = (digits[:, None] // places % event.largest).reshape(-1, *event.shape).to(artifact.device)
            total = float(model.log_prob(x).double().exp().sum())
        elif isinstance(event, Continuous) and dims(event) == 2:
            axis = torch.linspace(-8, 8, 161)
            x = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, *event.shape)
            total = float(model.log_prob(x.to(artifact.device)).double().exp().sum() * (axis[1] - axis[0]) ** 2)
        else:
            return
    good = total < 1.02 and (model.density is Density.BOUND or total > 0.97)
    yield finding(
        "normalisation", "ok" if good else "failed", f"the density sums to {total:.4f}", "see the family's laws"
    )


def _gap(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    if artifact.density is Density.NONE:
        return
    means, errors = [], []
    for items in (dataset.train, dataset.test):
        part = affordable(artifact, items, seed)
        values = artifact.score(part).value
        means.append(float(values.mean()))
        errors.append(float(values.std()) / len(part) ** 0.5)
    gap = means[0] - means[1]
    share = gap / max(abs(means[1]), 1e-9)
    warned = gap > 4 * float(np.hypot(*errors)) and share > 0.05
    seen = f"train {means[0]:.2f}, test {means[1]:.2f}: {gap:.2f} apart ({share:.1%})"
    yield finding("train-test gap", "warning" if warned else "ok", seen, "overfitted: smaller net, dropout, more data")


@torch.inference_mode()
def _causality(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    """Moving dimension j may change the term of d, or moving d that of j, but never in a circle."""
    model, event = artifact.model, artifact.model.event
    if not isinstance(model, Factored) or not isinstance(event, Discrete) or event.largest < 2:
        return
    one = some(dataset.test, 1, seed)
    x = artifact.representation.encode(artifact.representation.tensor(one.values), Streams(seed, 1))[0]
    condition = artifact.condition_events(one.condition, 1, seed)
    order = torch.randperm(dims(event), generator=torch.Generator().manual_seed(seed))
    probed = order[:PROBED].sort().values
    moved = x.flatten(1).repeat(len(probed) + 1, 1)
    rows = torch.arange(1, len(probed) + 1)
    moved[rows, probed] = (moved[rows, probed] + 1) % event.largest
    given = None if condition is None else each(condition, lambda v: v.expand(len(moved), *v.shape[1:]))
    moved = moved.reshape(len(moved), *event.shape).to(artifact.device)
    terms = model.log_prob_terms(moved, given).double().flatten(1)[:, probed]
    known = torch.isfinite(terms).all(0)  # places after an end have no terms to compare
    changed = ((terms[1:] - terms[0]).abs() > 1e-4) & known
    changed.fill_diagonal_(False)
    left = list(range(len(probed)))
    while left:  # take away what nothing left depends on, until nothing is left or only circles are
        free = [d for d in left if not changed[d][left].any()]
        if not free:
            break
        left = [d for d in left if d not in free]
    seen = f"{int(changed.sum())} of {len(probed) * (len(probed) - 1)} pairs of dimensions depend, "
    seen += "in an order" if not left else f"{len(left)} of them in circles"
    mend = "a conditional sees what comes after it: its log p is no density"
    yield finding("causality", "failed" if left else "ok", seen, mend)


@torch.inference_mode()
def _tails(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    model, event = artifact.model, artifact.model.event
    if not isinstance(model, Explicit) or type(event) is not Continuous or model.condition is not None:
        return
    few = some(dataset.test, 20, seed)
    x = artifact.representation.encode(artifact.representation.tensor(few.values), Streams(seed, len(few)))[0]
    x = x.to(artifact.device)
    inside = float(model.log_prob(x).mean())
    spread = float(x.std().clamp(min=1e-6))
    direction = torch.sign(torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))).to(x)
    far = [model.log_prob(direction * spread * k) for k in FAR]
    if any(bool((torch.isnan(f) | (f == torch.inf)).any()) for f in far):
        yield finding("tails", "failed", "log p far away is not a number, or infinite", "bound the scales of the net")
        return
    high = [k for k, f in zip(FAR, far, strict=True) if float(f.max()) > inside]
    seen = f"log p {inside:.1f} at the data, at most {', '.join(f'{float(f.max()):.3g}' for f in far)} "
    seen += f"at {', '.join(f'{k:g}' for k in FAR)} spreads"
    mend = "points far from all data are called likely: do not use it to detect anomalies"
    yield finding("tails", "warning" if high else "ok", seen, mend)


CHECKS = (_density, _normalisation, _causality, _tails, _gap)
