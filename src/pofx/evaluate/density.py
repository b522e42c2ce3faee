"""Likelihood: nats per item and bits per dimension of held-out items, with the kind of the number.

An exact log-probability, a bound and an estimate are different things (Theis et al., 2016, arXiv 1511.01844); the kind,
the unit and the measure travel with the number. The gap to training items shows memorising. A model with class labels
is scored by its marginal, log Σ_c p(c) p(x | c), so that it can be compared with models without. Texts are reported in
bits per byte of UTF-8 too: bits per token depend on how the text is cut into tokens.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import logsumexp

from pofx.core.errors import Unsupported
from pofx.core.event import Discrete
from pofx.core.model import Density, Explicit
from pofx.core.representation import Items
from pofx.data.dataset import take
from pofx.evaluate.measurement import Measurement
from pofx.evaluate.metric import Axis, ScoreInfo
from pofx.represent.labels import Labels

FIRST, STEP = 4, 200  # items scored at first, and at most, at a time: one can take ten seconds
SCORES = {
    "nats": ScoreInfo(
        "lower", "−log p, nats", "negative log-likelihood of held-out items, nats per item", "likelihood"
    ),
    "bits_per_dim": ScoreInfo(
        "lower",
        "bits/dim",
        "negative log₂-likelihood of held-out items per dimension",
        "likelihood",
        headline=True,
        axis=Axis("density", "Likelihood", "bits/dim", "probabilities to rely on", "fewest bits/dim", order=4),
    ),
    "bits_per_byte": ScoreInfo(
        "lower",
        "bits/byte",
        "negative log₂-likelihood of held-out texts per byte of UTF-8",
        "likelihood",
        headline=True,
    ),
    "likelihood_gap": ScoreInfo(
        "lower", "Train-test gap, nats", "mean log p of training items less that of held-out items", "novelty", null=0.0
    ),
    "log_probs_per_second": ScoreInfo(
        "higher",
        "log p/s",
        "items scored per second",
        "cost",
        axis=Axis("scoring", "Scoring speed", "log_prob/s", resolution=0.10, order=6),
        writes="speed",
    ),
}
MOST_CLASSES = 20  # beyond this a marginal costs too much: items are scored under their own labels


class Scored(Protocol):
    """What this metric needs of an artifact."""

    @property
    def card(self) -> Mapping[str, Any]: ...
    @property
    def model(self) -> Any: ...
    @property
    def representation(self) -> Any: ...
    @property
    def conditioning(self) -> Any: ...
    def score(self, values: Any, condition: Any = None) -> Any: ...


def _score(
    artifact: Scored, items: Items, prior: Mapping[Any, float] | None
) -> tuple[np.ndarray, np.ndarray | None, Any]:
    """log p of items in nats, its standard errors or None, and the last Score."""
    if prior is None:  # scored under the items' own conditions, where the model has some
        found = artifact.score(items)
        return found.value, found.stderr, found
    parts, errors = [], []
    for label, share in prior.items():
        found = artifact.score(items.values, label)
        parts.append(found.value + np.log(share))
        errors.append(np.zeros(len(items)) if found.stderr is None else found.stderr)
    logs = np.stack(parts)
    total = logsumexp(logs, axis=0)
    stderr = np.sqrt((np.exp(logs - total) ** 2 * np.stack(errors) ** 2).sum(0))
    return total, (None if found.stderr is None else stderr), found


def log_likelihood(
    artifact: Scored,
    items: Items,
    *,
    seconds: float = 30.0,
    prior: Mapping[Any, float] | None = None,
    first: int = FIRST,
) -> tuple[np.ndarray, np.ndarray | None, Any, float]:
    """log p of as many items, from the first on, as fit into the time, at least the `first`: values, errors, a Score,
    items per second."""
    values, errors, found = [], [], None
    start = time.perf_counter()
    at, size = 0, first
    while at < len(items):
        value, stderr, found = _score(artifact, take(items, np.arange(at, min(at + size, len(items)))), prior)
        values.append(value)
        errors.append(stderr)
        at += size
        spent = time.perf_counter() - start
        left = int((seconds - spent) * at / max(spent, 1e-9)) if seconds < float("inf") else STEP
        size = min(4 * size, STEP, left)
        if size < 1:
            break
    spent = time.perf_counter() - start
    value = np.concatenate(values)
    some = [e for e in errors if e is not None]
    return value, np.concatenate(some) if some else None, found, len(value) / max(spent, 1e-9)


def likelihood(
    artifact: Scored, train: Items, test: Items, *, seconds: float = 30.0, seed: int = 0
) -> list[Measurement]:
    """`nats` (per item, lower is better), `bits_per_dim`, for texts `bits_per_byte`, and `log_probs_per_second`; empty
    where there is no density.

    Items are taken in a seeded order until `seconds` have passed: a mean of fewer items is noisier, not biased.
    """
    condition, note = artifact.model.condition, ""
    prior = None
    if condition is not None:
        note = "given the items' own conditions"
        conditioning = artifact.conditioning
        if isinstance(condition, Discrete) and condition.largest <= MOST_CLASSES and isinstance(conditioning, Labels):
            shares = np.asarray(conditioning.counts) / sum(conditioning.counts)
            labels = conditioning.items(torch.arange(condition.largest))
            prior = {label: share for label, share in zip(labels, shares, strict=True) if share > 0}
            note = f"marginal over {condition.largest} classes"
    order = np.random.default_rng(seed)
    test = take(test, order.permutation(len(test)))
    train = take(train, order.permutation(len(train))[: len(test)])
    try:
        value, errors, found, rate = log_likelihood(artifact, test, seconds=seconds, prior=prior)
    except Unsupported:
        return []
    seen, _, _, _ = log_likelihood(
        artifact, take(train, np.arange(min(len(value), len(train)))), prior=prior, seconds=seconds
    )
    dims = int(artifact.representation.dims)
    kind = Density(found.density)
    n = len(value)
    (mean, spread), (known, known_spread) = mean_and_error(value, test.weight), mean_and_error(seen, train.weight)
    # an error that all items share (of an estimated log Z) does not average out; the items' own are in their spread
    shared = float(artifact.model.log_prob_error() or 0.0) if isinstance(artifact.model, Explicit) else 0.0
    own = None
    if errors is not None and bool(np.isfinite(errors).all()):
        independent = np.maximum(errors**2 - shared**2, 0).mean() / n
        own = float(np.sqrt(independent + shared**2))
    own_spread = spread or 0.0
    if spread is not None:
        spread = float(np.hypot(spread, shared))
    bits = 1 / (dims * np.log(2))
    better = "lower" if kind > Density.RELATIVE else "none"
    notes = {
        Density.EXACT: "exact",
        Density.BOUND: "an upper bound: the true value is no higher",
        Density.ESTIMATE: "an estimate with an error of its own",
        Density.RELATIVE: "up to an unknown constant: not comparable",
    }
    facts = {
        "density": kind.name.lower(),
        "unit": found.unit,
        "measure": found.measure,
        "evaluations": found.evaluations,
        "dims": dims,
    }
    text = "; ".join(part for part in (notes.get(kind, ""), found.note, note) if part)

    def row(metric: str, scale: float) -> Measurement:
        return Measurement(
            metric,
            -mean * scale,
            None if spread is None else spread * scale,
            better,  # type: ignore[arg-type]
            n=n,
            note=text,
            extra=facts
            | {
                "train": -known * scale,
                "gap": (known - mean) * scale,
                "gap_stderr": float(np.hypot(own_spread, known_spread or 0.0) * scale),
                "noise": None if own is None else own * scale,
            },
        )

    rows = [row("nats", 1.0), row("bits_per_dim", bits)]
    apart = {key: rows[0].extra[key] for key in ("gap", "gap_stderr")}
    between = Measurement("likelihood_gap", apart["gap"], apart["gap_stderr"], "lower", n=n, note=text)
    if are_texts(test):
        (at, error), (seen_at, seen_error) = per_byte(value, test.values), per_byte(seen, train.values)
        gap = {"train": seen_at, "gap": at - seen_at, "gap_stderr": float(np.hypot(error, seen_error)), "noise": None}
        bytes_each = float(np.mean([len(text.encode()) for text in test.values[:n]]))
        error = float(np.hypot(error, shared / max(bytes_each, 1e-12) / np.log(2)))
        of_bytes = replace(rows[0], metric="bits_per_byte", value=at, stderr=error, extra={**rows[0].extra, **gap})
        rows.append(of_bytes)
    speed = Measurement("log_probs_per_second", float(rate), None, "higher", n=n, note=note)
    return [*rows, between, speed]


def mean_and_error(value: Float[np.ndarray, "n"], weight: Any = None) -> tuple[float, float | None]:
    """The mean of values, weighted where items have weights (as many of them as there are values), and its standard
    error, that of a ratio (Cochran, 1977); None for a single item."""
    n = len(value)
    w = np.ones(n) if weight is None else np.asarray(weight, np.float64)[:n]
    mean = float((w * value).sum() / w.sum())
    if n < 2:
        return mean, None
    return mean, float(np.sqrt((w**2 * (value - mean) ** 2).sum() * n / (n - 1)) / w.sum())


def are_texts(items: Items) -> bool:
    """Whether items are strings, which have bytes."""
    return len(items) > 0 and isinstance(items.values, list | tuple) and isinstance(items.values[0], str)


def per_byte(log_p: Float[np.ndarray, "n"], texts: Sequence[str]) -> tuple[float, float]:
    """-log2 p of the first n texts together over their bytes of UTF-8, and its standard error (that of a ratio)."""
    sizes = np.array([len(text.encode()) for text in texts[: len(log_p)]], np.float64)
    bits = -log_p / np.log(2)
    ratio = bits.sum() / max(sizes.sum(), 1)
    spread = np.std(bits - ratio * sizes, ddof=1) if len(bits) > 1 else 0.0
    return float(ratio), float(spread / max(sizes.mean(), 1e-12) / np.sqrt(len(bits)))
