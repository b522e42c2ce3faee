"""What is asked of a comparison: the folder and the models; and that a folder keeps to one protocol."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pofx.core import config
from pofx.core.errors import PofxError, UsageError, unknown
from pofx.core.event import dims
from pofx.core.files import read_json, write_json
from pofx.data.dataset import Dataset
from pofx.represent.choose import choose
from pofx.runs.fitting import sort_options
from pofx.train.options import Budget

PREFERRED = ("pixelcnn", "nsf", "vae", "r3gan", "flow-matching", "rbm", "gmm")  # asked first in their families
BASELINE = "gmm"  # a classical model that every table holds


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
    if not path.exists():
        write_json(path, dict(protocol))
        return
    before = read_json(path)
    changed = [f"{k} was {before.get(k)!r}, now {v!r}" for k, v in protocol.items() if before.get(k) != v]
    if changed:
        raise UsageError(
            f"{folder} holds a comparison under another protocol ({'; '.join(changed)}): choose another --out, "
            "or delete the folder"
        )


def choose_models(
    dataset: Dataset, models: Sequence[str] | None, families: Sequence[str] | None
) -> tuple[list[str], dict[str, str]]:
    """Names to run, the baseline last, and a reason for every family that nothing can be run of.

    Raises:
        UsageError: an unknown name, a model that cannot take the data, or nothing to run.
    """
    known = config.entries()
    if models:
        for name in models:
            refused = refusal(config.entry(name).name, dataset)
            if refused:
                raise UsageError(f"{name} cannot model {dataset.card.name}: {refused}")
        return list(dict.fromkeys([*models, *([BASELINE] if _takes(BASELINE, dataset) else [])])), {}
    of_family: dict[str, list[str]] = {}

    def place(name: str) -> tuple[int, bool]:
        """The preferred names first, then whole models before recipes."""
        return PREFERRED.index(name) if name in PREFERRED else len(PREFERRED), bool(known[name].values)

    for name in sorted(known, key=place):
        of_family.setdefault(known[name].traits.family, []).append(name)
    for family in families or ():
        if family not in of_family:
            raise unknown("family", family, of_family)
    chosen, skipped = [], {}
    for family, names in of_family.items():
        if families and family not in families:
            continue
        reasons = {name: refusal(name, dataset) for name in names}
        fit = next((name for name in names if reasons[name] is None), None)
        if fit is None:
            skipped[family] = str(reasons[names[0]])
        else:
            chosen.append(fit)
    if BASELINE not in chosen and _takes(BASELINE, dataset):
        chosen.append(BASELINE)
    if not chosen:
        raise UsageError(f"no model takes {dataset.card.name}: {'; '.join(skipped.values())}")
    return chosen, skipped


def checked(options: Mapping[str, Mapping[str, Any]], chosen: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Options by model, plain, each known to its owner.

    Raises:
        UsageError: a model that is not compared, or an option that nobody owns.
    """
    for model, own in options.items():
        if model not in chosen:
            raise unknown("model of this comparison", model, chosen)
        sort_options(config.entries()[model], own)
    return {model: {k: config.plain(v) for k, v in own.items()} for model, own in options.items()}


def refusal(name: str, dataset: Dataset) -> str | None:
    """Why a model cannot take the data, by building it; None if it can."""
    row = config.entries()[name]
    try:
        event = choose(dataset.train, row.model, {}).event
        config.build(row.name, event)
    except (PofxError, ValueError, TypeError) as error:
        return str(error)
    return None if dims(event) else "it has no dimensions"


def _takes(name: str, dataset: Dataset) -> bool:
    return name in config.entries() and refusal(name, dataset) is None
