"""pofx memorisation."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments
from pofx.declared import File

GROUP = "Evaluate and compare"
EXAMPLE = "pofx memorisation runs/digits --out memorisation.html"


def memorisation(
    run: arguments.Run,
    out: Annotated[Path, typer.Option(help="An .html file."), File(".html")] = Path("memorisation.html"),
    against: arguments.Against = None,
    n: Annotated[int, typer.Option("-n", min=20, max=1_000_000, help="Samples.")] = 2000,
    references: Annotated[
        int, typer.Option(min=0, max=1000, help="Reference models to attack with (even; 0: none).")
    ] = 0,
    reference_seconds: Annotated[float, typer.Option(help="Of --references: training time of each.")] = 20.0,
    seed: arguments.Seed = 0,
    device: arguments.Device = "auto",
) -> str:
    """Write one page about a run and its training data: near copies, exposed members, the nearest samples."""
    from pofx.apps.memorisation import memorisation as examine
    from pofx.artifact import load
    from pofx.core.files import write_bytes
    from pofx.evaluate.provenance import check_same_data, trained_on

    artifact = load(run).to(device)
    dataset = trained_on(artifact, against)
    check_same_data(artifact, dataset, forcible=False)
    findings = None
    if references:
        from pofx.evaluate.reference_models import exposure, recipe

        findings = exposure(artifact, dataset, options=recipe(run), references=references, seconds=reference_seconds)
    found = examine(artifact, dataset, n=n, seed=seed, findings=findings)
    write_bytes(out, found.html().encode("utf-8", "surrogatepass"))
    return found.verdict
