"""The whole evaluation: one artifact, or one control row, against the same real items, with the same metrics.

`evaluate` and `controls` return plain JSON: a list of measurements, the protocol they were made under (who was held
against whom, n, seeds, feature spaces with their hashes, versions) and what it cost. A model's number is read between
the controls: real held-out data above, independent marginals below, and a memoriser beside it.
"""

import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pofx.artifact import run_of
from pofx.core.entry import public
from pofx.core.items import Items
from pofx.core.options import Count, NonNegative, Seed
from pofx.core.progress import Parts, Sink, reporting
from pofx.data.dataset import Dataset, joined, sampled, take
from pofx.data.weights import resampled
from pofx.evaluate.arrangement import NOISE, Arrangement, arrange, control_items, noised, of_one_length
from pofx.evaluate.conditions import with_conditions
from pofx.evaluate.density import likelihood
from pofx.evaluate.evaluation import Evaluation
from pofx.evaluate.features import Report, check_spaces, count_spaces, fit_spaces, main_of
from pofx.evaluate.measurement import Measurement, finite
from pofx.evaluate.metric import (
    ArtifactMetric,
    ClassMetric,
    DatasetMetric,
    FeatureMetric,
    ItemMetric,
    Metric,
    NoveltyMetric,
    Reading,
    catalogue,
    metrics,
)
from pofx.evaluate.metrics.class_balance import histogram
from pofx.evaluate.metrics.neighbours import K
from pofx.evaluate.provenance import check_same_data, trained_on
from pofx.evaluate.selftest import self_test
from pofx.evaluate.space import Space
from pofx.evaluate.speed import cost, timed_samples

PUBLIC = ("evaluate",)
SELF_TEST = 500  # items on each side of the self-test
VERSION = 3  # of the protocol: numbers of different versions are not comparable


@public
def evaluate(
    artifact: Any,
    dataset: Any = None,
    *,
    samples: Any = None,
    n: Count | None = None,
    seed: Seed = 0,
    spaces: Sequence[str] | None = None,
    cache: Path | str | None = None,
    likelihood_seconds: NonNegative = 12.0,
    force: bool = False,
    progress: bool | Sink = True,
) -> Evaluation:
    """Measure an artifact: likelihood, distance, diversity, novelty, class balance, codes, speed.

    Args:
        artifact: a run or its folder.
        dataset: data set, or what `fit` takes; None reads that of training again. Its test split measures.
        samples: items in data space drawn before; by default the artifact draws them, which is timed.
        n: items on each side, at most what the data allows; give all rows of a table the same.
        seed: of the arrangement, the samples and every random choice.
        spaces: names as `pca`, `classifier`, `inception=FILE`, or file.py:Class; see `features.fit_spaces`.
        cache: a folder for fitted spaces and features of the data, shared by all rows.
        likelihood_seconds: the time after which no further items are scored, per split.
        force: measure on data other than that of training, whose test split may hold training items.
        progress: True shows the progress, False nothing; a function receives each `Progress`.

    Returns:
        {"measurements": [Measurement.json()], "metrics": catalogue(), "protocol": {…}, "cost": {…}}, with a `table()`.

    Raises:
        UsageError: the data is not that of training (and `force` is False), or has too few items.
    """
    if not (callable(getattr(artifact, "sample", None)) and hasattr(artifact, "condition_source")):
        artifact = run_of(artifact)
    dataset = trained_on(artifact, dataset)
    differs = check_same_data(artifact, dataset, force=force)
    dataset = sampled(dataset, seed)
    weighted = with_conditions(artifact, dataset)
    dataset = resampled(weighted, seed)
    plan = arrange(dataset, n, seed)
    with reporting(progress, f"evaluate {artifact.name}") as report:
        of_model = metrics(ArtifactMetric, items=dataset.train.kind)
        parts = Parts(report, 2 * count_spaces(dataset.train, spaces) + 2 + len(of_model) + 1)
        seconds: dict[str, float] = {}
        found: list[Measurement] = []
        start = time.perf_counter()
        fitted = fit_spaces(dataset.train, spaces, seed=seed, folder=cache, report=parts)
        seconds["spaces"] = time.perf_counter() - start
        labels = None
        if samples is None:
            parts(f"drawing {plan.samples} samples")
            own, speed = timed_samples(artifact, dataset.test, plan.samples, seed)
            samples, labels = own.values, own.labels
            found.append(speed)
            seconds["samples"] = float(speed.extra["seconds"])
        start = time.perf_counter()
        parts("scoring held-out items")
        found += likelihood(artifact, weighted.train, weighted.test, seconds=likelihood_seconds, seed=seed)
        seconds["likelihood"] = time.perf_counter() - start
        for metric in of_model:
            parts(f"querying the model: {', '.join(metric.scores)}")
            start = time.perf_counter()
            read = metric.read(artifact, dataset, seconds=likelihood_seconds / 3, seed=seed)
            found += _measured(metric, read, None, int(read.extra.get(next(iter(metric.scores)), {}).get("items", 0)))
            seconds[type(metric).__name__] = time.perf_counter() - start
        start = time.perf_counter()
        samples, held, cut = of_one_length(samples, dataset)
        found += compare_samples(samples, held, plan, fitted, labels=labels, report=parts)
        seconds["metrics"] = time.perf_counter() - start
        parts.end()
    result = _result(found, dataset, plan, fitted, {**cost(artifact), "seconds": seconds})
    if cut:
        result["protocol"]["cut"] = cut
    if differs:
        result["protocol"]["data"]["differs"] = differs
    return Evaluation(result, metrics=catalogue())


@public
def controls(
    dataset: Dataset,
    *,
    n: Count | None = None,
    seed: Seed = 0,
    spaces: Sequence[str] | None = None,
    cache: Path | str | None = None,
    progress: bool | Sink = True,
) -> dict[str, dict[str, Any]]:
    """The control rows under the protocol of `evaluate` with the same arguments: results by name.

    "real-test" is held-out real data, "memoriser" training items, "marginals" dimensions drawn independently, and
    "noised-real-0.1" and "-0.3" are the held-out items with noise.
    """
    dataset = resampled(sampled(dataset, seed), seed)
    plan = arrange(dataset, n, seed)
    rows = {}
    fresh = {"real-test": dataset.validation}  # test items may not be judged by test items
    fresh |= {f"noised-real-{x:g}": noised(dataset.validation, dataset.train, x, plan.seed + 4) for x in NOISE}
    held = control_items(dataset, plan)
    with reporting(progress, "controls") as report:
        parts = Parts(report, count_spaces(dataset.train, spaces) + len(held))
        fitted = fit_spaces(dataset.train, spaces, seed=seed, folder=cache, report=parts)
        for name, items in held.items():
            parts(f"control row {name}")
            start = time.perf_counter()
            found = compare_samples(items.values, dataset, plan, fitted, copies_of=fresh.get(name))
            rows[name] = _result(found, dataset, plan, fitted, {"seconds": {"metrics": time.perf_counter() - start}})
        parts.end()
    return rows


@public
def self_tests(
    dataset: Dataset,
    *,
    n: Count | None = None,
    seed: Seed = 0,
    spaces: Sequence[str] | None = None,
    cache: Path | str | None = None,
    progress: bool | Sink = True,
) -> list[dict[str, Any]]:
    """What every metric reads on honest and on spoiled real items, under the protocol of `evaluate`; see `selftest`.

    At most SELF_TEST items on each side are used: a measure that detects a fault among these detects it among more.
    """
    dataset = resampled(dataset, seed)
    plan = arrange(dataset, n, seed)
    found = []
    held = control_items(dataset, plan)["real-test"]
    fitted = fit_spaces(dataset.train, spaces, seed=seed, folder=cache)
    with reporting(progress, "self-test") as report:
        parts = Parts(report, len(fitted))
        for space in fitted:
            parts(f"self-test of the measures in the space {space.label}")
            real = space.of(held)[:SELF_TEST]
            reference = space.of(dataset.train if plan.from_train else dataset.test)[plan.reference[0][:SELF_TEST]]
            rows = self_test(
                real,
                reference,
                space.of(dataset.train),
                space=space.name,
                main=space is main_of(fitted),
                items=dataset.train.kind,
                seed=seed,
            )
            found += [{**row, "space": space.label} for row in rows]
        parts.end()
    return found


def check(dataset: Dataset, *, n: int | None = None, spaces: Sequence[str] | None = None) -> None:
    """Refuse what `evaluate` and `controls` would refuse, before anything is trained for it.

    Raises:
        UsageError: too few items, an unknown feature space, or one that lacks labels or weights.
        DataError: weights of a feature space that are missing or those of another network.
    """
    arrange(dataset, n, 0)
    check_spaces(dataset.train, spaces)


def compare_samples(
    samples: Any,
    dataset: Dataset,
    plan: Arrangement,
    spaces: Sequence[Space],
    *,
    labels: np.ndarray | None = None,
    copies_of: Items | None = None,
    report: Report | None = None,
) -> list[Measurement]:
    """Every metric that needs samples alone, for items in data space.

    Args:
        labels: the classes that samples are conditioned on.
        copies_of: the items that metrics of novelty and of use take for samples, where samples are test items.
        report: called as parts begin.
    """
    parts = report or (lambda phase: None)
    kind = dataset.train.kind
    found = []
    held = joined([dataset.test, dataset.validation]) if plan.from_train and copies_of is None else dataset.test
    for space in spaces:
        main = space is main_of(spaces)
        parts(f"metrics in the space {space.label}")
        features = space(samples)
        real = space.of(dataset.train if plan.from_train else dataset.test)
        blocks = [real[index] for index in plan.reference]
        whole = [features[i * plan.n : (i + 1) * plan.n] for i in range(max(len(features) // plan.n, 1))]
        pairs = [(whole[i % len(whole)], block) for i, block in enumerate(blocks)]
        with threadpool_limits(1 if plan.n <= 1000 else None, "blas"):  # threads cost more than such products
            for metric in metrics(FeatureMetric, main=main, items=kind):
                read = metric.read(pairs, plan.seed)
                items = {name: {"items": len(whole) * plan.n, **read.extra.get(name, {})} for name in read.values}
                found += _measured(metric, Reading(read.values, items), space.label, plan.n)
        suspects = features if copies_of is None else space.of(copies_of)
        for novelty in metrics(NoveltyMetric, main=main, items=kind):
            read = novelty.read(suspects, space.of(held), space.of(dataset.train), plan.seed)
            found += _measured(novelty, read, space.label, len(suspects))
        if space.classes and dataset.train.labels is not None:
            every = np.concatenate([np.asarray(split.labels) for split in dataset.splits().values()])
            shares = histogram(every, space.classes)
            predicted, tested = space.classify(features), space.classify(space.of(dataset.test))
            for of_classes in metrics(ClassMetric, main=main, items=kind):
                read = of_classes.read(predicted, tested, np.asarray(dataset.test.labels), shares, labels)
                found += _measured(of_classes, read, space.label, len(predicted))
    parts("metrics in data space")
    real_items = take(dataset.train if plan.from_train else dataset.test, plan.reference[0])
    drawn = take(Items(kind, samples, None, dataset.train.facts), np.arange(min(plan.n, len(samples))))
    for of_items in metrics(ItemMetric, items=kind):
        found += _measured(of_items, of_items.read(drawn, real_items, dataset.train, plan.seed), None, len(drawn))
    useful = Items(kind, samples if copies_of is None else copies_of.values, labels, dataset.train.facts)
    for of_dataset in metrics(DatasetMetric, items=kind):
        found += _measured(of_dataset, of_dataset.read(useful, dataset, plan.seed), None, len(useful))
    return found


def _measured(metric: Metric, read: Reading, space: str | None, n: int) -> list[Measurement]:
    """What a metric read, as measurements; a standard error or a note of its own is in its extra."""
    found: list[Measurement] = []
    for name, value in read.values.items():
        extra, score = dict(read.extra.get(name, {})), metric.scores[name]
        stderr, note = extra.pop("stderr", None), extra.pop("note", score.help)
        found.append(Measurement(name, value, stderr, score.better, space, n, note, extra))
    return found


def _result(
    found: Sequence[Measurement], dataset: Dataset, plan: Arrangement, spaces: Sequence[Space], spent: Mapping[str, Any]
) -> dict[str, Any]:
    protocol = {
        "version": VERSION,
        "data": {
            "name": dataset.card.name,
            "hash": dataset.card.hash,
            **({"sampled": dataset.card.facts["sampled"]} if "sampled" in dataset.card.facts else {}),
        },
        "arrangement": plan.name,
        "n": plan.n,
        "blocks": len(plan.reference),
        "samples": plan.samples,
        "seed": plan.seed,
        "k": K,
        "spaces": [
            {"name": s.name, "label": s.label, "hash": s.hash, "dims": s.dims, "about": s.about} for s in spaces
        ],
        "primary_space": main_of(spaces).label,
        "versions": {name: version(name) for name in ("numpy", "scipy", "scikit-learn", "torch", "pofx")},
    }
    plain: dict[str, Any] = finite(
        {"measurements": [m.json() for m in found], "protocol": protocol, "cost": dict(spent)}
    )
    return plain
