"""pofx compare."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments
from pofx.core.printed import show
from pofx.declared import Guarded, Reads

GROUP = "Evaluate and compare"
EXAMPLE = "pofx compare digits --budget 30s --out runs/demo"


def compare(
    source: arguments.Data,
    names: Annotated[str | None, typer.Option("--models", help="a,b,c (default: one per family).")] = None,
    families: Annotated[str | None, typer.Option(help="flow,vae,… (default: all that fit the data).")] = None,
    budget: Annotated[str, typer.Option(help="Training of each: 30s, 2m, 1h, 500steps, 3epochs or 2e12flops.")] = "30s",
    seeds: Annotated[int, typer.Option(help="Trainings of each model.")] = 1,
    seed: arguments.Seed = 0,
    label: Annotated[str | None, typer.Option(help="The column of a table that holds its classes.")] = None,
    columns: arguments.Columns = None,
    drop: arguments.Drop = None,
    on: Annotated[
        Path | None, typer.Option(help="A run with codes: train all models on the codes of its model."), Reads(run=True)
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(help="A trained run that is measured beside the models, not ranked; repeatable."),
        Reads(run=True),
    ] = None,
    trials: Annotated[int, typer.Option(help="Sets of options tried per model, compared on validation data.")] = 1,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-o", help="MODEL.key=value, or key=value of reading the data.", metavar="MODEL.KEY=VALUE"
        ),
    ] = None,
    spaces: Annotated[str | None, typer.Option(help="Feature spaces: pca,classifier,inception=FILE,…")] = None,
    n: Annotated[int | None, typer.Option("-n", "--n", help="Items on each side of every measure.")] = None,
    time_limit: Annotated[str | None, typer.Option(help="The most time of one job: 30m, 2h.")] = None,
    memory_limit: Annotated[str | None, typer.Option(help="The most memory of one job: 8GB.")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: on the cluster of RAY_ADDRESS.")] = "local",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report (default runs/compare-DATA)."), Guarded()
    ] = None,
) -> None:
    """Compare models on the same data and budget: one table, one report. Resumable."""
    typer.echo(f"compare: reading {source}", err=True)  # before the imports, which take seconds
    from pofx.comparison.compare import compare as run_comparison
    from pofx.comparison.given import named_runs

    of_models, reading = arguments.options_of(option)
    result = run_comparison(
        source,
        models=names.split(",") if names else None,
        families=families.split(",") if families else None,
        budget=budget,
        seeds=seeds,
        seed=seed,
        out=out or Path("runs") / f"compare-{Path(source).stem}",
        label=label,
        on=on,
        runs=named_runs(run or []),
        options=of_models,
        reading=arguments.reading_of(reading, columns, drop),
        trials=trials,
        spaces=spaces.split(",") if spaces else None,
        n=n,
        time_limit=time_limit,
        memory_limit=memory_limit,
        engine=engine,
    )
    show(f"{result}\n\nreport → {result.report}")
