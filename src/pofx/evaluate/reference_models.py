"""Membership inference with reference models: are training items identified by models of the same recipe without them?

Reference models of the same recipe are trained for a short time on random halves of training and test items together,
each half and its complement, so that every item is out of exactly half of them, members and others alike. An item's
score is log p(x), or without a density its nearness to the closest sample. Three attacks (see `metrics/membership`):
the score itself, the score less the mean of the models without the item, and its z among them (offline LiRA; Carlini et
al., 2022, arXiv 2112.03570). Attacks are lower bounds: an attacker with longer trained references may know more.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from pofx.artifact import Artifact
from pofx.core.errors import Unsupported, UsageError
from pofx.core.files import read_json
from pofx.core.items import Items
from pofx.core.model import Density
from pofx.core.progress import Parts, Sink, reporting
from pofx.data.dataset import Dataset, joined, take
from pofx.data.passages import Passages
from pofx.evaluate.checks.finding import Finding, finding
from pofx.evaluate.conditions import drawn
from pofx.evaluate.density import log_likelihood
from pofx.evaluate.distances import nearest
from pofx.evaluate.features import main_space
from pofx.evaluate.metrics.membership import Attack, attack, calibrated, lira
from pofx.evaluate.space import Space
from pofx.runs.fitting import fit

REFERENCES = 8
MOST = 500  # members, and others, that are attacked
EXPOSED = 0.6  # AUC above which an attack that chance does not explain is warned of
DRAWN = 2000  # samples that replace the density of a model without one


def exposure(
    artifact: Artifact,
    dataset: Dataset,
    *,
    options: Mapping[str, Any] | None = None,
    references: int = REFERENCES,
    seconds: float = 20.0,
    seed: int = 0,
    progress: bool | Sink = True,
) -> list[Finding]:
    """Attack an artifact with reference models, each trained for at most `seconds`.

    Args:
        options: those it was trained with, as `fit` takes them (`options` of the run's request.json).
        references: how many models to train: even, and at least 8 for LiRA.
        progress: True shows the progress, False nothing; a function receives each `Progress`.

    Returns:
        Rows as of `audit`: AUC with its 95 % interval, and the true positive rate at 1 % false positives with Clopper
        and Pearson's.

    Raises:
        UsageError: an odd number of references, or fewer than 2.
        Unsupported: running text, whose passages are not drawn apart.
    """
    if references < 2 or references % 2:
        raise UsageError(f"references must be even and at least 2 (got {references}): pass references={REFERENCES}")
    if isinstance(dataset.train.values, Passages):
        raise Unsupported(
            "passages of running text follow one another: membership inference needs items drawn independently"
        )
    items, members = suspects(dataset, seed)
    space = main_space(dataset.train, seed=seed)
    own = scores(artifact, items, space, seconds=60.0, seed=seed)
    items, members = take(items, np.arange(len(own))), members[: len(own)]
    pool = joined([dataset.train, dataset.test])
    at = positions(dataset, seed)[: len(own)]
    halves = split_halves(len(pool), references, seed)
    trained = artifact.card["training"]
    budget = min(seconds, float(trained["seconds"])) / 60
    out = np.full((references, len(own)), np.nan)
    with reporting(progress, "membership") as report:
        say = Parts(report, references)
        for k, inside in enumerate(halves):
            say(f"reference model {k + 1} of {references}")
            part = replace(dataset, train=take(pool, np.flatnonzero(inside)), test=take(pool, np.flatnonzero(~inside)))
            model = fit(
                part,
                artifact.name,
                minutes=budget,
                seed=seed + k + 1,
                condition=trained["condition"],
                progress=False,
                **(options or {}),
            )
            read = scores(model, items, space, seconds=float("inf"), seed=seed)
            out[k] = np.where(inside[at], np.nan, read)
        say.end()
    without = np.stack([column[~np.isnan(column)] for column in out.T], 1)  # every item: half of the models
    attacks = {"score": own, "calibrated": calibrated(own, without.mean(0))}
    if len(without) >= 4:
        attacks["LiRA"] = lira(own, without)
    what = "log p" if artifact.density > Density.NONE else "nearness to samples"
    about = f"by {what}, {int(members.sum())} members, {references} references of {60 * budget:.0f} s"
    return [row(name, attack(found[members], found[~members]), about) for name, found in attacks.items()]


def recipe(run: Path) -> dict[str, Any]:
    """The options that the run in a folder was trained with; none where there is no request."""
    request = run / "request.json"
    return dict(read_json(request)["options"]) if request.is_file() else {}


def positions(dataset: Dataset, seed: int) -> np.ndarray:
    """The places of the attacked items among training and test items together: members and others in turn."""
    generator = np.random.default_rng(seed)
    n = min(len(dataset.train), len(dataset.test), MOST)
    inside = generator.permutation(len(dataset.train))[:n]
    outside = len(dataset.train) + generator.permutation(len(dataset.test))[:n]
    return np.stack((inside, outside), 1).ravel()


def suspects(dataset: Dataset, seed: int) -> tuple[Items, Bool[np.ndarray, "n"]]:
    """The attacked items, and which of them are members."""
    at = positions(dataset, seed)
    return take(joined([dataset.train, dataset.test]), at), at < len(dataset.train)


def split_halves(n: int, references: int, seed: int) -> Bool[np.ndarray, "references n"]:
    """Random halves of n items, each followed by its complement: every item is in half of them."""
    generator = np.random.default_rng([seed, n])
    found = []
    for _ in range(references // 2):
        inside = np.zeros(n, bool)
        inside[generator.permutation(n)[: n // 2]] = True
        found += [inside, ~inside]
    return np.stack(found)


def scores(artifact: Artifact, items: Items, space: Space, *, seconds: float, seed: int) -> Float[np.ndarray, "m"]:
    """What an attacker reads off the model for the first items, as many as fit into the time: higher for members."""
    if artifact.density > Density.NONE:
        return np.asarray(log_likelihood(artifact, items, seconds=seconds)[0])
    samples = space(drawn(artifact, items, DRAWN, seed=seed).values)
    return np.asarray(-np.log(nearest(space(items.values), samples)[0] + 1e-12))


def row(name: str, found: Attack, about: str) -> Finding:
    """An attack as a row of an audit."""
    half = 1.96 * found.stderr
    warned = found.p < 0.01 and found.auc > EXPOSED
    seen = (
        f"AUC {found.auc:.3f} ± {half:.3f}, TPR at 1 % FPR {found.tpr:.3f} [{found.low:.3f}, {found.high:.3f}] {about}"
    )
    mend = "training items are identifiable: train for fewer steps, or use a smaller model or more data"
    return finding(f"membership: {name}", "warning" if warned else "ok", seen, mend)
