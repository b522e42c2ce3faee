"""Laws of progress: lines fit, times are whole, False is silent, a callable sees all, a pipe shows life."""

import io
import re
import sys
import time

import numpy as np
import pytest

import pofx
from pofx.cli import output
from pofx.core import progress
from pofx.core.errors import UsageError
from pofx.core.progress import Progress, blocks, clock, line, reporting, watched

LOSSES = {"distortion": 123.456, "rate": 7.8912, "a very long name of a loss": 1.0, "r1": 2.0}


@pytest.mark.parametrize("width", [40, 60, 79, 120])
@pytest.mark.parametrize("bar", [True, False])
def test_lines_fit_and_never_cut_a_time(width, bar):
    now = Progress("training", 123456, 0.4213, LOSSES, 123.4, 3723.0)
    shown = line("dequantised-glow", now, 7261.0, width, bar=bar)
    assert len(shown) <= width and "…" not in shown
    if width >= 79:
        assert "2:01:01 left 1:02:03" in shown and "42%" in shown
    assert "step 123456" in line("x", now, 1.0, 120, bar=bar)


def test_work_without_steps_shows_no_empty_bar():
    assert line("gmm", Progress("fitting"), 3.2, 79, bar=True) == "gmm fitting  0:03"
    assert line("gmm", Progress("fitted in 0.7 s", share=1.0), 0.7, 79, bar=True) == "gmm fitted in 0.7 s"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (754, "12:34"), (10_800, "3:00:00")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_false_is_silent_and_a_callable_sees_every_record(capsys):
    seen = []
    for sink in (False, seen.append):
        with reporting(sink, "x") as report:
            report(Progress("training", 1, 0.5, note="a note"))
    assert seen == [Progress("training", 1, 0.5, note="a note")]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("wrong", [None, 1, "yes"])
def test_other_values_are_refused(wrong):
    with pytest.raises(UsageError, match="progress must be true, false or a function"), reporting(wrong, "x"):
        pass


def test_a_pipe_has_a_line_at_once_then_fewer_and_fewer_and_one_at_the_end(monkeypatch):
    out, now = io.StringIO(), [1000.0]
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with reporting(True, "nsf") as report:
        for step in range(6001):  # ten minutes, ten steps a second
            now[0] = 1000.0 + step / 10
            report(Progress("training", step, step / 6000, {"model": 1.5}, 10.0, 600 - step / 10))
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("nsf training") and "100%" in lines[-1]
    assert 10 <= len(lines) <= 20
    assert not any("\x1b" in shown or "\r" in shown for shown in lines)


def test_a_long_title_is_shortened_before_the_times_are():
    now = Progress("querying the model: code_linear, code_neighbours", share=0.35, remaining=64.0)
    shown = line("compare gan-seed0:", now, 76.0, 60, bar=False)
    assert len(shown) <= 60 and shown.endswith("  35%  1:16 left 1:04") and shown.startswith("compare gan-seed0: quer")


def test_a_terminal_of_80_columns_shows_the_bar_in_one_line(monkeypatch):
    import rich.console

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with reporting(True, "flow-matching") as report:
        report(Progress("training", 10, 0.5, LOSSES, 9.8, 12.0))
    text = rich.console.Console().render_str(out.getvalue()).plain
    rows = [row for row in text.replace("\r", "\n").split("\n") if "50%" in row]
    assert rows and all("0:00 left 0:12" in row for row in rows)


def test_blocks_cover_all_items_and_whoever_watches_hears_the_share_and_the_time_left():
    seen = []
    assert [list(range(7))[at] for at in blocks(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]] and not list(blocks(0, 3))
    with watched(seen.append):
        assert len(list(blocks(7, 3))) == 3
    list(blocks(7, 3))  # outside nobody hears
    assert [now.share for now in seen] == pytest.approx([3 / 7, 6 / 7, 1]) and seen[0].phase == "3 of 7"
    assert seen[-1].remaining == 0 and all(now.losses["items/s"] > 0 for now in seen)


def test_drawing_scoring_and_codes_can_be_watched():
    run = pofx.fit(pofx.points(np.random.default_rng(0).normal(size=(100, 2))), "realnvp", steps=1, progress=False)
    x = run.sample(20, batch_size=8)
    for call in (lambda: run.sample(20, batch_size=8), lambda: run.score(x, batch_size=8),
                 lambda: run.decode(run.encode(x, batch_size=8), batch_size=8)):  # fmt: skip
        seen = []
        with pofx.watched(seen.append):
            call()
        assert seen[0].share == pytest.approx(0.4) and seen[-1].share == 1.0


def test_a_long_verb_shows_its_share_in_lines_of_a_pipe_and_anew_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(output, "FIRST", 0.01)
    monkeypatch.setattr(output, "AGAIN", 0.01)
    for terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal, raising=False)
        with output.waiting("scoring 4 items by a model of a rather long name that fills it"):
            for _ in blocks(4, 2):
                time.sleep(0.05)
            time.sleep(0.05)
        shown = capsys.readouterr().err
        assert re.findall(r"\d:\d\d", shown.splitlines()[-1]) or terminal
        assert " 50%" in shown and "left" in shown and ("\r" in shown) == terminal
        assert all(len(part) <= 80 for part in re.split(r"[\r\n]", shown))
