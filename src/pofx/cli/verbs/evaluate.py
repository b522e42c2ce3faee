"""pofx evaluate."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments, output
from pofx.core.printed import show, width
from pofx.declared import Reads

GROUP = "Evaluate and compare"
EXAMPLE = "pofx evaluate runs/digits --against digits --json"


def evaluate(
    run: arguments.Run,
    against: arguments.Against = None,
    spaces: Annotated[
        str | None,
        typer.Option("--spaces", "--features", help="Feature spaces: pca,classifier,inception=FILE,mine.py:MySpace,…"),
    ] = None,
    factors: Annotated[
        Path | None, typer.Option(help="A .csv of known factors, one row per item of the data."), Reads()
    ] = None,
    seed: arguments.Seed = 0,
    every: Annotated[bool, typer.Option("--all", help="Every measure, with its note.")] = False,
    force: arguments.Force = False,
    as_json: arguments.Json = False,
    device: arguments.Device = "auto",
) -> None:
    """Measure samples, density and codes against real data, with uncertainty."""
    from pofx.artifact import load
    from pofx.evaluate.provenance import trained_on
    from pofx.evaluate.suite import evaluate as measure
    from pofx.report.summary import text
    from pofx.runs.info import store

    artifact = load(run).to(device)
    dataset = trained_on(artifact, against)
    more = []
    if factors is not None:  # first: a wrong file is refused before anything long is done
        from pofx.evaluate.disentanglement import disentanglement

        items = arguments.items(artifact, against or artifact.card["data"]["name"], None)
        more = [m.json() for m in disentanglement(artifact, items, factors, seed=seed)]
    result = measure(
        artifact,
        dataset,
        seed=seed,
        spaces=spaces.split(",") if spaces else None,
        cache=run / "spaces",
        force=force or against is not None,
    )
    result["measurements"] += more
    if against is None:
        store(run, result)
    if as_json:
        output.as_json(result)
    else:
        show(f"{artifact.name} on {dataset.card.name}\n{text(result, width=width(), every=every)}")
