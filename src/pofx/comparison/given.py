"""Trained runs beside the models of a comparison: measured as they are, also flows and pipelines of other libraries.

They are in the table and the report, and are not ranked: their budgets are their own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pofx.artifact import Artifact, run_of
from pofx.comparison.exhibits import SHOWN, keep
from pofx.comparison.jobs import Orders
from pofx.core import config
from pofx.core.errors import UsageError
from pofx.core.options import short
from pofx.core.progress import Sink
from pofx.data.dataset import Dataset
from pofx.evaluate.conditions import drawn, with_conditions
from pofx.evaluate.provenance import check_same_data
from pofx.evaluate.suite import evaluate
from pofx.hub import name_of

CONTROLS = ("controls", "real-test", "memoriser", "marginals")
SPOILERS = "/\\"  # of the name of a folder


def given_runs(runs: Mapping[str, Any] | None, dataset: Dataset) -> dict[str, Artifact]:
    """The runs by the names of their rows.

    Raises:
        UsageError: a name of a model, of a control or of no folder, what is no run, or a run of other data.
    """
    found = {}
    for name, run in (runs or {}).items():
        if not isinstance(name, str) or not name.strip() or set(name) & set(SPOILERS) or name in CONTROLS:
            raise UsageError(f"a run is named by a text that is no control and has no / (got {short(name)}): rename it")
        if name in config.entries():
            raise UsageError(f"'{name}' is a model of the comparison: give the run another name, such as my-{name}")
        found[name] = run_of(run)
        check_same_data(found[name], dataset, forcible=False)
    return found


def named_runs(folders: Sequence[Path]) -> dict[str, Path]:
    """The folders of runs by their names.

    Raises:
        UsageError: two of one name.
    """
    found = {name_of(folder): folder for folder in folders}
    if len(found) < len(folders):
        raise UsageError("runs need different names: rename a folder")
    return found


def measured(name: str, run: Artifact, dataset: Dataset, orders: Orders, report: Sink) -> dict[str, Any]:
    """What the report shows of a run: its measures under the protocol of the comparison, and samples."""
    data, folder = with_conditions(run, dataset), orders.folder / f"run-{name}"
    found = evaluate(run, data, n=orders.n, seed=orders.first_seed, spaces=orders.spaces,
                     cache=orders.folder / "spaces", progress=report)  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    values = drawn(run, data.test, SHOWN, seed=orders.first_seed).values
    file = keep(values, data.train, folder, "samples", data.test)
    return {
        "measurements": found["measurements"],
        "cost": dict(found.get("cost", {})),
        "files": {"samples": f"{folder.name}/{file}"},
    }
