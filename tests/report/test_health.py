"""The section on the health of trainings draws every series that a run logged, and states its warnings."""

import json

from pofx.comparison.job import history
from pofx.report.figures.health import panels, series
from pofx.report.results import Results
from pofx.report.rows import read
from pofx.report.sections.health import Health, health
from report_fixture import comparison


def points(names, n=40):
    return [{"seconds": 0.5 * i, "step": i, "loss": 1.0, "telemetry": {k: i / (j + 1) for j, k in enumerate(names)}}
            for i in range(n)]  # fmt: skip


def test_every_series_has_a_panel():
    names = [f"series {i}" for i in range(6)]
    assert list(series(points(names))) == names and len(series(points(names))["series 0"][0]) == 40
    drawn = panels([points(names), points(names[:2])], "#336699", "vae")
    assert drawn.startswith("<svg") and all(name in drawn for name in names)
    assert panels([[{"seconds": 1.0, "loss": 2.0}]], "#336699", "vae") == ""
    lone = [{"seconds": 1.0, "telemetry": {"a": float("nan"), "b": 3.0}}]
    assert list(series(lone)) == ["b"] and "<svg" in panels([lone], "#336699", "x")


def test_the_section_is_there_where_a_run_logged_something(tmp_path):
    folder = comparison(tmp_path)
    plain = read(folder / "results.json") if folder.is_dir() else read(folder)
    assert Health().html(Results(plain, tmp_path)) is None
    row = next(row for row in plain["rows"] if row["name"] == "gan")
    row["runs"][0]["history"] = points(["D(real)", "D(fake)"])
    row["runs"][0].setdefault("training", {})["warnings"] = ["<b>collapse</b>: lower the rate"]
    results = Results(plain, tmp_path)
    html = Health().html(results)
    assert "D(real)" in html and "&lt;b&gt;collapse" in html and "<b>collapse" not in html
    assert [model["name"] for model in health(results)] == ["gan"]


def test_histories_keep_what_was_logged_beside_the_losses(tmp_path):
    lines = [{"step": i, "seconds": i / 10, "loss": 2.0, "telemetry": {"KL": 3.0}} for i in range(1, 5)]
    lines += [{"step": 4, "seconds": 0.4, "warning": "half of the code is unused"}]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = history(tmp_path / "log.jsonl")
    assert len(found) == 4 and all(p["telemetry"] == {"KL": 3.0} and p["loss"] == 2.0 for p in found)
