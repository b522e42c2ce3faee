"""Draws: the same seed the same samples, whatever the batch; valid items; a condition that matters."""

from collections.abc import Iterator

import numpy as np
import torch

from pofx.artifact import Artifact
from pofx.core.errors import DataError, PofxError
from pofx.core.event import Discrete
from pofx.data.dataset import Dataset
from pofx.data.kind import kind_of
from pofx.data.vectors import Vectors
from pofx.evaluate.checks.finding import Finding, N, finding
from pofx.evaluate.conditions import drawn


def _seeds(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    kind = kind_of(dataset.test)
    whole, again, other, part = (
        drawn(artifact, dataset.test, 24, seed=s, batch_size=b).values
        for s, b in ((seed, 24), (seed, 24), (seed + 1, 24), (seed, 7))
    )
    first = kind.exact_keys(whole)
    same, stirred = first == kind.exact_keys(again), first != kind.exact_keys(other)
    given = artifact.model.condition is not None  # a translation may draw nothing
    seen = "equal seeds equal samples" if same else "equal seeds, other samples"
    if same and not stirred:
        seen += "; so do other seeds" + (": samples follow from their conditions alone" if given else "")
    mend = "draw from `generator` in `sample`, and from nothing else"
    yield finding("seeds", "ok" if same and (stirred or given) else "failed", seen, mend)
    share = float(kind.same(whole, part).mean())
    result = "ok" if share > 0.9 else "failed"
    yield finding("batch size", result, f"{share:.0%} of samples unchanged by the batch size", "couple no items")


def _support(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    values = drawn(artifact, dataset.test, N, seed=seed).values
    try:
        artifact.representation.tensor(values)
        for reason in artifact.representation.impossible(values).values():
            raise DataError(reason)
        yield finding("support", "ok", f"{N} samples are valid items")
    except PofxError as error:
        yield finding("support", "failed", str(error), "the model's samples leave the data space")


def _condition(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    event, conditioning = artifact.model.condition, artifact.conditioning
    if conditioning is None or not isinstance(event, Discrete) or event.shape or event.largest < 2:
        return
    labels = conditioning.items(torch.arange(2))
    vectors = Vectors.fit(dataset.train)
    a, b = (vectors(artifact.draw(N, label, seed=seed).values).astype(np.float64) for label in labels)
    moved = float(np.abs(a.mean(0) - b.mean(0)).sum() / max(np.abs(a.std(0)).sum(), 1e-9))
    result = "ok" if moved > 0.05 else "warning"
    yield finding(
        "condition",
        result,
        f"labels {labels[0]} and {labels[1]} move the mean by {moved:.2f} spreads",
        "the label is ignored",
    )


CHECKS = (_seeds, _support, _condition)
