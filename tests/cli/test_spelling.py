"""Messages name options of the command line, not arguments of Python."""

import sys

import pytest

from pofx.apps.voice import Voice
from pofx.cli.main import exit_code
from pofx.cli.spelling import spelled
from pofx.core.errors import DataError, UsageError
from pofx.core.progress import SPELLING, Progress, reporting


@pytest.mark.parametrize(
    ("call", "message", "shown"),
    [
        ("audio w --out o", "at least 500 (got 7): pass rate=8000", "at least 500 (got 7): pass --rate 8000"),
        ("edit runs/a b", "pass mask=… to draw a part anew", "pass --mask to draw a part anew"),
        ("edit runs/a b", "leave align=false out, or colour=true.", "leave --no-align out, or --colour."),
        (
            "train b -m gan",
            "Pass loss=relativistic and penalty=r1+r2",
            "Pass -o loss=relativistic and -o penalty=r1+r2",
        ),
        ("sample r", "one per item, by --condition or condition=", "one per item, by --condition"),
        ("train b -m gan", "train with condition='label'", "train with --condition label"),
        ("score runs/a lr=3.csv", "no file lr=3.csv", "no file lr=3.csv"),
        ("design a.csv -p x=0..1", "high below low: -p x=0..1", "high below low: -p x=0..1"),
        ("design a.csv -p x=0..1", "log p(x | y=3) is nan", "log p(x | y=3) is nan"),
        ("compare a.csv", "pass loss=hinge", "pass loss=hinge"),  # there it is -o MODEL.loss=hinge
    ],
)
def test_messages_spell_settings_as_the_verb_does(monkeypatch, capsys, call, message, shown):
    monkeypatch.setattr(sys, "argv", ["pofx", *call.split()])
    assert exit_code(UsageError(message)) == 2
    assert capsys.readouterr().err == f"pofx: {shown}\n"


def test_a_rate_without_tones_is_refused():
    with pytest.raises(DataError, match=r"at least 500 samples per second \(got 7\): pass rate=8000"):
        Voice("nsf").fit([[0.1, -0.1] * 20] * 30, 7)


def test_notes_of_a_training_are_spelled_so_too(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pofx", "train", "moons", "-m", "gan"])
    token = SPELLING.set(spelled)
    try:
        with reporting(True, "gan") as report:
            report(Progress("training", 1, 0.5, note="gan: Pass loss=relativistic, or train longer"))
    finally:
        SPELLING.reset(token)
    assert "gan: Pass -o loss=relativistic, or train longer\n" in capsys.readouterr().err
