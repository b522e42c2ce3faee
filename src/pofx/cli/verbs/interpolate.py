"""pofx interpolate."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments, output
from pofx.declared import Items

GROUP = "Use a run"
EXAMPLE = "pofx interpolate runs/digits --out grid.png"


def interpolate(
    run: arguments.Run,
    out: Annotated[
        Path | None, typer.Option(help="As in `pofx sample`; a .png has one pair a row."), Items("interpolation")
    ] = None,
    pairs: Annotated[int, typer.Option(min=1, max=1_000_000, help="Pairs of samples.")] = 8,
    steps: Annotated[int, typer.Option(min=1, max=1_000_000, help="Items of each path, its ends among them.")] = 10,
    condition: arguments.Condition = None,
    seed: arguments.Seed = 0,
    path: Annotated[str, typer.Option(help="spherical, straight, or auto: by the space of the codes.")] = "auto",
    device: arguments.Device = "auto",
) -> str | None:
    """Interpolate between pairs of samples in code space."""
    from pofx.artifact import load

    artifact = load(run).to(device)
    stated = arguments.conditions(artifact, condition, pairs)
    with output.waiting(f"interpolating {pairs} pairs of samples of {artifact.name}"):
        first, last = (artifact.draw(pairs, stated, seed=s) for s in (seed, seed + (1 << 20)))
        between = artifact.interpolate(first.values, last.values, steps, first.condition, path=path)
    items = arguments.as_items(artifact, between)
    return output.items(items, out, f"{pairs} paths of {steps} items", columns=steps)
