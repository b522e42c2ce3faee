"""What verbs print fits the terminal, or 80 columns where there is none."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from pofx.cli import main as cli
from pofx.cli import output
from pofx.core import printed

SOURCE = Path(cli.__file__).parents[1]

LOOK_UPS = [["models"], ["models", "gpt"], ["models", "vae"], ["data"]]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("words", LOOK_UPS, ids=" ".join)
def test_look_ups_fit(words, width):
    shown = CliRunner().invoke(cli.app, words, env={"COLUMNS": str(width)})
    assert shown.exit_code == 0 and max(map(len, shown.output.splitlines())) <= width


def test_pofx_models_is_one_line_a_model():
    from pofx.core.config import around, entries

    lines = CliRunner().invoke(cli.app, ["models"], env={"COLUMNS": "80"}).output.splitlines()
    families = {row.traits.family for row in entries().values()}
    assert len([line for line in lines if line.startswith("  ")]) == len(entries()) + len(around())
    assert families <= set(lines)


@pytest.mark.parametrize("width", [40, 80])
def test_tables_wrap_their_last_column(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    rows = [{"a": "x" * 20, "b": 3, "text": "words " * 30}, {"a": "y", "b": None, "text": "short"}]
    lines = output.table(rows).splitlines()
    assert max(map(len, lines)) <= width and "short" in lines[-1]
    assert " ".join(" ".join(lines).split()).count("words") == 30


def test_pairs_leave_out_what_has_no_value():
    assert output.pairs({"a": "1", "b": None, "c": ""}) == "a  1"


@pytest.mark.parametrize("width", [40, 80])
def test_what_is_shown_fits_and_keeps_its_paths(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    path = "/a/folder/" + "x" * 90
    printed.show("  a sentence of many words " * 9 + f"→ {path}\nshort")
    wide = pd.DataFrame({f"column {i}": [0.123456, 1e6] for i in range(12)}, index=["a", "b"])
    printed.show(printed.aligned(wide.assign(text="words " * 30)))
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= width or path in line for line in lines) and any(path in line for line in lines)


def test_no_verb_prints_a_table_past_the_terminal():
    """A table of pandas is as wide as it likes unless the width is stated, which `printed.aligned` does."""
    for path in sorted([*SOURCE.glob("apps/*.py"), *SOURCE.glob("cli/**/*.py")]):
        assert ".to_string(" not in path.read_text(), path


@pytest.mark.parametrize("terminal", [True, False])
def test_a_sentence_fits_a_terminal_and_is_one_line_in_a_log(terminal, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    cli.sentence("a value must be another one " * 8 + "/a/path/that-is-not-cut" * 4)
    lines = capsys.readouterr().err.rstrip("\n").split("\n")
    assert (len(lines) > 3) == terminal and "/a/path/that-is-not-cut" * 4 in " ".join(lines)
    assert not terminal or all(len(line) <= 60 for line in lines if "/a/path" not in line)


@pytest.mark.parametrize("chained", ["cause", "context"])
def test_an_error_that_ctrl_c_caused_is_an_interruption(chained, capsys):
    """An extension module that is being imported raises ValueError or ImportError instead of KeyboardInterrupt."""
    error = ValueError("not a valid buffer format string")
    setattr(error, f"__{chained}__", KeyboardInterrupt())
    assert cli.exit_code(error) == 130
    assert "interrupted" in capsys.readouterr().err
    with pytest.raises(ValueError):
        cli.exit_code(ValueError("of our own"))
