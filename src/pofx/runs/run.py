"""One run, from a prepared training to an artifact with its card: what every way to train a model shares.

A `Job` holds what is trained, on what, and how. `execute` trains it in a folder, where log, checkpoints and the
artifact of the best weights so far are written while it goes on, so that it can be stopped and resumed at any time.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from pofx.artifact import Artifact
from pofx.core import config
from pofx.core.errors import UsageError
from pofx.core.files import read_json, write_json
from pofx.core.model import Model
from pofx.core.objective import Objective, trained
from pofx.core.progress import Sink
from pofx.core.representation import Representation
from pofx.runs.environment import environment
from pofx.train.devices import processes
from pofx.train.feed import Feed
from pofx.train.loop import train
from pofx.train.options import Budget, TrainOptions
from pofx.train.state import State

FREE = ("budget", "source")  # of a request: a resumed run may differ in them


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
    judge: Callable[[Any], float] | None = None
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
    progress: bool | Sink = True,
    accelerator: Accelerator | None = None,
) -> Artifact:
    """Train a job until its budget is spent; in `folder`, where one is given.

    Raises:
        UsageError: the folder holds another run, to resume.
        TrainingError: a loss is no longer finite.
    """
    accelerator = accelerator or processes()
    if folder is not None and resume:
        check_request(folder, job.request)
    if folder is not None and accelerator.is_main_process:
        begin(folder, job.request, resume)

    def on_checkpoint(objective: Model | Objective | None, state: State) -> None:
        if folder is None:
            return
        if objective is None:
            discard(folder, state)
        else:
            job.artifact(objective, state).save(folder)

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
    return replace(job, objective=result.model.to("cpu")).artifact(result.model, result.state).to("cpu")


def discard(folder: Path, state: State) -> None:
    """Leave no artifact in the folder of a training that failed without good weights, but the reason."""
    (folder / "artifact.json").unlink(missing_ok=True)
    write_json(folder / "failed.json", {"error": state.failed, "step": state.step})


def check_request(folder: Path, request: Mapping[str, Any]) -> None:
    """Refuse to resume another run than the one in the folder."""
    path = folder / "request.json"
    if not path.exists():
        return
    before = read_json(path)
    changed = [k for k, v in request.items() if k not in FREE and before.get(k) != config.plain(v)]
    if changed:
        raise UsageError(
            f"{folder} holds another run: {', '.join(f'{k} was {before.get(k)!r}' for k in changed)}; "
            "resume it with the same request, or choose another --out"
        )


def begin(folder: Path, request: Mapping[str, Any], resume: bool) -> None:
    """Write the request of a run; the previous run in its folder can then no longer be resumed."""
    path = folder / "request.json"
    if resume and path.exists():
        return
    if path.exists():
        for old in (folder / "checkpoints").glob("step-*/state.json"):
            old.unlink(missing_ok=True)
    write_json(path, config.plain(dict(request)))
