"""Texts: bits per byte with a floor, ends, stops and gaps that hold what is known."""

import numpy as np
import pytest
from typer.testing import CliRunner

import pofx
from pofx.apps import text as app_of
from pofx.cli.main import app
from pofx.core.errors import DataError, Unsupported, UsageError

LINES = sorted(
    {f"{a}{b}{c}" for a in ("an", "be", "ca") for b in ("da", "no", "ri", "to") for c in ("", "n", "s", "é")}
)
SMALL = {"steps": 20, "progress": False}


@pytest.fixture(scope="module")
def data():
    return app_of.read(LINES)


@pytest.fixture(scope="module")
def runs(data):
    return {
        "gpt": pofx.fit(data, "gpt", width=24, layers=1, heads=2, lr=4e-3, **SMALL),
        "masked-diffusion": pofx.fit(data, "masked-diffusion", width=32, layers=1, **SMALL),
    }


def test_bits_per_byte_count_bytes_and_not_characters(runs, data):
    assert app_of.bits_per_byte(np.log(2) * 6, ["é", "aaaa"]) == 1.0
    found = app_of.report(runs, data)
    held = list(data.test.values)
    total = -float(runs["gpt"].log_prob(held).sum()) / np.log(2)
    assert found.loc["gpt", "bits/byte"] == pytest.approx(total / sum(len(v.encode()) for v in held))
    assert found.loc["masked-diffusion", "density"] == "bound" and found.index[-1].endswith("-grams")


def test_running_text_is_scored_in_windows_and_given_context():
    data = app_of.read(pofx.texts("to be or not to be that is the question " * 100))
    run = pofx.fit(data, "gpt", width=24, layers=1, heads=2, steps=5, progress=False)
    found = app_of.report({"gpt": run}, data)
    assert {"bits/byte", "bits/byte given context"} <= set(found.columns)
    drawn = app_of.prompted(run, "to be", 2, length=90, min_p=0.1, temperature=0.8)
    assert all(t.startswith("to be") and len(t) == 90 for t in drawn)
    with pytest.raises(DataError, match="fewer than a window"):
        app_of.window_scores(run, "short")


def test_texts_end_behind_the_first_stop_after_the_prompt(runs):
    assert app_of.stopped("a. b. c", 2, (".",)) == "a. b."
    assert app_of.stopped("a. b. c", 0, ("c", "b")) == "a. b" and app_of.stopped("abc", 0, ("z",)) == "abc"
    drawn = app_of.prompted(runs["gpt"], "an", 6, stop=("d",), top_k=3)
    assert all(t.startswith("an") and "d" not in t[2:-1] for t in drawn)
    with pytest.raises(UsageError, match="must not be empty"):
        app_of.prompted(runs["gpt"], stop=("",))


def test_gaps_are_filled_and_the_rest_stays(runs):
    drawn = app_of.filled(runs["masked-diffusion"], "b_no_", 8)
    assert all(len(t) == 5 and t[0] == "b" and t[2:4] == "no" for t in drawn)
    with pytest.raises(Unsupported, match="fixed order"):
        app_of.filled(runs["gpt"], "b_no")
    with pytest.raises(DataError, match="did not have"):
        app_of.filled(runs["masked-diffusion"], "b_Z")
    with pytest.raises(DataError, match="1 to"):
        app_of.filled(runs["masked-diffusion"], "_" * 99)
    with pytest.raises(UsageError, match="gap must be"):
        app_of.filled(runs["masked-diffusion"], "ba", gap="a")


def test_the_verb_compares_both(tmp_path, runs):
    (tmp_path / "lines.txt").write_text("\n".join(LINES))
    folders = [str(run.save(tmp_path / name)) for name, run in runs.items()]
    words = ["text", str(tmp_path / "lines.txt"), "--run", folders[0], "--run", folders[1], "--prompt", "be"]
    done = CliRunner().invoke(app, [*words, "--fill", "b_n", "--stop", "s", "--min-p", "0.1"])
    assert done.exit_code == 0, done.output
    shown = ("bits/byte", "-grams", "--- gpt\nbe", "--- masked-diffusion\nbe", "masked-diffusion, gaps filled\nb")
    for part in (*shown, "gpt draws in a fixed order, and fills no gaps"):
        assert part in done.output
    for wrong in (("--stop", ""), ("--prompt", "Ω")):  # before anything is scored
        done = CliRunner().invoke(app, [*words[:4], *wrong])
        assert isinstance(done.exception, UsageError | DataError) and "bits/byte" not in done.output


@pytest.mark.parametrize(
    "options",
    [("--fill", "no gap"), ("--fill", "Ω_"), ("--prompt", "Ω"), ("--temperature", "-1"), ("--top-p", "0")],
)
def test_what_the_models_could_not_draw_is_refused_before_training(tmp_path, options, monkeypatch):
    import pofx.runs.fitting

    monkeypatch.setattr(pofx.runs.fitting, "fit", lambda *_, **__: pytest.fail("it trained"))
    (tmp_path / "t.txt").write_text("\n".join(["a b", "no gap", "bag"] * 20))
    done = CliRunner().invoke(app, ["text", str(tmp_path / "t.txt"), "--out", str(tmp_path / "o"), *options])
    assert isinstance(done.exception, UsageError | DataError), done.output
