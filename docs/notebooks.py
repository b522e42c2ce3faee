"""Write a notebook of every tutorial and use: python docs/notebooks.py, or make notebooks

docs/notebooks/FOLDER/NAME.ipynb has the text of a page as cells of Markdown, its blocks of Python as cells of code, and
before them one that installs what the page needs, so that it runs in Colab or any Jupyter. No outputs.
tests/test_notebooks.py checks that the notebooks are those of the pages, whose blocks tests/test_docs.py runs.
"""

import json
import re
from pathlib import Path

from pofx.core.files import write_bytes

HERE = Path(__file__).parent
FOLDERS = {"tutorials": "Tutorials", "uses": "Uses"}
OTHERS = ("diffusers", "nflows", "zuko")  # libraries that a page may import beside those of pofx
BLOCK = re.compile(r"^```python\n(.*?)^```\n?", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]*\)")  # to another page, which a notebook does not have


def pages() -> list[Path]:
    """The pages that become notebooks."""
    return [page for folder in FOLDERS for page in sorted((HERE / folder).glob("*.md"))]


def install(page: str) -> str:
    """The cell that installs what a page needs: the extras that it names, and libraries that its blocks import."""
    extras = ",".join(sorted(set(re.findall(r"pofx\[(\w+)\]", page))))
    code = "\n".join(BLOCK.findall(page))
    others = [name for name in OTHERS if re.search(rf"^\s*(import|from) {name}\b", code, re.MULTILINE)]
    wanted = " ".join([f"'pofx[{extras}]'" if extras else "pofx", *others])
    own = f".[{extras}]" if extras else "."
    return f"# in a checkout instead: %pip install -q -c constraints.txt '{own}'\n%pip install -q {wanted}\n"


def notebook(page: str) -> str:
    """The text of an .ipynb file (format 4.5) of a page."""
    cells, first = [], True
    for part in re.split(r"(^```python\n.*?^```\n?)", page, flags=re.MULTILINE | re.DOTALL):
        code = BLOCK.fullmatch(part)
        if code is not None:
            if first:
                cells.append(("code", install(page)))
                first = False
            cells.append(("code", code.group(1)))
        elif part.strip():
            cells.append(("markdown", LINK.sub(r"\1", part.strip()) + "\n"))
    made = {
        "cells": [_cell(i, kind, text) for i, (kind, text) in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _cell(number: int, kind: str, text: str) -> dict[str, object]:
    source = text.rstrip("\n").splitlines(keepends=True)
    cell: dict[str, object] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source}
    return cell if kind == "markdown" else {**cell, "execution_count": None, "outputs": []}


def index() -> str:
    """The page that lists the notebooks."""
    parts = [
        "# Notebooks",
        "<!-- written by docs/notebooks.py: edit the pages, then run it -->",
        "Every tutorial and use as a notebook, with a first cell that installs what it needs: save the file, then open "
        "it in Jupyter, or in Colab by File, Upload notebook. Budgets are a few steps; real ones are minutes.",
    ]
    for folder, title in FOLDERS.items():
        here = [page for page in pages() if page.parent.name == folder]
        links = [f"[{page.stem}.ipynb](notebooks/{folder}/{page.stem}.ipynb)" for page in here]
        rows = [f"| [{_title(p)}]({folder}/{p.name}) | {link} |" for p, link in zip(here, links, strict=True)]
        parts += [f"## {title}", "\n".join(["| page | notebook |", "|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _title(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def files() -> dict[Path, str]:
    """Every file that this command writes, with its text."""
    made = {HERE / "notebooks.md": index()}
    for page in pages():
        target = HERE / "notebooks" / page.parent.name / f"{page.stem}.ipynb"
        made[target] = notebook(page.read_text(encoding="utf-8"))
    return made


def write() -> None:
    """Write the notebooks and their list; notebooks of pages that are gone are removed."""
    made = files()
    for old in (HERE / "notebooks").rglob("*.ipynb"):
        if old not in made:
            old.unlink()
    for path, text in made.items():
        write_bytes(path, text.encode())


if __name__ == "__main__":
    write()
