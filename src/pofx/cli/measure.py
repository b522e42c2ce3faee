"""The verbs that say how good models are: evaluate, audit, compare, report."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pofx.cli import arguments as given

verbs = typer.Typer()


@verbs.command(epilog="Example: pofx evaluate runs/digits --against digits --json")
def evaluate(
    run: given.Run,
    against: Annotated[str | None, typer.Option(help="Data (default: what the run was trained on).")] = None,
    spaces: Annotated[
        str | None, typer.Option(help="pca,classifier,random,logmel,inception=FILE,clip=FOLDER,…")
    ] = None,
    factors: Annotated[Path | None, typer.Option(help="A .csv of known factors, a row per item of the data.")] = None,
    seed: given.Seed = 0,
    as_json: given.Json = False,
    device: given.Device = "auto",
) -> None:
    """How good is the model: samples, density and codes against real data, with uncertainty."""
    from pofx.artifact import load
    from pofx.evaluate.suite import evaluate as measure

    artifact = load(run).to(device)
    dataset = given.trained_on(artifact, against)
    result = measure(artifact, dataset, seed=seed, spaces=spaces.split(",") if spaces else None, cache=run / "spaces")
    if factors is not None:
        from pofx.evaluate.disentanglement import disentanglement

        items = given.items(artifact, against or artifact.card["data"]["name"], None)
        result["measurements"] += [m.json() for m in disentanglement(artifact, items, factors, seed=seed)]
    if as_json:
        typer.echo(json.dumps(result, indent=1))
        return
    rows = [
        {
            "metric": m["metric"],
            "value": "not finite" if m["value"] is None else f"{m['value']:.4g}",
            "±": "" if m["stderr"] is None else f"{m['stderr']:.2g}",
            "better": m["better"],
            "space": m["space"] or "",
            "n": m["n"],
            "note": m["note"],
        }
        for m in result["measurements"]
    ]
    given.show(rows, False, f"{artifact.name} on {dataset.card.name}")


@verbs.command(epilog="Example: pofx audit runs/digits")
def audit(
    run: given.Run,
    against: Annotated[str | None, typer.Option(help="Data (default: what the run was trained on).")] = None,
    membership: Annotated[
        bool, typer.Option("--membership", help="Attack it by reference models, trained now.")
    ] = False,
    references: Annotated[int, typer.Option(help="Of --membership: how many, an even number.")] = 8,
    reference_seconds: Annotated[float, typer.Option(help="Of --membership: the most that each may train.")] = 20.0,
    as_json: given.Json = False,
    device: given.Device = "auto",
) -> None:
    """A doctor for a trained model: densities, bounds, tails, causality, codes, seeds, conditions, collapse, copies."""
    from pofx.artifact import load
    from pofx.evaluate.audit import audit as examine

    artifact = load(run).to(device)
    dataset = given.trained_on(artifact, against)
    findings = examine(artifact, dataset)
    if membership:
        from pofx.evaluate.reference_models import exposure, recipe

        asked: dict[str, Any] = {"options": recipe(run), "references": references, "seconds": reference_seconds}
        findings += exposure(artifact, dataset, **asked, progress=lambda line: typer.echo(line, err=True))
    given.show(findings, as_json, f"{artifact.name} on {dataset.card.name}")
    if any(f["result"] == "failed" for f in findings):
        raise typer.Exit(1)


@verbs.command(epilog="Example: pofx compare digits --budget 30s --out runs/demo")
def compare(
    source: given.Data,
    names: Annotated[str | None, typer.Option("--models", help="a,b,c (default: one per family).")] = None,
    families: Annotated[str | None, typer.Option(help="flow,vae,… (default: all that fit the data).")] = None,
    budget: Annotated[str, typer.Option(help="Training of each: 30s, 2m, 1h, 500steps, 3epochs or 2e12flops.")] = "30s",
    seeds: Annotated[int, typer.Option(help="Trainings of each model.")] = 1,
    seed: given.Seed = 0,
    label: Annotated[str | None, typer.Option(help="The column of a table that holds its classes.")] = None,
    trials: Annotated[int, typer.Option(help="Sets of options tried per model, judged by validation.")] = 1,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="MODEL.key=value, as often as needed.")
    ] = None,
    spaces: Annotated[str | None, typer.Option(help="Feature spaces: pca,classifier,inception=FILE,…")] = None,
    time_limit: Annotated[str | None, typer.Option(help="The most that one job may take: 30m, 2h.")] = None,
    memory_limit: Annotated[str | None, typer.Option(help="The most memory of one job: 8GB.")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: over the cluster of RAY_ADDRESS.")] = "local",
    out: Annotated[Path | None, typer.Option(help="Folder of the report (default runs/compare-DATA).")] = None,
) -> None:
    """Which family suits the data: equal training each, one table, one report. Resumable."""
    from pofx.comparison import compare as run_comparison

    result = run_comparison(
        source,
        models=names.split(",") if names else None,
        families=families.split(",") if families else None,
        budget=budget,
        seeds=seeds,
        seed=seed,
        out=out or Path("runs") / f"compare-{Path(source).stem}",
        label=label,
        options=given.options_of(option),
        trials=trials,
        spaces=spaces.split(",") if spaces else None,
        time_limit=time_limit,
        memory_limit=memory_limit,
        engine=engine,
    )
    typer.echo(f"{result}\n\nreport → {result.report}")


@verbs.command(epilog="Example: pofx report runs/night1 runs/night2 --out runs/both")
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders of comparisons of the same data and budget.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the joint report (one folder: its own).")] = None,
) -> None:
    """Write the report of a comparison again, or one of several comparisons together."""
    from pofx.core.errors import UsageError
    from pofx.report.merge import merge
    from pofx.report.page import write

    if len(folders) > 1 and out is None:
        raise UsageError("several comparisons need a folder for the joint report: pass --out")
    results = merge(folders, out) if out is not None else folders[0] / "results.json"
    typer.echo(f"report → {write(results)}")
