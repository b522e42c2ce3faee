"""pofx lab: learn cells given their conditions, and draw what would be under others."""

import re
import warnings
from pathlib import Path
from typing import Annotated

import typer

from pofx.core.printed import aligned, show
from pofx.declared import Folder, Overwrite, Reads, Seed

GROUP = "Uses"
LEAST = 20  # cells
EXAMPLE = "pofx lab cells.csv --conditions drug,dose --do drug=A,dose=2 --out runs/lab"


def lab(
    source: Annotated[
        Path, typer.Argument(metavar="CELLS", help="A .csv: a row per cell, its conditions in columns."), Reads()
    ],
    conditions: Annotated[str, typer.Option(help="The columns that are conditions, with commas between.")],
    out: Annotated[Path, typer.Option(help="A folder: the model, drawn cells and tables."), Folder()],
    do: Annotated[list[str], typer.Option(help="Draw cells under NAME=VALUE,…; may be repeated.")],
    control: Annotated[
        str | None, typer.Option(help="NAME=VALUE,… to compare with; by default the first row's.")
    ] = None,
    hold_out: Annotated[str | None, typer.Option(help="A condition that is not trained on, to be scored.")] = None,
    members: Annotated[
        int, typer.Option(min=1, max=100, help="Trainings; from 2 on, conditions are ranked by information.")
    ] = 1,
    n: Annotated[int, typer.Option("-n", min=10, max=1_000_000, help="Cells per condition.")] = 500,
    minutes: Annotated[float, typer.Option(help="Of each training.")] = 1.0,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> str:
    """Learn cells given perturbation, dose and covariates; draw and compare what others would do."""
    import numpy as np
    import pandas as pd

    from pofx.apps.virtual_lab import VirtualLab, held_out, nb_floor, normal_floor, read_condition
    from pofx.core.errors import DataError, UsageError, unknown
    from pofx.data.arrays import write_frame
    from pofx.data.columns import listed
    from pofx.data.frames import rows_in

    frame = rows_in(source)
    names = listed(conditions)
    for name in names:
        if name not in frame.columns:
            raise unknown(f"column of {source}", name, frame.columns)
    given, cells = frame[names], frame.drop(columns=names).select_dtypes("number")
    words = [str(c) for c in frame.columns if c not in names and c not in cells.columns]
    if words:
        warnings.warn(f"columns {', '.join(words)} are no numbers: left out of the cells", stacklevel=2)
    if cells.shape[1] == 0:
        raise DataError(f"{source} has no columns of numbers beside {conditions}: give the cells' measurements")
    usual = dict(given.iloc[0]) if control is None else read_condition(control, given)
    wanted = [read_condition(text, given) for text in do]
    away = np.zeros(len(frame), bool)
    if hold_out is not None:
        away = (given[list(read_condition(hold_out, given))] == read_condition(hold_out, given)).all(axis=1).to_numpy()
        if not away.any() or away.all():
            raise UsageError(f"no cells (or all) have the condition {hold_out}: choose another to hold out")
    x = cells.to_numpy()
    rest = np.random.default_rng(seed).permutation(np.flatnonzero(~away))
    if len(rest) < LEAST:
        raise DataError(f"{source} has {len(rest)} cells to learn from, at least {LEAST} are needed")
    test = np.zeros(len(x), bool)
    test[rest[: max(1, len(rest) // 10)]] = True
    train = ~away & ~test
    model = VirtualLab.fit(x[train], given[train], columns=list(cells.columns), members=members, minutes=minutes,
                           seed=seed)  # fmt: skip
    nats = -model.log_prob(x[~away & test], given[~away & test]).mean()
    name, of = ("negative binomial by column", nb_floor) if model.counts else ("one normal of all cells", normal_floor)
    bound = " (a bound)" if model.counts else ""
    show(f"{nats:.2f} nats per held-out cell{bound}, {name} {of(x[train], x[~away & test]):.2f}")
    if hold_out is not None:
        as_control = x[train & (given[list(usual)] == usual).all(axis=1).to_numpy()]
        found = held_out(model, x[away], dict(given[away].iloc[0]), x[train], as_control, seed)
        show("distance to cells of the held-out condition: " + ", ".join(f"{k} {v:.3f}" for k, v in found.items()))
    for condition in wanted:
        text = ",".join(f"{k}={v}" for k, v in condition.items())
        drawn = pd.DataFrame(model.do(condition, n, seed=seed), columns=list(cells.columns))
        name = re.sub(r"[^\w=,.+-]", "_", text)
        write_frame(drawn, out / f"cells {name}.csv")
        changes = model.differential(usual, condition, n, seed=seed)
        write_frame(changes, out / f"changes {name}.csv", index=True, index_label="column")
        show(f"{text}, against the control:\n{aligned(changes.head(5))}")
    if members > 1:
        show(aligned(model.design(given.drop_duplicates().head(50), seed=seed).head(5), None, index=False))
    for k, run in enumerate(model.runs):
        run.save(out / (f"member {k}" if members > 1 else "model"))
    return f"{len(wanted)} conditions drawn"
