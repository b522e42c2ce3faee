"""The request of a comparison: folder, models, checks before anything is trained, one protocol per folder."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pofx.core import config
from pofx.core.errors import CorruptError, PofxError, TrainingError, UsageError, unknown
from pofx.core.event import Event, dims
from pofx.core.files import read_json, write_json
from pofx.core.model import Default
from pofx.core.random import seeded
from pofx.data.dataset import Dataset
from pofx.data.kind import kind_of
from pofx.evaluate.arrangement import MOST
from pofx.represent.choose import choose
from pofx.runs.options import sort_options
from pofx.train.options import Budget, TrainOptions

LARGE = 256  # numbers in a picture from which on drawing thousands takes minutes
PER_SECOND, FEWEST = 10, 1000  # items on each side for a second of training, and at the least


def default_folder(dataset: Dataset, budget: Budget, seed: int) -> Path:
    """The same folder for the same request."""
    name = re.sub(r"\W+", "-", dataset.card.name).strip("-") or "data"
    return Path("runs") / f"compare-{name}-{dataset.card.hash[:8]}-{str(budget).replace(' ', '')}-seed{seed}"


def settle(folder: Path, protocol: Mapping[str, Any]) -> None:
    """Write the protocol of a new comparison, or hold it against the one that the folder has.

    Raises:
        UsageError: another protocol; the differences are named.
    """
    path = folder / "protocol.json"
    try:
        before = read_json(path)
    except CorruptError:  # none, or damaged by a crash of the machine: every job states the budget, data and seed, too
        write_json(path, dict(protocol))
        return
    keys = dict.fromkeys((*protocol, *before))
    changed = [f"{k} was {before.get(k)!r}, now {protocol.get(k)!r}" for k in keys if before.get(k) != protocol.get(k)]
    if changed:
        raise UsageError(
            f"{folder} holds a comparison under another protocol ({'; '.join(changed)}): choose another --out, "
            "or delete the folder"
        )


def sides_of(dataset: Dataset, budget: Budget) -> int | None:
    """Items on each side of every measure under a short budget, or None where `evaluate` may choose."""
    if not kind_of(dataset.train).pictorial or np.prod(np.shape(dataset.train.values)[1:]) < LARGE:
        return None
    found = int(max(FEWEST, PER_SECOND * 60 * (budget.minutes or 60)))
    return found if found < MOST else None


def choose_models(
    dataset: Dataset, models: Sequence[str] | None, families: Sequence[str] | None, codes: Event | None = None
) -> tuple[list[str], dict[str, str]]:
    """Names to run, the baselines last, and a reason for every family of which nothing can be run; of the codes of a
    first stage, where these are given.

    Raises:
        UsageError: an unknown name, a model that cannot take the data, or nothing to run.
    """
    known = config.entries()
    if models:
        for name in models:
            refused = refusal(config.entry(name).name, dataset, codes=codes)
            if refused:
                raise UsageError(f"{name} cannot model {dataset.card.name}: {refused}")
        return list(dict.fromkeys([*models, *baselines(dataset, codes)])), {}
    of_family: dict[str, list[str]] = {}

    def place(name: str) -> tuple[float, bool, bool]:
        """Defaults for such events first, then those for their family, then whole models before recipes."""
        row = known[name]
        return -_default(row, dataset, codes), Default() not in row.default_for, bool(row.values)

    for name in sorted(known, key=place):
        of_family.setdefault(known[name].traits.family, []).append(name)
    for family in families or ():
        if family not in of_family:
            raise unknown("family", family, of_family)
    chosen, skipped = [], {}
    for family, names in sorted(of_family.items()):
        if families and family not in families:
            continue
        reasons: list[str] = []
        for name in names:
            refused = refusal(name, dataset, codes=codes)
            if refused is None:
                chosen.append(name)
                break
            reasons.append(refused)
        else:
            skipped[family] = reasons[0]
    last = baselines(dataset, codes)
    chosen = [*(name for name in chosen if name not in last), *last]
    if not chosen:
        raise UsageError(f"no model takes {dataset.card.name}: {'; '.join(skipped.values())}")
    return chosen, skipped


def _default(row: config.Entry, dataset: Dataset, codes: Event | None) -> float:
    """1 for a default for the events that a model makes of the data, 2 for one for so many dimensions; else 0."""
    plain = [default for default in row.default_for if not default.mixed]
    if all(default.event is None for default in plain):
        return 0
    try:
        event = choose(dataset.train, row.model, {}, row.view).event if codes is None else codes
    except PofxError:
        return 0
    return max((1 + (default.least > 0) for default in plain if default.fits(event)), default=0)


def baselines(dataset: Dataset, codes: Event | None = None) -> list[str]:
    """The classical models that every comparison of such data holds."""
    names = [name for name, row in config.entries().items() if row.traits.baseline]
    return [name for name in names if refusal(name, dataset, codes=codes) is None]


def checked(
    options: Mapping[str, Mapping[str, Any]],
    chosen: Sequence[str],
    dataset: Dataset,
    codes: Event | None = None,
) -> dict[str, dict[str, Any]]:
    """Options by model, plain, each with an owner that takes its value.

    Raises:
        UsageError: a model that is not compared, an option without an owner, or a value that its owner refuses.
    """
    for model, own in options.items():
        if model not in chosen:
            raise unknown("model of this comparison", model, chosen)
        refused = refusal(model, dataset, own, codes=codes)
        if refused:
            raise UsageError(f"{model} cannot be trained with {', '.join(own)}: {refused}")
    return {model: {k: config.plain(v) for k, v in own.items()} for model, own in options.items()}


def refusal(
    name: str, dataset: Dataset, options: Mapping[str, Any] | None = None, *, codes: Event | None = None
) -> str | None:
    """Why a model cannot take the data, or the codes of a first stage, by building it; None if it can.

    Raises:
        UsageError: an option that neither the model, the trainer nor a representation has.
    """
    row = config.entries()[name]
    own = sort_options(row, options or {})
    try:
        TrainOptions.of(own.trainer, row.trains_with)
        if codes is not None and own.view:
            raise UsageError(f"the view of the data is that of the first stage: omit {', '.join(own.view)}")
        event = choose(dataset.train, row.model, own.view, row.view).event if codes is None else codes
        with seeded(0, 0):
            config.build(name, event, None, **own.options)
    except (PofxError, ValueError, TypeError) as error:
        return str(error)
    return None if dims(event) else "it has no dimensions"


def command_line(
    data: str,
    flags: Mapping[str, str],
    options: Mapping[str, Mapping[str, Any]],
    reading: Mapping[str, Any] | None = None,
    runs: Sequence[Any] = (),
) -> str:
    """The command that makes the same comparison; flags without a value, and runs in no folder, are left out."""
    words = [word for flag, value in flags.items() if value for word in (f"--{flag}", value)]
    words += [w for k, v in (reading or {}).items() for w in ("-o", f"{k}={json.dumps(v)}")]
    words += [w for m, own in options.items() for k, v in own.items() for w in ("-o", f"{m}.{k}={json.dumps(v)}")]
    words += [word for run in runs if isinstance(run, str | Path) for word in ("--run", str(run))]
    return shlex.join(["pofx", "compare", data, *words])


def refuse_failure(results: Mapping[str, Any], folder: Path) -> None:
    """Raise where no model has a result.

    Raises:
        TrainingError: with the reasons, and where they are reported.
    """
    runs = [(row, run) for row in results["rows"] for run in row["runs"]]
    if any(run["status"] == "done" for row, run in runs if row["role"] != "control"):
        return
    reasons: dict[str, list[str]] = {}
    for row, run in runs:
        if run["status"] == "failed":
            reasons.setdefault(str(run["reason"]), []).append(row["name"])
    listed = "; ".join(f"{', '.join(dict.fromkeys(names))}: {reason}" for reason, names in reasons.items())
    raise TrainingError(
        f"no model has a result ({listed or 'no job was run'}): mend that and repeat the command, which runs only what "
        f"is missing; {folder / 'report.html'} lists every job"
    )
