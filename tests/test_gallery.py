"""The gallery is made by one command, without anything committed."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import pofx
from pofx.core.errors import UsageError
from pofx.train.options import Budget

ROOT = Path(__file__).parents[1]


@pytest.fixture
def gallery(tmp_path, monkeypatch):
    found = importlib.util.spec_from_file_location("gallery", ROOT / "docs" / "gallery.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path / "gallery")
    return module


def test_after_an_interruption_only_what_is_missing_is_trained(gallery, tmp_path, monkeypatch, capsys):
    fit, trained = gallery.pofx.fit, []

    def counted(data, name, **options):
        trained.append(name)
        if name == "nice":
            raise KeyboardInterrupt if len(trained) == 2 else UsageError("not today")
        return fit(data, name, **options)

    monkeypatch.setattr(gallery.pofx, "fit", counted)
    monkeypatch.setattr(sys, "argv", ["gallery", "--models", "planar,nice", "--data", "moons", "--budget", "1steps"])
    in_turn = lambda names, key=None: ["planar", "nice"] if key else sorted(names)  # noqa: E731
    monkeypatch.setattr(gallery, "sorted", in_turn, raising=False)
    with pytest.raises(KeyboardInterrupt):
        gallery.main()
    page = tmp_path / "gallery" / "index.md"
    assert "1 steps on moons" in page.read_text()  # what there is can be seen
    gallery.main()
    assert trained == ["planar", "nice", "nice"] and "nice: not today" in capsys.readouterr().out
    folder = tmp_path / "gallery" / "runs" / "moons-planar"
    assert gallery.finished(folder, Budget.of("1steps")) and not gallery.finished(folder, Budget.of("2steps"))
    gallery.section("vae-other", ["## `other` (vae)"])  # of a later call
    assert (
        page.read_text().index("Real items")
        < page.read_text().index("1 steps on moons")
        < page.read_text().index("other")
    )
    monkeypatch.setattr(sys, "argv", ["gallery", "--models", "planer"])
    with pytest.raises(SystemExit):
        gallery.main()
    assert "no model is called planer" in capsys.readouterr().err


def test_a_sheet_per_model_and_a_page(gallery, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gallery", "--models", "dcgan,stylegan2,planar,cyclegan", "--budget", "2steps"])
    gallery.main()
    page = (tmp_path / "gallery" / "index.md").read_text()
    sheets = sorted(p.name for p in (tmp_path / "gallery").glob("*.png"))
    controls = {p.name for p in (tmp_path / "gallery").glob("stylegan2-*.png")}
    assert {"stylegan2-truncation.png", "stylegan2-mixing.png", "stylegan2-ganspace-1.png"} <= controls
    assert len(sheets) == 6 + len(controls) and {"real-digits.png", "cyclegan-given.png"} <= set(sheets)
    assert all(f"]({name})" in page for name in sheets)
    assert "docs/gallery/" in (ROOT / ".gitignore").read_text()


def test_sounds_can_be_heard(gallery):
    gallery.HERE.mkdir()
    clips = pofx.audio([np.zeros(40, np.float32)] * 12, rate=1000)
    assert gallery.sheet("wavegan", "samples", clips) == "[wavegan: samples, 10 clips](wavegan.wav)"
    assert (gallery.HERE / "wavegan.wav").read_bytes()[:4] == b"RIFF"
