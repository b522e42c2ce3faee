"""pofx report."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.core.printed import show
from pofx.declared import Guarded, Reads

GROUP = "Evaluate and compare"
EXAMPLE = "pofx report runs/night1 runs/night2 --out runs/both"


def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders of comparisons of the same data and budget."), Reads()],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the joint report (one folder: its own)."), Guarded()
    ] = None,
) -> None:
    """Write the report of a comparison again, or one report of several comparisons."""
    from pofx.core.errors import UsageError
    from pofx.report.merge import merge
    from pofx.report.page import write

    if len(folders) > 1 and out is None:
        raise UsageError("several comparisons need a folder for the joint report: pass --out")
    results = merge(folders, out) if out is not None else folders[0] / "results.json"
    show(f"report → {write(results)}")
