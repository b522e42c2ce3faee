"""pofx edit."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments, output

GROUP = "Use a run"
EXAMPLE = "pofx edit runs/digits digits --new right -n 16 --out edited.png"

HALVES = ("left", "right", "top", "bottom")


def edit(
    run: arguments.Run,
    source: arguments.Data,
    mask: Annotated[Path | None, typer.Option(help="A picture, white where items are drawn anew.")] = None,
    new: Annotated[str | None, typer.Option(help=f"The half that is drawn anew: {', '.join(HALVES)}.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="Above 0 to 1: draw rough items again from that noise.")
    ] = None,
    enlarge: Annotated[int | None, typer.Option(min=2, help="Draw given the means of blocks of this side.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Of the first items.")] = 16,
    steps: Annotated[int, typer.Option(min=1, help="Of the walk from noise.")] = 50,
    split: arguments.Split = None,
    out: Annotated[str | None, typer.Option(help="As in `pofx sample`.")] = None,
    condition: arguments.Condition = None,
    seed: arguments.Seed = 0,
    device: arguments.Device = "auto",
) -> None:
    """Draw a part of items anew, make rough items probable, or enlarge small ones, with a diffusion run."""
    import numpy as np
    from PIL import Image

    from pofx.apps import edit as app
    from pofx.artifact import load
    from pofx.core.errors import UsageError, unknown
    from pofx.data.kind import take

    target = arguments.destination(run, out, "edited")
    artifact = load(run).to(device)
    items = arguments.items(artifact, source, split)
    items = take(items, range(min(n, len(items))))
    area = None
    if mask is not None and new is not None:
        raise UsageError("--mask and --new both choose what is drawn anew: pass one")
    if mask is not None:
        if not mask.is_file():
            raise UsageError(f"there is no file {mask}: pass --mask a picture")
        area = np.asarray(Image.open(mask).convert("L")) > 127
    if new is not None:
        if new not in HALVES:
            raise unknown("half", new, HALVES)
        side = np.asarray(items.values).shape[1:3]
        area = np.zeros(side, dtype=bool)
        middle = side[0] // 2 if new in ("top", "bottom") else side[1] // 2
        part = slice(None, middle) if new in ("left", "top") else slice(middle, None)
        area[(part, slice(None)) if new in ("top", "bottom") else (slice(None), part)] = True
    stated = arguments.conditions(artifact, condition, len(items))
    with output.waiting(f"editing {len(items)} items with {artifact.name}"):
        edited = app.edit(
            artifact,
            items.values,
            mask=area,
            strength=strength,
            enlarge=enlarge,
            condition=items.condition if stated is None else stated,
            steps=steps,
            seed=seed,
        )
    output.items(arguments.as_items(artifact, edited), target, f"{len(items)} items edited", stream=out == "-")
