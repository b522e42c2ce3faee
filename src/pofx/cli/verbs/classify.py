"""pofx classify."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments
from pofx.declared import Csv

GROUP = "Use a run"
EXAMPLE = "pofx classify runs/digits digits --split test"


def classify(
    run: arguments.Run,
    source: arguments.Data,
    out: Csv = Path("classes.csv"),
    split: arguments.Split = None,
    even: Annotated[bool, typer.Option("--even", help="Take all classes as equally frequent.")] = False,
    force: arguments.Force = False,
    device: arguments.Device = "auto",
) -> str:
    """Compute the probability of each class for each item, by a run that was trained given labels.

    Where the items have labels, the share that is right is reported.
    """
    from pofx.apps.classify import classify as classified
    from pofx.artifact import load
    from pofx.data.arrays import write_table

    artifact = load(run).to(device)
    items = arguments.items(artifact, source, split, force)
    found = classified(artifact, items, even=even)
    best = found.columns[found.to_numpy().argmax(1)]
    rows = [
        {"index": i, "class": str(name), **{str(k): float(v) for k, v in row.items()}}
        for i, (name, row) in enumerate(zip(best, found.to_dict("records"), strict=True))
    ]
    write_table(rows, out)
    labels = artifact.conditioning
    if items.condition is None or labels is None:
        return f"{len(rows):,} items"
    right = labels.tensor(items.condition.values).numpy() == found.to_numpy().argmax(1)
    return f"{len(rows):,} items, {right.mean():.1%} as labelled"
