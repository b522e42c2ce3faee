"""The whole evaluation: one artifact, or one control row, against the same real items, with the same metrics.

`evaluate` and `controls` return plain JSON: a list of measurements, the protocol they were made under (who was held
against whom, n, seeds, feature spaces with their hashes, versions) and what it cost. A model's number is read between
the controls: real held-out data above, independent marginals below, and a memoriser beside it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pofx.core.representation import Items
from pofx.data.dataset import Dataset, joined
from pofx.evaluate.arrangement import Arrangement, arrange, control_items
from pofx.evaluate.class_balance import histogram, total_variation, total_variation_floor
from pofx.evaluate.density import likelihood
from pofx.evaluate.features import Space, fit_spaces
from pofx.evaluate.frechet import frechet_distance, frechet_floor, frechet_infinity
from pofx.evaluate.measurement import Measurement, blocked_half_sampling, finite
from pofx.evaluate.near_copy import near_copies
from pofx.evaluate.neighbours import NAMES, neighbour_scores
from pofx.evaluate.speed import cost, timed_samples
from pofx.evaluate.two_sample import c2st

Report = Callable[[str], None]
Pairs = list[tuple[np.ndarray, np.ndarray]]
K = 5  # neighbours
VERSION = 1  # of the protocol: numbers of different versions are not comparable


def evaluate(
    artifact: Any,
    dataset: Dataset,
    *,
    samples: Any = None,
    n: int | None = None,
    seed: int = 0,
    spaces: Sequence[str] | None = None,
    cache: Path | str | None = None,
    likelihood_seconds: float = 30.0,
    progress: Report | None = None,
) -> dict[str, Any]:
    """Measure an artifact: likelihood, distance, diversity, novelty, balance, speed.

    Args:
        samples: items in data space drawn before; by default the artifact draws them, which is timed.
        n: items on each side, at most what the data allows; give all rows of a table the same.
        seed: of the arrangement, the samples and every random choice.
        spaces: of `pca`, `classifier`, `random`; see `features.fit_spaces`.
        cache: a folder for fitted spaces and features of the data, shared by all rows.
        likelihood_seconds: the time after which no further items are scored, per split.
        progress: called with a line of text as parts begin.

    Returns:
        {"measurements": [Measurement.json()], "protocol": {…}, "cost": {…}}.
    """
    say = progress or (lambda line: None)
    start = time.perf_counter()
    plan = arrange(dataset, n, seed)
    fitted = fit_spaces(dataset.train, spaces, seed=seed, folder=cache, report=progress)
    seconds = {"spaces": time.perf_counter() - start}
    found: list[Measurement] = []
    asked = None
    if samples is None:
        say(f"drawing {plan.samples} samples")
        asked = artifact.conditions(None, plan.samples, seed) if artifact.model.condition is not None else None
        samples, speed = timed_samples(artifact, plan.samples, seed)
        found.append(speed)
        seconds["samples"] = float(speed.extra["seconds"])
    start = time.perf_counter()
    say("scoring held-out items")
    found += likelihood(artifact, dataset.train, dataset.test, seconds=likelihood_seconds, seed=seed)
    seconds["likelihood"] = time.perf_counter() - start
    start = time.perf_counter()
    labels = None if asked is None or asked.ndim != 1 or asked.is_floating_point() else asked.cpu().numpy()
    found += compare_samples(samples, dataset, plan, fitted, labels=labels, progress=progress)
    seconds["metrics"] = time.perf_counter() - start
    return _result(found, dataset, plan, fitted, {**cost(artifact), "seconds": seconds})


def controls(
    dataset: Dataset,
    *,
    n: int | None = None,
    seed: int = 0,
    spaces: Sequence[str] | None = None,
    cache: Path | str | None = None,
    progress: Report | None = None,
) -> dict[str, dict[str, Any]]:
    """The control rows under the protocol of `evaluate` with the same arguments: results by name.

    "real-test" is held-out real data, "memoriser" training items, "marginals" dimensions drawn independently.
    """
    plan = arrange(dataset, n, seed)
    fitted = fit_spaces(dataset.train, spaces, seed=seed, folder=cache, report=progress)
    rows = {}
    for name, items in control_items(dataset, plan).items():
        if progress is not None:
            progress(f"control row {name}")
        start = time.perf_counter()
        found = compare_samples(
            items.values, dataset, plan, fitted, copies_of=dataset.validation if name == "real-test" else None
        )
        rows[name] = _result(found, dataset, plan, fitted, {"seconds": {"metrics": time.perf_counter() - start}})
    return rows


def compare_samples(
    samples: Any,
    dataset: Dataset,
    plan: Arrangement,
    spaces: Sequence[Space],
    *,
    labels: np.ndarray | None = None,
    copies_of: Items | None = None,
    progress: Report | None = None,
) -> list[Measurement]:
    """Every metric that needs samples alone, for items in data space.

    Args:
        labels: the classes that conditional samples were asked for.
        copies_of: the items that the near-copy test takes for samples, where these may not be the samples themselves.
    """
    say = progress or (lambda line: None)
    found = []
    held = joined([dataset.test, dataset.validation]) if plan.from_train and copies_of is None else dataset.test
    for space in spaces:
        say(f"metrics in the space {space.label}")
        features = space(samples)
        real = space.of(dataset.train if plan.from_train else dataset.test)
        blocks = [real[index] for index in plan.reference]
        whole = [features[i * plan.n : (i + 1) * plan.n] for i in range(max(len(features) // plan.n, 1))]
        pairs = [(whole[i % len(whole)], block) for i, block in enumerate(blocks)]
        with threadpool_limits(1 if plan.n <= 1000 else None, "blas"):  # threads cost more than such products
            found += distribution_metrics(pairs, space, plan.seed)
        suspects = features if copies_of is None else space.of(copies_of)
        copied = near_copies(suspects, space.of(held), space.of(dataset.train))
        found.append(
            Measurement(
                "near_copy", copied["p"], None, "none", space.label, len(suspects),
                "p-value: small means samples nearer to training items than held-out items are", copied,
            )
        )  # fmt: skip
        if space.classes and dataset.train.labels is not None:
            found.append(_class_tv(samples, dataset, space, labels))
    return found


def distribution_metrics(pairs: Pairs, space: Space, seed: int) -> list[Measurement]:
    """Fréchet distance, the four neighbour scores and, in the space `pca`, the classifier two-sample test: means over
    pairs of (sample features, real features), with half-sampling standard errors."""
    n = len(pairs[0][0])
    total = len({id(x) for x, _ in pairs}) * n
    repeats = 20 if n <= 1000 else 8

    def over(statistic: Callable[[np.ndarray, np.ndarray], Any]) -> list[Any]:
        return [statistic(x, y) for x, y in pairs]

    limits = over(lambda x, y: frechet_infinity(x, y, seed=seed))
    floors = over(lambda x, y: frechet_floor(y, len(x), len(y)))
    found = [
        Measurement(
            "frechet_distance",
            float(np.mean(over(frechet_distance))),
            blocked_half_sampling(frechet_distance, pairs, repeats, seed),
            "lower",
            space.label,
            n,
            "biased upwards; reads `floor` at equality",
            {
                "floor": float(np.mean(floors)),
                "infinity": float(np.mean([a for a, _ in limits])),
                "slope": float(np.mean([b for _, b in limits])),
                "dims": space.dims,
                "items": total,
            },
        )
    ]
    scores = over(lambda x, y: neighbour_scores(x, y, K))
    errors = _neighbour_errors(pairs, repeats, seed)
    for name in NAMES:
        value = float(np.mean([s[name] for s in scores]))
        odd = name == "density" and value > 1.5
        note = "above 1.5: not interpretable, see recall" if odd else ""
        better = "none" if name == "density" else "higher"
        extra = {"k": K, "items": total}
        found.append(Measurement(name, value, errors[name], better, space.label, n, note, extra))  # type: ignore[arg-type]
    if space.name == "pca":
        permutations = 499 if n <= 1000 else 199
        tested = over(lambda x, y: c2st(x, y, seed=seed, permutations=permutations))
        error = blocked_half_sampling(lambda x, y: c2st(x, y, permutations=0, seed=seed)[0], pairs, 10, seed)
        p = min(min(p for _, p in tested) * len(tested), 1.0)
        found.append(
            Measurement(
                "c2st", float(np.mean([a for a, _ in tested])), error, "lower", space.label, n,
                "cross-fitted AUC: 0.5 not told apart", {"p": p, "permutations": permutations, "items": total},
            )
        )  # fmt: skip
    return found


def _neighbour_errors(pairs: Pairs, repeats: int, seed: int) -> dict[str, float]:
    """The standard errors of the four neighbour scores, from the same halves."""
    drawn: list[dict[str, float]] = []

    def keep(x: np.ndarray, y: np.ndarray) -> float:
        drawn.append(neighbour_scores(x, y, min(K, len(x) - 1)))
        return 0.0

    blocked_half_sampling(keep, pairs, repeats, seed)
    n = len(pairs[0][0])
    scale = np.sqrt((n // 2) / (n - n // 2))
    grouped = [drawn[i : i + len(pairs)] for i in range(0, len(drawn), len(pairs))]
    return {
        name: float(np.std([np.mean([s[name] for s in group]) for group in grouped], ddof=1) * scale) for name in NAMES
    }


def _class_tv(samples: Any, dataset: Dataset, space: Space, asked: np.ndarray | None) -> Measurement:
    """`class_tv`: predicted classes of samples against the labels of all real items."""
    real = np.concatenate([np.asarray(split.labels) for split in dataset.splits().values()])
    reference = histogram(real, space.classes)
    predicted = space.predict(samples)
    shares = histogram(predicted, space.classes)
    generator = np.random.default_rng(0)
    halves = [generator.permutation(predicted)[: len(predicted) // 2] for _ in range(50)]
    error = np.std([total_variation(histogram(half, space.classes), reference) for half in halves], ddof=1)
    tested = space.predict(dataset.test.values)
    truth = np.asarray(dataset.test.labels)
    extra: dict[str, Any] = {
        "shares": shares,
        "reference": reference,
        "floor": total_variation_floor(reference, len(predicted)),
        "classifier_accuracy": float((tested == truth).mean()),
    }
    if asked is not None:
        extra["agreement"] = float((predicted == asked[: len(predicted)]).mean())
    accuracy = extra["classifier_accuracy"]
    note = (
        f"classes as predicted by a classifier that is right on {accuracy:.1%} of test items; biased upwards, see floor"
    )
    return Measurement(
        "class_tv", total_variation(shares, reference), float(error), "lower", space.label, len(predicted), note, extra
    )


def _result(
    found: Sequence[Measurement], dataset: Dataset, plan: Arrangement, spaces: Sequence[Space], spent: Mapping[str, Any]
) -> dict[str, Any]:
    protocol = {
        "version": VERSION,
        "data": {"name": dataset.card.name, "hash": dataset.card.hash},
        "arrangement": plan.name,
        "n": plan.n,
        "blocks": len(plan.reference),
        "samples": plan.samples,
        "seed": plan.seed,
        "k": K,
        "spaces": [{"name": s.name, "label": s.label, "hash": s.hash, "dims": s.dims} for s in spaces],
        "primary_space": next((s.label for s in spaces if s.name == "pca"), spaces[0].label),
        "versions": {name: version(name) for name in ("numpy", "scipy", "scikit-learn", "torch", "pofx")},
    }
    plain: dict[str, Any] = finite(
        {"measurements": [m.json() for m in found], "protocol": protocol, "cost": dict(spent)}
    )
    return plain
