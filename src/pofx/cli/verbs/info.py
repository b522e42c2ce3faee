"""pofx info."""

from pofx.cli import arguments, output
from pofx.core.printed import show, width

GROUP = "Look up"
EXAMPLE = "pofx info runs/digits"


def info(run: arguments.Run, as_json: arguments.Json = False) -> None:
    """Show what is in the folder of a run: model, data, budget, density, numbers."""
    from pofx.report.summary import text
    from pofx.runs.info import info as describe

    found = describe(run)
    if as_json:
        output.as_json(found)
        return
    evaluation = found.pop("evaluation", None)
    show(f"{found.pop('summary')}\n\n{output.pairs(found)}")
    if evaluation is not None:
        show(f"\nlast evaluation\n{text(evaluation, width=width())}")
