"""The documentation is that of the code: generated pages are up to date, all pages are reachable, commands exist."""

import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pofx
from pofx.cli import scan
from pofx.core import config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["api.md", "cli.md", "models.md", "trainer.md"])
def test_generated_pages_are_those_of_the_code(name, generate):
    assert set(generate.PAGES) == {"api.md", "cli.md", "models.md", "trainer.md"}
    assert (DOCS / name).read_text() == generate.PAGES[name](), "run python docs/generate.py"


def test_the_readme_names_every_model():
    table = (ROOT / "README.md").read_text().split("\n## Models")[1].split("\n## ")[0]
    named = set(re.findall(r"`([^`]+)`", table))
    missing = {*config.entries(), *config.around()} - named
    assert not missing, "add them to the table of models"


@pytest.mark.parametrize("family", sorted(p.parent.name for p in (ROOT / "src/pofx/families").glob("*/__init__.py")))
def test_every_family_has_a_page_with_its_members(family, generate):
    page = DOCS / "families" / f"{family}.md"
    assert page.is_file(), f"write {page.relative_to(ROOT)} (idea, mathematics, when to use it, what can go wrong)"
    assert page.read_text() == generate.members(family), "run python docs/generate.py"
    headings = re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)
    assert headings == ["The idea", "Mathematics", "When to use it", "What can go wrong", "Members"]
    picture = re.findall(r"^!\[(.+)\]\((pictures/.+\.svg)\)$", page.read_text(), re.MULTILINE)
    assert len(picture) == 1 and picture[0][1] == f"pictures/{family}.svg", "add a picture to docs/family_pictures.py"
    assert "<svg" in (page.parent / picture[0][1]).read_text()


PAGES = sorted([*(DOCS / "tutorials").glob("*.md"), *(DOCS / "uses").glob("*.md"), DOCS / "coming_from.md"])


LONG = {
    "steering",
    "levels",
    "density",
    "shapes",
    "molecules",
    "images",
    "imputation",
    "neighbours",
    "inverse",
    "coming_from",
}


@pytest.mark.parametrize(
    "page", [pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if p.stem in LONG else []) for p in PAGES]
)
def test_every_block_of_a_tutorial_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "tutorial"}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(block, page.name, "exec"), names)


def test_every_public_name_is_documented():
    text = (DOCS / "api.md").read_text()
    assert all(re.search(rf"^::: pofx\.\S+\.{name}$", text, re.MULTILINE) for name in set(dir(pofx)) - {"__version__"})


def test_every_public_name_and_method_has_a_docstring():
    """A name that users call states what it does; what it raises and takes is in the same place."""
    missing = []
    for name in set(dir(pofx)) - {"__version__"}:
        one = getattr(pofx, name)
        if not inspect.getdoc(one):
            missing.append(name)
        if inspect.isclass(one):
            own = {key: value for key, value in vars(one).items() if not key.startswith("_")}
            missing += [
                f"{name}.{key}"
                for key, value in own.items()
                if inspect.isfunction(value) and not inspect.getdoc(getattr(one, key))
            ]
    assert not missing


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text()
    pages = [page.relative_to(DOCS) for page in DOCS.rglob("*.md")]
    assert not [str(p) for p in pages if p.parts[0] != "gallery" and f": {p}" not in nav]  # of `make gallery`


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.stem)
def test_commands_in_the_pages_name_verbs_and_options_that_exist(page):
    known = {verb.name: scan.command(verb) for verb in scan.verbs().values()}
    for line in re.findall(r"\bpofx ([a-z]+ [^`#\n]*)", page.read_text() if page.name != "LOG.md" else ""):
        verb, *words = line.split()
        if verb in known:
            options = {name for parameter in known[verb].params for name in parameter.opts}
            used = {word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-z][\w-]*(=.*)?", word)}
            assert used <= options | {"--help"}, f"pofx {line}: {used - options}"


EXAMPLES = re.findall(r"^## (.*)$", (DOCS / "extending.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """The errors of the examples of docs/extending.md by section, run in a process of their own."""
    folder = tmp_path_factory.mktemp("extending")
    command = [sys.executable, ROOT / "tests" / "run_page.py", DOCS / "extending.md", folder]
    env = {**os.environ, "PYTHONPATH": str(Path(pofx.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=env, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("section", EXAMPLES)
def test_an_extension_is_one_new_file(section, examples):
    assert examples.get(section) is None, examples[section]


def test_most_sections_have_an_example(examples):
    assert len(examples) >= len(EXAMPLES) - 1
