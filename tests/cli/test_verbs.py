"""Verbs and public names are found by scanning, and looking them up loads no torch."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import pofx
from pofx.cli import main as cli
from pofx.cli import scan

VERBS = scan.verbs()


def invoke(*arguments, **environment):
    return CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "80", **environment})


def test_the_verbs_that_users_know_are_found():
    assert {"train", "sample", "score", "encode", "decode", "interpolate", "evaluate", "audit"} <= set(VERBS)
    assert {"compare", "report", "models", "data"} <= set(VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help_with_an_example_in_80_columns(name):
    shown = invoke(name, "--help")
    assert shown.exit_code == 0 and "Example: pofx " in shown.output
    assert max(map(len, shown.output.splitlines())) <= 80


def test_a_file_elsewhere_adds_a_verb_without_being_imported(tmp_path):
    (tmp_path / "detect.py").write_text(
        '"""An app."""\nimport torch_is_not_here\nGROUP = "Apps"\n\nEXAMPLE = "pofx detect x"\n\n'
        'def detect(run: str) -> None:\n    """Find anomalies\n    in a table.\n\n    More."""\n'
    )
    verb = scan._read(tmp_path / "detect.py", "pofx.apps.detect")
    assert verb == scan.Verb("detect", "pofx.apps.detect", "Find anomalies in a table.", "pofx detect x", "Apps")
    (tmp_path / "other.py").write_text('"""No verb."""\n\ndef other() -> None:\n    """Nothing."""\n')
    assert scan._read(tmp_path / "other.py", "pofx.apps.other") is None


def test_bare_pofx_shows_help_and_the_version_is_an_option():
    assert invoke().exit_code == 0 and "train" in invoke().output
    assert invoke("--version").output.strip() == f"pofx {pofx.__version__}"
    assert invoke("-V", "info").output.strip() == f"pofx {pofx.__version__}"


@pytest.mark.parametrize(
    ("words", "seen"), [("help", "Look up"), ("help train", "--minutes"), ("models flow", "realnvp")]
)
def test_help_and_families_are_found_as_people_write_them(words, seen, monkeypatch, capsys):
    import signal

    import pofx.cli.main as cli

    monkeypatch.setattr("sys.argv", ["pofx", *words.split()])
    monkeypatch.setattr(signal, "signal", lambda *a: None)
    with pytest.raises(SystemExit) as end:
        cli.main()
    shown = capsys.readouterr().out
    assert not end.value.code and seen in shown and "pixelcnn" not in shown


def test_public_names_are_found_without_importing_them():
    code = "import sys, pofx; print(*pofx.__all__); assert not {'torch', 'numpy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = done.stdout.split()
    assert {"fit", "load", "compare", "images", "table", "Score", "PofxError"} <= set(names)
    assert not {"Any", "import_module", "cache", "ast", "Path"} & set(names)


@pytest.mark.parametrize("name", dir(pofx))
def test_every_public_name_is_there_and_says_what_it_is(name):
    assert getattr(pofx, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'fits'"):
        _ = pofx.fits


def test_words_are_shown_where_the_output_has_few_characters_and_may_be_cut():
    code = "import sys; sys.argv = ['pofx', 'models']; from pofx.cli.main import main; main()"
    poor = {**os.environ, "PYTHONIOENCODING": "ascii"}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, env=poor)
    assert shown.returncode == 0 and b"nsf" in shown.stdout, shown.stderr
    cut = f'set -o pipefail; {sys.executable} -c "{code}" | head -1'
    done = subprocess.run(["bash", "-c", cut], capture_output=True, text=True)
    assert done.returncode == 0 and "Broken" not in done.stderr, done.stderr


def test_lack_of_memory_is_stated_in_a_sentence(capsys):
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …\nmore")):
        assert cli.exit_code(error) == 1
        assert "not enough memory" in capsys.readouterr().err


def test_a_label_of_a_training_is_its_condition(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["pofx", "train", "moons", "--label", "kind"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "--condition COLUMN" in capsys.readouterr().err
