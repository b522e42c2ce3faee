"""pofx data."""

from pofx.cli import arguments, output
from pofx.core.printed import show

GROUP = "Look up"
EXAMPLE = "pofx data"

HIDDEN = ("summary", "download")


def data(as_json: arguments.Json = False) -> None:
    """List the built-in data sets and the file types that are read."""
    from pofx.data.files import suffixes
    from pofx.data.sources import catalogue

    rows = catalogue()
    if as_json:
        output.as_json(rows)
        return
    shown = [{**{k: v for k, v in row.items() if k not in HIDDEN}, "summary": row["summary"]} for row in rows]
    show(output.table(shown))
    files = f"Files: {', '.join(sorted(suffixes()))}, folders and zips of images or sound (labels from sub-folders)."
    show("\n" + output.paragraph(files))
