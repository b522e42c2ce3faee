"""The verbs that make a model and ask it: train, sample, score, encode, decode, interpolate."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments as given

verbs = typer.Typer()


@verbs.command(epilog="Example: pofx train digits --model realnvp --minutes 2 -o lr=0.001 --out runs/digits")
def train(
    source: Annotated[str | None, typer.Argument(metavar="DATA", help="A built-in name, a file or a folder.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A name of `pofx models`.")] = None,
    option: given.Options = None,
    minutes: Annotated[float | None, typer.Option(help="Budget of training time (default 1).")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget of optimiser steps.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Budget of passes over the data.")] = None,
    flops: Annotated[float | None, typer.Option(help="Budget of FLOPs: 2e12.")] = None,
    condition: Annotated[str | None, typer.Option(help="`label`, or a column of a table.")] = None,
    seed: given.Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the run (default runs/DATA-MODEL-SEED).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
) -> None:
    """Learn p(x): train one model on data, with a progress bar, checkpoints and a log."""
    from pofx.core.errors import UsageError
    from pofx.runs.fitting import fit

    if source is None or model is None:
        raise UsageError("say what to train on what: pofx train DATA --model NAME (see `pofx models`, `pofx data`)")
    folder = out or Path("runs") / f"{Path(source).stem}-{model}-{seed}"
    run = fit(
        source,
        model,
        minutes=minutes,
        steps=steps,
        epochs=epochs,
        flops=flops,
        seed=seed,
        condition=condition,
        out=folder,
        resume=resume,
        **given.options(option),
    )
    if os.environ.get("RANK", "0") != "0":  # of several processes the first speaks
        return
    training = run.card["training"]
    typer.echo(
        f"{model} on {run.card['data']['name']}: {training['steps']} steps, {training['seconds']:.1f} s → {folder}"
    )


@verbs.command(epilog="Example: pofx sample runs/digits -n 64 --condition 3 --out grid.png")
def sample(
    run: given.Run,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 64,
    out: Annotated[
        Path | None, typer.Option(help=".npz, .npy, .png (grid), .csv, .txt, .wav or a folder of .wav [samples.npz]")
    ] = None,
    condition: given.Condition = None,
    seed: given.Seed = 0,
    prefix: Annotated[
        str | None, typer.Option(help="Items to complete: a text, or data of which the first --known parts are kept.")
    ] = None,
    known: Annotated[
        int | None, typer.Option(min=1, help="Rows of images or characters of texts kept by --prefix.")
    ] = None,
    option: given.Options = None,
    device: given.Device = "auto",
) -> None:
    """Draw new x; -o temperature=0.8 sharpens the draws of flows and, as do top_k=… and top_p=…, of chains."""
    from pofx.artifact import load
    from pofx.core.errors import UsageError
    from pofx.core.model import Tempered
    from pofx.report.files import write_items

    if known is not None and prefix is None:
        raise UsageError("--known says how much of --prefix is kept: give --prefix DATA as well")
    options = given.options(option)
    artifact = load(run).to(device)
    names = artifact.model.tempers if isinstance(artifact.model, Tempered) else ()
    tempering = {key: options.pop(key) for key in names if key in options}
    start = None if prefix is None else given.beginnings(artifact, prefix, known, n)
    drawn = artifact.using(**options).sample(n, given.conditions(condition, n), seed=seed, prefix=start, **tempering)
    out = out or Path("samples" if artifact.representation.kind == "audio" else "samples.npz")
    write_items(drawn, out, **given.facts(artifact))
    typer.echo(f"{n} {'sharpened draws, which do not follow p(x),' if tempering else 'samples'} → {out}")


@verbs.command(epilog="Example: pofx score runs/digits digits --split test --out scores.csv")
def score(
    run: given.Run,
    source: given.Data,
    out: Annotated[Path, typer.Option(help="A .csv file.")] = Path("scores.csv"),
    split: given.Split = None,
    condition: given.Condition = None,
    draws: Annotated[int, typer.Option(help="Noises per item where the representation dequantises.")] = 8,
    per_dim: Annotated[
        bool, typer.Option("--per-dim", help="Also log p of each dimension given those before.")
    ] = False,
    device: given.Device = "auto",
) -> None:
    """How probable is each x: log p with its kind, unit, measure and standard error."""
    from pofx.artifact import load
    from pofx.report.files import write_table

    artifact = load(run).to(device)
    items = given.items(artifact, source, split)
    told = given.conditions(condition, len(items))
    if told is None and artifact.model.condition is not None:
        told = given.labels(items)
    scored = artifact.score(items.values, told, draws=draws)
    error = scored.stderr if scored.stderr is not None else [None] * len(items)
    kind = {"density": scored.density.name.lower(), "unit": scored.unit, "measure": scored.measure}
    rows = [
        {"index": i, "log_prob": float(v), "stderr": None if e is None else float(e), **kind}
        for i, (v, e) in enumerate(zip(scored.value, error, strict=True))
    ]
    if per_dim:
        terms = artifact.log_prob_terms(items.values, told).reshape(len(items), -1)
        for row, term in zip(rows, terms, strict=True):
            row.update({f"log_prob_{d}": float(v) for d, v in enumerate(term)})
    write_table(rows, out)
    typer.echo(f"{len(rows)} items, mean log p {scored.value.mean():.4f} {scored.unit} ({kind['density']}) → {out}")


@verbs.command(epilog="Example: pofx encode runs/digits digits --out codes.npz")
def encode(
    run: given.Run,
    source: given.Data,
    out: Annotated[Path, typer.Option(help="A .npz file: z, and y where there are labels.")] = Path("codes.npz"),
    split: given.Split = None,
    device: given.Device = "auto",
) -> None:
    """The code of each x."""
    from pofx.artifact import load
    from pofx.report.files import write_arrays

    artifact = load(run).to(device)
    items = given.items(artifact, source, split)
    z = artifact.encode(items.values, given.labels(items) if artifact.model.condition is not None else None)
    write_arrays({"z": z} | ({} if items.labels is None else {"y": items.labels}), out)
    typer.echo(f"{len(z)} codes of shape {z.shape[1:]} → {out}")


@verbs.command(epilog="Example: pofx decode runs/digits codes.npz --out grid.png")
def decode(
    run: given.Run,
    codes: Annotated[Path, typer.Argument(help="A .npz or .npy file of codes.")],
    out: Annotated[Path, typer.Option(help=".npz, .npy, .png (grid), .csv or .txt")] = Path("decoded.npz"),
    condition: given.Condition = None,
    device: given.Device = "auto",
) -> None:
    """The x of each code."""
    from pofx.artifact import load
    from pofx.report.files import read_array, write_items

    artifact, z = load(run).to(device), read_array(codes)
    write_items(artifact.decode(z, given.conditions(condition, len(z))), out, **given.facts(artifact))
    typer.echo(f"{len(z)} items → {out}")


@verbs.command(epilog="Example: pofx interpolate runs/digits --out grid.png")
def interpolate(
    run: given.Run,
    out: Annotated[Path, typer.Option(help=".png (a row per pair), .npz, .csv or .txt")] = Path("interpolation.png"),
    pairs: Annotated[int, typer.Option(help="Rows.")] = 8,
    steps: Annotated[int, typer.Option(help="Columns.")] = 10,
    condition: given.Condition = None,
    seed: given.Seed = 0,
    way: Annotated[str, typer.Option(help="spherical, straight, or auto: as the codes are.")] = "auto",
    device: given.Device = "auto",
) -> None:
    """The way between pairs of samples, in code space."""
    from pofx.artifact import load
    from pofx.report.files import write_items

    artifact = load(run).to(device)
    told = given.conditions(condition, 1)
    ends = artifact.sample(2 * pairs, told, seed=seed)
    ways = artifact.interpolate(ends[:pairs], ends[pairs:], steps, told, way=way)
    write_items(ways, out, columns=steps, **given.facts(artifact))
    typer.echo(f"{pairs} ways of {steps} steps → {out}")
