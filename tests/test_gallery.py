"""The gallery is made by one command, without anything committed."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_sheet_per_model_and_a_page(tmp_path, monkeypatch):
    found = importlib.util.spec_from_file_location("gallery", ROOT / "docs" / "gallery.py")
    gallery = importlib.util.module_from_spec(found)
    found.loader.exec_module(gallery)
    monkeypatch.setattr(gallery, "HERE", tmp_path / "gallery")
    monkeypatch.setattr(sys, "argv", ["gallery", "--models", "dcgan,stylegan2,planar", "--budget", "2steps"])
    gallery.main()
    page = (tmp_path / "gallery" / "index.md").read_text()
    sheets = sorted(p.name for p in (tmp_path / "gallery").glob("*.png"))
    controls = {p.name for p in (tmp_path / "gallery").glob("stylegan2-*.png")}
    assert {"stylegan2-truncation.png", "stylegan2-mixing.png", "stylegan2-ganspace-1.png"} <= controls
    assert len(sheets) == 4 + len(controls) and "real-digits.png" in sheets
    assert all(f"]({name})" in page for name in sheets)
    assert "docs/gallery/" in (ROOT / ".gitignore").read_text()
