"""pofx models."""

from typing import Annotated, Any

import typer

from pofx.cli import arguments, output
from pofx.core.printed import show, width

GROUP = "Look up"
EXAMPLE = "pofx models nsf"


def models(
    name: Annotated[
        str | None, typer.Argument(help="A model: its options with types, ranges and defaults; or a family.")
    ] = None,
    as_json: arguments.Json = False,
) -> None:
    """List the models: family, density, what each does; with a NAME its options, or those of a family."""
    from pofx.catalogue import described
    from pofx.core.config import around, entries
    from pofx.runs.models import model_entry

    every = {**entries(), **around()}
    of_family = {key: row for key, row in every.items() if row.traits.family == name}
    if name is not None and of_family and name not in every:
        rows, name = of_family, None
    else:
        rows = every if name is None else {name: model_entry(name)}
    if as_json:
        output.as_json([described(row) | (_more(row) if name else {}) for row in rows.values()])
    elif name is not None:
        show(_details(rows[name]))
    else:
        show(_list(rows))


def _list(rows: dict[str, Any]) -> str:
    wide, families = max(map(len, rows)), dict.fromkeys(row.traits.family for row in rows.values())
    shown = []
    for family in sorted(families):
        shown += ["", family]
        for row in rows.values():
            if row.traits.family == family:
                start = f"  {row.name.ljust(wide)}  {row.traits.density.name.lower():<8}  "
                shown.append(start + output.shortened(row.traits.summary.rstrip("."), width() - len(start)))
    return "\n".join(shown[1:]) + "\n\nOptions of a model: pofx models NAME"


def _more(row: Any) -> dict[str, Any]:
    from pofx.core.describe import sampling

    return {"options": _options(row), "sampling": sampling(row.model)}


def _options(row: Any) -> list[dict[str, str]]:
    from pofx.core.describe import options

    found = options(row.model, row.values)
    return [{"option": o.name, "default": o.default, "values": o.values, "meaning": o.meaning} for o in found]


def _details(row: Any) -> str:
    from pofx.catalogue import described
    from pofx.core.describe import options
    from pofx.train.options import TrainOptions

    plain = described(row) | _more(row)
    about = {key: plain[key] for key in ("family", "events", "density", "encodes", "conditional", "source")}
    about["sampling"] = ", ".join(plain["sampling"])
    own = [
        {"option": f"{o['option']}={o['default']}", "meaning": f"{o['meaning'].rstrip('.')} ({o['values']})".strip()}
        for o in plain["options"]
    ]
    trainer = [
        {"option": f"{o.name}={o.default}", "meaning": o.meaning or o.values}
        for o in options(TrainOptions, row.trains_with)
    ]
    parts = [output.paragraph(f"{row.name}: {row.traits.summary}"), output.pairs(about)]
    parts.append(f"Options of the model: -o KEY=VALUE\n{output.table(own, header=False, indent=2)}")
    parts.append(f"Options of the trainer: -o KEY=VALUE\n{output.table(trainer, header=False, indent=2)}")
    return "\n\n".join(parts)
