"""pofx score."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments as given

GROUP = "Use a run"
EXAMPLE = "pofx score runs/digits digits --split test --out scores.csv"


def score(
    run: given.Run,
    source: given.Data,
    out: Annotated[Path, typer.Option(help="A .csv file.")] = Path("scores.csv"),
    split: given.Split = None,
    force: given.Force = False,
    condition: given.Condition = None,
    draws: Annotated[int, typer.Option(help="Dequantisation draws per item, where the data is dequantised.")] = 8,
    per_dim: Annotated[
        bool, typer.Option("--per-dim", help="Also log p of each dimension given those before.")
    ] = False,
    device: given.Device = "auto",
) -> None:
    """Compute log p of each item, with its kind, unit, measure and standard error."""
    from pofx.artifact import load
    from pofx.report.files import write_table

    artifact = load(run).to(device)
    items = given.items(artifact, source, split, force)
    stated = given.conditions(condition, len(items))
    if stated is None and artifact.model.condition is not None:
        stated = given.labels(items)
    scored = artifact.score(items.values, stated, draws=draws)
    error = scored.stderr if scored.stderr is not None else [None] * len(items)
    kind = {"density": scored.density.name.lower(), "unit": scored.unit, "measure": scored.measure}
    rows = [
        {"index": i, "log_prob": float(v), "stderr": None if e is None else float(e), **kind}
        for i, (v, e) in enumerate(zip(scored.value, error, strict=True))
    ]
    if per_dim:
        terms = artifact.log_prob_terms(items.values, stated).reshape(len(items), -1)
        for row, term in zip(rows, terms, strict=True):
            row.update({f"log_prob_{d}": float(v) for d, v in enumerate(term)})
    write_table(rows, out)
    typer.echo(f"{len(rows)} items, mean log p {scored.value.mean():.4f} {scored.unit} ({kind['density']}) → {out}")
