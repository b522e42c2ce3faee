"""Tuning under the same rule for every model: as many trials each, drawn at random, judged by validation, counted.

Trial 0 has the shipped options; the others move the learning rate, the batch, and dropout and width where a model has
them (random search: Bergstra and Bengio, 2012). Lucic et al. (2018, arXiv 1711.10337) found that most GANs reach alike
scores when each is tuned as long: a comparison that tunes one model and not the other compares patience.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pofx.comparison.jobs import Job, Orders
from pofx.core import config
from pofx.train.options import TrainOptions

DROPOUT = (0.0, 0.1, 0.2, 0.3, 0.5)
WIDTH = (0.5, 1.0, 2.0)
BATCH = (0.5, 1.0, 2.0)
LR = 4.0  # as many times larger or smaller
HIGHEST = 10.0  # learning rate


def trials(models: Sequence[str], count: int, seed: int, given: Mapping[str, Mapping[str, Any]]) -> list[Job]:
    """The trials of all models, round by round; options that the user gave stay as they are."""
    drawn = {model: settings(model, count, seed, given.get(model, {})) for model in models}
    return [Job(model, seed, drawn[model][k], k) for k in range(count) for model in models]


def settings(model: str, count: int, seed: int, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`count` different sets of options, the first as shipped; fewer where a model has no more."""
    row = config.entry(model)
    trainer = vars(TrainOptions.of({k: v for k, v in given.items() if k in row.trains_with}, row.trains_with))
    own = {**config.defaults(row.model), **row.values}
    generator = np.random.default_rng([seed, zlib.crc32(model.encode())])
    found: list[dict[str, Any]] = [dict(given)]
    for _ in range(100 * count):
        if len(found) == count:
            break
        lr = min(trainer["lr"] * math.exp(generator.uniform(-1, 1) * math.log(LR)), HIGHEST)
        batch = max(1, int(trainer["batch_size"] * generator.choice(BATCH)))
        drawn: dict[str, Any] = {"lr": float(f"{lr:.2g}"), "batch_size": batch}
        if "dropout" in own and (own["dropout"] is None or isinstance(own["dropout"], float)):  # None: by the data
            drawn["dropout"] = float(generator.choice(DROPOUT))
        if isinstance(own.get("width"), int) and not isinstance(own["width"], bool):
            drawn["width"] = max(1, int(own["width"] * generator.choice(WIDTH)))
        candidate = {**drawn, **given}
        if candidate not in found:
            found.append(candidate)
    return found


def chosen(jobs: Sequence[Job], orders: Orders) -> dict[str, dict[str, Any]]:
    """By model the options of its best trial, how many were run and failed, and what they cost.

    Where no trial has a validation score (none ended, or the model has none) the shipped options stay.
    """
    found: dict[str, dict[str, Any]] = {}
    for model in dict.fromkeys(job.model for job in jobs if job.model is not None):
        own = [(job, orders.result(job)) for job in jobs if job.model == model]
        judged = [
            (float(r["validation"]), job) for job, r in own if r["status"] == "done" and r["validation"] is not None
        ]
        best = min(judged, key=lambda pair: pair[0])[1] if judged else own[0][0]
        listed = [
            {"options": dict(job.options), "status": r["status"], "validation": r.get("validation")} for job, r in own
        ]
        seconds = sum(float(r.get("seconds", 0.0)) for _, r in own)
        found[model] = {"options": dict(best.options), "trials": listed, "seconds": round(seconds, 2)}
    return found
