"""pofx sample."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments as given

GROUP = "Use a run"
EXAMPLE = "pofx sample runs/digits -n 64 --condition 3 --out grid.png"


def sample(
    run: given.Run,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 64,
    out: Annotated[
        Path | None,
        typer.Option(help=".npz, .npy, .png (grid), .csv, .txt, .wav or a folder of .wav (default samples.npz)."),
    ] = None,
    condition: given.Condition = None,
    seed: given.Seed = 0,
    prefix: Annotated[
        str | None, typer.Option(help="Items to complete: a text, or data whose first --known parts are given.")
    ] = None,
    known: Annotated[
        int | None, typer.Option(min=1, help="With --prefix DATA: rows of images, or characters, that are given.")
    ] = None,
    option: given.Options = None,
    device: given.Device = "auto",
) -> None:
    """Draw new items; -o KEY=VALUE sets sampling options such as temperature."""
    from pofx.artifact import load
    from pofx.core.errors import UsageError
    from pofx.core.model import Tempered
    from pofx.report.files import write_items

    if known is not None and prefix is None:
        raise UsageError("--known needs --prefix DATA: it says how many parts of each of these items are given")
    options = given.options(option)
    artifact = load(run).to(device)
    names = artifact.model.tempers if isinstance(artifact.model, Tempered) else ()
    tempering = {key: options.pop(key) for key in names if key in options}
    start = None if prefix is None else given.beginnings(artifact, prefix, known, n)
    drawn = artifact.using(**options).sample(n, given.conditions(condition, n), seed=seed, prefix=start, **tempering)
    out = out or Path("samples" if artifact.representation.kind == "audio" else "samples.npz")
    write_items(drawn, out, **given.facts(artifact))
    typer.echo(f"{n} {'tempered samples, which do not follow p(x),' if tempering else 'samples'} → {out}")
