"""Inputs of the kinds that break programs, tried after those of `test_api_calls`: each has the right answer or one
sentence that names the value and the mend."""

import collections
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch

import pofx
from pofx.core.errors import PofxError
from pofx.data.schema import describe

R = np.random.default_rng(0)
X = R.normal(size=(60, 2))
GREY = R.integers(0, 4, (60, 4, 4)).astype(np.uint8)
HOW = {"steps": 1, "progress": False}
FRAME = pd.DataFrame(
    {
        "a": X[:, 0],
        "plan": ["pro", "free", "team"] * 20,
        "when": pd.date_range("2024-01-01", periods=60, freq="D"),
        "ok": [True, False] * 30,
        "k": R.poisson(3, 60),
    }
)


class Runs:
    """Tiny runs, made when they are first needed."""

    def __init__(self):
        self.made = {}

    def __getattr__(self, name):
        if name not in self.made:
            self.made[name] = {
                "flow": lambda: pofx.fit(pofx.points(X), "gmm", **HOW),
                "rows": lambda: pofx.fit(FRAME, "circuit", **HOW),
                "labelled": lambda: pofx.fit(FRAME[["a", "k", "plan"]], "gmm", condition="plan", **HOW),
                "image": lambda: pofx.fit(pofx.images(GREY, levels=4), "made", width=8, **HOW),
                "text": lambda: pofx.fit(pofx.texts(["ab", "ba"] * 30), "gpt", width=8, heads=1, layers=1, **HOW),
                "diffusion": lambda: pofx.fit(pofx.points(X), "ddpm", width=8, **HOW),
            }[name]()
        return self.made[name]


@pytest.fixture(scope="module")
def r():
    return Runs()


def fit(data, model="gmm", **options):
    return pofx.fit(data, model, **{**HOW, **options})


def frame(column):
    return pd.DataFrame({"a": column, "b": X[:, 1]})


REFUSED = {  # call, what the sentence names
    "a truth value for a class of names": (lambda r: r.labelled.sample(2, True), "True"),
    "a condition under another name": (lambda r: r.labelled.sample(2, {"colour": "pro"}), "plan"),
    "a table of conditions under another name": (
        lambda r: r.labelled.sample(2, pd.DataFrame({"colour": ["pro"] * 2})),
        "plan",
    ),
    "a known number beyond training": (lambda r: r.rows.sample(2, given={"k": -4}), "-4"),
    "a known date beyond training": (lambda r: r.rows.sample(2, given={"when": "1999-01-01"}), "when"),
    "no known column": (lambda r: r.rows.sample(2, given={}), "at least one"),
    "known columns of unequal length": (lambda r: r.rows.sample(2, given={"plan": ["pro"], "k": [1, 2]}), "row"),
    "known columns as a list": (lambda r: r.rows.sample(2, given=["plan"]), "by column"),
    "fewer known rows than samples": (lambda r: r.rows.sample(3, given={"plan": ["pro", "free"]}), "n"),
    "guidance without a condition": (lambda r: r.diffusion.sample(2, guidance=2.0), "guidance"),
    "one picture for many": (lambda r: r.image.score(GREY[0]), "x[None]"),
    "one point for many": (lambda r: r.flow.score([0.1, 0.2]), "[x]"),
    "words among numbers": (lambda r: r.flow.score(np.array([[1.0, "a"]], dtype=object)), "numbers"),
    "a model in capitals": (lambda r: fit(X, "GMM"), "did you mean gmm?"),
    "a model with an underscore": (lambda r: fit(X, "flow_matching"), "did you mean flow-matching?"),
    "an address of the web": (lambda r: fit("https://example.com/a.csv"), "download"),
    "a run at an address of the web": (lambda r: pofx.load("https://example.com/x"), "hf://"),
    "a folder with a zero character": (lambda r: fit(X, out="a\0b"), "out"),
    "a folder without a name": (lambda r: fit(X, out=""), "out"),
    "a folder with a very long name": (lambda r: fit(X, out="a" * 300), "out"),
    "texts without a character": (lambda r: fit(["", ""] * 30, "gpt"), "empty"),
    "a table for a run": (lambda r: pofx.evaluate(FRAME), "run"),
    "a table for a run to audit": (lambda r: pofx.audit(FRAME), "run"),
    "a port for an address": (lambda r: pofx.Client(8700), "http://"),
    "a host without a scheme": (lambda r: pofx.Client("localhost:8700"), "http://"),
    "months": (lambda r: fit(frame(pd.period_range("2020-01", periods=60, freq="M"))), "numbers or texts"),
    "cells that are lists": (lambda r: fit(frame([[1, 2]] * 60)), "a"),
    "names of columns in two levels": (
        lambda r: fit(pd.DataFrame(X, columns=pd.MultiIndex.from_tuples([("u", "a"), ("u", "b")]))),
        "levels",
    ),
    "a sound for a flow": (
        lambda r: fit(pofx.audio([np.sin(np.arange(99) / 5)] * 30, rate=8000), "realnvp"),
        "takes them",
    ),
    "nested records": (lambda r: fit(np.zeros(60, dtype=[("a", "f8", (2,)), ("b", "i4")])), "pofx.table"),
    "codes that are truth values": (lambda r: fit(X, "realnvp", width=8).decode([[True, False]]), "numbers"),
    "a tensor without values": (lambda r: r.flow.score(torch.zeros(3, 2, device="meta")), "meta"),
    "levels of another scale": (lambda r: r.image.score(GREY * 50), "levels"),
    "labels that are pairs": (lambda r: pofx.images(GREY, levels=4, labels=[(1, 2)] * 60), "one label"),
    "weights of words": (lambda r: fit(FRAME, "circuit", weight="plan"), "weight"),
    "two items": (lambda r: fit(X[:2]), "at least 3"),
    "an owner without a name": (lambda r: r.flow.push("name"), "hf://user/name"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_wrong_input_ends_with_one_sentence(name, r, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, named = REFUSED[name]
    with pytest.raises(PofxError) as found:
        call(r)
    message = str(found.value)
    assert named in message and len(message) < 700 and "\n" not in message, message
    assert not list(tmp_path.iterdir())


def record(*rows):
    return [collections.namedtuple("Point", "a b")(*row) for row in rows]


RIGHT = {  # call → what it must give
    "a known column of None": lambda r: (
        r.rows.sample(4, given={"plan": None})["plan"].isin(set(FRAME.plan)).all()  # is not known
    ),
    "numbers held as objects": lambda r: np.allclose(r.flow.log_prob(X.astype(object)), r.flow.log_prob(X)),
    "a tuple of texts": lambda r: len(r.text.log_prob(("ab", "ba"))) == 2,
    "a record array": lambda r: (
        list(fit(np.rec.fromarrays([X[:, 0], np.arange(60)], names="a,b")).sample(2)) == ["a", "b"]
    ),
    "a list of rows of a table": lambda r: (
        list(fit([FRAME.iloc[i] for i in range(30)], "circuit").sample(1)) == list(FRAME)
    ),
    "named tuples": lambda r: fit(record(*X.tolist())).sample(2).shape == (2, 2),
    "decimal numbers": lambda r: len(fit(frame([Decimal("1.25") + i for i in range(60)])).sample(3)) == 3,
    "a label by its own case": lambda r: (r.labelled.sample(2, "PRO")["plan"] == "pro").all(),
    "a label by the name of its column": lambda r: (r.labelled.sample(2, {"plan": "pro"})["plan"] == "pro").all(),
    "known rows one by one": lambda r: (
        r.rows.sample(2, given={"plan": ["pro", "free"]})["plan"].tolist() == ["pro", "free"]
    ),
    "a whole row that is known": lambda r: (
        r.rows.sample(2, given=FRAME.iloc[0].to_dict())["k"].tolist() == [FRAME.k[0]] * 2
    ),
    "truth values as 0 and 1": lambda r: np.allclose(
        r.rows.log_prob(FRAME.assign(ok=FRAME.ok.astype(int))), r.rows.log_prob(FRAME)
    ),
    "dates as texts": lambda r: np.allclose(
        r.rows.log_prob(FRAME.assign(when=FRAME.when.astype(str))), r.rows.log_prob(FRAME)
    ),
    "an unknown category": lambda r: np.isneginf(r.rows.log_prob(FRAME.assign(plan="gold"))).all(),
    "a truth value of two": lambda r: np.isneginf(r.rows.log_prob(FRAME.assign(ok=2))).all(),
    "a fraction of a count": lambda r: np.isneginf(r.rows.log_prob(FRAME.assign(k=FRAME.k + 0.5))).all(),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_odd_input_has_the_right_answer(name, r):
    assert RIGHT[name](r)


def test_samples_have_the_decimals_of_the_data():
    cents = np.round(R.lognormal(10, 0.5, 200), 2)
    cents[::9] = np.nan
    rows = pd.DataFrame({"income": cents, "height": R.normal(size=200), "gap": np.round(R.normal(size=200), 2)})
    run = fit(rows, "copula")
    drawn = run.sample(50, seed=0)
    known = drawn["income"].dropna()
    assert (known.round(2) == known).all() and known.nunique() > 30
    assert not (drawn["height"].round(6) == drawn["height"]).any(), "numbers that were not rounded stay as they are"
    assert np.isfinite(run.log_prob(drawn)).all()


def test_float32_has_no_decimals_where_it_cannot_hold_them():
    from pofx.data.grids import written_places

    x = np.random.default_rng(1).normal(5e5, 2e4, 300).astype(np.float32).astype(np.float64)
    assert written_places(x, float(np.finfo(np.float32).eps)) is None
    assert written_places(np.round(x, 1), 2.0**-52) == 1
    assert written_places(np.round(x, 1)[:10], 2.0**-52) is None


def test_a_run_of_a_file_resumes_by_its_folder_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FRAME.to_csv("rows.csv", index=False)
    pofx.fit("rows.csv", "nsf", width=8, layers=1, bins=4, steps=2, out="run", progress=False)
    more = pofx.fit(out="run", resume=True, steps=4, progress=False)
    assert more.card["training"]["steps"] == 4 and more.card["data"]["name"] == "rows.csv"
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert pofx.fit(out="../run", resume=True, steps=5, progress=False).card["training"]["steps"] == 5
    FRAME.head(50).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(PofxError, match="another run"):
        pofx.fit(out="../run", resume=True, steps=6, progress=False)


def written(tmp_path, cells, name="a"):
    """A csv of a column of texts beside a column of numbers."""
    rows = "".join(f'"{cell}",{v:.3f}\n' for cell, v in zip(cells, X[:, 0], strict=False))
    (tmp_path / "rows.csv").write_text(f"{name},b\n{rows}", encoding="utf-8")
    return str(tmp_path / "rows.csv")


SUMS = R.uniform(500, 9000, 60).round(2)
WITH_UNITS = {
    "dollars": ([f"${v:,.2f}" for v in SUMS], SUMS),
    "euros behind": ([f"{v:.2f} €".replace(".", ",") for v in SUMS], SUMS),
    "percent": ([f"{v / 100:.2f}%" for v in SUMS], (SUMS / 100).round(2)),
    "kilograms": ([f"{v:.2f} kg" for v in SUMS], SUMS),
    "brackets": ([f"({v:.2f})" if i % 2 else f"{v:.2f}" for i, v in enumerate(SUMS)], SUMS * np.tile([1, -1], 30)),
    "a long minus": ([f"\u2212{v:.2f}" for v in SUMS], -SUMS),
}


@pytest.mark.parametrize("case", WITH_UNITS)
@pytest.mark.filterwarnings("ignore:column a is read as numbers")
def test_numbers_with_one_unit_are_numbers(case, tmp_path):
    from pofx.data.sources import whole

    cells, values = WITH_UNITS[case]
    read = whole(written(tmp_path, cells)).values["a"].to_numpy(np.float64)
    assert np.allclose(read, np.round(values, 2), atol=1e-9)


@pytest.mark.parametrize(
    "cells",
    [[f"A{i}" for i in range(60)], [f"{i}B" for i in range(60)], [f"{i} kg" if i % 2 else f"{i} g" for i in range(60)]],
    ids=["codes", "flats", "two units"],
)
def test_words_with_digits_stay_words(cells, tmp_path):
    from pofx.data.sources import whole

    with pytest.warns(UserWarning, match="seems to be an id.*such as"):
        assert list(whole(written(tmp_path, cells)).values.columns) == ["b"]


def test_a_total_below_numbers_is_no_row(tmp_path):
    from pofx.data.sources import whole

    with pytest.warns(UserWarning, match=r"totals below the rows \(Total\): left out"):
        read = whole(written(tmp_path, [*(f"{v:.3f}" for v in X[:59, 1]), "Total"])).values
    assert len(read) == 59 and read["a"].dtype == np.float64


DAYS = [pd.Timestamp("2023-03-01") + pd.Timedelta(hours=int(k) * 31) for k in range(60)]
DATES = {
    "American": [f"{d.month}/{d.day}/{d.year}" for d in DAYS],
    "American, short": [f"{d.month}/{d.day}/{d.year % 100:02d}" for d in DAYS],
    "American with hours": [f"{d.month}/{d.day}/{d.year} {d.hour}:00" for d in DAYS],
    "twelve hours": [
        f"{d.month:02d}/{d.day:02d}/{d.year} {(d.hour + 11) % 12 + 1:02d}:00 {'AP'[d.hour > 11]}M" for d in DAYS
    ],
    "European": [f"{d.day}.{d.month}.{d.year}" for d in DAYS],
    "European, short": [f"{d.day:02d}.{d.month:02d}.{d.year % 100:02d}" for d in DAYS],
    "with its zone": [f"{d:%Y-%m-%d %H:%M:%S}+00:00" for d in DAYS],
    "months": [f"{2000 + k // 12}-{k % 12 + 1:02d}" for k in range(60)],
}


@pytest.mark.parametrize("case", DATES)
def test_dates_as_people_write_them_come_back_letter_for_letter(case, tmp_path):
    run = fit(written(tmp_path, DATES[case]))
    assert run.representation.schema["a"]["type"] == "date", run.representation.schema
    drawn = run.sample(40, seed=1)["a"]
    from pofx.data.dates import format_of

    assert format_of(drawn) == run.representation.schema["a"]["format"]
    assert np.isfinite(run.log_prob(pd.read_csv(tmp_path / "rows.csv"))).all()


def test_a_number_that_marks_what_is_missing_is_named():
    rows = pd.DataFrame({"a": np.where(np.arange(60) % 10 == 0, -999.0, X[:, 0]), "b": X[:, 1], "k": R.poisson(3, 60)})
    with pytest.warns(UserWarning, match="a of table is -999 in 6 rows"):
        pofx.table(rows)
    days = pd.Series(pd.date_range("2024-01-01", periods=60)).where(np.arange(60) % 10 > 0, pd.Timestamp("2199-12-31"))
    for lacking in (rows["a"].replace(-999.0, 1e20), days, days.dt.strftime("%Y-%m-%d")):
        with pytest.warns(UserWarning, match=r"a of table is (1e\+20|2199-12-31.*) in 6 rows.*'(number|date)'"):
            pofx.table(pd.DataFrame({"a": lacking, "b": X[:, 1]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # two values far from each other mark nothing
        pofx.table(pd.DataFrame({"a": np.resize([0, 65535], 60), "d": np.resize(["2010-01-01", "2024-01-01"], 60)}))


def test_rows_of_other_types_are_tables_and_others_are_named():
    from datetime import time

    made = np.zeros(60, dtype=[("a", "f8"), ("b", "U1")])
    made["a"], made["b"] = X[:, 0], np.resize(["u", "v"], 60)
    assert list(pofx.table(made).values) == list(pofx.table({"a": made["a"], "b": made["b"]}).values) == ["a", "b"]
    hours = pd.DataFrame({"t": [time(8, k) for k in range(60)], "v": X[:, 0]})
    assert describe(pofx.table(hours).values)["t"]["type"] == "date"
    others = pd.DataFrame({"p": pd.period_range("2020-01", periods=60, freq="M"), "c": X[:, 0] + 1j})
    with pytest.raises(PofxError, match=r"p \(period\[M\]\), c \(complex128\)"):
        pofx.table(others)
    import scipy.sparse

    for wrong, named in ((scipy.sparse.csr_matrix(X), "sparse"), ({1, 2}, "got set"), (iter([1]), "got list_iterator")):
        with pytest.raises(PofxError, match=named):
            pofx.points(wrong)


def test_what_is_no_data_is_named(tmp_path):
    from pofx.data.sources import load

    for name, content, words in (
        ("a.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "pointer of Git LFS"),
        ("b.csv", "<!DOCTYPE html><html><body>404</body></html>", "page of the web"),
        ("c.pt", "PK", "may run any code"),
        ("d.h5", "HDF", "pofx data"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(PofxError, match=words):
            load(tmp_path / name)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.HEIC").write_bytes(b"x")
    with pytest.raises(PofxError, match=r"no files of items \(but 1 \.heic\)"):
        load(tmp_path / "photos")
    with pytest.raises(PofxError, match="number those that occur"):
        pofx.tokens([[10**9, 1]] * 5)


def test_a_folder_or_zip_of_one_table_is_that_table(tmp_path):
    import zipfile

    from pofx.data.sources import whole

    (tmp_path / "d").mkdir()
    FRAME.to_csv(tmp_path / "d" / "rows.csv", index=False)
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as file:
        file.write(tmp_path / "d" / "rows.csv", "inside/rows.csv")
        file.writestr("readme.md", "by me")
    for path in (tmp_path / "d", tmp_path / "d.zip"):
        assert whole(path).values.shape == FRAME.shape
    FRAME.to_csv(tmp_path / "d" / "more.csv", index=False)
    with pytest.raises(PofxError, match="more.csv, rows.csv: give one of them"):
        whole(tmp_path / "d")
    pofx.fit(pofx.points(X), "gmm", out=tmp_path / "run", **HOW)
    with pytest.raises(PofxError, match="is a run, no data"):
        whole(tmp_path / "run")


def test_a_folder_of_two_kinds_names_what_is_left(tmp_path):
    from PIL import Image

    from pofx.data.sources import whole

    for k in range(4):
        Image.fromarray(GREY[k] * 60).save(tmp_path / f"{k}.png")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.warns(UserWarning, match="4 files of image items, which are read, and 1 of audio items"):
        assert len(whole(tmp_path)) == 4


def test_a_table_of_dates_and_many_words_has_a_default_model(tmp_path):
    rows = FRAME.assign(
        when=DAYS, note=[f"word {k % 25}" for k in range(60)], gap=np.where(X[:, 0] > 1, np.nan, X[:, 1])
    )
    rows.to_csv(tmp_path / "rows.csv", index=False)
    run = pofx.fit(tmp_path / "rows.csv", **HOW)
    assert list(run.sample(3)) == list(rows)


def test_a_run_of_a_model_in_a_file_is_used_from_the_command_line(tmp_path, monkeypatch, capsys):
    import re
    import signal
    import sys
    from pathlib import Path

    from pofx.cli.main import main
    from pofx.core import config

    page = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
    code = re.search(r'title="src/pofx/families/mixture/laplace.py"\n(.*?)```', page, re.DOTALL)
    (tmp_path / "own.py").write_text(
        code[1].replace('"laplace"', '"own-laplace"').replace("class Laplace", "class Own")
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *a: None)
    known = config._alive
    for words, exit_code, seen in (
        (
            ["train", "moons", "--model", "own.py:Own", "--steps", "2", "--out", "run"],
            0,
            "own-laplace on moons: 2 steps",
        ),
        (["sample", "run", "-n", "2"], 1, "--use FILE"),
        (["--use", "own.py", "sample", "run", "-n", "2"], 0, "2 samples"),
        (["--use", "nowhere.py", "sample", "run"], 2, "no file nowhere.py"),
        (["models", "own.py:Own"], 0, "start"),
    ):
        monkeypatch.setattr(config, "_alive", (lambda of: []) if exit_code == 1 else known)  # as in another process
        monkeypatch.setattr(sys, "argv", ["pofx", *words])
        with pytest.raises(SystemExit) as end:
            main()
        shown = capsys.readouterr()
        assert int(end.value.code or 0) == exit_code and seen in shown.out + shown.err, shown


def test_items_that_are_all_the_same_are_named():
    with pytest.warns(UserWarning, match="all training items of .* are the same"):
        fit(pofx.images(np.zeros((40, 4, 4), np.uint8), levels=4), "made", width=8)
    with pytest.warns(UserWarning, match="are the same"):
        fit(["ab"] * 40, "gpt", width=8, heads=1, layers=1)


def test_channels_that_cancel_are_named_once(tmp_path):
    from scipy.io import wavfile

    wave = np.sin(np.arange(400) / 5).astype(np.float32)
    for i in range(5):
        wavfile.write(tmp_path / f"{i}.wav", 8000, np.stack([wave, -wave], 1))
    with pytest.warns(UserWarning, match="cancel each other.*4 more") as seen:
        pofx.data.sources.load(tmp_path)
    assert len([w for w in seen if "cancel each other" in str(w.message)]) == 1
