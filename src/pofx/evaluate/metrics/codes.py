"""Codes of items: is a simple reader better off with them than with principal components, or with an untrained encoder?

A logistic regression (its strength chosen on validation items) and a nearest-neighbour vote read the labels off the
codes; the same readers see as many principal components, and the codes of the encoder before training. The gain over
both is what the representation learned. `path_length` is how fast decoded items move along lines between codes, mean
squared distance in pixels, columns or letters per squared step (after Karras et al., 2020, arXiv 1912.04958), the
farthest 1 % on either side left out.
"""

import time
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int

from pofx.artifact import Artifact
from pofx.core import config
from pofx.core.errors import UsageError
from pofx.core.model import Encoding
from pofx.data.dataset import Dataset, take
from pofx.data.vectors import Vectors
from pofx.evaluate.metric import ArtifactMetric, Axis, Reading, ScoreInfo

STRENGTHS = (0.01, 0.1, 1.0, 10.0)
MOST = {"train": 2000, "validation": 500, "test": 1000}  # items that are encoded
LEAST = 100  # training items below which nothing is read
DIMS = 64  # components of codes that readers see, and of the items beside them


def linear_probe(
    train: tuple[Float[np.ndarray, "n d"], Int[np.ndarray, "n"]],
    validation: tuple[Float[np.ndarray, "v d"], Int[np.ndarray, "v"]],
    test: tuple[Float[np.ndarray, "m d"], Int[np.ndarray, "m"]],
) -> float:
    """The test accuracy of a logistic regression on standardised codes, its strength chosen on validation items."""
    from sklearn.linear_model import LogisticRegression

    middle, scale = train[0].mean(0), np.where(train[0].std(0) > 1e-9, train[0].std(0), 1)
    if len(set(train[1])) < 2:
        raise UsageError("a probe needs at least two classes among the training items")
    models = [LogisticRegression(C=c, max_iter=300).fit((train[0] - middle) / scale, train[1]) for c in STRENGTHS]
    best = max(models, key=lambda m: m.score((validation[0] - middle) / scale, validation[1]))
    return float(best.score((test[0] - middle) / scale, test[1]))


def neighbour_vote(
    train: tuple[Float[np.ndarray, "n d"], Int[np.ndarray, "n"]],
    test: tuple[Float[np.ndarray, "m d"], Int[np.ndarray, "m"]],
    k: int = 10,
) -> float:
    """The test accuracy of the vote of the k nearest training codes."""
    from sklearn.neighbors import KNeighborsClassifier

    return float(KNeighborsClassifier(min(k, len(train[0]))).fit(*train).score(*test))


def probes(codes: dict[str, dict[str, np.ndarray]], labels: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """The accuracies of both readers for every kind of codes.

    Args:
        codes: for each kind ("codes", "pca", "untrained") the arrays of the splits train, validation and test.
        labels: of the splits.

    Returns:
        {kind: {"linear", "neighbours", "stderr"}}; the standard error is that of a share of the test items.
    """
    found = {}
    for kind, of in codes.items():
        pairs = {split: (np.asarray(of[split], np.float64).reshape(len(of[split]), -1), labels[split]) for split in of}
        linear = linear_probe(pairs["train"], pairs["validation"], pairs["test"])
        vote = neighbour_vote(pairs["train"], pairs["test"])
        error = float(np.sqrt(max(linear * (1 - linear), 1e-4) / len(labels["test"])))
        found[kind] = {"linear": linear, "neighbours": vote, "stderr": error}
    return found


def path_length(before: Float[np.ndarray, "n d"], after: Float[np.ndarray, "n d"], step: float) -> tuple[float, float]:
    """The mean squared distance of items decoded `step` apart, over step², and its standard error, trimmed at 1 %."""
    moved = np.square(np.asarray(after, np.float64) - before).reshape(len(before), -1).sum(1) / step**2
    low, high = np.quantile(moved, (0.01, 0.99))
    kept = moved[(moved >= low) & (moved <= high)]
    return float(kept.mean()), float(kept.std(ddof=1) / np.sqrt(len(kept))) if len(kept) > 1 else float("nan")


class CodeProbe(ArtifactMetric):
    """`code_linear` and `code_neighbours`: what two readers get out of codes, beside principal components."""

    scores: ClassVar = {
        "code_linear": ScoreInfo(
            "higher",
            "Code probe",
            "accuracy of a linear classifier of the labels on the codes",
            "codes",
            headline=True,
            axis=Axis(
                "codes", "Codes", "labels read", "codes of items", "highest accuracy of a linear classifier", order=7
            ),
            writes="share",
        ),
        "code_neighbours": ScoreInfo(
            "higher", "Code kNN", "accuracy of a ten-nearest-neighbour classifier of the labels on the codes", "codes"
        ),
    }

    def read(self, artifact: Any, dataset: Dataset, *, seconds: float | int = 20.0, seed: int = 0) -> Reading:
        if not isinstance(artifact.model, Encoding) or artifact.model.condition is not None:
            return Reading({})  # given its label, a code may leave the label out
        if dataset.train.labels is None or len(set(dataset.train.labels)) < 2:
            return Reading({})
        first = take(dataset.train, np.random.default_rng(seed).permutation(len(dataset.train))[:20])
        start = time.perf_counter()
        artifact.encode(first)
        each = (time.perf_counter() - start) / len(first)
        share = min(1.0, seconds / max(each * sum(MOST.values()), 1e-9))
        generator = np.random.default_rng(seed)
        splits = {
            name: take(items, generator.permutation(len(items))[: max(int(share * MOST[name]), 1)])
            for name, items in dataset.splits().items()
        }
        if len(splits["train"]) < LEAST:
            return Reading({})
        vectors = Vectors.fit(dataset.train)
        flat = {name: vectors(items.values) for name, items in splits.items()}
        codes = {name: artifact.encode(items).reshape(len(items), -1) for name, items in splits.items()}
        labels = {name: np.asarray(items.labels) for name, items in splits.items()}
        kinds = {"codes": codes, "pca": flat}
        try:
            before = untrained(artifact, seed)
        except UsageError:  # a module of another library, which is not built anew
            pass
        else:
            kinds["untrained"] = {name: before.encode(of).reshape(len(of), -1) for name, of in splits.items()}
        found = probes({kind: components(of) for kind, of in kinds.items()}, labels)
        values = {"code_linear": found["codes"]["linear"], "code_neighbours": found["codes"]["neighbours"]}
        beside = {
            f"code_{reader}": {kind: found[kind][reader] for kind in kinds if kind != "codes"}
            for reader in ("linear", "neighbours")
        }
        shared = {"stderr": found["codes"]["stderr"], "items": len(labels["train"])}
        extra = {name: {**shared, **numbers} for name, numbers in beside.items()}
        return Reading(values, extra)


def untrained(artifact: Artifact, seed: int = 0) -> Artifact:
    """The same model before training, with weights of a seed."""
    values = config.config(artifact.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = config.entry(artifact.name).model(artifact.model.event, artifact.model.condition, **values)
    return Artifact(artifact.representation, model.eval().to(artifact.device), artifact.name, artifact.card)


def components(splits: dict[str, Float[np.ndarray, "n d"]]) -> dict[str, Float[np.ndarray, "n k"]]:
    """At most DIMS principal components of the training split, of every split."""
    middle = splits["train"].mean(0)
    if splits["train"].shape[1] <= DIMS:
        return dict(splits)
    axes = np.linalg.svd(splits["train"] - middle, full_matrices=False)[2][:DIMS]
    return {name: (x - middle) @ axes.T for name, x in splits.items()}
