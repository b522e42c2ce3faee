"""pofx train."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments
from pofx.core.printed import show
from pofx.declared import Guarded, Reads

GROUP = "Train"
EXAMPLE = "pofx train digits --model realnvp --minutes 2 -o lr=0.001 --out runs/digits"


def train(
    source: Annotated[
        str | None, typer.Argument(metavar="DATA", help="A built-in name, a file or a folder."), Reads()
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A name of `pofx models`.")] = None,
    option: arguments.Options = None,
    minutes: Annotated[float | None, typer.Option(help="Budget: minutes of training time (default 1).")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget: optimiser steps.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Budget: passes over the data.")] = None,
    flops: Annotated[float | None, typer.Option(help="Budget: FLOPs, such as 2e12.")] = None,
    condition: Annotated[
        str | None, typer.Option(help="`label`, columns of a table or arrays of an .npz: age,income.")
    ] = None,
    columns: arguments.Columns = None,
    drop: arguments.Drop = None,
    weight: Annotated[str | None, typer.Option(help="A column with the weight of each row.")] = None,
    balance: Annotated[str | None, typer.Option(help="Groups that count the same: a column, or `label`.")] = None,
    on: Annotated[
        Path | None, typer.Option(help="A run with codes: train on the codes of its model."), Reads(run=True)
    ] = None,
    seed: arguments.Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run (default runs/DATA-MODEL-SEED)."), Guarded()
    ] = None,
    device: arguments.Device = "auto",
    tensorboard: Annotated[
        Path | None, typer.Option(help="A folder of TensorBoard for the losses and validation."), Guarded()
    ] = None,
    wandb: Annotated[str | None, typer.Option(help="A project of Weights & Biases for them.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    overwrite: arguments.Overwrite = False,
) -> None:
    """Train one model on data, with a progress bar, checkpoints and a log."""
    from pofx.core.errors import UsageError
    from pofx.core.progress import reporting
    from pofx.runs.fitting import fit
    from pofx.runs.options import refuse_arguments
    from pofx.runs.tracking import to_tensorboard, to_wandb, together

    if source is None and not (resume and out is not None):
        raise UsageError("missing DATA: pofx train DATA --model NAME (see `pofx data`), or --resume --out RUN")
    options = arguments.reading_of(arguments.options(option), columns, drop)
    refuse_arguments(options, fit)
    folder = out or Path("runs") / f"{Path(source or '').stem}-{Path(model or 'default').stem}-{seed}"
    hooks = [] if tensorboard is None else [to_tensorboard(tensorboard)]
    hooks += [] if wandb is None else [to_wandb(wandb)]
    with reporting(bool(hooks), Path(model or "training").stem) as bar:
        run = fit(
            source,
            model,
            minutes=minutes,
            steps=steps,
            epochs=epochs,
            flops=flops,
            seed=seed,
            condition=arguments.columns(condition),
            weight=weight,
            balance=balance,
            on=on,
            out=folder,
            resume=resume,
            overwrite=overwrite,
            device=None if device == "auto" else device,  # of several processes each has a GPU of its own
            progress=together(bar, *hooks) if hooks else True,
            **options,
        )
    if os.environ.get("RANK", "0") != "0":  # of several processes only the first prints
        return
    training = run.card["training"]
    how = f"{training['steps']:,} steps in" if training["steps"] else "fitted in"
    show(f"{run.name} on {run.card['data']['name']}: {how} {training['seconds']:.1f} s → {folder}")
