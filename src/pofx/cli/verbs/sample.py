"""pofx sample."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments, output
from pofx.core.printed import number_of
from pofx.declared import LINES, Items, Reads

GROUP = "Use a run"
EXAMPLE = "pofx sample runs/digits -n 64 --condition 3 --out grid.png"


def sample(
    run: arguments.Run,
    n: Annotated[
        int | None,
        typer.Option(
            "-n", max=10_000_000, help="How many (default 64, or one for each condition of a file or folder)."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A file, or a folder of single files; the ending is the format; - is the screen."),
        Items("samples"),
    ] = None,
    condition: arguments.Condition = None,
    given: Annotated[
        str | None, typer.Option(help="Known columns of a table, as country=Norway,age=30, or a file of rows."), Reads()
    ] = None,
    seed: arguments.Seed = 0,
    prefix: Annotated[
        str | None,
        typer.Option(help="Items to complete: a text, or data whose first --known parts are given."),
        Reads(),
    ] = None,
    known: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="With --prefix DATA: rows of images, or characters, that are given."),
    ] = None,
    guide: Annotated[
        str | None,
        typer.Option(help="Guides a diffusion run: a run, as in `pofx guide`, or FILE.py:function; -o guidance=2."),
        Reads(),
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option(help="A key that signs the manifest in .png files: a secret, or Ed25519 as PEM."),
        Reads(),
    ] = None,
    beside: arguments.Beside = False,
    option: arguments.Options = None,
    device: arguments.Device = "auto",
) -> str | None:
    """Draw new items; -o KEY=VALUE sets sampling options such as temperature.

    Without --out, texts are shown, tables are shown in part and written to samples.csv, images go to samples.png, sound
    to a folder. Pictures in .png carry a manifest of what made them, which --sign signs. Texts of a running text may be
    longer than the model's window: -o length=400.
    """
    from pofx.apps.provenance import stamp
    from pofx.apps.watermark import key_of
    from pofx.artifact import load
    from pofx.core.errors import UsageError
    from pofx.data.kind import named
    from pofx.runs.continuation import long_texts

    if known is not None and prefix is None:
        raise UsageError("--known needs --prefix DATA: it is the number of parts of each of its items that are given")
    artifact = load(run).to(device)
    inputs = artifact.conditioning is not None and named(artifact.conditioning.kind).photographic
    if beside and known is None and not (inputs and condition is not None):
        raise UsageError(
            "--beside shows the pictures of --condition, or what --prefix DATA --known ROWS gives: pass that, or leave "
            "it out"
        )
    if beside:
        output.check_pairs(named(artifact.representation.kind), out)
    if guide is not None:
        from pofx.combine.guiding import guided

        artifact = guided(artifact, guide)
    running = named(artifact.representation.kind).outputs[0] in LINES
    artifact, tempering = arguments.sampling(artifact, option, also=("length",) if running else ())
    length = tempering.pop("length", None)
    stated = arguments.conditions(artifact, condition, n)
    n = n if n is not None else arguments.DRAWN if stated is None or isinstance(stated, str) else len(stated)
    rows = None if given is None else arguments.known(given, n)
    with output.waiting(f"drawing {n:,} samples of {artifact.name}"):
        start = None if prefix is None else arguments.beginnings(artifact, prefix, known, n)
        if length is None:
            drawn = artifact.sample(n, stated, seed=seed, prefix=start, given=rows, **tempering)
        else:
            drawn = long_texts(artifact, n, length, prefix=start or "", condition=stated, seed=seed, **tempering)
    done = number_of(n, "tempered sample" if tempering else "sample")
    done += ", which do not follow p(x)" * bool(tempering)
    mark = stamp(artifact, None if sign is None else key_of(sign), seed=seed, n=n)
    items = arguments.as_items(artifact, drawn)
    left = None
    if beside:
        left = arguments.unknown_grey(items, start) if known is not None else output.as_pictures(stated, items)
    return output.items(items, out, done, mark=mark, beside=left)
