"""Wrong values of the Python interface end with one sentence of pofx, before anything is computed or written.

Every case is a call; `r` holds tiny runs by their word. Cases are of kinds: type, range, length, name, object.
"""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import pofx
from pofx.core.errors import PofxError
from pofx.evaluate.audit import audit
from pofx.evaluate.suite import evaluate

HUGE = 10**30
X = np.random.default_rng(0).normal(size=(60, 2))
GREY = np.random.default_rng(0).integers(0, 4, (60, 4, 4)).astype(np.uint8)


def gaussian(x):
    return -0.5 * (x**2).sum(1)


class Words:
    """An object that is no value of anything."""

    def __repr__(self):
        raise RuntimeError("no words")


# every wrong value of an argument that is checked by its annotation, by argument
VALUES = {
    "n": ["3", 0, -1, 10**12, 2.5, None, True, math.nan, [3], HUGE, Words()],
    "seed": ["a", 0.5, None, 10**30, [1], True, math.inf],
    "batch_size": [0, -1, "many", 1.5, HUGE],
    "draws": [0, -3, "x", 2.5, True, None],
    "steps_between": [0, 1, -1, "8", 2.5, None, HUGE],
    "path": [5, "curved", None, "", ["auto"]],
    "device": ["gpu", "cuda:99", 5, "", "cpu:x"],
    "minutes": ["2 minutes", 0, -1, math.nan, math.inf, True, [1]],
    "steps": [0, -5, 2.5, "5", True, math.inf, HUGE, [3]],
    "epochs": [0, -1, "3", math.nan],
    "flops": [0, -1, "1e9 flops", math.inf],
    "out": [5, 1.5, ["a"], b"x"],
    "model": [5, None.__class__, int, ["made"], Words()],
    "progress": ["yes", 1, None, 0],
    "budget": ["2 minutes", "-3s", "nan", "", "0s", "soon", 0, -1, math.nan, None, [30], "1e999s", "3 fortnights"],
    "temperature": [-1, "warm", math.nan, math.inf, None, [1.0], True],
    "dims": [0, -1, "2", 2.5, None, HUGE],
    "options": [5, "width=3", [1], {1: 2}],
    "scale": [0, -1, "wide", math.nan, [1.0, 2.0, 3.0], [1.0, -1.0], None.__class__],
    "centre": ["middle", math.nan, [0.0, 0.0, 0.0], math.inf],
    "share": [-0.1, 1.1, "half", math.nan, None],
    "scouts": [-1, 2.5, "many", None],
    "seeds": [0, -1, "2", 1.5, None, HUGE],
}  # fmt: skip


def _each(argument, call):
    return {f"{argument}={short(v)}": (lambda r, v=v: call(r, v)) for v in VALUES[argument]}


def short(v):
    return "Words" if isinstance(v, Words) else repr(v)[:20]


def fit(**given):
    return pofx.fit(pofx.points(X), **{"model": "gmm", "steps": 1, "progress": False, **given})


def density(**given):
    return pofx.fit_density(gaussian, **{"dims": 2, "steps": 1, "progress": False, **given})


def compare(r, **given):
    return pofx.compare(pofx.points(X), **{"models": ["gmm"], "budget": "1s", "progress": False, **given})


def under(name, cases):
    return {f"{name}: {key}": call for key, call in cases.items()}


CASES = {
    **under("sample", _each("n", lambda r, v: r.flow.sample(v))),
    **under("sample", _each("seed", lambda r, v: r.flow.sample(2, seed=v))),
    **under("sample", _each("batch_size", lambda r, v: r.flow.sample(2, batch_size=v))),
    **under("sample", _each("temperature", lambda r, v: r.flow.sample(2, temperature=v))),
    **under("sample of text", _each("temperature", lambda r, v: r.text.sample(2, temperature=v))),
    "sample: top_k of a fraction": lambda r: r.text.sample(2, top_k=1.5),
    "sample: top_k below 0": lambda r: r.text.sample(2, top_k=-1),
    "sample: top_p of 0": lambda r: r.text.sample(2, top_p=0),
    "sample: top_p above 1": lambda r: r.text.sample(2, top_p=1.5),
    "sample: an unknown option": lambda r: r.flow.sample(2, temperatur=1.0),
    "sample: a condition of a run without one": lambda r: r.flow.sample(2, 1),
    "sample: too many conditions": lambda r: r.table.sample(2, ["red"] * 3),
    "sample: no conditions": lambda r: r.table.sample(2, []),
    "sample: an unknown condition": lambda r: r.table.sample(2, "green"),
    "sample: a condition of another type": lambda r: r.table.sample(2, 1.7),
    "sample: a condition that is an object": lambda r: r.table.sample(2, Words()),
    "sample: a condition of lists": lambda r: r.table.sample(2, [["red"], ["red"]]),
    "sample: a condition of None": lambda r: r.table.sample(2, [None, None]),
    "sample: a condition that is a function": lambda r: r.table.sample(2, len),
    "sample: a table without the condition": lambda r: r.table.sample(2, pd.DataFrame({"x": [1, 2], "y": [1, 2]})),
    "sample: a row without a column": lambda r: r.rows.sample(2, {"a": 1.0}),
    "sample: a row of words for numbers": lambda r: r.rows.sample(2, {"a": "x", "b": "y"}),
    "sample: one number for two columns": lambda r: r.rows.sample(2, 1.0),
    "sample: rows of another length": lambda r: r.rows.sample(2, np.zeros((3, 2))),
    "sample: rows of other columns": lambda r: r.rows.sample(2, np.zeros((2, 3))),
    "sample: an object for a row": lambda r: r.rows.sample(2, Words()),
    "sample: a prefix of a flow": lambda r: r.flow.sample(2, prefix=np.zeros((2, 2))),
    "sample: a prefix that is a number": lambda r: r.text.sample(2, prefix=5),
    "sample: a prefix that is an object": lambda r: r.text.sample(2, prefix=Words()),
    "sample: too many prefixes": lambda r: r.text.sample(2, prefix=["a", "b", "a"]),
    "sample: images for a prefix of text": lambda r: r.text.sample(2, prefix=GREY),
    "sample: a text for a prefix of images": lambda r: r.image.sample(2, prefix="a"),
    "sample: with_condition of words": lambda r: r.table.sample(2, with_condition="yes"),
    **under("log_prob", _each("draws", lambda r, v: r.flow.log_prob(X, draws=v))),
    **under("score", _each("batch_size", lambda r, v: r.flow.score(X, batch_size=v))),
    "score: of nothing": lambda r: r.flow.score(X[:0]),
    "score: of None": lambda r: r.flow.score(None),
    "score: of a number": lambda r: r.flow.score(3.0),
    "score: of a text": lambda r: r.flow.score("x"),
    "score: of words": lambda r: r.flow.score([["a", "b"]]),
    "score: of an object": lambda r: r.flow.score(Words()),
    "score: of another width": lambda r: r.flow.score(np.zeros((3, 5))),
    "score: of images": lambda r: r.flow.score(GREY),
    "score: of NaN": lambda r: r.flow.score(np.full((2, 2), np.nan)),
    "score: of complex numbers": lambda r: r.flow.score(X * 1j),
    "score: of ragged rows": lambda r: r.flow.score([[1.0, 2.0], [3.0]]),
    "score: of texts by a model of images": lambda r: r.image.score(["a", "b"]),
    "score: of another size": lambda r: r.image.score(GREY[:, :3]),
    "score: of levels out of range": lambda r: r.image.score(GREY + 200),
    "score: of fractions": lambda r: r.image.score(GREY + 0.5),
    "score: of numbers by a model of texts": lambda r: r.text.score(X),
    "score: of None by a model of texts": lambda r: r.text.score([None, "a"]),
    "score: of a table of other columns": lambda r: r.table.score(pd.DataFrame({"z": [1.0]}), "red"),
    "score: of a table without its condition": lambda r: r.table.score(pd.DataFrame({"a": [1.0], "b": [1.0]})),
    "score: under too many conditions": lambda r: r.table.score(pd.DataFrame({"a": [1.0], "b": [1.0]}), ["red"] * 3),
    "encode: of None": lambda r: r.flow.encode(None),
    "encode: of another width": lambda r: r.flow.encode(np.zeros((3, 5))),
    "encode: of a model without codes": lambda r: r.image.encode(GREY),
    **under("encode", _each("batch_size", lambda r, v: r.flow.encode(X, batch_size=v))),
    "decode: of None": lambda r: r.flow.decode(None),
    "decode: of strings": lambda r: r.flow.decode(["a", "b"]),
    "decode: of an object": lambda r: r.flow.decode(Words()),
    "decode: of a number": lambda r: r.flow.decode(1.0),
    "decode: of another width": lambda r: r.flow.decode(np.zeros((2, 5))),
    "decode: of ragged rows": lambda r: r.flow.decode([[1.0, 2.0], [3.0]]),
    "decode: of NaN": lambda r: r.flow.decode(np.full((2, 2), np.nan)),
    "decode: of complex codes": lambda r: r.flow.decode(X * 1j),
    "decode: of nothing": lambda r: r.flow.decode(np.zeros((0, 2))),
    "reconstruct: of None": lambda r: r.flow.reconstruct(None),
    "reconstruct: of a model without codes": lambda r: r.image.reconstruct(GREY),
    **under("interpolate", _each("steps_between", lambda r, v: r.flow.interpolate(X[:2], X[2:4], v))),
    **under("interpolate", _each("path", lambda r, v: r.flow.interpolate(X[:2], X[2:4], path=v))),
    "interpolate: between unequal numbers of items": lambda r: r.flow.interpolate(X[:2], X[2:5]),
    "interpolate: from None": lambda r: r.flow.interpolate(None, X[:2]),
    "interpolate: between texts": lambda r: r.text.interpolate(["a"], ["b"]),
    **under("to", _each("device", lambda r, v: r.flow.to(v))),
    "using: an unknown option": lambda r: r.flow.using(sampler="ddim"),
    "using: a wrong value": lambda r: r.diffusion.using(sampler_steps=0),
    "using: a word for steps": lambda r: r.diffusion.using(sampler_steps="many"),
    "save: to a number": lambda r: r.flow.save(5),
    "save: to None": lambda r: r.flow.save(None),
    "save: to a list": lambda r: r.flow.save(["a"]),
    "save: into a file": lambda r: r.flow.save(r.file),
    "load: of a number": lambda r: pofx.load(5),
    "load: of None": lambda r: pofx.load(None),
    "load: of a file": lambda r: pofx.load(r.file),
    "load: of nothing": lambda r: pofx.load("nowhere"),
    "load: of an empty name": lambda r: pofx.load(""),
    "load: with an unknown option": lambda r: pofx.load(r.folder, sampler="ddim"),
    "info: of a number": lambda r: pofx.info(5),
    "info: of nothing": lambda r: pofx.info("nowhere"),
    "cite: of nobody": lambda r: pofx.cite("nobody"),
    "cite: of a number": lambda r: pofx.cite(5),
    "long_texts: of a flow": lambda r: pofx.long_texts(r.flow, 1, 100),
    "long_texts: of a text": lambda r: pofx.long_texts("run", 1, 100),
    "long_texts: of a fraction": lambda r: pofx.long_texts(r.text, 1, 2.5),
    **{f"fit: {k}": v for a in ("minutes", "epochs", "flops", "model") for k, v in _each(
        a, lambda r, v, a=a: fit(**{**({} if a == "model" else {"steps": None}), a: v})).items()},
    **{f"fit: {k}": v for a in ("steps", "seed", "out", "device", "progress", "options", "temperature") for k, v in
       _each(a, lambda r, v, a=a: fit(**{{"temperature": "lr"}.get(a, a): v})).items()},
    "fit: no data": lambda r: pofx.fit(),
    "fit: a number": lambda r: pofx.fit(5, "gmm", steps=1),
    "fit: None": lambda r: pofx.fit(None, "gmm", steps=1),
    "fit: an object": lambda r: pofx.fit(Words(), "gmm", steps=1),
    "fit: an empty list": lambda r: pofx.fit([], "gmm", steps=1),
    "fit: a function": lambda r: pofx.fit(len, "gmm", steps=1),
    "fit: two budgets": lambda r: fit(epochs=1),
    "fit: an unknown condition": lambda r: fit(condition="label"),
    "fit: a condition that is a number": lambda r: fit(condition=5),
    "fit: a condition that is an object": lambda r: fit(condition=Words()),
    "fit: a condition of another length": lambda r: fit(condition=[1, 2, 3]),
    "fit: trainer options of another type": lambda r: fit(trainer="lr=3"),
    "fit: an option twice": lambda r: fit(components=2, options={"components": 3}),
    "fit: resume without a folder": lambda r: fit(resume=True),
    "fit: resume of words": lambda r: fit(resume="yes", out="x"),
    "fit: out is a file": lambda r: fit(out=r.file),
    "fit: out holds a run": lambda r: fit(out=r.folder),
    **{f"fit_density: {k}": v for a in ("dims", "scale", "centre", "scouts", "steps", "seed", "device", "out", "model")
       for k, v in _each(a, lambda r, v, a=a: density(**{a: v})).items()},
    **{f"fit_density: mix {k}": v for k, v in _each("share", lambda r, v: density(mix=v)).items()},
    **{f"fit_density: annealing {k}": v for k, v in _each("share", lambda r, v: density(annealing=v)).items()},
    "fit_density: no function": lambda r: pofx.fit_density("gaussian", 2, steps=1),
    "fit_density: a function of another shape": lambda r: pofx.fit_density(lambda x: x, 2, steps=1, progress=False),
    "fit_density: a function of numpy": lambda r: pofx.fit_density(
        lambda x: x.detach().numpy().sum(1), 2, steps=1, progress=False),
    "fit_density: a function without a slope": lambda r: pofx.fit_density(
        lambda x: x.detach().sum(1), 2, steps=1, progress=False),
    "fit_density: samples of another width": lambda r: density(samples=np.zeros((5, 3))),
    "fit_density: samples of words": lambda r: density(samples=["a"]),
    "fit_density: an unknown support": lambda r: density(support="somewhere"),
    "fit_density: a model without draws": lambda r: density(model="gpt"),
    **{f"compare: {k}": v for a in ("budget", "seeds", "out", "progress", "seed") for k, v in
       _each(a, lambda r, v, a=a: compare(r, **{a: v})).items()},
    "compare: a name for models": lambda r: compare(r, models="gmm"),
    "compare: an unknown model": lambda r: compare(r, models=["gmmm"]),
    "compare: no models": lambda r: compare(r, models=[]),
    "compare: an unknown family": lambda r: compare(r, models=None, families=["flows"]),
    "compare: an unknown engine": lambda r: compare(r, engine="slurm"),
    "compare: options of nobody": lambda r: compare(r, options={"nsf": {"width": 3}}),
    "compare: options of another type": lambda r: compare(r, options={"gmm": 3}),
    "compare: a time limit of words": lambda r: compare(r, time_limit="long"),
    "compare: a memory limit of words": lambda r: compare(r, memory_limit="much"),
    "compare: a label that is a number": lambda r: compare(r, label=5),
    "evaluate: data that is a name": lambda r: evaluate(r.flow, "moons"),
    "evaluate: a run that is a name": lambda r: evaluate("run", r.data),
    "evaluate: other data": lambda r: evaluate(r.flow, r.data),
    "evaluate: no items": lambda r: evaluate(r.flow, r.data, n=0),
    "evaluate: a seed of words": lambda r: evaluate(r.flow, r.data, seed="a"),
    "evaluate: a name for spaces": lambda r: evaluate(r.flow, r.data, spaces="pca"),
    "audit: data that is a name": lambda r: audit(r.flow, "moons"),
    "audit: a run that is a name": lambda r: audit("run", r.data),
    "audit: a seed of words": lambda r: audit(r.flow, r.data, seed="a"),
    "images: words": lambda r: pofx.images(["a", "b"]),
    "images: one level": lambda r: pofx.images(GREY, levels=1),
    "images: levels of words": lambda r: pofx.images(GREY, levels="many"),
    "images: too many levels": lambda r: pofx.images(GREY, levels=300),
    "images: fewer labels": lambda r: pofx.images(GREY, labels=[1, 2]),
    "points: words": lambda r: pofx.points([["a", "b"]]),
    "points: one axis": lambda r: pofx.points([1.0, 2.0]),
    "points: a support of words": lambda r: pofx.points(X, support="somewhere"),
    "table: a number": lambda r: pofx.table(5),
    "table: a support of nobody": lambda r: pofx.table(pd.DataFrame({"a": X[:, 0]}), support={"z": "positive"}),
    "tokens: fractions": lambda r: pofx.tokens(X),
    "tokens: too few classes": lambda r: pofx.tokens(np.array([[0, 5]]), classes=2),
    "tokens: classes of words": lambda r: pofx.tokens(np.array([[0, 1]]), classes="two"),
    "texts: numbers": lambda r: pofx.texts([1, 2]),
    "texts: nothing": lambda r: pofx.texts(""),
    "audio: a rate of words": lambda r: pofx.audio(X, rate="fast"),
    "audio: no rate": lambda r: pofx.audio(X, rate=0),
    "molecules: numbers": lambda r: pofx.molecules([1, 2]),
}  # fmt: skip


class Runs:
    """Tiny runs, a data set of another kind, a file and the folder of a run."""

    def __init__(self, root):
        from pofx.data.sources import load

        how = {"steps": 1, "progress": False}
        colour = np.array(["red", "blue"] * 30)
        frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "colour": colour})
        self.folder, self.file = root / "flow", root / "file"
        self.file.write_text("a file")
        self.flow = pofx.fit(pofx.points(X), "realnvp", width=8, layers=2, out=self.folder, **how)
        self.table = pofx.fit(frame, "gmm", condition="colour", **how)
        self.rows = pofx.fit(pofx.points(X), "nsf", condition=pd.DataFrame(X, columns=["a", "b"]), width=8, **how)
        self.image = pofx.fit(pofx.images(GREY, levels=4), "made", width=8, **how)
        self.text = pofx.fit(pofx.tokens(["ab", "ba", "abc"] * 20), "gpt", width=8, heads=1, layers=1, **how)
        self.diffusion = pofx.fit(pofx.points(X), "ddpm", width=8, **how)
        self.data = load("moons")


@pytest.fixture(scope="module")
def r(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("api"))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.timeout(30)
def test_a_wrong_value_ends_with_one_sentence(name, r, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.random.get_rng_state()
    with pytest.raises(PofxError) as found:
        CASES[name](r)
    message = str(found.value)
    assert 20 < len(message) < 1000 and "Error" not in message and "\n" not in message, message
    assert not list(tmp_path.iterdir()), "nothing is written"
    assert torch.equal(before, torch.random.get_rng_state())


def test_there_are_two_hundred_of_them():
    assert len(CASES) >= 200
