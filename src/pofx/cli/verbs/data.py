"""pofx data."""

from typing import Annotated, Any

import typer

from pofx.cli import arguments, output
from pofx.core.printed import show
from pofx.declared import Reads

GROUP = "Look up"
EXAMPLE = "pofx data people.csv -o schema=zip=category"

HIDDEN = ("summary", "download")
SHOWN = 3  # categories of a column


def data(
    source: Annotated[
        str | None, typer.Argument(help="A built-in name, a file or a folder: how it is read.", metavar="DATA"), Reads()
    ] = None,
    option: arguments.Options = None,
    columns: arguments.Columns = None,
    drop: arguments.Drop = None,
    as_json: arguments.Json = False,
) -> None:
    """List the built-in data sets and the file types that are read; of DATA, how it is read.

    Of a table each column is listed with the type that it is taken for, which -o schema=COLUMN=TYPE changes.
    """
    from pofx.core.errors import UsageError
    from pofx.data.files import suffixes
    from pofx.data.sources import catalogue

    if source is not None:
        _read(source, arguments.reading_of(arguments.options(option), columns, drop), as_json)
        return
    if option or columns is not None or drop is not None:
        raise UsageError("options change how data is read: name the data, as in `pofx data FILE -o header=false`")
    rows = catalogue()
    if as_json:
        output.as_json(rows)
        return
    shown = [{**{k: v for k, v in row.items() if k not in HIDDEN}, "summary": row["summary"]} for row in rows]
    show(output.table(shown))
    files = f"Files: {', '.join(sorted(suffixes()))}, folders and zips of images or sound (labels from sub-folders)."
    show("\n" + output.paragraph(files))


def _read(source: str, reading: dict[str, Any], as_json: bool) -> None:
    from pofx.data.kind import kind_of
    from pofx.data.sources import whole

    items = whole(source, reading=reading)
    frame = kind_of(items).columns(items.values)
    about: dict[str, Any] = {"kind": items.kind, "n": len(items), "summary": kind_of(items).describe(items)}
    if items.labels is not None and "label_names" in items.facts:
        about["labels"] = list(items.facts["label_names"])
    rows = [] if frame is None else _columns(frame, items.facts)
    if as_json:
        output.as_json({**about, **({"columns": rows} if frame is not None else {})})
        return
    show(f"{source}: {about['summary']}")
    if "labels" in about:
        show(f"labels: {', '.join(about['labels'][:10])}{', …' if len(about['labels']) > 10 else ''}")
    if rows:
        show(output.table(rows))


def _columns(frame: Any, facts: Any) -> list[dict[str, Any]]:
    """A row for each column of a table: its type, what it holds, and how much of it is missing."""
    import numpy as np

    from pofx.data.schema import describe, restored

    stated = {name: kind for name, kind in facts.get("stated", {}).items() if name in frame.columns}
    rows: list[dict[str, Any]] = []
    for name, about in describe(frame, stated).items():
        column = frame[name]
        known = column.dropna()
        if about["type"] == "category":
            words = [str(word) for word in about["categories"] if word is not None]
            order = " < " if about.get("ordered") else ", "
            holds = order.join(words[:SHOWN]) + (f", … ({len(words):,})" if len(words) > SHOWN else "")
        elif about["type"] == "date":  # of words the least is not the earliest
            last = float((about["high"] - about["offset"]) // about["step"])
            ends = restored(np.array([0.0, last]), about, str(column.dtype))
            holds = " to ".join(str(end).removesuffix(" 00:00:00") for end in ends)
        elif len(known):
            ends = (known.min(), known.max()) if about["type"] != "bool" else (False, True)
            holds = " to ".join(f"{end:.8g}" if isinstance(end, float) else str(end) for end in ends)
        else:
            holds = ""
        kind = f"ordered {about['type']}" if about.get("ordered") else str(about["type"])
        kind = "span of time" if about.get("span") else kind
        rows.append({"column": name, "type": kind, "holds": holds, "missing": f"{column.isna().mean():.0%}"})
    return rows + [
        {"column": name, "type": "left out", "holds": reason, "missing": ""}
        for name, reason in facts.get("left_out", {}).items()
    ]
