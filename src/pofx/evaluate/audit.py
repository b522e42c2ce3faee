"""A doctor for a trained artifact: each finding is ok, warning or failed, with what was seen and the mend.

Checks ask only what the contract promises, so every family takes the same examination; one that does not apply is left
out. Numbers of items are small: the whole takes seconds.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from pofx.artifact import Artifact
from pofx.core.errors import PofxError
from pofx.core.event import Continuous, Discrete, dims
from pofx.core.model import Density, Encoding, Explicit
from pofx.data.dataset import Dataset, take
from pofx.evaluate.features import fit_spaces
from pofx.evaluate.metrics.near_copy import near_copies

N = 200  # items that most checks look at
Finding = dict[str, str]


def audit(artifact: Artifact, dataset: Dataset, *, seed: int = 0) -> list[Finding]:
    """Examine an artifact against the data it was trained on.

    Returns:
        Rows {"check", "result": "ok" | "warning" | "failed", "seen", "mend"}.
    """
    checks: list[Callable[[Artifact, Dataset, int], Iterator[Finding]]] = [
        _seeds,
        _support,
        _density,
        _normalisation,
        _gap,
        _codes,
        _condition,
        _spread_and_copies,
    ]
    found: list[Finding] = []
    for check in checks:
        try:
            found += check(artifact, dataset, seed)
        except PofxError as error:
            found.append(_finding(check.__name__.strip("_"), "failed", str(error), "see the message"))
    return found


def _finding(check: str, result: str, seen: str, mend: str = "") -> Finding:
    return {"check": check, "result": result, "seen": seen, "mend": "" if result == "ok" else mend}


def _arrays(values: Any) -> np.ndarray:
    return values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)


def _comparable(*drawn: Any) -> list[np.ndarray]:
    """Several draws as arrays of one shape: clips of sound are padded with a value that none holds."""
    if not isinstance(drawn[0], list) or not isinstance(drawn[0][0], np.ndarray):
        return [_arrays(values) for values in drawn]
    longest = max(len(clip) for clips in drawn for clip in clips)
    return [np.stack([np.pad(c, (0, longest - len(c)), constant_values=2.0) for c in clips]) for clips in drawn]


def _seeds(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    whole, again, other, part = _comparable(
        *(artifact.sample(24, seed=s, batch_size=b) for s, b in ((seed, 24), (seed, 24), (seed + 1, 24), (seed, 7)))
    )
    same = np.array_equal(whole, again) and not np.array_equal(whole, other)
    mend = "draw only from `generator` in `sample`"
    yield _finding("seeds", "ok" if same else "failed", "equal seeds equal samples" if same else "they differ", mend)
    share = float(np.mean([np.allclose(a, b, atol=1e-3) if a.dtype.kind == "f" else (a == b).all() for a, b in
                           zip(whole, part, strict=True)]))  # fmt: skip
    result = "ok" if share > 0.9 else "failed"
    yield _finding("batch size", result, f"{share:.0%} of samples unchanged by the batch size", "couple no items")


def _support(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    values = artifact.sample(N, seed=seed)
    try:
        artifact.representation.tensor(values)
        yield _finding("support", "ok", f"{N} samples are valid items")
    except PofxError as error:
        yield _finding("support", "failed", str(error), "the model's samples leave the data space")


def _density(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    if artifact.density is Density.NONE:
        return
    test = take(dataset.test, np.arange(min(N, len(dataset.test))))
    given = test.labels if artifact.model.condition is not None else None
    scored = artifact.score(test.values, given)
    bad = int((~np.isfinite(scored.value)).sum())
    result = "ok" if not bad else "failed"
    yield _finding("finite density", result, f"{bad} of {len(test)} test items are not finite", "bound the scales")
    drawn = artifact.sample(len(test), given, seed=seed)
    own = artifact.score(drawn, given).value
    spread = np.hypot(own.std(), scored.value.std()) / len(test) ** 0.5
    z = float((scored.value.mean() - own.mean()) / max(spread, 1e-9))
    seen = f"test items score {scored.value.mean():.2f}, own samples {own.mean():.2f} {scored.unit}"
    ok = z > -4 or artifact.density is Density.RELATIVE
    mend = "test items look unlikely to the model: it overfits or is trained too briefly"
    yield _finding("sample then score", "ok" if ok else "warning", f"{seen} (z {z:.1f})", mend)


def _normalisation(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    model, event = artifact.model, artifact.model.event
    if not isinstance(model, Explicit) or model.condition is not None or model.density < Density.ESTIMATE:
        return
    with torch.inference_mode():
        if isinstance(event, Discrete) and event.classes ** dims(event) <= 4096:
            digits = torch.arange(event.classes ** dims(event))
            places = event.classes ** torch.arange(dims(event))
            x = (digits[:, None] // places % event.classes).reshape(-1, *event.shape).to(artifact.device)
            total = float(model.log_prob(x).double().exp().sum())
        elif isinstance(event, Continuous) and dims(event) == 2:
            axis = torch.linspace(-8, 8, 161)
            x = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, *event.shape)
            total = float(model.log_prob(x.to(artifact.device)).double().exp().sum() * (axis[1] - axis[0]) ** 2)
        else:
            return
    good = total < 1.02 and (model.density is Density.BOUND or total > 0.97)
    yield _finding(
        "normalisation", "ok" if good else "failed", f"the density sums to {total:.4f}", "see the family's laws"
    )


def _gap(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    if artifact.density is Density.NONE:
        return
    means, errors = [], []
    for items in (dataset.train, dataset.test):
        part = take(items, np.arange(min(N, len(items))))
        values = artifact.score(part.values, part.labels if artifact.model.condition is not None else None).value
        means.append(float(values.mean()))
        errors.append(float(values.std()) / len(part) ** 0.5)
    gap = means[0] - means[1]
    share = gap / max(abs(means[1]), 1e-9)
    warned = gap > 4 * float(np.hypot(*errors)) and share > 0.05
    seen = f"train {means[0]:.2f}, test {means[1]:.2f}: {gap:.2f} apart ({share:.1%})"
    yield _finding("train-test gap", "warning" if warned else "ok", seen, "overfitted: smaller net, dropout, more data")


def _codes(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    if not isinstance(artifact.model, Encoding):
        return
    test = take(dataset.test, np.arange(min(64, len(dataset.test))))
    given = test.labels if artifact.model.condition is not None else None
    raw = artifact.representation.tensor(test.values).double().flatten(1)
    back = artifact.representation.tensor(artifact.reconstruct(test.values, given)).double().flatten(1)
    error = float((raw - back).square().mean() / raw.var().clamp(min=1e-12))
    exempt = "reconstruction" in artifact.model.exempt
    result = "ok" if error < (0.5 if exempt else 1e-3) else "warning"
    yield _finding("reconstruction", result, f"decode(encode(x)) misses {error:.2%} of the variance", "larger code")


def _condition(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    event = artifact.model.condition
    if not isinstance(event, Discrete) or event.shape or event.classes < 2:
        return
    drawn = _comparable(*(artifact.sample(N, c, seed=seed) for c in (0, 1)))
    a, b = (values.reshape(N, -1).astype(float) for values in drawn)
    moved = float(np.abs(a.mean(0) - b.mean(0)).sum() / max(np.abs(a.std(0)).sum(), 1e-9))
    result = "ok" if moved > 0.05 else "warning"
    yield _finding("condition", result, f"labels 0 and 1 move the mean by {moved:.2f} spreads", "the label is ignored")


def _spread_and_copies(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    space = fit_spaces(dataset.train, ["pca"], seed=seed)[0]
    n = min(500, max(len(dataset.test), 50))
    drawn, real = space(artifact.sample(n, seed=seed)), space.of(dataset.test)[:n]
    ratio = float(drawn.std(0).mean() / max(real.std(0).mean(), 1e-12))
    result = "ok" if 0.7 < ratio < 1.4 else "warning"
    yield _finding("spread", result, f"samples spread {ratio:.2f} × as wide as test items", "collapse, or noise")
    copied = near_copies(drawn, space.of(dataset.test), space.of(dataset.train))
    result = "warning" if copied["p"] < 0.01 else "ok"
    seen = f"near-copy p {copied['p']:.3g}, {copied['exact']} exact copies of training items"
    yield _finding("memorisation", result, seen, "the model copies training items: train it less, or on more data")
