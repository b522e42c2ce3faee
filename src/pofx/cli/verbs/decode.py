"""pofx decode."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments as given

GROUP = "Use a run"
EXAMPLE = "pofx decode runs/digits codes.npz --out grid.png"


def decode(
    run: given.Run,
    codes: Annotated[Path, typer.Argument(help="A .npz or .npy file of codes.")],
    out: Annotated[Path, typer.Option(help=".npz, .npy, .png (grid), .csv or .txt")] = Path("decoded.npz"),
    condition: given.Condition = None,
    device: given.Device = "auto",
) -> None:
    """Compute the item of each code."""
    from pofx.artifact import load
    from pofx.report.files import read_array, write_items

    artifact, z = load(run).to(device), read_array(codes)
    write_items(artifact.decode(z, given.conditions(condition, len(z))), out, **given.facts(artifact))
    typer.echo(f"{len(z)} items → {out}")
