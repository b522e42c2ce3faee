"""pofx decode."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments, output
from pofx.core.printed import number_of
from pofx.declared import Items, Reads

GROUP = "Use a run"
EXAMPLE = "pofx decode runs/digits codes.npz --out grid.png"


def decode(
    run: arguments.Run,
    codes: Annotated[Path, typer.Argument(help="A .npz or .npy file of codes.", metavar="CODES"), Reads()],
    out: Annotated[
        Path | None, typer.Option(help="As in `pofx sample` (default decoded.png, .csv …)."), Items("decoded")
    ] = None,
    condition: arguments.Condition = None,
    device: arguments.Device = "auto",
) -> str | None:
    """Compute the item of each code."""
    from pofx.artifact import load
    from pofx.data.arrays import read_array

    z = read_array(codes)
    artifact = load(run).to(device)
    with output.waiting(f"decoding {len(z):,} codes by {artifact.name}"):
        values = artifact.decode(z, arguments.conditions(artifact, condition, len(z)))
    return output.items(arguments.as_items(artifact, values), out, number_of(len(z), "item"))
