"""pofx distill."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments
from pofx.declared import Guarded, Reads

GROUP = "Train"
EXAMPLE = "pofx distill runs/digits --sampler-steps 4 --minutes 1 --out runs/digits-fast"


def distill(
    run: arguments.Run,
    out: Annotated[Path, typer.Option(help="Folder of the new run."), Guarded()],
    sampler_steps: Annotated[
        int, typer.Option(min=1, max=100_000, help="Evaluations of the network in which the new run draws.")
    ] = 4,
    method: Annotated[
        str, typer.Option(help="consistency, progressive, reflow, matching (of distributions) or adversarial.")
    ] = "progressive",
    guidance: Annotated[float, typer.Option(help="Of the teacher, which the new run has built in.")] = 1.0,
    minutes: Annotated[float | None, typer.Option(help="Budget: minutes of training time (default 1).")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget: optimiser steps.")] = None,
    against: Annotated[str | None, typer.Option(help="Data to train on (default: that of the run)."), Reads()] = None,
    option: arguments.Options = None,
    seed: arguments.Seed = 0,
    overwrite: arguments.Overwrite = False,
) -> str:
    """Train a run that draws in a few steps what a diffusion run draws in many; the teacher stays as it is.

    -o KEY=VALUE sets options of the trainer. Runs of the methods progressive and reflow draw in other numbers of steps
    too: `pofx sample RUN -o sampler_steps=2`.
    """
    from pofx.runs.distilling import distill as trained
    from pofx.runs.options import refuse_arguments

    options = arguments.options(option)
    refuse_arguments(options, trained)
    found = trained(
        run,
        against,
        sampler_steps=sampler_steps,
        method=method,
        guidance=guidance,
        minutes=minutes,
        steps=steps,
        seed=seed,
        out=out,
        overwrite=overwrite,
        **options,
    )
    training = found.card["training"]
    teacher = training["distilled"]["teacher"]
    steps_of = f"{training['steps']} steps of training, {training['seconds']:.1f} s"
    return f"{teacher} by {method} in {sampler_steps} steps: {steps_of}"
