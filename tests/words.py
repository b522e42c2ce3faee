"""Which words of a file are of the dialect that CONTRIBUTING lists: in prose, comments, docstrings and messages."""

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
# a diary, whose dated entries are not rewritten, and pages written from the code
GENERATED = {"docs/LOG.md", *(f"docs/{page}.md" for page in ("api", "cli", "models", "trainer"))}


@cache
def dialect() -> re.Pattern:
    """The words in the first column of CONTRIBUTING's list."""
    table = (ROOT / "CONTRIBUTING.md").read_text().split("<!-- words -->")[1]
    words = [w.strip() for row in re.findall(r"^\| ([a-z][^|]*)\|", table, re.MULTILINE) for w in row.split(",")]
    return re.compile(rf"(?<!\.)\b({'|'.join(words)})\b(?!-)", re.IGNORECASE)


def files() -> list[Path]:
    """Everything that a user or a reader of the code reads, but for tests."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "Makefile", ROOT / "mkdocs.yml"]
    sources = [p for end in ("py", "j2", "js", "css", "json") for p in (ROOT / "src").rglob(f"*.{end}")]
    sources += [*(ROOT / "bench").glob("*.py"), ROOT / "bench" / "README.md"]
    return sorted(p for p in [*pages, *sources] if str(p.relative_to(ROOT)) not in GENERATED)


def found(path: Path, words: re.Pattern) -> list[str]:
    """Each use of such a word with its line."""
    lines = _python(path) if path.suffix == ".py" else enumerate(path.read_text().splitlines(), 1)
    if path.name == "CONTRIBUTING.md":
        lines = enumerate(re.sub(r"<!-- words -->.*<!-- end -->", "", path.read_text(), flags=re.S).splitlines(), 1)
    return [
        f"{path.relative_to(ROOT)}:{n}: {match[0]}: {line.strip()[:110]}"
        for n, line in lines
        for match in words.finditer(re.sub(r"`[^`]*`", "`…`", line))
    ]


def _python(path: Path) -> list[tuple[int, str]]:
    """The comments and the strings of several words, by line."""
    text = path.read_text()
    comments = [
        (token.start[0], token.string)
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    ]
    strings = [
        (node.lineno + i, line)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip()
        for i, line in enumerate(node.value.split("\n"))
    ]
    return comments + strings


if __name__ == "__main__":
    import sys

    chosen = [Path(p).resolve() for p in sys.argv[1:]] or files()
    for file in chosen:
        print(*found(file, dialect()), sep="\n", end="\n" if found(file, dialect()) else "")
