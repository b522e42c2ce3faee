"""One run, from a prepared training to an artifact with its card: what all trainings share.

A `Job` holds what is trained, on what, and how. `execute` trains it in a folder, where log, checkpoints and the
artifact of the best weights so far are written while it goes on, so that it can be stopped and resumed at any time.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from pofx.artifact import Artifact
from pofx.core.model import Model
from pofx.core.objective import Objective, trained
from pofx.core.progress import Sink
from pofx.core.representation import Representation
from pofx.runs.environment import environment
from pofx.runs.folder import run_folder
from pofx.train.devices import processes
from pofx.train.feed import Feed
from pofx.train.loop import train
from pofx.train.options import Budget, TrainOptions
from pofx.train.selection import Judge
from pofx.train.state import State


@dataclass(frozen=True)
class Job:
    """A prepared training: the objective on its feed, and what the artifact keeps beside the model."""

    name: str  # of the model, in `pofx models`
    objective: Model | Objective
    representation: Representation
    feed: Feed
    trainer: TrainOptions
    budget: Budget
    seed: int
    card: Mapping[str, Any]
    request: Mapping[str, Any]  # what a resumed run must agree with
    conditioning: Representation | None = None
    validation: Feed | None = None
    judge: Judge | None = None
    began: float = field(default_factory=time.time)

    def artifact(self, objective: Model | Objective, state: State) -> Artifact:
        """The artifact of a trained objective, with the numbers of its training in the card."""
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.began))
        training = {
            "model": self.name,
            "budget": str(self.budget),
            "options": vars(self.trainer),
            **self.card.get("training", {}),
            **state.numbers(),
            "started": started,
        }
        card = {"seed": self.seed, **self.card, "training": training, "environment": environment()}
        return Artifact(self.representation, trained(objective), self.name, card, self.conditioning)


def execute(
    job: Job,
    folder: Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | Sink = True,
    accelerator: Accelerator | None = None,
) -> Artifact:
    """Train a job until its budget is spent; in `folder`, where one is given. It stays on the device of its feed.

    Raises:
        UsageError: the folder holds another run, to resume, or one that would be replaced without `overwrite`.
        TrainingError: a loss is no longer finite.
    """
    accelerator = accelerator or processes()
    main = accelerator.is_main_process
    with run_folder(folder, job.request, resume=resume, overwrite=overwrite, main=main) as run:
        if main:
            run.begin()

        def on_checkpoint(objective: Model | Objective | None, state: State) -> None:
            if objective is None:
                run.discard(str(state.failed), state.step)
            else:
                run.store(job.artifact(objective, state))

        result = train(
            job.objective,
            job.feed,
            options=job.trainer,
            budget=job.budget,
            seed=job.seed,
            validation=job.validation,
            judge=job.judge,
            folder=folder,
            resume=resume,
            progress=progress,
            title=job.name,
            on_checkpoint=on_checkpoint,
            accelerator=accelerator,
        )
        final = replace(job, objective=result.model.to("cpu")).artifact(result.model, result.state).to("cpu")
        return (run.finish(final) if main else final).to(job.feed.device)
