"""pofx score."""

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from pofx.cli import arguments, output
from pofx.core.printed import number_of, show
from pofx.declared import File

GROUP = "Use a run"
EXAMPLE = "pofx score runs/digits digits --split test --out scores.csv"


def score(
    run: arguments.Run,
    source: arguments.Data,
    out: Annotated[Path, typer.Option(help="A .csv file."), File(".csv")] = Path("scores.csv"),
    split: arguments.Split = None,
    condition: arguments.Condition = None,
    draws: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Dequantisation draws per item, where there are any.")
    ] = 8,
    importance: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="Importance samples of a model with a code that it integrates out."),
    ] = None,
    per_dim: Annotated[
        bool, typer.Option("--per-dim", help="Also log p of each dimension given those before.")
    ] = False,
    option: arguments.Options = None,
    top: Annotated[int, typer.Option(min=0, max=1_000_000, help="Show this many of the least probable items.")] = 0,
    force: arguments.Force = False,
    device: arguments.Device = "auto",
) -> str:
    """Compute log p of each item, with its kind, unit, measure and standard error.

    -o scoring=bound, -o probes=4 and others set how a run computes it (`pofx models NAME`). --top 10 shows the most
    unusual items. For a small table that holds outliers itself, `gmm` is a robust first choice.
    """
    from pofx.artifact import load
    from pofx.data.arrays import write_table

    artifact = load(run).to(device)
    artifact = artifact.using(**arguments.options(option))
    items = arguments.items(artifact, source, split, force)
    stated = arguments.conditions(artifact, condition, len(items))
    with output.waiting(f"scoring {len(items):,} items by {artifact.name}"):
        scored = artifact.score(items, stated, draws=draws, importance=importance)
        terms = artifact.log_prob_terms(items, stated).reshape(len(items), -1) if per_dim else None
    error = scored.stderr if scored.stderr is not None else [None] * len(items)
    kind = {"density": scored.density.name.lower(), "unit": scored.unit, "measure": scored.measure}
    rows = [
        {"index": i, "log_prob": float(v), "stderr": None if e is None else float(e), **kind}
        for i, (v, e) in enumerate(zip(scored.value, error, strict=True))
    ]
    if scored.effective is not None:
        for row, effective in zip(rows, scored.effective, strict=True):
            row.update(importance=scored.importance, effective=float(effective))
    if terms is not None:
        for row, term in zip(rows, terms, strict=True):
            row.update({f"log_prob_{d}": float(v) for d, v in enumerate(term)})
    write_table(rows, out)
    if scored.reasons:
        first = next(iter(scored.reasons))
        warnings.warn(
            f"{len(scored.reasons):,} of {len(rows):,} items have probability zero (item {first}: "
            f"{scored.reasons[first]}): the mean is -inf",
            stacklevel=1,
        )
    if top:
        show(output.least_probable(items, scored.value, top))
    return f"{number_of(len(rows), 'item')}, {_mean(artifact, scored)} ({kind['density']}{_passes(scored)})"


def _mean(artifact: Any, scored: Any) -> str:
    """The mean of log p with its standard error over items; bits per dimension where items are grids of levels."""
    import numpy as np

    from pofx.core.event import dims

    value = scored.value
    sure = np.isfinite(value).all() and len(value) > 1
    error = float(np.std(value, ddof=1) / len(value) ** 0.5) if sure else 0.0
    text = f"mean log p {value.mean():.4f}{f' ± {error:.2g}' if sure else ''} {scored.unit}"
    event = artifact.representation.event
    if isinstance(event, dict) or len(event.shape) < 2 or scored.measure != "counting" or not sure:
        return text
    size = dims(event) * np.log(2)
    return f"{text}, {-value.mean() / size:.4f} ± {error / size:.2g} bits per dimension"


def _passes(scored: Any) -> str:
    """Evaluations of the network, where there are several, and the model's note."""
    count, note = scored.passes * scored.evaluations, f"; {scored.note}" if scored.note else ""
    return (f", up to {count:,} evaluations of the network for an item" if scored.passes > 1 else "") + note
