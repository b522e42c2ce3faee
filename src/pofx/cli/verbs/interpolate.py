"""pofx interpolate."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments as given

GROUP = "Use a run"
EXAMPLE = "pofx interpolate runs/digits --out grid.png"


def interpolate(
    run: given.Run,
    out: Annotated[Path, typer.Option(help=".png (a row per pair), .npz, .csv or .txt")] = Path("interpolation.png"),
    pairs: Annotated[int, typer.Option(help="Pairs of samples: rows of the picture.")] = 8,
    steps: Annotated[int, typer.Option(help="Items per pair: columns of the picture.")] = 10,
    condition: given.Condition = None,
    seed: given.Seed = 0,
    way: Annotated[str, typer.Option(help="spherical, straight, or auto: by the space of the codes.")] = "auto",
    device: given.Device = "auto",
) -> None:
    """Interpolate between pairs of samples in code space."""
    from pofx.artifact import load
    from pofx.report.files import write_items

    artifact = load(run).to(device)
    stated = given.conditions(condition, 1)
    ends = artifact.sample(2 * pairs, stated, seed=seed)
    between = artifact.interpolate(ends[:pairs], ends[pairs:], steps, stated, way=way)
    write_items(between, out, columns=steps, **given.facts(artifact))
    typer.echo(f"{pairs} paths of {steps} items → {out}")
