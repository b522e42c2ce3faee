"""pofx encode."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments as given

GROUP = "Use a run"
EXAMPLE = "pofx encode runs/digits digits --out codes.npz"


def encode(
    run: given.Run,
    source: given.Data,
    out: Annotated[Path, typer.Option(help="A .npz file: z, and y where there are labels.")] = Path("codes.npz"),
    split: given.Split = None,
    device: given.Device = "auto",
) -> None:
    """Compute the code of each item."""
    from pofx.artifact import load
    from pofx.report.files import write_arrays

    artifact = load(run).to(device)
    items = given.items(artifact, source, split)
    z = artifact.encode(items.values, given.labels(items) if artifact.model.condition is not None else None)
    write_arrays({"z": z} | ({} if items.labels is None else {"y": items.labels}), out)
    typer.echo(f"{len(z)} codes of shape {z.shape[1:]} → {out}")
