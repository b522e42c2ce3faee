"""pofx design: proposals, tests and updates from the command line (`design_loop`), beside floors (`design_floors`)."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from pofx.apps.design_floors import compared
from pofx.apps.design_loop import Design, Vectors, bounds_of, space_of
from pofx.core.errors import UsageError
from pofx.core.printed import aligned, show
from pofx.declared import File, Reads, Seed

GROUP = "Uses"
EXAMPLE = "pofx design trials.csv -p temperature=20..90 -p ph=3..9 --batch 8"


def design(
    record: Annotated[
        Path, typer.Argument(help="A .csv: proposals with an empty score, which you fill in."), File(".csv")
    ],
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="NAME=LOW..HIGH, repeatable.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="A run of molecules or other sequences, instead of numbers."), Reads(run=True)
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            help="A function of a list of designs, or with an argument for each -p: file.py:name; or a property."
        ),
        Reads(),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100_000, help="With --test.")] = 5,
    batch: Annotated[int, typer.Option(min=1, max=100_000, help="Designs of a round.")] = 10,
    budget: Annotated[int | None, typer.Option(min=1, max=100_000_000, help="Designs in all.")] = None,
    minimise: Annotated[bool, typer.Option("--minimise", help="Small scores are good.")] = False,
    floors: Annotated[
        bool, typer.Option("--floors", help="With --test: random search, a GP (and TPE) beside.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Propose designs, learn from their scores, propose better ones.

    Without --test the proposals are written into the record; fill in `score` (or write failed) and call again.
    """
    from pofx.artifact import load
    from pofx.core.config import function_in_file

    if (run is None) == (not parameter):
        raise UsageError("designs are numbers or sequences: pass -p NAME=LOW..HIGH, or --run RUN")
    if test is not None and ":" not in test and run is None:
        raise UsageError(f"--test {test} would be a property of molecules: pass --run RUN, or --test FILE.py:NAME")
    if floors and test is None:
        raise UsageError("--floors needs --test: it calls the test as often for each method")
    over: Any = bounds_of(parameter or []) if run is None else load(run)
    space = Vectors(over) if run is None else space_of(over)
    loop = Design(space, batch=batch, budget=budget, minimise=minimise, record=record, seed=seed)
    if test is not None:
        if ":" in test:
            of = function_in_file(test, "a test of designs")
        else:
            from pofx.data.chemistry import oracle_of

            of = oracle_of(test)
        loop.run(of, rounds)
    else:
        loop.scores()  # what is no score is named first
        waiting = len(loop.propose())
        show(f"1 design waits for its score in {record}" if waiting == 1 else
             f"{waiting} designs wait for their scores in {record}")  # fmt: skip
    if test is not None and not np.isfinite(loop.scores()).any():
        show(f"all {len(loop.trials)} designs failed (the test returned NaN): there is no score to learn from")
    if np.isfinite(loop.scores()).any():
        show(aligned(loop.progress(), 4))
        show(aligned(loop.best(), None, index=False))
        show(f"→ {loop.picture(record.with_suffix('.png'))}")
    if floors:
        found = compared(of, over, rounds=rounds, batch=batch, minimise=minimise)
        show("best after equal calls, three seeds\n" + aligned(found, 4))
