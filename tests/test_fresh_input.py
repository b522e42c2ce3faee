"""Inputs of the kinds that break programs, tried after those of `test_api_calls`: each has the right answer or one
sentence that names the value and the mend."""

import collections
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch

import pofx
from pofx.core.errors import PofxError

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
    "a known column of None": (lambda r: r.rows.sample(2, given={"plan": None}), "missing"),
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
    "a folder with a very long name": (lambda r: fit(X, out="a" * 300), "out"),
    "texts without a character": (lambda r: fit(["", ""] * 30, "gpt"), "empty"),
    "a table for a run": (lambda r: pofx.evaluate(FRAME), "run"),
    "a table for a run to audit": (lambda r: pofx.audit(FRAME), "run"),
    "a port for an address": (lambda r: pofx.Client(8700), "http://"),
    "a host without a scheme": (lambda r: pofx.Client("localhost:8700"), "http://"),
    "spans of time": (lambda r: fit(frame(pd.to_timedelta(np.arange(60), "h"))), "numbers"),
    "months": (lambda r: fit(frame(pd.period_range("2020-01", periods=60, freq="M"))), "numbers or texts"),
    "cells that are lists": (lambda r: fit(frame([[1, 2]] * 60)), "a"),
    "names of columns in two levels": (
        lambda r: fit(pd.DataFrame(X, columns=pd.MultiIndex.from_tuples([("u", "a"), ("u", "b")]))),
        "levels",
    ),
    "a sound for a flow": (
        lambda r: fit(pofx.audio([np.sin(np.arange(99) / 5)] * 30, rate=8000), "realnvp"),
        "wavenet takes them",
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
    "numbers held as objects": lambda r: np.allclose(r.flow.log_prob(X.astype(object)), r.flow.log_prob(X)),
    "a tuple of texts": lambda r: len(r.text.log_prob(("ab", "ba"))) == 2,
    "a record array": lambda r: list(fit(np.rec.fromarrays([X[:, 0], np.arange(60)], names="a,b")).sample(2)) == ["a", "b"],
    "a list of rows of a table": lambda r: list(fit([FRAME.iloc[i] for i in range(30)], "circuit").sample(1)) == list(FRAME),
    "named tuples": lambda r: fit(record(*X.tolist())).sample(2).shape == (2, 2),
    "decimal numbers": lambda r: len(fit(frame([Decimal("1.25") + i for i in range(60)])).sample(3)) == 3,
    "a label by its own case": lambda r: (r.labelled.sample(2, "PRO")["plan"] == "pro").all(),
    "a label by the name of its column": lambda r: (r.labelled.sample(2, {"plan": "pro"})["plan"] == "pro").all(),
    "known rows one by one": lambda r: r.rows.sample(2, given={"plan": ["pro", "free"]})["plan"].tolist() == ["pro", "free"],
    "a whole row that is known": lambda r: r.rows.sample(2, given=FRAME.iloc[0].to_dict())["k"].tolist() == [FRAME.k[0]] * 2,
    "truth values as 0 and 1": lambda r: np.allclose(r.rows.log_prob(FRAME.assign(ok=FRAME.ok.astype(int))), r.rows.log_prob(FRAME)),
    "dates as texts": lambda r: np.allclose(r.rows.log_prob(FRAME.assign(when=FRAME.when.astype(str))), r.rows.log_prob(FRAME)),
    "an unknown category": lambda r: np.isneginf(r.rows.log_prob(FRAME.assign(plan="gold"))).all(),
    "a truth value of two": lambda r: np.isneginf(r.rows.log_prob(FRAME.assign(ok=2))).all(),
    "a fraction of a count": lambda r: np.isneginf(r.rows.log_prob(FRAME.assign(k=FRAME.k + 0.5))).all(),
}  # fmt: skip


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
