"""Draws: the same seed the same samples, whatever the batch; valid items; a condition that matters."""

from collections.abc import Iterator

import numpy as np
import torch

from pofx.artifact import Artifact
from pofx.core.errors import DataError, PofxError
from pofx.core.event import Discrete
from pofx.data.dataset import Dataset
from pofx.evaluate.checks.finding import Finding, N, comparable, finding
from pofx.evaluate.conditions import drawn


def _seeds(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    whole, again, other, part = comparable(
        *(
            drawn(artifact, dataset.test, 24, seed=s, batch_size=b).values
            for s, b in ((seed, 24), (seed, 24), (seed + 1, 24), (seed, 7))
        )
    )
    same = np.array_equal(whole, again) and not np.array_equal(whole, other)
    mend = "draw only from `generator` in `sample`"
    yield finding("seeds", "ok" if same else "failed", "equal seeds equal samples" if same else "they differ", mend)
    share = float(np.mean([np.allclose(a, b, atol=1e-3) if a.dtype.kind == "f" else bool(np.all(a == b)) for a, b in
                           zip(whole, part, strict=True)]))  # fmt: skip
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
    both = comparable(*(artifact.draw(N, label, seed=seed).values for label in labels))
    a, b = (values.reshape(N, -1).astype(float) for values in both)
    moved = float(np.abs(a.mean(0) - b.mean(0)).sum() / max(np.abs(a.std(0)).sum(), 1e-9))
    result = "ok" if moved > 0.05 else "warning"
    yield finding(
        "condition",
        result,
        f"labels {labels[0]} and {labels[1]} move the mean by {moved:.2f} spreads",
        "the label is ignored",
    )


CHECKS = (_seeds, _support, _condition)
