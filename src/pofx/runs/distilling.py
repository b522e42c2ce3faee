"""distill: a trained diffusion run and its data → a run that draws in one step or a few."""

from pathlib import Path
from typing import Any

import torch

from pofx.artifact import Artifact
from pofx.combine.distilled import TRAINS_WITH, Distilled
from pofx.core.errors import UsageError
from pofx.core.options import Count, checked
from pofx.core.progress import Sink
from pofx.data.sources import built_in
from pofx.data.sources import load as load_data
from pofx.runs.run import Job, execute
from pofx.train.feed import Feed
from pofx.train.options import Budget, TrainOptions

PUBLIC = ("distill",)


@checked
def distill(
    teacher: Any,
    data: Any = None,
    *,
    sampler_steps: Count = 1,
    method: str = "consistency",
    guidance: float | int = 1.0,
    minutes: float | int | None = None,
    steps: int | None = None,
    seed: int = 0,
    out: Any = None,
    overwrite: bool = False,
    progress: Any = True,
    **trainer: Any,
) -> Any:
    """Train a model of average velocities to draw, in one step or a few, what a diffusion run draws in many.

    Args:
        teacher: an artifact, or the folder of a run.
        data: that of the teacher, which is loaded by its name where none is given, or other data of its kind.
        sampler_steps: in which the student draws. "progressive" and "reflow" train for any number, which can be changed
            later; the others for this one.
        method: "consistency", "progressive", "reflow", "matching" or "adversarial", of `combine.distilled`.
        guidance: classifier-free guidance of the teacher, which the student has built in.
        minutes: the budget of training time; one minute if no budget is given.
        steps: the budget in optimiser steps, instead.
        out: folder of the new run; None writes nothing to disk.
        overwrite: replace a run that is in `out`.
        progress: as in `fit`.
        trainer: options of the trainer (`TrainOptions`).

    Raises:
        UsageError: unknown methods or options.
        Unsupported: a teacher that is no diffusion model.
    """
    artifact: Artifact = teacher if isinstance(teacher, Artifact) else _loaded(teacher)
    stated = artifact.condition_source
    if data is None:
        data = artifact.card.get("data", {}).get("name")
        if data not in built_in() and not Path(str(data)).expanduser().exists():
            raise UsageError(f"the data of the teacher ('{data}') is not found from here: pass data")
    facts = artifact.card.get("data", {}).get("facts", {}) if isinstance(data, str | Path) else {}
    weight = (facts.get("weight") or {}).get("column")
    dataset = load_data(  # read as the teacher's data were
        data, condition=stated, label=facts.get("label"), weight=weight, reading=facts.get("reading")
    )
    objective = Distilled(artifact.model, method, float(guidance), int(sampler_steps))
    model, view, conditioning = objective.model, artifact.representation, artifact.conditioning
    limit = Budget(minutes=minutes if minutes or steps else 1.0, steps=steps)
    given = dataset.train.condition
    conditions = None if conditioning is None or given is None else conditioning.tensor(given.values)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    feed = Feed(
        view.training(dataset.train.values), conditions, view, conditioning=conditioning, seed=seed, device=device
    )
    options = {**type(model).trains_with, "lr": 3e-4, "validations": 0, **TRAINS_WITH.get(method, {}), **trainer}
    job = Job(
        name=model.name,
        objective=objective,
        representation=view,
        conditioning=conditioning,
        feed=feed,
        trainer=TrainOptions.of(options),
        budget=limit,
        seed=seed,
        card={
            "data": dataset.card.to_json(),
            "label_names": dataset.train.facts.get("label_names"),
            "training": {
                "condition": stated,
                "distilled": {"teacher": artifact.name, "method": method, "guidance": guidance},
            },
        },
        request={
            "data": dataset.card.name,
            "hash": dataset.card.hash,
            "model": model.name,
            "seed": seed,
            "condition": stated,
            "options": {"method": method, "guidance": guidance, "sampler_steps": int(sampler_steps), **trainer},
            "budget": limit.request,
            "source": None,
        },
    )
    sink: bool | Sink = progress
    return execute(job, None if out is None else Path(out).expanduser(), overwrite=overwrite, progress=sink)


def _loaded(folder: Any) -> Artifact:
    from pofx.artifact import load

    return load(folder)
