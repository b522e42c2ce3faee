"""tune: a trained run on further items, perhaps weighted: what transfers, continues or steers a model."""

from typing import Annotated, Any

import numpy as np
import torch

from pofx.artifact import Artifact
from pofx.combine.tuned import RULES, Tuned
from pofx.core.entry import public
from pofx.core.errors import DataError, Unsupported
from pofx.core.items import Items
from pofx.core.options import OneOf, Seed
from pofx.data.weights import checked
from pofx.runs.run import Job, execute
from pofx.train.feed import Feed
from pofx.train.options import Budget, Steps, TrainOptions

PUBLIC = ("tune",)


@public
def tune(
    run: Artifact,
    items: Any,
    weight: Any = None,
    *,
    condition: Any = None,
    steps: Steps = 100,
    rule: Annotated[str, OneOf(*RULES)] = "likelihood",
    seed: Seed = 0,
    progress: Any = False,
    **trainer: Any,
) -> Artifact:
    """The model of a run after further training on these items; the run itself is not changed.

    Args:
        items: in data space, of the kind of the run.
        weight: of each item, or with rule="augmented" the log-probability that it should have.
        condition: of each item, for a run that was trained with one.
        steps: the budget.
        rule: of `combine.tuned`.
        trainer: options of the trainer; by default Adam at a learning rate of 5e-4 without a warm-up.

    Raises:
        DataError: no items, or another number of weights.
        Unsupported: a run of a model without a density.
    """
    values = items.values if isinstance(items, Items) else items
    if not len(values):
        raise DataError("there are no items to tune on: give at least one")
    weights = None if weight is None else torch.as_tensor(np.asarray(weight, np.float32))
    if weights is not None and weights.shape != (len(values),):
        raise DataError(f"weight must be one number for each of {len(values)} items (got shape {tuple(weights.shape)})")
    if weights is not None and rule == "likelihood":
        checked(weights, len(values))
    view, conditioning = run.representation, run.conditioning
    if conditioning is not None and condition is None:
        raise Unsupported(f"{run.name} was trained with a condition: give one per item, as condition=")
    stated = None if conditioning is None else conditioning.tensor(conditioning.as_batch(condition))
    device = run.device
    feed = Feed(
        view.training(values),
        stated,
        view,
        conditioning=conditioning,
        seed=seed,
        device=device,
        weight=weights if rule == "likelihood" else None,
        targets=weights if rule == "augmented" else None,
    )
    kept = {k: v for k, v in type(run.model).trains_with.items() if k in ("batch_size", "precision")}
    options = {**kept, "lr": 5e-4, "warmup": 0, "schedule": "constant", "ema_images": 0.0, "validations": 0, **trainer}
    job = Job(
        name=run.name,
        objective=Tuned(run.model, rule),
        representation=view,
        conditioning=conditioning,
        feed=feed,
        trainer=TrainOptions.of(options),
        budget=Budget(steps=steps),
        seed=seed,
        card={**run.card, "training": {**run.card.get("training", {}), "tuned": {"items": len(values), "rule": rule}}},
        request={},
    )
    return execute(job, progress=progress)
