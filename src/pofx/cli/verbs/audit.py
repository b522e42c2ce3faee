"""pofx audit."""

from typing import Annotated, Any

import typer

from pofx.cli import arguments, output
from pofx.core.printed import show

GROUP = "Evaluate and compare"
EXAMPLE = "pofx audit runs/digits"


def audit(
    run: arguments.Run,
    against: arguments.Against = None,
    force: arguments.Force = False,
    membership: Annotated[
        bool,
        typer.Option("--membership", help="Also test for membership inference (trains reference models)."),
    ] = False,
    references: Annotated[int, typer.Option(help="Of --membership: number of reference models (even).")] = 8,
    reference_seconds: Annotated[float, typer.Option(help="Of --membership: training time of each.")] = 20.0,
    as_json: arguments.Json = False,
    device: arguments.Device = "auto",
) -> None:
    """Check a trained model for common faults: density, tails, causality, codes, seeds, conditions, collapse."""
    from pofx.artifact import load
    from pofx.evaluate.audit import audit as examine
    from pofx.evaluate.provenance import trained_on

    artifact = load(run).to(device)
    dataset = trained_on(artifact, against)
    findings = examine(artifact, dataset, force=force or against is not None)
    if membership:
        from pofx.evaluate.reference_models import exposure, recipe

        attack: dict[str, Any] = {"options": recipe(run), "references": references, "seconds": reference_seconds}
        findings += exposure(artifact, dataset, **attack)
    if as_json:
        output.as_json(findings)
    else:
        rows = [
            {
                "result": finding["result"],
                "check": finding["check"],
                "seen": finding["seen"] + (f"; fix: {finding['mend']}" if finding.get("mend") else ""),
            }
            for finding in findings
        ]
        show(f"{artifact.name} on {dataset.card.name}\n{output.table(rows, header=False)}")
    if any(f["result"] == "failed" for f in findings):
        raise typer.Exit(1)
