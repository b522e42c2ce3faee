"""fit: data and a model → a trained artifact; the flow of the design in one page.

raw items → representations of items and conditions (chosen by the model's events) → feed → the one loop → artifact.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pofx.artifact import Artifact
from pofx.core.entry import device_of, public
from pofx.core.errors import UsageError
from pofx.core.files import read_json
from pofx.core.items import Items
from pofx.core.model import Model
from pofx.core.options import BUDGETS, Seed
from pofx.core.progress import Progress, Sink
from pofx.core.random import seeded
from pofx.core.representation import Representation
from pofx.data.dataset import Dataset
from pofx.data.kind import loaded
from pofx.data.on_disk import OnDisk
from pofx.data.sources import load as load_data
from pofx.data.weights import balanced
from pofx.represent.augment import augmentation, split_augmentation
from pofx.runs.held import condition_of_run, held, plain_options, views
from pofx.runs.models import default_model, model_entry
from pofx.runs.options import sort_options, split_reading
from pofx.runs.run import Job, execute
from pofx.runs.selection import judge_by_samples
from pofx.train.devices import processes
from pofx.train.feed import Augment, Feed, Stored
from pofx.train.options import Budget, Epochs, Flops, Minutes, Steps, TrainOptions

PUBLIC = ("fit",)

OF_ANY_FIT = {"validations", "validation_items", "checkpoint_seconds", "track"}  # trainer options; others are of steps
PRIVACY = {"item_clip", "item_noise"}


@public
def fit(
    data: Any = None,
    model: str | type[Model] | None = None,
    *,
    minutes: Minutes | None = None,
    steps: Steps | None = None,
    epochs: Epochs | None = None,
    flops: Flops | None = None,
    seed: Seed = 0,
    condition: Any = None,
    weight: Any = None,
    balance: str | None = None,
    on: Any = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | Sink = True,
    device: str | None = None,
    options: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
    view: Mapping[str, Any] | None = None,
    reading: Mapping[str, Any] | None = None,
    **flat: Any,
) -> Artifact:
    """Train a model on data.

    Args:
        data: a built-in name, a path, a DataFrame, a torch or 🤗 Dataset, `pofx.images(…)` and the like, or a Dataset.
            A float array (n, d) is read as points, a list of strings as texts. Not needed to resume a run on a file.
        model: a name of `pofx models`, a subclass of Model, or "file.py:Class"; by default the one for this kind of
            data.
        minutes: the budget of training time; one minute if no budget is given.
        steps: the budget in optimiser steps, instead.
        epochs: the budget in passes over the training items, instead.
        flops: the budget in FLOPs of matrix products, convolutions and attention, instead.
        condition: what the model is conditioned on: "label", a column of the table or a list of columns, or what
            belongs to the items one by one: a DataFrame, a Series, an array, labels, texts, Items. Several of these
            are one condition of parts, as a list (["label", pofx.images(sketches)]) or by name in a mapping.
        weight: how much each item counts, as if it were there so many times: a column of the table, which is not
            modelled, or one number for each item. Items of weight 0 are left out.
        balance: groups that count the same in training, whatever their sizes: a column, or "label".
        on: a trained run (folder or artifact) of a model with codes: the new model is trained on its codes. The run is
            saved inside the artifact; a condition that it was trained with is the default here.
        out: folder of the run: artifact, log and checkpoints; None writes nothing to disk.
        resume: continue an interrupted run in `out`; data, model and options may be left out.
        overwrite: replace a run that is in `out`; without it that is refused.
        progress: True shows the progress, False nothing; a function receives each `Progress`.
        device: "cpu" or "cuda", by default the process's own GPU where there is one. The run stays where it is trained;
            `run.to("cpu")` moves it, and `pofx.load` reads it on the CPU.
        options: constructor values of the model, by name.
        trainer: options of the trainer (`TrainOptions`), by name.
        view: options of the representation, by name; `represent` names the view.
        reading: options of reading the data, by name: size, crop, grey of pictures, separator of tables …
        flat: any of these options, whoever owns them.

    Raises:
        UsageError: unknown names or options (the nearest are named), or a request that differs from the one resumed.
        DataError: data that cannot be read or modelled.
        TrainingError: the loss is no longer finite; the last good weights are in `out`.
    """
    if out is not None and not str(out).strip():
        raise UsageError("out must be the name of a folder (got ''): leave it out to write nothing")
    folder = Path(out).expanduser() if out is not None else None
    source = data
    budget = {"minutes": minutes, "steps": steps, "epochs": epochs, "flops": flops}
    if resume and folder is not None and (folder / "request.json").exists() and (data is None or model is None):
        before = read_json(folder / "request.json")
        on = before.get("on_path") if on is None else on
        source, data, model, condition, flat, seed, budget = _recalled(
            before, data, model, condition, flat, seed, budget, folder
        )
        weight = before.get("weight") if weight is None and isinstance(before.get("weight"), str) else weight
        balance = before.get("balance") if balance is None else balance
    if data is None:
        raise UsageError("data is missing: pass a built-in name, a path or items (see `pofx data`)")
    if not any(v is not None for v in budget.values()):
        budget["minutes"] = 1.0
    limit = Budget(**budget)  # type: ignore[arg-type]
    augmented, flat = split_augmentation(flat)
    read_as, flat = split_reading(flat, None if model is None else model_entry(model).model)
    if on is not None and condition is None:
        condition = condition_of_run(on, folder if resume else None)
    read_as = {**read_as, **(reading or {})}
    dataset = load_data(data, condition=condition, weight=weight, reading=read_as)
    if balance is not None:
        both = {part: balanced(dataset.splits()[part], balance) for part in ("train", "validation")}
        dataset = replace(dataset, train=both["train"], validation=both["validation"])
    notes = []
    if model is None and on is not None:
        raise UsageError("a model on the codes of another must be named: pass model=NAME (see `pofx models`)")
    if model is None:
        model = default_model(loaded(dataset.train, seed))
        notes.append(f"model {model}, the default for {dataset.train.kind} items")
    if _alike(dataset.train.values):
        warnings.warn(
            f"all training items of {dataset.card.name} are the same: there is nothing to learn", stacklevel=3
        )
    row = model_entry(model)
    sorted_options = sort_options(row, flat, options=options, trainer=trainer, view=view)
    stated = sorted_options.trainer
    TrainOptions.of(stated, row.trains_with)  # raises before any work
    accelerator = processes()
    where = accelerator.device if device is None else device_of(device)
    others = held(row, on, sorted_options.options, folder, resume)
    representation, conditioning = views(row, others, loaded(dataset.train, seed), sorted_options.view, where)
    augment = augmentation(dataset.train, augmented)
    with seeded(seed, 0, 1 << 21):
        values = {**row.values, **sorted_options.options, **others.made(row)}
        net = row.model(representation.event, None if conditioning is None else conditioning.event, **values)
    train_options = TrainOptions.of(stated, {**row.trains_with, **_suited(net, stated, folder, resume)})
    if not tuple(net.phases()):
        _unused(row.name, [key for key in sorted_options.trainer if key not in OF_ANY_FIT])
    feeds = {
        split: _feed(items, representation, conditioning, split == "train", seed, where, augment)
        for split, items in (("train", dataset.train), ("validation", dataset.validation))
        if len(items)
    }
    validation = feeds.get("validation")
    given = condition_of(dataset, condition)
    counting = {} if weight is None else {"weight": weight if isinstance(weight, str) else {"given": True}}
    counting |= {} if balance is None else {"balance": balance}
    job = Job(
        name=row.name,
        objective=net,
        representation=representation,
        conditioning=conditioning,
        feed=feeds["train"],
        validation=validation,
        judge=None
        if validation is None or len(validation) < 2
        else judge_by_samples(validation, dataset.validation.labels),
        trainer=train_options,
        budget=limit,
        seed=seed,
        card={
            "data": dataset.card.to_json(),
            "label_names": dataset.train.facts.get("label_names"),
            "training": {"condition": given, **({"augmentation": augmented} if augmented else {}), **counting},
            **others.card,
        },
        request={
            "data": dataset.card.name,
            "hash": dataset.card.hash,
            "model": row.name,
            "seed": seed,
            "condition": given,
            **counting,
            **others.request,
            "options": {
                **augmented,
                **read_as,
                **plain_options(row, sorted_options, others),
                **sorted_options.trainer,
                **sorted_options.view,
            },
            "budget": limit.request,
            "source": str(Path(source).resolve()) if _is_file(source) else source if isinstance(source, str) else None,
        },
    )
    _tell(notes, progress)
    return execute(job, folder, resume=resume, overwrite=overwrite, progress=progress, accelerator=accelerator)


def _suited(net: Model, stated: Mapping[str, Any], folder: Path | None, resume: bool) -> Mapping[str, Any]:
    """What suits the network as it was built, unless another optimiser is stated; what an interrupted run began with,
    where that is resumed."""
    suited = net.suited()
    if "optimizer" in suited and stated.get("optimizer", suited["optimizer"]) != suited["optimizer"]:
        return {}
    if suited and resume and folder is not None and (folder / "artifact.json").exists():
        began = read_json(folder / "artifact.json")["card"]["training"]["options"]
        return {key: began[key] for key in suited if key in began}
    return suited


def condition_of(dataset: Dataset, condition: Any) -> Any:
    """A condition in plain words, for card and request: "label", columns, or the kind of what was given beside."""
    given = dataset.train.condition
    if given is None:
        return None
    if isinstance(condition, str):
        return condition
    columns = given.facts.get("columns")
    return list(columns) if columns else {"kind": given.kind}


def _feed(
    items: Items,
    representation: Representation,
    conditioning: Representation | None,
    training: bool,
    seed: int,
    device: torch.device,
    augment: Augment | None,
) -> Feed:
    raw: Tensor | Stored
    if isinstance(items.values, OnDisk):
        raw = Stored(items.values, representation.tensor)
    else:
        raw = representation.training(items.values) if training else representation.tensor(items.values)
    given = None if conditioning is None or items.condition is None else conditioning.tensor(items.condition.values)
    weight = None if items.weight is None else torch.from_numpy(np.asarray(items.weight, np.float64))
    return Feed(
        raw,
        given,
        representation,
        conditioning=conditioning,
        weight=weight,
        augment=augment if training else None,
        seed=seed,
        device=device,
    )


def _unused(name: str, keys: Sequence[str]) -> None:
    """A warning about options that change nothing.

    Raises:
        UsageError: privacy is among them, which nobody may believe to have.
    """
    if PRIVACY & set(keys):
        raise UsageError(f"{name} is fitted in one pass and not private: leave {', '.join(keys)} out, or choose mst")
    if keys:
        warnings.warn(
            f"{', '.join(keys)} {'changes' if len(keys) == 1 else 'change'} nothing: {name} is fitted in one pass, "
            "without steps of a gradient",
            UserWarning,
            stacklevel=5,
        )


def _recalled(
    before: Mapping[str, Any],
    data: Any,
    model: Any,
    condition: Any,
    flat: dict[str, Any],
    seed: int,
    budget: dict[str, Any],
    folder: Path,
) -> tuple[Any, Any, Any, Any, dict[str, Any], int, dict[str, Any]]:
    """What the call of a resumed run leaves out, from its request."""
    source = data if data is not None else before.get("source") or before.get("data")
    if data is None and not isinstance(source, str):
        raise UsageError(f"the data of {folder} was in memory: pass it again, as data=…")
    name = before.get("data")
    if data is None and isinstance(name, str) and _is_file(name) and str(Path(name).expanduser().resolve()) == source:
        source = name  # as it was written
    if condition is None and not isinstance(before.get("condition"), dict):
        condition = before.get("condition")
    if not any(v is not None for v in budget.values()):
        budget = {**dict.fromkeys(BUDGETS), **before.get("budget", {})}
    options = {**before.get("options", {}), **flat}
    return source, source, model or before.get("model"), condition, options, before.get("seed", seed), budget


def _alike(values: Any) -> bool:
    """Whether items in memory are all the same; of containers that are neither arrays nor lists it is not known."""
    if isinstance(values, np.ndarray):
        return len(values) > 1 and bool((values[1] == values[0]).all()) and bool((values == values[:1]).all())
    if isinstance(values, list):
        return len(values) > 1 and all(np.array_equal(value, values[0]) for value in values[1:])
    return False


def _is_file(data: Any) -> bool:
    return isinstance(data, str | os.PathLike) and Path(data).expanduser().exists()


def _tell(notes: list[str], progress: Any) -> None:
    """Show what was chosen for the user."""
    if progress is False or not notes:
        return
    for note in notes:
        if callable(progress):
            progress(Progress("data", note=note))
        else:
            print(note, flush=True)
