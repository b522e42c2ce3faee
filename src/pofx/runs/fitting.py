"""fit: data + the name of a model → a trained artifact; the flow of the design in one page.

raw items → representation (chosen by the model's events) → feed → the one loop → artifact with its card.
"""

import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pofx import __version__
from pofx.artifact import Artifact
from pofx.core import config
from pofx.core.errors import UsageError, unknown
from pofx.core.event import Continuous, Discrete
from pofx.core.files import read_json, write_json
from pofx.core.model import Model
from pofx.core.objective import Objective, trained
from pofx.core.progress import Sink
from pofx.core.random import Streams, seed_step
from pofx.data.dataset import Dataset
from pofx.data.sources import load as load_data
from pofx.maths.frechet import frechet_distance
from pofx.represent.choose import choose
from pofx.train.feed import Feed
from pofx.train.devices import processes
from pofx.train.loop import train
from pofx.train.options import Budget, TrainOptions
from pofx.train.state import State

PUBLIC = ("fit",)

JUDGED = 512  # samples drawn to judge a model whose losses say nothing


def fit(
    data: Any,
    model: str,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    flops: float | None = None,
    seed: int = 0,
    condition: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool | Sink = True,
    device: str | None = None,
    **options: Any,
) -> Artifact:
    """Train a model on data.

    Args:
        data: a built-in name, a path, a DataFrame, a torch Dataset, `pofx.images(…)` and the like, or a Dataset.
        model: a name of `pofx models`.
        minutes: the budget of training time; one minute if no budget is given.
        steps: the budget in optimiser steps, instead.
        epochs: the budget in passes over the training items, instead.
        flops: the budget in FLOPs of matrix products, convolutions and attention, instead.
        condition: "label", or the column of a table that the model is to be conditioned on.
        out: folder of the run: artifact, log and checkpoints; None keeps nothing on disk.
        resume: go on with an interrupted run in `out`; the same request without it starts anew.
        device: "cpu" or "cuda"; by default the process's own GPU where there is one.
        options: constructor values of the model, options of the trainer and of the representation, by name.

    Raises:
        UsageError: unknown names or options (the nearest are named), or a request that differs from the one resumed.
        DataError: data that cannot be read or modelled.
        TrainingError: the loss is no longer finite; the last good weights are in `out`.
    """
    if minutes is None and steps is None and epochs is None and flops is None:
        minutes = 1.0
    budget = Budget(steps=steps, minutes=minutes, epochs=epochs, flops=flops)
    row = config.entry(model)
    model_options, train_options, view_options = sort_options(row, options)
    trainer = TrainOptions.of({**row.trains_with, **train_options})
    dataset = load_data(data, label=condition if condition not in (None, "label") else None)
    if condition is not None and dataset.train.labels is None:
        raise UsageError(f"{dataset.card.name} has no labels: train without --condition, or name a column")
    folder = Path(out) if out is not None else None
    request = {
        "data": dataset.card.name,
        "hash": dataset.card.hash,
        "model": model,
        "seed": seed,
        "condition": condition,
        "options": options,
    }
    if folder is not None and resume:
        check_request(folder, request)
    accelerator = processes()
    where = torch.device(device) if device else accelerator.device
    representation = choose(dataset.train, row.model, view_options)
    event = _condition_event(dataset, condition)
    with torch.random.fork_rng():
        seed_step(seed, 0, 1 << 21)
        net = config.build(model, representation.event, event, **model_options)
        if folder is not None and accelerator.is_main_process:
            begin_run(folder, request, resume)
        feeds = {
            split: Feed(
                (representation.training if split == "train" else representation.tensor)(items.values),
                None if event is None else _condition_tensor(items.labels),
                representation,
                seed=seed,
                device=where,
            )
            for split, items in (("train", dataset.train), ("validation", dataset.validation))
            if len(items)
        }
        validation = feeds.get("validation")
        card = _card(dataset, model, seed, budget, trainer, condition)
        began = time.time()

        def artifact(final: Model, state: State) -> Artifact:
            numbers = {**state.numbers(), "started": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(began))}
            return Artifact(representation, final, model, {**card, "training": {**card["training"], **numbers}})

        def on_checkpoint(objective: Model | Objective | None, state: State) -> None:
            if folder is None:
                return
            if objective is None:
                discard(folder, state)
            else:
                artifact(trained(objective), state).save(folder)

        result = train(
            net,
            feeds["train"],
            options=trainer,
            budget=budget,
            seed=seed,
            validation=validation,
            judge=judge_by_samples(validation) if validation is not None else None,
            folder=folder,
            resume=resume,
            progress=progress,
            title=model,
            on_checkpoint=on_checkpoint,
            accelerator=accelerator,
        )
    return artifact(result.model.to("cpu"), result.state)


def discard(folder: Path, state: State) -> None:
    """Leave no artifact in the folder of a training that failed without good weights, but the reason."""
    (folder / "artifact.json").unlink(missing_ok=True)
    write_json(folder / "failed.json", {"error": state.failed, "step": state.step})


def sort_options(
    row: config.Entry, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Options by owner: the model's constructor, the trainer, the representation.

    Raises:
        UsageError: nobody owns a key; the nearest keys are named.
    """
    of_model = set(config.defaults(row.model))
    of_trainer = set(TrainOptions.__dataclass_fields__)
    of_view = {key for cls in config.representations().values() for key in cls.options} | {"represent"}
    sorted_out: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] = ({}, {}, {})
    for key, value in options.items():
        owner = next((i for i, keys in enumerate((of_model, of_trainer, of_view)) if key in keys), None)
        if owner is None:
            raise unknown(f"option of {row.name}", key, of_model | of_trainer | of_view)
        sorted_out[owner][key] = value
    return sorted_out


def judge_by_samples(validation: Feed) -> Callable[[Model], float]:
    """Fréchet distance of samples to the validation items on their 32 principal components: what selects the weights
    of a model whose losses say nothing (a GAN gets better and worse again; the reference shows by how much)."""
    real = validation.take(JUDGED)
    flat = _flat(real.x)
    mean = flat.mean(0)
    axes = np.linalg.svd(flat - mean, full_matrices=False)[2][:32].T

    @torch.inference_mode()
    def judge(model: Model) -> float:
        n = len(flat)
        streams = Streams(7, n, device=validation.device)
        drawn = model.sample(n, real.condition, generator=streams)
        return float(frechet_distance((_flat(drawn) - mean) @ axes, (flat - mean) @ axes))

    return judge


def _flat(x: Tensor) -> np.ndarray:
    return x.detach().float().flatten(1).cpu().numpy().astype(np.float64)


def _condition_event(dataset: Dataset, condition: str | None) -> Discrete | Continuous | None:
    if condition is None:
        return None
    if _signals(dataset.train.labels):
        return Continuous(np.shape(dataset.train.labels)[1:])
    names = dataset.train.facts.get("label_names")
    return Discrete((), len(names) if names else int(np.asarray(dataset.train.labels).max()) + 1)


def _signals(labels: Any) -> bool:
    """Whether items are labelled by signals of real numbers, not by classes."""
    return labels is not None and np.asarray(labels).dtype.kind == "f"


def _condition_tensor(labels: Any) -> Tensor:
    found = torch.as_tensor(np.asarray(labels))
    return found.float() if _signals(labels) else found.long()


def check_request(folder: Path, request: dict[str, Any]) -> None:
    """Refuse to resume another run than the one in the folder."""
    path = folder / "request.json"
    if not path.exists():
        return
    before = read_json(path)
    changed = [k for k, v in request.items() if before.get(k) != config.plain(v)]
    if changed:
        raise UsageError(
            f"{folder} holds another run: {', '.join(f'{k} was {before.get(k)!r}' for k in changed)}; "
            "resume it with the same request, or choose another --out"
        )


def begin_run(folder: Path, request: dict[str, Any], resume: bool) -> None:
    """Write the request of a run; one that starts anew can no longer resume what stood there."""
    path = folder / "request.json"
    if resume and path.exists():
        return
    if path.exists():
        for old in (folder / "checkpoints").glob("step-*/state.json"):
            old.unlink(missing_ok=True)
    write_json(path, request)


def _card(
    dataset: Dataset, model: str, seed: int, budget: Budget, trainer: TrainOptions, condition: str | None
) -> dict[str, Any]:
    labels = dataset.train.labels
    counted = labels is not None and condition is not None and not _signals(labels)
    return {
        "data": dataset.card.to_json(),
        "label_names": dataset.train.facts.get("label_names"),
        "label_frequencies": np.bincount(np.asarray(labels)).tolist() if counted else None,
        "seed": seed,
        "training": {"model": model, "budget": str(budget), "options": vars(trainer), "condition": condition},
        "environment": environment(),
    }


def environment() -> dict[str, Any]:
    """Where a run came to be: versions, platform, threads."""
    return {
        "pofx": __version__,
        "commit": _commit(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }


def _commit() -> str | None:
    """The commit of this checkout of pofx; None where it is not one, or there is no git."""
    root = Path(__file__).parents[3]
    if shutil.which("git") is None or not (root / ".git").exists():
        return None
    asked = ["git", "-C", str(root), "rev-parse", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or None
