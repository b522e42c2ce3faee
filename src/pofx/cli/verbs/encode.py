"""pofx encode."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments, output
from pofx.declared import File

GROUP = "Use a run"
EXAMPLE = "pofx encode runs/digits digits --out codes.npz"


def encode(
    run: arguments.Run,
    source: arguments.Data,
    out: Annotated[
        Path,
        typer.Option(help="A .npz file: z, and y where there are labels; .png where codes are pictures (cyclegan)."),
        File(".npz", ".png"),
    ] = Path("codes.npz"),
    split: arguments.Split = None,
    force: arguments.Force = False,
    device: arguments.Device = "auto",
) -> str | None:
    """Compute the code of each item."""
    from pofx.artifact import load
    from pofx.conditioned import pictures_of_codes
    from pofx.data.arrays import write_arrays

    artifact = load(run).to(device)
    items = arguments.items(artifact, source, split, force)
    with output.waiting(f"encoding {len(items):,} items by {artifact.name}"):
        z = artifact.encode(items)
    if out.suffix.lower() == ".png":
        return output.items(pictures_of_codes(artifact, z), out, f"{len(z)} codes")
    write_arrays(out, {"z": z} | ({} if items.labels is None else {"y": items.labels}))
    return f"{len(z):,} codes of shape {z.shape[1:]}"
