"""What a notebook shows: HTML of runs, scores and data, whole and escaped, and a bar that needs no widgets."""

import sys
from html.parser import HTMLParser
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
