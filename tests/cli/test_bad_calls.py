"""Wrong command lines end with exit code 1 or 2 and one sentence of pofx: never a traceback, never a half-written file.

Every case is a command line; RUN is a tiny run of images, TABLE one of a table with a condition, TEXT one of texts, and
WORK a folder with the files that `files` writes. Cases are of kinds: other values of the same kinds behave alike.
"""

import shlex
import signal

import numpy as np
import pytest

import pofx
import pofx.cli.main as cli

HUGE = "99999999999999999999"
DEEP = "[" * 3000
CASES = {
    # calls
    "nothing to train on": "train",
    "no such verb": "trane digits",
    "no such option of a verb": "train digits --modell made",
    "an option without its value": "train digits --model",
    "a word for a number": "train digits --model made --steps many",
    "a fraction of steps": "train digits --model made --steps 2.5",
    "no steps": "train digits --model made --steps 0",
    "negative minutes": "train digits --model made --minutes -1",
    "minutes that are no number": "train digits --model made --minutes nan",
    "endless minutes": "train digits --model made --minutes inf",
    "two budgets": "train digits --model made --steps 1 --epochs 1",
    "an argument too many": "train digits moons --model made",
    "no such help": "models no-such-model",
    "an option of the trainer as one of the verb": "train digits --model made --steps 1 --lr 0.1",
    "data without a name": "train '' --model made --steps 1",
    "data of blanks": "train '  ' --model made --steps 1",
    "a device of another kind": "train digits --model made --steps 1 --device mps",
    "a zip by another name": "train WORK/zip.csv --model nsf --steps 1",
    "a picture by another name": "train WORK/picture.txt --model gpt --steps 1",
    "an argument of a verb without any": "data digits extra",
    # names
    "no such model": "train digits --model reelnvp --steps 1",
    "an empty model": "train digits --model '' --steps 1",
    "no such data": "train digitz --model made --steps 1",
    "no such file": "train WORK/none.csv --model nsf --steps 1",
    "a file of another type": "train WORK/notes.xyz --model nsf --steps 1",
    "an empty file": "train WORK/empty.csv --model nsf --steps 1",
    "a model for other data": "train WORK/table.csv --model pixelcnn --steps 1",
    "no such condition": "train WORK/table.csv --model nsf --condition colour --steps 1",
    "a condition of data without labels": "train WORK/points.npy --model nsf --condition label --steps 1",
    # options
    "an option without a value": "train digits --model made --steps 1 -o width",
    "an option of nobody": "train digits --model made --steps 1 -o wdith=3",
    "a negative width": "train digits --model made --steps 1 -o width=-3",
    "no width": "train digits --model made --steps 1 -o width=0",
    "half a unit": "train digits --model made --steps 1 -o width=1.5",
    "a word for a width": "train digits --model made --steps 1 -o width=abc",
    "a list for a width": "train digits --model made --steps 1 -o width=[1,2]",
    "an immense width": "train digits --model made --steps 1 -o width=1e9",
    "a truth value for a width": "train digits --model made --steps 1 -o width=true",
    "more than all dropped": "train digits --model made --steps 1 -o dropout=2",
    "a negative code": "train digits --model vae --steps 1 -o latent=-2",
    "a generator of nothing": "train digits --model gan --steps 1 -o width=0",
    "no heads": "train names.txt --model gpt --steps 1 -o heads=0",
    "no hidden units": "train digits --model rbm --steps 1 -o hidden=0",
    "negative layers": "train moons --model nsf --steps 1 -o layers=-1",
    "a learning rate of lists": f"train digits --model made --steps 1 -o lr={DEEP}",
    "a negative learning rate": "train digits --model made --steps 1 -o lr=-0.1",
    "a learning rate that is no number": "train digits --model made --steps 1 -o lr=NaN",
    "no batch": "train digits --model made --steps 1 -o batch_size=0",
    "an unknown optimiser": "train digits --model made --steps 1 -o optimizer=sgdd",
    "an unknown view": "train digits --model made --steps 1 -o represent=logits",
    "an argument of fit as an option": "train digits --model made --steps 1 -o out=here",
    "the seed as an option": "train digits --model made --steps 1 -o seed=3",
    "the data as an option": "train digits --model made --steps 1 -o data=moons",
    "an immense seed": f"train digits --model made --steps 1 --seed {HUGE}",
    "a support that is none": "train WORK/points.npy --model nsf --steps 1 -o support=positiv",
    # a run
    "no such run": "sample WORK/nowhere",
    "a file for a run": "sample WORK/table.csv",
    "a folder without a run": "sample WORK/empty",
    "resume without a run": "train --resume --out WORK/nowhere",
    "resume with another model": "train digits --model kde --resume --out RUN",
    "a finished run": "train digits --model made --steps 1 --out RUN",
    "an out that is a file": "train digits --model made --steps 1 --out WORK/table.csv",
    "info of nothing": "info WORK/nowhere",
    "info of a folder without a run": "info WORK/empty",
    # sample
    "no samples": "sample RUN -n 0",
    "minus samples": "sample RUN -n -3",
    "half a sample": "sample RUN -n 2.5",
    "more samples than memory": "sample RUN -n 999999999999",
    "a seed of words": "sample RUN --seed one",
    "an immense seed of samples": f"sample RUN --seed {HUGE}",
    "an ending without a name": "sample RUN --out WORK/.png",
    "info of a file of a run": "info WORK/table.csv",
    "an unknown type of output": "sample RUN --out WORK/x.bmp",
    "a table of images as text": "sample RUN --out WORK/x.txt",
    "an out in no folder of this type": "sample TEXT -n 1 --out WORK/x.png",
    "a device of words": "sample RUN --device gpu",
    "an unknown sampling option": "sample RUN -o temperatur=0.8",
    "a cold temperature": "sample RUN -o temperature=-1",
    "a temperature of words": "sample RUN -o temperature=warm",
    "a temperature that is no number": "sample RUN -o temperature=NaN",
    "a condition of a model without one": "sample RUN --condition 3",
    "an unknown class": "sample TABLE --condition green",
    "an immense class": f"sample TABLE --condition {HUGE}",
    "fewer conditions than samples": "sample TABLE -n 4 --condition red,,blue",
    "known parts of nothing": "sample RUN --known 3",
    "no known parts": "sample RUN --prefix digits --known 0",
    "all parts known": "sample RUN --prefix digits --known 8",
    "a text as the beginning of images": "sample RUN --prefix hello",
    "a beginning for a model that has none": "sample TABLE --prefix WORK/table.csv --known 1",
    "an unknown letter": "sample TEXT -n 1 --prefix É漢",
    "a length of nothing": "sample TEXT -n 1 -o length=0",
    # score, encode, decode, interpolate
    "score without data": "score RUN",
    "score of no data": "score RUN nothing-here",
    "score of another shape": "score RUN WORK/points.npy",
    "score of another table": "score TABLE WORK/other.csv",
    "an unknown split": "score RUN digits --split exam",
    "no draws": "score RUN digits --draws 0",
    "minus draws": "score RUN digits --draws -1",
    "scores in a picture": "score RUN digits --out WORK/x.png",
    "minus top rows": "score RUN digits --top -1",
    "codes of a model without codes": "encode RUN digits",
    "decode without codes": "decode TABLE WORK/nothing.npz",
    "decode of strings": "decode TABLE WORK/strings.npy",
    "decode of another shape": "decode TABLE WORK/points3.npy",
    "decode of a csv": "decode TABLE WORK/table.csv",
    "paths of no items": "interpolate TABLE --steps 0 --out WORK/x.csv",
    "no pairs": "interpolate TABLE --pairs 0 --out WORK/x.csv",
    "an unknown path": "interpolate TABLE --path curved --out WORK/x.csv",
    "between texts": "interpolate TEXT --out WORK/x.txt",
    # evaluate, audit, compare, report
    "evaluate nothing": "evaluate WORK/nowhere",
    "evaluate against other data": "evaluate RUN --against moons",
    "audit against other data": "audit RUN --against moons",
    "an unknown space": "evaluate RUN --spaces nope",
    "factors of nothing": "evaluate RUN --factors WORK/nothing.csv",
    "no budget": "compare digits --budget soon",
    "a budget of nothing": "compare digits --budget 0s",
    "unknown models": "compare digits --models mede --budget 1s",
    "unknown families": "compare digits --families flows --budget 1s",
    "no seeds": "compare digits --seeds 0 --budget 1s",
    "options without a model": "compare digits --models made --budget 1s -o width=3",
    "options of another model": "compare digits --models made --budget 1s -o nsf.width=3",
    "a bad option of a model": "compare digits --models made --budget 1s -o made.width=-3",
    "a time limit of words": "compare digits --models made --budget 1s --time-limit abc",
    "a memory limit of words": "compare digits --models made --budget 1s --memory-limit much",
    "an unknown engine": "compare digits --models made --budget 1s --engine slurm",
    "an unknown space to compare in": "compare digits --models made --budget 1s --spaces nope",
    "too little data to compare on": "compare WORK/tiny.csv --models gmm --budget 1s",
    "a label that is not there": "compare WORK/table.csv --models gmm --budget 1s --label colour",
    "half of a table": "edit TABLE WORK/table.csv --new left",
    "runs of two kinds to judge": "judge RUN TEXT --out WORK/j.db --results",
    "a database that is not there": "judge RUN --out postgresql://x@127.0.0.1:1/y --results",
    "a study that is no database": "judge --out WORK/table.csv --results",
    "the report of nothing": "report WORK/empty",
    "a report of two without a folder": "report WORK/empty WORK/nowhere",
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Tiny runs by their word in the cases."""
    root = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    plain = {"steps": 2, "progress": False}
    pofx.fit("digits", "made", out=root / "made", width=16, batch_size=16, **plain)
    frame = _table(rng)
    pofx.fit(frame, "nsf", condition="colour_name", out=root / "nsf", width=8, **plain)
    pofx.fit(pofx.tokens(["anna", "bob", "clara"] * 20), "gpt", out=root / "gpt", width=16, heads=2, **plain)
    return {"RUN": root / "made", "TABLE": root / "nsf", "TEXT": root / "gpt"}


def _table(rng):
    import pandas as pd

    columns = {"a": rng.normal(size=90), "b": rng.normal(size=90), "colour_name": ["red", "blue", "grey"] * 30}
    return pd.DataFrame(columns)


@pytest.fixture
def files(tmp_path):
    """Files with which the cases go wrong."""
    rng = np.random.default_rng(0)
    _table(rng).drop(columns="colour_name").to_csv(tmp_path / "table.csv", index=False)
    _table(rng).head(12).drop(columns="colour_name").to_csv(tmp_path / "tiny.csv", index=False)
    _table(rng).rename(columns={"a": "z"}).to_csv(tmp_path / "other.csv", index=False)
    (tmp_path / "names.txt").write_text("anna\nbob\nclara\n" * 20)
    (tmp_path / "notes.xyz").write_text("1")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "zip.csv").write_bytes(b"PK\x03\x04" + bytes(range(256)))
    (tmp_path / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "points.npy", rng.normal(size=(40, 2)))
    np.save(tmp_path / "points3.npy", rng.normal(size=(40, 3)))
    np.save(tmp_path / "strings.npy", np.array(["a", "b"]))
    return tmp_path


def call(monkeypatch, capsys, arguments):
    """Exit code and messages of a call in this process."""
    monkeypatch.setattr("sys.argv", ["pofx", *arguments])
    monkeypatch.setattr(signal, "signal", lambda *a: None)
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0), capsys.readouterr()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.timeout(60)
def test_a_wrong_call_ends_with_one_sentence(name, runs, files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    words = shlex.split(CASES[name].replace("WORK/", f"{files}/"))
    before = {path: sorted(path.iterdir()) for path in (*runs.values(), files)}
    code, shown = call(monkeypatch, capsys, [str(runs.get(word, word)) for word in words])
    message = shown.err.strip()
    assert code in (1, 2), (code, shown)
    lines = message.splitlines()
    assert lines[-1].startswith("pofx: ") and len(lines) <= 3, message
    assert 20 < len(message) < 1000 and "Traceback" not in message and "Error:" not in message, message
    assert {path: sorted(path.iterdir()) for path in (*runs.values(), files)} == before


TWICE = ["train digits -m made -m kde --steps 1", "train digits -m made --steps 1 --steps=2", "sample RUN -n 1 -n 2",
         "score RUN digits --out a.csv --out b.csv", "sample RUN --seed=1 -s 2"]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "mend"),
    [
        ("compare digits --models made --steps 60", "--budget"),
        ("compare digits --models made -o steps=60", "--budget 60steps"),
        ("compare digits --models made -o made.minutes=2", "--budget 2m"),
        ("train digits --model made --budget 60steps", "--minutes"),
    ],
)
def test_the_other_name_of_a_budget_is_in_the_message(line, mend, monkeypatch, capsys):
    code, shown = call(monkeypatch, capsys, line.split())
    assert code == 2 and mend in " ".join(shown.err.split())


@pytest.mark.parametrize("line", TWICE)
def test_of_two_values_of_an_option_none_wins_in_silence(line, runs, files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    code, shown = call(monkeypatch, capsys, [str(runs.get(word, word)) for word in shlex.split(line)])
    assert code == 2 and "two values" in shown.err and not list(files.glob("[ab].csv"))


def test_names_with_marks_in_them_are_written_as_they_are(runs, files, monkeypatch, capsys):
    from pofx.cli import arguments

    assert arguments.known("a=1,b c=x,y,d=u=v", 2) == {"a": "1", "b c": "x,y", "d": "u=v"}
    monkeypatch.setenv("HOME", str(files))
    monkeypatch.chdir(files)
    for condition in ("red", "colour_name=red"):
        words = ["sample", str(runs["TABLE"]), "-n", "2", "--condition", condition, "--out", "~/new.csv"]
        assert call(monkeypatch, capsys, words)[0] == 0
        assert "red" in (files / "new.csv").read_text() and not (files / "~").exists()
        (files / "new.csv").unlink()
