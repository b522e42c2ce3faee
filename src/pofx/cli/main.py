"""`pofx`: one verb per question. Torch is imported by the verbs that need it, so `pofx --help` is quick."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="pofx",
    help="p(x) for every family of deep generative models: learn it, sample it, score it, compare the families.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Run = Annotated[Path, typer.Argument(help="Folder of a run, as `pofx train` wrote it.")]
Data = Annotated[str, typer.Argument(help="A built-in name (see `pofx data`) or a file or folder.")]
Seed = Annotated[int, typer.Option("--seed", "-s", help="The same seed gives the same numbers.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="key=value, as often as needed.", metavar="KEY=VALUE")
]
Condition = Annotated[str | None, typer.Option("--condition", "-c", help="A label, or several: 3 or 0,1,2.")]
Split = Annotated[str | None, typer.Option(help="train, validation or test (default: every item, in its order).")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU where there is one.")]
Json = Annotated[bool, typer.Option("--json", help="Print plain JSON.")]


def _options(texts: list[str] | None) -> dict[str, Any]:
    from pofx.core.config import parse

    return dict(parse(text) for text in texts or [])


def _options_of(texts: list[str] | None) -> dict[str, dict[str, Any]]:
    """Options by model from MODEL.key=value."""
    from pofx.core.errors import UsageError

    found: dict[str, dict[str, Any]] = {}
    for key, value in _options(texts).items():
        model, dot, name = key.partition(".")
        if not dot:
            raise UsageError(f"say whose option '{key}' is: MODEL.{key}=…")
        found.setdefault(model, {})[name] = value
    return found


def _prefix(artifact: Any, text: str, known: int | None, n: int) -> Any:
    """The beginnings of items: the text itself, or the first `known` rows or characters of n items of a data set."""
    from pofx.core.errors import UsageError

    if known is None:
        if artifact.representation.kind != "tokens":
            raise UsageError("say how many rows are known: pofx sample RUN --prefix DATA --known 4")
        return text
    values = _items(artifact, text, None).values[:n]
    if isinstance(values, list):
        return [v[:known] for v in values]
    if known >= values.shape[1]:
        raise UsageError(f"--known must be below {values.shape[1]}, the whole item (got {known})")
    return values[:, :known]


def _condition(text: str | None, n: int) -> Any:
    if text is None:
        return None
    values = text.split(",")
    return values[0] if len(values) == 1 else [values[i % len(values)] for i in range(n)]


def _labels(items: Any) -> Any:
    """The labels of items by name: another file may number its classes otherwise than the training data did."""
    names = items.facts.get("label_names")
    return items.labels if items.labels is None or not names else [str(names[k]) for k in items.labels]


def _facts(artifact: Any) -> dict[str, Any]:
    """What a file of items must be told: the levels of images, the sample rate of sound."""
    facts = artifact.card.get("data", {}).get("facts", {})
    return {"levels": facts.get("levels"), "rate": facts.get("rate")}


def _items(artifact: Any, source: str, split: str | None) -> Any:
    from pofx.core.errors import unknown
    from pofx.data.sources import load, whole

    label = artifact.card.get("data", {}).get("facts", {}).get("label")
    if split is None:
        return whole(source, label=label)
    splits = load(source, label=label).splits()
    if split not in splits:
        raise unknown("split", split, splits)
    return splits[split]


def _trained_on(artifact: Any, against: str | None = None) -> Any:
    from pofx.core.errors import UsageError
    from pofx.data.sources import built_in, load

    card = artifact.card["data"]
    name = against or card["name"]
    if against is None and name not in built_in() and not Path(name).expanduser().exists():
        raise UsageError(f"the run's data ('{name}') cannot be found from here: name it with --against DATA")
    return load(name, label=card["facts"].get("label"))


def _print(rows: list[dict[str, Any]], as_json: bool, title: str = "") -> None:
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, header_style="bold", box=None, pad_edge=False)
    for key in rows[0] if rows else []:
        table.add_column(key, overflow="fold", no_wrap=not table.columns)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)


@app.command(epilog="Example: pofx models")
def models(as_json: Json = False) -> None:
    """Every model: its family, events, what its density is worth, and where it comes from."""
    from pofx.core.config import entries

    rows = [
        {
            "model": name,
            "family": row.traits.family,
            "events": ", ".join(row.traits.events).lower(),
            "density": row.traits.density.name.lower(),
            "encodes": "yes" if row.traits.encodes else "no",
            "conditional": "yes" if row.traits.conditional else "no",
            "source": row.traits.source,
        }
        for name, row in entries().items()
    ]
    _print(rows, as_json)


@app.command(epilog="Example: pofx data")
def data(as_json: Json = False) -> None:
    """Built-in data sets and the file types that are read."""
    from pofx.data.files import SUFFIXES
    from pofx.data.sources import catalogue

    _print(catalogue(), as_json)
    if not as_json:
        typer.echo(f"\nFiles: {', '.join(sorted(SUFFIXES))}, folders of images or sound (labels from sub-folders).")


@app.command(epilog="Example: pofx train digits --model realnvp --minutes 2 -o lr=0.001 --out runs/digits")
def train(
    source: Annotated[str | None, typer.Argument(metavar="DATA", help="A built-in name, a file or a folder.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A name of `pofx models`.")] = None,
    option: Options = None,
    minutes: Annotated[float | None, typer.Option(help="Budget of training time (default 1).")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget of optimiser steps.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Budget of passes over the data.")] = None,
    flops: Annotated[float | None, typer.Option(help="Budget of FLOPs: 2e12.")] = None,
    condition: Annotated[str | None, typer.Option(help="`label`, or a column of a table.")] = None,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the run (default runs/DATA-MODEL-SEED).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
) -> None:
    """Learn p(x): train one model on data, with a progress bar, checkpoints and a log."""
    from pofx.core.errors import UsageError
    from pofx.fitting import fit

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
        **_options(option),
    )
    if os.environ.get("RANK", "0") != "0":  # of several processes the first speaks
        return
    training = run.card["training"]
    typer.echo(
        f"{model} on {run.card['data']['name']}: {training['steps']} steps, {training['seconds']:.1f} s → {folder}"
    )


@app.command(epilog="Example: pofx sample runs/digits -n 64 --condition 3 --out grid.png")
def sample(
    run: Run,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 64,
    out: Annotated[
        Path | None, typer.Option(help=".npz, .npy, .png (grid), .csv, .txt, .wav or a folder of .wav [samples.npz]")
    ] = None,
    condition: Condition = None,
    seed: Seed = 0,
    prefix: Annotated[
        str | None, typer.Option(help="Items to complete: a text, or data of which the first --known parts are kept.")
    ] = None,
    known: Annotated[
        int | None, typer.Option(min=1, help="Rows of images or characters of texts kept by --prefix.")
    ] = None,
    option: Options = None,
    device: Device = "auto",
) -> None:
    """Draw new x; -o temperature=0.8 sharpens the draws of flows and, as do top_k=… and top_p=…, of chains."""
    from pofx.artifact import load
    from pofx.core.errors import UsageError
    from pofx.core.model import Tempered
    from pofx.report.files import write_items

    if known is not None and prefix is None:
        raise UsageError("--known says how much of --prefix is kept: give --prefix DATA as well")
    options = _options(option)
    artifact = load(run).to(device)
    names = artifact.model.tempers if isinstance(artifact.model, Tempered) else ()
    tempering = {key: options.pop(key) for key in names if key in options}
    start = None if prefix is None else _prefix(artifact, prefix, known, n)
    drawn = artifact.using(**options).sample(n, _condition(condition, n), seed=seed, prefix=start, **tempering)
    out = out or Path("samples" if artifact.representation.kind == "audio" else "samples.npz")
    write_items(drawn, out, **_facts(artifact))
    typer.echo(f"{n} {'sharpened draws, which do not follow p(x),' if tempering else 'samples'} → {out}")


@app.command(epilog="Example: pofx score runs/digits digits --split test --out scores.csv")
def score(
    run: Run,
    source: Data,
    out: Annotated[Path, typer.Option(help="A .csv file.")] = Path("scores.csv"),
    split: Split = None,
    condition: Condition = None,
    draws: Annotated[int, typer.Option(help="Noises per item where the representation dequantises.")] = 8,
    per_dim: Annotated[
        bool, typer.Option("--per-dim", help="Also log p of each dimension given those before.")
    ] = False,
    device: Device = "auto",
) -> None:
    """How probable is each x: log p with its kind, unit, measure and standard error."""
    from pofx.artifact import load
    from pofx.report.files import write_table

    artifact = load(run).to(device)
    items = _items(artifact, source, split)
    given = _condition(condition, len(items))
    if given is None and artifact.model.condition is not None:
        given = _labels(items)
    scored = artifact.score(items.values, given, draws=draws)
    error = scored.stderr if scored.stderr is not None else [None] * len(items)
    kind = {"density": scored.density.name.lower(), "unit": scored.unit, "measure": scored.measure}
    rows = [
        {"index": i, "log_prob": float(v), "stderr": None if e is None else float(e), **kind}
        for i, (v, e) in enumerate(zip(scored.value, error, strict=True))
    ]
    if per_dim:
        terms = artifact.log_prob_terms(items.values, given).reshape(len(items), -1)
        for row, term in zip(rows, terms, strict=True):
            row.update({f"log_prob_{d}": float(v) for d, v in enumerate(term)})
    write_table(rows, out)
    typer.echo(f"{len(rows)} items, mean log p {scored.value.mean():.4f} {scored.unit} ({kind['density']}) → {out}")


@app.command(epilog="Example: pofx encode runs/digits digits --out codes.npz")
def encode(
    run: Run,
    source: Data,
    out: Annotated[Path, typer.Option(help="A .npz file: z, and y where there are labels.")] = Path("codes.npz"),
    split: Split = None,
    device: Device = "auto",
) -> None:
    """The code of each x."""
    from pofx.artifact import load
    from pofx.report.files import write_arrays

    artifact = load(run).to(device)
    items = _items(artifact, source, split)
    z = artifact.encode(items.values, _labels(items) if artifact.model.condition is not None else None)
    write_arrays({"z": z} | ({} if items.labels is None else {"y": items.labels}), out)
    typer.echo(f"{len(z)} codes of shape {z.shape[1:]} → {out}")


@app.command(epilog="Example: pofx decode runs/digits codes.npz --out grid.png")
def decode(
    run: Run,
    codes: Annotated[Path, typer.Argument(help="A .npz or .npy file of codes.")],
    out: Annotated[Path, typer.Option(help=".npz, .npy, .png (grid), .csv or .txt")] = Path("decoded.npz"),
    condition: Condition = None,
    device: Device = "auto",
) -> None:
    """The x of each code."""
    from pofx.artifact import load
    from pofx.report.files import read_array, write_items

    artifact, z = load(run).to(device), read_array(codes)
    write_items(artifact.decode(z, _condition(condition, len(z))), out, **_facts(artifact))
    typer.echo(f"{len(z)} items → {out}")


@app.command(epilog="Example: pofx interpolate runs/digits --out grid.png")
def interpolate(
    run: Run,
    out: Annotated[Path, typer.Option(help=".png (a row per pair), .npz, .csv or .txt")] = Path("interpolation.png"),
    pairs: Annotated[int, typer.Option(help="Rows.")] = 8,
    steps: Annotated[int, typer.Option(help="Columns.")] = 10,
    condition: Condition = None,
    seed: Seed = 0,
    way: Annotated[str, typer.Option(help="spherical, straight, or auto: as the codes are.")] = "auto",
    device: Device = "auto",
) -> None:
    """The way between pairs of samples, in code space."""
    from pofx.artifact import load
    from pofx.report.files import write_items

    artifact = load(run).to(device)
    given = _condition(condition, 1)
    ends = artifact.sample(2 * pairs, given, seed=seed)
    ways = artifact.interpolate(ends[:pairs], ends[pairs:], steps, given, way=way)
    write_items(ways, out, columns=steps, **_facts(artifact))
    typer.echo(f"{pairs} ways of {steps} steps → {out}")


@app.command(epilog="Example: pofx evaluate runs/digits --against digits --json")
def evaluate(
    run: Run,
    against: Annotated[str | None, typer.Option(help="Data (default: what the run was trained on).")] = None,
    spaces: Annotated[
        str | None, typer.Option(help="pca,classifier,random,logmel,inception=FILE,clip=FOLDER,…")
    ] = None,
    factors: Annotated[Path | None, typer.Option(help="A .csv of known factors, a row per item of the data.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    device: Device = "auto",
) -> None:
    """How good is the model: samples, density and codes against real data, with uncertainty."""
    from pofx.artifact import load
    from pofx.evaluate.suite import evaluate as measure

    artifact = load(run).to(device)
    dataset = _trained_on(artifact, against)
    result = measure(artifact, dataset, seed=seed, spaces=spaces.split(",") if spaces else None, cache=run / "spaces")
    if factors is not None:
        from pofx.evaluate.disentanglement import disentanglement

        items = _items(artifact, against or artifact.card["data"]["name"], None)
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
    _print(rows, False, f"{artifact.name} on {dataset.card.name}")


@app.command(epilog="Example: pofx audit runs/digits")
def audit(
    run: Run,
    against: Annotated[str | None, typer.Option(help="Data (default: what the run was trained on).")] = None,
    membership: Annotated[
        bool, typer.Option("--membership", help="Attack it by reference models, trained now.")
    ] = False,
    references: Annotated[int, typer.Option(help="Of --membership: how many, an even number.")] = 8,
    reference_seconds: Annotated[float, typer.Option(help="Of --membership: the most that each may train.")] = 20.0,
    as_json: Json = False,
    device: Device = "auto",
) -> None:
    """A doctor for a trained model: densities, bounds, tails, causality, codes, seeds, conditions, collapse, copies."""
    from pofx.artifact import load
    from pofx.evaluate.audit import audit as examine

    artifact = load(run).to(device)
    dataset = _trained_on(artifact, against)
    findings = examine(artifact, dataset)
    if membership:
        from pofx.evaluate.exposure import exposure, recipe

        asked: dict[str, Any] = {"options": recipe(run), "references": references, "seconds": reference_seconds}
        findings += exposure(artifact, dataset, **asked, progress=lambda line: typer.echo(line, err=True))
    _print(findings, as_json, f"{artifact.name} on {dataset.card.name}")
    if any(f["result"] == "failed" for f in findings):
        raise typer.Exit(1)


@app.command(epilog="Example: pofx compare digits --budget 30s --out runs/demo")
def compare(
    source: Data,
    names: Annotated[str | None, typer.Option("--models", help="a,b,c (default: one per family).")] = None,
    families: Annotated[str | None, typer.Option(help="flow,vae,… (default: all that fit the data).")] = None,
    budget: Annotated[str, typer.Option(help="Training of each: 30s, 2m, 1h, 500steps, 3epochs or 2e12flops.")] = "30s",
    seeds: Annotated[int, typer.Option(help="Trainings of each model.")] = 1,
    seed: Seed = 0,
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
        options=_options_of(option),
        trials=trials,
        spaces=spaces.split(",") if spaces else None,
        time_limit=time_limit,
        memory_limit=memory_limit,
        engine=engine,
    )
    typer.echo(f"{result}\n\nreport → {result.report}")


@app.command(epilog="Example: pofx report runs/night1 runs/night2 --out runs/both")
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


def main() -> None:
    """Run the command line: exit code 0, 1 (failed) or 2 (wrong usage); 130 after Ctrl-C."""
    from pofx.core.errors import PofxError

    shown: type[Any] = typer.BadParameter.__mro__[2]  # ClickException, of click or of the copy that typer carries
    interrupted = "interrupted; finish a training with --resume, a comparison by the same call again"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(standalone_mode=False) or 0
        if code == 130:  # typer turns Ctrl-C into this code
            raise KeyboardInterrupt
        sys.exit(code)
    except typer.Exit as end:
        if end.exit_code == 130:
            typer.echo(f"pofx: {interrupted}", err=True)
        sys.exit(end.exit_code)
    except shown as error:
        error.show()
        sys.exit(error.exit_code)
    except PofxError as error:
        typer.echo(f"pofx: {error}", err=True)
        sys.exit(error.code)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo(f"pofx: {interrupted}", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        typer.echo(f"pofx: {error.strerror or error}: {error.filename or ''}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
