"""What a notebook shows: HTML of runs, scores and data, whole and escaped, and a bar that needs no widgets; and the
notebooks of the documentation, which are its pages."""

import ast
import importlib.util
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import pofx
from pofx.core.progress import Progress, reporting
from pofx.data.sources import load

EMPTY = {"img", "br", "meta", "input", "hr"}


class Balanced(HTMLParser):
    """Every element that opens is closed, in order."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attributes):
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def whole(text):
    page = Balanced()
    page.feed(text)
    assert page.open == []
    return text


@pytest.fixture(scope="module")
def run():
    return pofx.fit("moons", model="gmm", steps=1, progress=False)


def test_runs_scores_and_data_are_shown_as_html(run):
    assert "gmm" in whole(run._repr_html_())
    assert "log p" in whole(run.score(run.sample(12))._repr_html_())
    data = load("digits")
    assert "CC BY 4.0" in whole(data._repr_html_())
    assert whole(data.card._repr_html_()) == data._repr_html_()
    assert repr(data) == "<Dataset: digits, image items: 1,437 train, 180 validation, 180 test>"


def test_names_of_others_are_escaped():
    data = load(pofx.points(np.random.default_rng(0).normal(size=(30, 2))))
    from dataclasses import replace

    bad = replace(data.card, name="<script>", licence="<b>")
    assert "<script>" not in bad._repr_html_()
    assert "<b>" not in bad._repr_html_().replace("<b>&lt;script&gt;</b>", "")


@pytest.fixture
def notebook(monkeypatch):
    """A notebook without ipywidgets, in which what is displayed is recorded."""
    shown = []

    class ZMQInteractiveShell:
        pass

    class Handle:
        def update(self, html):
            shown.append(html.data)

    class HTML:
        def __init__(self, data):
            self.data = data

    def display(html, display_id):
        shown.append(html.data)
        return Handle()

    root, part = ModuleType("IPython"), ModuleType("IPython.display")
    root.get_ipython = ZMQInteractiveShell
    part.HTML, part.display = HTML, display
    monkeypatch.setitem(sys.modules, "IPython", root)
    monkeypatch.setitem(sys.modules, "IPython.display", part)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    return shown


def test_the_bar_of_a_notebook_is_drawn_in_place(notebook, capsys):
    with reporting(True, "nsf") as report:
        report(Progress("training", 1, 0.1, {"loss": 2.0}))
        for _ in range(50):
            report(Progress("training", 2, 0.2))
        report(Progress("training", 3, 0.5, note="<watch out>"))
        report(Progress("training", 9, 1.0))
    assert all(whole(html) for html in notebook)
    assert "value='1.0000'" in notebook[-1]
    assert "&lt;watch out&gt;" in notebook[-1]
    assert len(notebook) < 8  # not one for each step
    assert capsys.readouterr() == ("", "")


DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def made():
    spec = importlib.util.spec_from_file_location("docs_notebooks", DOCS / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_notebooks_are_those_of_the_pages(made):
    files = made.files()
    assert len(files) == 1 + len(list(DOCS.glob("tutorials/*.md"))) + len(list(DOCS.glob("uses/*.md")))
    assert set((DOCS / "notebooks").rglob("*.ipynb")) == {path for path in files if path.suffix == ".ipynb"}
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text, "run python docs/notebooks.py"


def test_a_notebook_has_the_blocks_of_its_page_after_what_installs_them(made):
    for page in made.pages():
        whole = page.read_text(encoding="utf-8")
        notebook = json.loads(made.notebook(whole))
        assert notebook["nbformat"] == 4 and len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
        codes = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert "%pip install -q" in codes[0] and codes[0].count("pofx") == 1
        blocks = re.findall(r"^```python\n(.*?)^```", whole, re.MULTILINE | re.DOTALL)
        assert codes[1:] == [block.rstrip("\n") for block in blocks] and blocks
        assert all(ast.parse(code) for code in codes[1:])
        assert all(not cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code")
        text = " ".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown")
        assert not re.search(r"\]\((?!https?:)", text)  # links to pages that are not there
        assert set(re.findall(r"https?://[^\s)'\"]+", json.dumps(notebook))) <= set(
            re.findall(r"https?://[^\s)'\"]+", json.dumps(whole))
        )


def test_what_a_page_needs_is_installed(made):
    cell = made.install("Needs `pip install pofx[audio]`.\n\n```python\nimport zuko\n```\n")
    assert "%pip install -q 'pofx[audio]' zuko" in cell and "-c constraints.txt '.[audio]'" in cell
    assert made.install("```python\nimport pofx\n```\n").endswith("%pip install -q pofx\n")
