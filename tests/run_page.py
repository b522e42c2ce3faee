"""Run the examples of a page of the documentation in this process: python tests/run_page.py docs/extending.md FOLDER

A block titled with a path below src/ is a new file: it is written to FOLDER, which becomes part of that package. Every
other block of Python is run after them. Prints one JSON object: an error, or null, by section.
"""

import importlib
import json
import re
import sys
import traceback
from pathlib import Path

BLOCK = re.compile(r'^```python(?: title="(?P<title>[^"]+)")?\n(?P<code>.*?)^```', re.MULTILINE | re.DOTALL)


def sections(page: str) -> dict[str, list[tuple[str | None, str]]]:
    """The blocks of Python (title, code) of each section of a page that has some."""
    found = {}
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        blocks = [(block["title"], block["code"]) for block in BLOCK.finditer(part)]
        if blocks:
            found[part.splitlines()[0].strip()] = blocks
    return found


def install(folder: Path, path: str, code: str) -> None:
    """Write a new file of the package and make the package find it."""
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(code)
    package = ".".join(Path(path).parent.parts)
    found = importlib.import_module(package)
    if str(place.parent) not in found.__path__:
        found.__path__.append(str(place.parent))


def main(page: str, folder: str) -> None:
    results: dict[str, str | None] = {}
    found = sections(Path(page).read_text())
    for files in (True, False):  # the files of all sections come first: scans are made once
        for name, blocks in found.items():
            try:
                for title, code in blocks:
                    if files and title:
                        install(Path(folder), title.removeprefix("src/"), code)
                    elif not files and not title:
                        exec(compile(code, f"{page}: {name}", "exec"), {"__name__": "__main__"})
                results.setdefault(name, None)
            except Exception:
                results[name] = traceback.format_exc()
    print("\n" + json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
