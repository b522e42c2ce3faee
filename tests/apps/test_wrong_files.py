"""Files that the uses read and write: any dialect is read, no input is written over, no training is lost, and what is
hopeless is refused before anything is trained.

Each case is one of a kind: the verbs share one reader, one check of outputs and one check of folders.
"""

import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pofx
import pofx.cli.main as cli
from pofx.apps.anomaly import AnomalyDetector
from pofx.core.errors import DataError, UsageError
from pofx.data.series import series

SOURCE = Path(cli.__file__).parents[1]


@pytest.fixture
def call(monkeypatch, capsys):
    """Exit code, output and messages of a call in this process."""

    def call(*words):
        monkeypatch.setattr("sys.argv", ["pofx", *map(str, words)])
        monkeypatch.setattr(signal, "signal", lambda *a: None)
        with pytest.raises(SystemExit) as end:
            cli.main()
        seen = capsys.readouterr()
        return int(end.value.code or 0), seen.out, seen.err

    return call


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Tables in several dialects, of several faults."""
    rng, n = np.random.default_rng(0), 60
    frame = pd.DataFrame(
        {
            "zip": [f"0{100 + i % 3}" for i in range(n)],
            "amount": rng.normal(5, 2, n).round(2),
            "count": rng.poisson(3, n),
            "flag": rng.random(n) < 0.5,
            "rare": (np.arange(n) % 5 == 0).astype(int),
        }
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    comma = frame.assign(amount=frame["amount"].map(lambda v: f"{v:.2f}".replace(".", ",")))
    comma.to_csv(tmp_path / "euro.csv", sep=";", index=False)
    numbers = frame[["amount", "count", "flag", "rare"]]
    numbers.to_csv(tmp_path / "numbers.csv", index=False)
    numbers.assign(rare=numbers["rare"] + 1).to_csv(tmp_path / "ones_and_twos.csv", index=False)
    numbers.assign(rare=np.where(numbers["rare"] == 1, "yes", "no")).to_csv(tmp_path / "words.csv", index=False)
    numbers.assign(rare=(np.arange(n) < 3).astype(int)).to_csv(tmp_path / "three.csv", index=False)
    gone = np.repeat(np.arange(n)[:, None] % 9 == 4, 4, 1)
    frame.drop(columns="rare").mask(gone).to_csv(tmp_path / "gaps.csv", index=False)
    numbers.head(1).to_csv(tmp_path / "one.csv", index=False)
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "sim.py").write_text("def draw(p):\n    return p\n")
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    (tmp_path / "words.txt").write_text("\n".join(f"word {i} of {i % 7}" for i in range(40)))
    (tmp_path / "header.csv").write_text("a,b\n")
    tails = [f"{a}C{b}" for a in ("C", "O", "N", "CC") for b in ("", "C", "O", "Cl", "F")]
    pd.DataFrame({"smiles": tails, "word": "a", "gap": [np.inf, *range(1, len(tails))]}).to_csv(
        tmp_path / "m.csv", index=False
    )
    family = ["ACDEFGHIKL", *("".join(rng.choice(list("ACDEFGHIKL"), 10)) for _ in range(40))]
    (tmp_path / "f.a2m").write_text("".join(f">s{i}\n{s}\n" for i, s in enumerate(family)))
    rooms = (
        "#####\n" + "\n".join(f"#{r}#" for r in rng.choice(list(" @$."), (3, 3)).view("U3")[:, 0]) + "\n#####"
        for _ in range(40)
    )
    (tmp_path / "rooms.txt").write_text("\n\n".join(rooms))
    (tmp_path / "hole.txt").write_text("#####\n#? ?#\n#???#\n#???#\n#####\n")
    (tmp_path / "small.txt").write_text("##\n??\n")
    pd.DataFrame({"mutant": ["A1V", None], "score": ["x", "1"]}).to_csv(tmp_path / "assay.csv", index=False)
    pd.DataFrame({"mutant": ["C1V"], "score": [1.0]}).to_csv(tmp_path / "other.csv", index=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    return frame


WRONG = {
    "no file": ("anomaly none.csv", "none.csv"),
    "an empty file": ("anomaly empty.csv", "no columns"),
    "a header alone": ("impute header.csv", "no rows"),
    "no lab": ("lab header.csv --conditions a --do a=1 --out x", "no rows"),
    "words as labels": ("anomaly words.csv --label rare", "0 and 1"),
    "labels one and two": ("anomaly ones_and_twos.csv --label rare", "got 2, 1"),
    "new rows without columns": ("anomaly a.csv --new numbers.csv", "zip"),
    "a class of three": ("augment three.csv --label rare", "got 3 of 60"),
    "a model of nobody": ("augment numbers.csv --label rare --model nope", "unknown model"),
    "a choice of nobody": ("augment numbers.csv --label rare --keep nope", "keep must be"),
    "an output that is read": ("anomaly a.csv --out a.csv", "is read"),
    "an output that is read, by another path": ("impute gaps.csv --out ./gaps.csv", "is read"),
    "an output below a file": ("impute gaps.csv --out a.csv/x.csv", "is a file"),
    "a folder as output": ("synthesize a.csv --out full", "end in .csv"),
    "children over parents": ("synthesize a.csv --child gaps.csv --key zip --child-out a.csv", "is read"),
    "a folder of results": ("lab a.csv --conditions rare --do rare=1 --out full", "--overwrite"),
    "a folder of futures": ("forecast a.csv --out full", "--overwrite"),
    "a folder of solids": ("shapes a.npy --out full", "--overwrite"),
    "a folder of events": ("multimodal tiles --out full", "--overwrite"),
    "a folder of voices": ("audio tunes --out full", "--overwrite"),
    "a folder of a posterior": ("infer a.py:f -p x=normal(0,1) --out full", "--overwrite"),
    "a property of numbers": ("design r.csv -p a=0..1 --test QED", "of molecules"),
    "one cell": ("lab one.csv --conditions rare --do rare=1 --out x", "at least 20"),
    "a value that no cell has": ("lab a.csv --conditions zip --do zip=999 --out x", "unknown value of zip"),
    "a dose of no number": ("lab a.csv --conditions rare --do rare=nan --out x", "must be a number"),
    "cells of words": ("lab a.csv --conditions amount,count,rare,flag --do rare=1 --out x", "no columns of numbers"),
    "a future without its columns": ("forecast numbers.csv --known rare --future gaps.csv --out x", "rare"),
    "a future that is too short": ("forecast numbers.csv --known rare --future three.csv --horizon 61 --out x", "61"),
    "a future of nothing": ("forecast numbers.csv --future gaps.csv --out x", "--known"),
    "clips of another type": ("shapes a.csv --clips --out x", "a.csv"),
    "events of another type": ("multimodal a.csv --out x", "a.csv"),
    "privacy that is none": ("synthesize a.csv --epsilon 0", "above 0"),
    "privacy below none": ("synthesize a.csv --epsilon -1", "above 0"),
    "privacy of no number": ("synthesize a.csv --epsilon nan", "above 0"),
    "delta of a row in two": ("synthesize a.csv --epsilon 1 --delta 0.5", "below 1 / rows"),
    "delta of nothing": ("synthesize a.csv --epsilon 1 --delta 0", "between 0 and 1"),
    "recordings that are rows": ("audio a.csv --out x", "not recordings"),
    "a caption of nobody": ("multimodal tiles --caption nope --out x", "no caption has"),
    "solids that are rows": ("shapes a.csv --out x", "no solids"),
    "a picture as measurements": ("restore RUN a.csv", "no real numbers"),
    "codes that are rows": ("decode RUN a.csv", "or .npz file"),
    "a run of rows for texts": ("text words.txt --run RUN", "models table items"),
    "a level above one": ("novelty RUN a.csv --level 5", "between 0 and 1"),
    "one run alone": ("detect RUN", "two runs"),
    "a trained run and a budget": ("text a.csv --run RUN --minutes 3", "--run"),
    "levels of a run and a model": ("levels a.csv --run RUN --model gpt", "--run"),
    "molecules of a run and tokens": ("molecules a.csv --run RUN --tokens selfies", "--run"),
    "scores over the data": ("score RUN a.csv --out a.csv", "is read"),
    "samples over the data of the run": ("sample RUN --out a.csv", "is read"),
    "no workers": ("infer sim.py:draw -p x=normal(0,1) --out x --workers 0", "workers must be"),
    "words of melodies": ("audio tunes --words yes --out x", "--words"),
    "voices by nobody": ("audio tunes --model nope --out x", "unknown model"),
    "a group of nobody": ("fairness RUN --group nope", "choose one of"),
    "properties that are words": ("molecules m.csv --given word --out x", "no number in column word"),
    "a scaffold that is none": ("molecules m.csv --scaffold xx --out x", "must be a molecule"),
    "an assay without scores": ("proteins f.a2m --assay assay.csv --out x", "no mutants with a score"),
    "an assay of another protein": ("proteins f.a2m --assay other.csv --out x", "has A at 1, not C"),
    "a column of nobody": ("proteins f.a2m --assay other.csv --score nope --out x", "no column 'nope'"),
    "a template for a vae": ("proteins f.a2m --template ??DEFG???? --out x", "masked-diffusion"),
    "a gap for a gpt": ("proteins f.a2m -m gpt --template ??DEFG???? --out x", "masked-diffusion"),
    "a hole for a gpt": ("levels rooms.txt -m gpt --template hole.txt --out x", "masked-diffusion"),
    "a small level": ("levels rooms.txt -m masked-diffusion --template small.txt --out x", "5 lines"),
    "levels that a gpt widens": ("levels rooms.txt -m gpt --widen 9 --out x", "masked-diffusion"),
    "a short template": ("proteins f.a2m --template ACD --out x", "10 residues"),
    "a word for a number": ("sample RUN --given amount=abc", "'abc'"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_hopeless_is_refused_before_training(name, call, files, tmp_path):
    line, named = WRONG[name]
    if "RUN" in line:  # its data is a.csv
        pofx.fit(str(tmp_path / "a.csv"), "circuit", steps=1, out=tmp_path / "r", progress=False)
        line = line.replace("RUN", "r")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    code, _, err = call(*line.split())
    assert code in (1, 2) and named in err and "Error" not in err, (code, err)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p != tmp_path / "x"} == before


def test_a_european_file_is_read_as_its_twin(call, files):
    for name in ("a", "euro"):
        assert call("impute", f"{name}.csv", "--steps", "1", "--out", f"out/{name}.csv")[0] == 0
    a, b = (pd.read_csv(f"out/{name}.csv", dtype=str) for name in ("a", "euro"))
    assert a.equals(b) and set(a["zip"]) == {"0100", "0101", "0102"}


def test_cells_that_are_there_are_not_changed(call, files):
    assert call("impute", "gaps.csv", "--steps", "1", "--out", "filled.csv")[0] == 0
    before, after = (pd.read_csv(name, dtype=str) for name in ("gaps.csv", "filled.csv"))
    there = before["zip"].notna()
    assert before.loc[there, ["zip", "amount", "flag"]].equals(after.loc[there, ["zip", "amount", "flag"]])
    assert after.notna().all(axis=None) and set(after["flag"]) == {"True", "False"}


def test_drawn_rows_have_the_types_of_the_table(call, files):
    assert call("augment", "numbers.csv", "--label", "rare", "--out", "more.csv")[0] == 0
    more, known = pd.read_csv("more.csv"), pd.read_csv("numbers.csv")
    assert dict(more.dtypes) == dict(known.dtypes) and list(more) == list(known) and len(more) > len(known)
    new = more.iloc[len(known) :]
    own = known[known["rare"] == 1]
    assert (new["count"] >= own["count"].min()).all() and np.allclose(new["amount"].round(2), new["amount"])


def test_new_words_are_as_unusual_as_words_that_occur_once():
    rows = pd.DataFrame({"id": [f"k{i}" for i in range(200)], "x": np.random.default_rng(0).normal(size=200)})
    found = AnomalyDetector(("knn",)).fit(rows)
    fresh = pd.DataFrame({"id": [f"m{i}" for i in range(200)], "x": np.random.default_rng(1).normal(size=200)})
    assert found.predict(fresh).mean() < 0.25  # 1.0 where each unseen id is an anomaly
    few = AnomalyDetector(("knn",)).fit(pd.DataFrame({"c": ["a", "b"] * 100, "x": rows["x"]}))
    assert few.predict(pd.DataFrame({"c": ["z"] * 5, "x": 0.0})).all()


def test_dates_are_numbers_to_a_detector():
    day = pd.date_range("2024-01-01", periods=200)
    for rows in (day, day.strftime("%Y-%m-%d")):
        table = pd.DataFrame({"day": rows, "x": np.random.default_rng(0).normal(size=200)})
        found = AnomalyDetector(("knn",)).fit(table)
        new = pd.DataFrame({"day": ["2024-03-01", "1950-01-01"], "x": 0.0})
        new["day"] = pd.to_datetime(new["day"]) if table["day"].dtype.kind == "M" else new["day"]
        assert found.predict(new).tolist() == [0, 1]


def test_dates_of_a_series_are_read_in_the_order_in_which_they_rise(tmp_path):
    for form, first in (("%d/%m/%Y", "01/02/2020"), ("%m/%d/%Y", "02/01/2020")):
        months = pd.date_range("2020-01-01", periods=24, freq="MS")
        pd.DataFrame({"when": months.strftime(form), "y": np.arange(24.0) ** 2}).to_csv(tmp_path / "s.csv", index=False)
        with pytest.warns(UserWarning, match="are read as"):
            one = series(tmp_path / "s.csv")
        assert one.times[1] == pd.Timestamp("2020-02-01") and months[1].strftime(form) == first
    days = pd.date_range("2020-01-01", periods=40)
    pd.DataFrame({"when": days.strftime("%d/%m/%Y"), "y": np.arange(40.0) ** 2}).to_csv(tmp_path / "s.csv", index=False)
    assert series(tmp_path / "s.csv").times.equals(pd.DatetimeIndex(days))


def test_a_counter_is_no_channel_and_a_dialect_no_obstacle(tmp_path):
    y = np.random.default_rng(0).normal(size=30).round(3)
    lines = [f"{1990 + i};{str(v).replace('.', ',')}" for i, v in enumerate(y)]
    (tmp_path / "s.csv").write_text("year;y\n" + "\n".join(lines))
    with pytest.warns(UserWarning, match="counts the steps"):
        one = series(tmp_path / "s.csv")
    assert one.names == ("y",) and np.array_equal(one.values[:, 0], y)
    assert series(tmp_path / "s.csv", columns=["year", "y"]).names == ("year", "y")


def test_files_are_read_and_written_in_one_place():
    """A reader of its own knows no dialect, and a writer of its own leaves half a file behind."""
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text()
        inside = path.parent.name == "data"
        assert inside or "read_csv(" not in text, path
        assert inside or ".to_csv(out" not in text and ".to_csv(path" not in text, path
        assert "Image.open(path" not in text and "Image.open(mask" not in text, path


def test_a_table_with_a_word_where_a_number_is_stated_is_refused():
    frame = pd.DataFrame({"a": ["1", "2", "three", "NA"] * 10, "b": np.arange(40.0) ** 2})
    with pytest.raises(DataError, match="'three'"):
        pofx.table(frame, schema={"a": "number"})
    assert pofx.table(frame.replace("three", "3"), schema={"a": "number"}).values["a"].isna().sum() == 10
    given = pd.DataFrame({"age": [1.0, None, 3.0, 4.0] * 10})
    run = pofx.fit(pofx.points(np.random.default_rng(0).normal(size=(40, 2))), "nsf", condition=given, steps=1,
                   width=8, progress=False)  # fmt: skip
    with pytest.raises(DataError, match="'abc'"):
        run.sample(2, condition=pd.DataFrame({"age": ["abc", "1"]}))


def test_copies_by_chance_are_no_accusation():
    from pofx.apps.memorisation import by_chance

    assert by_chance(3, 2000, 0, 15) > 0.5 and by_chance(100, 2000, 0, 400) < 1e-4 and by_chance(0, 2000, 0, 15) == 1.0


def test_a_folder_that_is_written_into_is_stated(tmp_path):
    from pofx.data.arrays import check_free

    check_free(tmp_path / "none", False)
    (tmp_path / "a").write_text("x")
    check_free(tmp_path, True)
    with pytest.raises(UsageError, match="--overwrite"):
        check_free(tmp_path, False)
    with pytest.raises(UsageError, match="is a file"):
        check_free(tmp_path / "a", True)


def test_a_record_is_filled_in_by_any_program(tmp_path):
    from pofx.apps.design_loop import Design, Vectors

    loop = Design(Vectors({"a": (0, 1)}), batch=3, record=tmp_path / "r.csv")
    loop.propose()
    plain = (tmp_path / "r.csv").read_text().splitlines()
    filled = [plain[0], plain[1] + "0.5", plain[2] + "failed", plain[3] + "1.25"]
    comma = "\n".join(filled).replace(",", ";").replace(".", ",")
    for text in ("\n".join(filled), comma):
        (tmp_path / "r.csv").write_text(text)
        again = Design(Vectors({"a": (0, 1)}), record=tmp_path / "r.csv")
        assert np.array_equal(again.scores(), [0.5, np.nan, 1.25], equal_nan=True) and not len(again.pending())


@pytest.mark.parametrize(
    "line",
    ["train moons -m nsf -o width=8 -o width=9 --steps 1", "design r.csv -p a=0..1 -p a=0..2",
     "train a.csv -m circuit --steps 1 -o schema=zip=category,zip=date",
     "lab a.csv --conditions rare --do rare=0,rare=1 --out x", "synthesize a.csv --given zip=0100,zip=0101"],
)  # fmt: skip
def test_of_two_values_none_wins_in_silence(line, call, files):
    code, _, err = call(*line.split())
    assert code == 2 and "two values" in err, err


def test_what_was_not_measured_is_not_called_fair(call, files):
    pofx.fit("a.csv", "circuit", steps=1, out="r", progress=False)
    code, out, _ = call("fairness", "r", "--group", "zip")
    assert code == 0 and "not compared" in out and "no group" not in out
