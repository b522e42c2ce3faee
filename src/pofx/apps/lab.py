"""pofx lab: learn cells given their conditions, and draw what would be under others."""

import math
import re
import shlex
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pofx.core.printed import aligned, show
from pofx.declared import Folder, Overwrite, Reads, Seed

GROUP = "Uses"
LEAST = 20  # cells
COMBINED = 60  # conditions that are ranked by information, at most
CONTROLS = ("control ctrl ctl vehicle dmso pbs untreated unperturbed wt mock none placebo baseline nt").split()
CONTROLS += ["wild type", "non targeting", "negative control", "no treatment"]
MOST = 8  # conditions that are drawn where none is named
EACH = 300  # cells of each condition of a generated lab
EXAMPLE = "pofx lab cells.csv --conditions drug,dose --do drug=A,dose=2 --out runs/lab"


def lab(
    source: Annotated[
        str,
        typer.Argument(
            metavar="CELLS",
            help="A .csv or .h5ad: a row per cell, its conditions in columns (of obs); or a generated lab, by name.",
        ),
        Reads(),
    ],
    out: Annotated[Path, typer.Option(help="A folder: the model, drawn cells and tables."), Folder()],
    run: Annotated[
        Path | None, typer.Option(help="The folder of a lab, instead of training one."), Reads(run=True)
    ] = None,
    conditions: Annotated[
        str | None,
        typer.Option(help="The columns that are conditions, with commas between; of a generated lab its own."),
    ] = None,
    do: Annotated[
        list[str] | None, typer.Option(help="Draw cells under NAME=VALUE,…; repeatable. By default each that was seen.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Of an .h5 of counts: a table, the name of a cell and its label a line."),
        Reads(),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Of an .h5ad: measurements in place of X, such as its raw counts.")
    ] = None,
    counterfactual: Annotated[
        bool, typer.Option("--counterfactual", help="For each --do also what the control's own cells would be.")
    ] = False,
    control: Annotated[
        str | None,
        typer.Option(
            help="NAME=VALUE,… to compare with; by default the first row's that is called control, ctrl, DMSO, WT …"
        ),
    ] = None,
    hold_out: Annotated[str | None, typer.Option(help="A condition that is not trained on, to be scored.")] = None,
    members: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Trainings (default: 1); from 2 on, conditions are ranked by information."),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=10, max=1_000_000, help="Cells per condition.")] = 500,
    minutes: Annotated[float | None, typer.Option(help="Of each training (default: 1).")] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> str:
    """Learn cells given perturbation, dose and covariates; draw and compare what others would do."""
    from pofx.apps.virtual_lab import VirtualLab, beyond, held_out, read_condition
    from pofx.core.errors import DataError, UsageError
    from pofx.data.labs import LABS

    if run is not None and any(v is not None for v in (members, minutes, hold_out)):
        raise UsageError("--run is trained already: leave --members, --minutes and --hold-out out")
    model = None if run is None else VirtualLab.load(run)
    if model is not None and conditions is None and source not in LABS:
        conditions = ",".join(map(str, model.conditions.columns))
    given, cells = measured(source, *read(source, conditions, labels, seed, layer))
    usual = untreated(given) if control is None else read_condition(control, given)
    wanted = [read_condition(text, given) for text in do or ()] or others(given, usual)
    if model is None and do is None and len(given.drop_duplicates()) < 2:
        raise DataError(
            f"all cells of {source} have the same {', '.join(given.columns)}: there is nothing to compare them with"
        )
    for one in wanted:
        if outside := beyond(given if model is None else model.conditions, one):
            warnings.warn(f"{outside}: what is drawn there is extrapolated", stacklevel=2)
    x, under = cells.to_numpy(), having(given, usual)
    away = having(given, None if hold_out is None else read_condition(hold_out, given))
    if hold_out is not None and (not away.any() or away.all()):
        raise UsageError(f"no cells (or all) have the condition {hold_out}: choose another to hold out")
    train, test = parted(away, source, seed)
    if hold_out is not None and not (train & under).any():
        raise UsageError(f"the control {control or usual} is held out: name another, --control NAME=VALUE")
    if model is None:
        how = {"members": members or 1, "minutes": 1.0 if minutes is None else minutes, "seed": seed}
        model = learned(cells, given, train, test, **how)
        model.save(out / "model")
    elif list(model.columns) != [str(c) for c in cells.columns]:
        raise UsageError(
            f"the lab of {run} has the columns {', '.join(model.columns[:5])} … ({len(model.columns)}), {source} has "
            f"{', '.join(map(str, cells.columns[:5]))} … ({cells.shape[1]}): give cells of the same columns"
        )
    if hold_out is not None:
        found = held_out(model, x[away], dict(given[away].iloc[0]), x[train], x[train & under], seed, usual)
        show("distance to cells of the held-out condition: " + ", ".join(f"{k} {v:.3f}" for k, v in found.items()))
    own = x[under][:n] if counterfactual else x[:0]
    for condition in wanted:
        drawn(model, condition, usual, own, out, n, seed)
    if source in LABS and not Path(source).exists():
        errors = {}
        for condition in wanted:
            seen = train & having(given, condition)
            some = x[train & under], x[seen if seen.any() else train]
            errors[written(condition)] = against_truth(model, LABS[source], usual, condition, some, n, seed)
        show("error of counterfactuals, against the truth\n" + table(errors))
    if len(model.runs) > 1:
        ranked(model, given, wanted, out, seed)
    return f"{len(wanted)} condition{'' if len(wanted) == 1 else 's'} drawn"


def measured(source: str, frame: Any, names: list[str]) -> tuple[Any, Any]:
    """The conditions and the measurements of the cells of a table, two tables.

    Raises:
        DataError: no measurements, gaps among them, or counts below 0.
    """
    from pofx.core.errors import DataError

    lacking = frame[names].isna().any(axis=1)
    if lacking.any():
        warnings.warn(
            f"{int(lacking.sum())} of {len(frame)} cells have no {' or '.join(names)}: left out; if that is the "
            "control, name it",
            stacklevel=2,
        )
        frame = frame[~lacking].reset_index(drop=True)
    given, cells = frame[names], frame.drop(columns=names).select_dtypes("number")
    words = [str(c) for c in frame.columns if c not in names and c not in cells.columns]
    if words:
        some = ", ".join(words[:5]) + (f" and {len(words) - 5} others" if len(words) > 5 else "")
        warnings.warn(f"columns {some} are no numbers: left out of the cells", stacklevel=2)
    if cells.shape[1] == 0:
        raise DataError(f"{source} has no columns of numbers beside {','.join(names)}: give the cells' measurements")
    gaps = {str(c): int(k) for c, k in cells.isna().sum().items() if k}
    if gaps:
        some = ", ".join(f"{c} in {k}" for c, k in list(gaps.items())[:5])
        raise DataError(f"{len(gaps)} columns of {source} lack values of cells ({some}): fill them, or leave out")
    x = cells.to_numpy()
    if x.dtype.kind in "iu" and x.min() < 0:
        raise DataError(f"{source} has whole numbers below 0 ({x.min()}), which are no counts: write them as 1.0")
    return given, cells


def having(given: Any, condition: Mapping[str, Any] | None) -> Any:
    """Which cells have a condition, truth values (n,); none of them if there is none."""
    import numpy as np
    import pandas as pd

    if condition is None:
        return np.zeros(len(given), bool)
    return (given[list(condition)] == pd.Series(condition)).all(axis=1).to_numpy()


def parted(away: Any, source: str, seed: int) -> tuple[Any, Any]:
    """Which cells are learned from and which are held out to be scored, of those that are not away."""
    import numpy as np

    from pofx.core.errors import DataError

    rest = np.random.default_rng(seed).permutation(np.flatnonzero(~away))
    if len(rest) < LEAST:
        raise DataError(f"{source} has {len(rest)} cells to learn from, at least {LEAST} are needed")
    test = np.zeros(len(away), bool)
    test[rest[: max(1, len(rest) // 10)]] = True
    return ~away & ~test, test


def learned(cells: Any, given: Any, train: Any, test: Any, **how: Any) -> Any:
    """A lab of the training cells; its nats of held-out ones are shown beside a floor's."""
    from pofx.apps.virtual_lab import VirtualLab, nb_floor, normal_floor

    x = cells.to_numpy()
    model = VirtualLab.fit(x[train], given[train], columns=list(cells.columns), progress=True, **how)
    nats = -model.log_prob(x[test], given[test]).mean()
    name, of = ("negative binomial by column", nb_floor) if model.counts else ("one normal of all cells", normal_floor)
    bound = " (a bound)" if model.counts else ""
    show(f"{nats:.2f} nats per held-out cell{bound}; {name} {of(x[train], x[test]):.2f}")
    return model


def drawn(
    model: Any, condition: Mapping[str, Any], usual: Mapping[str, Any], own: Any, out: Path, n: int, seed: int
) -> None:
    """Files of cells under a condition, of what it changes, and of what the control's `own` cells would be."""
    import pandas as pd

    from pofx.data.arrays import write_frame

    columns, text = list(model.columns), written(condition)
    name = re.sub(r"[^\w=,.+-]", "_", text)
    write_frame(pd.DataFrame(model.do(condition, n, seed=seed), columns=columns), out / f"cells {name}.csv")
    changes = model.differential(usual, condition, n, seed=seed)
    write_frame(changes, out / f"changes {name}.csv", index=True, index_label="column")
    show(f"{text}, against {written(usual)}:\n{aligned(changes.head(5))}")
    if len(own):
        would = model.counterfactual(own, usual, condition)
        write_frame(pd.DataFrame(would, columns=columns), out / f"counterfactuals {name}.csv")


def written(condition: Mapping[str, Any]) -> str:
    """NAME=VALUE,…"""
    return ",".join(f"{k}={v}" for k, v in condition.items())


def table(rows: Mapping[str, Any]) -> str:
    """Numbers by row and column as text."""
    import pandas as pd

    return aligned(pd.DataFrame(rows).T)


def ranked(model: Any, given: Any, wanted: list[dict[str, Any]], out: Path, seed: int) -> None:
    """A file of conditions by what an experiment under each would teach, with the cells that were measured."""
    from pofx.data.arrays import write_frame

    names = list(given.columns)
    found = model.design(candidates(given, wanted), seed=seed)
    counted = given.groupby(names, sort=False).size().rename("cells").reset_index()
    found = found.merge(counted, on=names, how="left").fillna({"cells": 0}).astype({"cells": int})
    write_frame(found, out / "next.csv")
    show("next experiments, by information in nats a cell\n" + aligned(found.head(5), None, index=False))


def candidates(given: Any, wanted: list[dict[str, Any]]) -> Any:
    """Conditions that could be measured next: every combination of the values that were seen, measured or not, or where
    these are more than COMBINED those that were seen; and what was named."""
    import itertools

    import pandas as pd

    values = [given[name].drop_duplicates().tolist() for name in given.columns]
    every = given.drop_duplicates().head(COMBINED)
    if math.prod(map(len, values)) <= COMBINED:
        every = pd.DataFrame(list(itertools.product(*values)), columns=given.columns)
    named = pd.DataFrame(wanted, columns=given.columns).dropna()  # a condition that is stated in part is a mixture
    return pd.concat([every.astype(object), named.astype(object)]).drop_duplicates().infer_objects()


def read(source: str, conditions: str | None, labels: Path | None, seed: int, layer: str | None = None) -> Any:
    """The cells as a frame, and the names of the columns that are conditions.

    Raises:
        UsageError: no conditions, or options of another source.
        DataError: what cannot be read.
    """
    import pandas as pd

    from pofx.core.errors import DataError, UsageError, unknown
    from pofx.data.annotated import ENDINGS, read_annotated
    from pofx.data.columns import listed
    from pofx.data.frames import rows_in
    from pofx.data.labs import LABS

    path = Path(source)
    if layer is not None and path.suffix.lower() != ".h5ad":
        raise UsageError("--layer belongs to an .h5ad: leave it out")
    if source in LABS and not path.exists():
        if conditions is not None or labels is not None:
            raise UsageError(
                f"{source} is a generated lab with its own conditions: leave --conditions and --labels out"
            )
        lab = LABS[source]
        given = pd.concat([lab.conditions()] * EACH, ignore_index=True)
        cells = pd.DataFrame(lab.cells(given, seed)[0], columns=list(lab.columns))
        return pd.concat((given, cells), axis=1), list(given.columns)
    if not path.exists():
        raise DataError(f"{source} is no file: give a .csv or .h5ad, or one of the generated labs {', '.join(LABS)}")
    if path.suffix.lower() in ENDINGS:
        frame = read_annotated(path, labels, layer)
    elif labels is not None:
        raise UsageError("--labels belongs to an .h5 of counts: name columns of the table by --conditions")
    else:
        frame = rows_in(path)
    names = ["label"] if labels is not None and conditions is None else listed(conditions)
    if not names:
        words = [str(c) for c in frame.columns if not pd.api.types.is_numeric_dtype(frame[c])]
        some = ",".join(words or map(str, frame.columns[-1:]))
        raise UsageError(
            f"--conditions must name the columns of {source} that are perturbation, dose, covariates, such as "
            f"--conditions {shlex.quote(some)}"
        )
    for name in names:
        if name not in frame.columns:
            raise unknown(f"column of {source}", name, map(str, frame.columns[:50]))
    return frame, names


def untreated(given: Any) -> dict[str, Any]:
    """The control: the first row with the usual name of one, or a dose of 0, in as many columns as possible."""
    import pandas as pd

    for name in given.columns:
        if pd.api.types.is_numeric_dtype(given[name]):
            match = (given[name] == 0) & bool(re.search("dose|conc", str(name), re.IGNORECASE))
        else:
            called = given[name].astype(str).str.strip().str.lower().str.replace(r"[\s_-]+", " ", regex=True)
            match = called.isin(CONTROLS)
        given = given[match] if match.any() else given
    return dict(given.iloc[0])


def others(given: Any, usual: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conditions that were seen beside the control, at most MOST of them."""
    found = [dict(row) for _, row in given.drop_duplicates().iterrows()]
    return [row for row in found if any(row[k] != v for k, v in usual.items())][:MOST]


def against_truth(
    model: Any, lab: Any, usual: Mapping[str, Any], condition: Mapping[str, Any], cells: Any, n: int, seed: int
) -> dict[str, float]:
    """Mean absolute errors of counterfactuals of a generated lab: ours, cells moved by the difference of the means of
    `cells` (the control's, the condition's), and cells as they were."""
    import numpy as np
    import pandas as pd

    from pofx.apps.virtual_lab import mean_shift

    frames = [pd.DataFrame([{**usual, **one}] * n)[list(lab.settings)] for one in ({}, condition)]
    x, noise = lab.cells(frames[0], seed + 1)
    truth = lab.outcome(frames[1].to_numpy(np.float64), noise)
    found = {"ours": model.counterfactual(x, *frames), "mean shift": mean_shift(cells[0], cells[1], x), "no change": x}
    return {name: float(np.abs(would - truth).mean()) for name, would in found.items()}
