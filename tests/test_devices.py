"""Another device answers as the CPU does: every model learns there, and its draws, scores and codes are the CPU's.

Draws come from streams that are the same on every device, so that a seed means the same samples everywhere. The second
device of `second_device` computes as the CPU, so all items agree. Where there is a GPU it is tried too: its products
round otherwise, which a threshold within a model may turn into another class or a longer walk, so most must agree.
"""

import copy
import warnings
from contextlib import nullcontext
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator

import pofx
from families.cases import SLOW_DENSITY, cases
from pofx.apps.impute import Imputer
from pofx.apps.joint import Joint
from pofx.apps.proteins import elbo, masked_marginals
from pofx.core.model import Encoding, Explicit, Stepwise
from pofx.core.random import Streams
from pofx.data.kinds.proteins import proteins
from pofx.train.feed import Feed
from pofx.train.loop import train
from pofx.train.options import Budget, TrainOptions
from second_device import second_device
from truth import Identity, Truth

GPU = torch.device("cuda", 0)
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
STEPS, ITEMS, DRAWN = 1, 64, 4
MOST = 0.8  # of the items

devices = pytest.mark.parametrize(
    "where", [second_device, pytest.param(lambda: nullcontext(GPU), id="gpu", marks=NO_GPU)]
)
DEAR = {"ebm", "dbm", "aim", *SLOW_DENSITY} - {"flow-matching"}
every = pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case, id=str(case), marks=() if case.core and case.plain and case.name not in DEAR else pytest.mark.slow
        )
        for case in cases()
        if not case.further and case.name != "jit"  # dear, and a recipe of the class of flow-matching
    ],
)


def moved(stated, device):
    """Conditions on a device, whatever their parts."""
    if isinstance(stated, dict):
        return {name: moved(part, device) for name, part in stated.items()}
    return None if stated is None else stated.to(device)


def agreeing(here, there):
    """The share of items that two devices agree on."""
    here, there = here.cpu().double().flatten(1), there.detach().cpu().double().flatten(1)
    close = (here - there).abs().amax(1) < 2e-2 * (here.std().clamp_min(1e-3) + here.abs().amax(1))
    return float((close | (here == there).all(1)).double().mean())


def learned(case, device, precision="fp32"):
    truth, labels = Truth(case.event), case.labels(ITEMS)
    feed = Feed(truth.draw(ITEMS, labels), case.stated(labels), Identity(case.event), seed=0, device=device)
    options = {**case.row.trains_with, "precision": precision, "warmup": 2, "validations": 1, "compile": False}
    options["batch_size"] = 32
    model = train(
        case.build(), feed, options=TrainOptions.of(options), budget=Budget(steps=STEPS), seed=0, progress=False
    ).model
    if isinstance(model, Stepwise):
        model.steps = min(model.steps, 4)
    return model.eval()


def answers(model, case, device):
    """Draws, and the scores and codes of draws; where they are, what makes them."""
    stated = moved(case.stated(case.labels(DRAWN)), device)
    found = {"sample": model.sample(DRAWN, stated, generator=Streams(0, DRAWN, device=device))}
    x = Truth(case.event).draw(DRAWN, case.labels(DRAWN)).to(device)
    if isinstance(model, Explicit):
        found["log_prob"] = model.log_prob(x, stated)[:, None]
    if isinstance(model, Encoding):
        z = model.encode(x, stated)
        found |= {"encode": z, "decode": model.decode(z, stated)}
    return found


@devices
@every
def test_a_device_answers_as_the_cpu(case, where):
    with where() as device:
        there = learned(case, device)
        assert {p.device for p in there.parameters()} <= {device}
        with torch.no_grad():
            theirs = answers(there, case, device)
        assert {name: x.device for name, x in theirs.items()} == dict.fromkeys(theirs, device)
        here = copy.deepcopy(there).to("cpu")
        with torch.no_grad():
            ours = answers(here, case, torch.device("cpu"))
        same = {name: agreeing(x, theirs[name]) for name, x in ours.items()}
    assert min(same.values()) >= (MOST if device.type == "cuda" else 1.0), same


def rows(n=80):
    g = np.random.default_rng(0)
    return pd.DataFrame({"a": g.normal(size=n), "b": g.integers(0, 4, n), "c": g.choice(["x", "y", None], n)})


DATA = {
    "images": lambda: np.random.default_rng(0).integers(0, 256, (240, 8, 8), dtype=np.uint8),
    "rows": rows,
    "texts": lambda: ["abc", "abd", "bcd", "ad"] * 20,
    "vectors": lambda: np.random.default_rng(0).normal(size=(80, 3)),
}
RUNS = {"images": ("vae", "r3gan", "glow"), "rows": ("made", "copula", "circuit", "vae"), "texts": ("gpt",),
        "vectors": ("nsf", "gmm")}  # fmt: skip


@devices
@pytest.mark.parametrize(
    "kind, model",
    [
        pytest.param(kind, model, marks=pytest.mark.slow if model == "glow" else ())
        for kind, models in RUNS.items()
        for model in models
    ],
)
def test_a_run_lives_on_a_device(kind, model, where, tmp_path):
    data = DATA[kind]()
    with where() as device, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = pofx.fit(data, model, steps=2, device=str(device), out=tmp_path / "run", progress=False, batch_size=16)
        assert run.device == device
        drawn = run.sample(5, seed=0)
        scored = run.score(data[:5]) if run.density else None
        if isinstance(run.model, Encoding):
            back = run.decode(run.encode(data[:5]))
            assert len(back) == 5
    again = pofx.load(tmp_path / "run")
    if device.type != "cuda":
        assert str(again.sample(5, seed=0)) == str(drawn)
        if scored is not None:
            assert again.score(data[:5]).value == pytest.approx(scored.value, rel=1e-4, abs=1e-4)


JOBS = {
    "evaluate": lambda run, data: pofx.evaluate(run, data, n=64, likelihood_seconds=0.1, force=True, progress=False),
    "audit": lambda run, data: pofx.audit(run, data, force=True, progress=False),
    "edit": lambda run, data: pofx.edit(run, data[:2], mask=np.eye(8, dtype=bool), steps=2),
    "posterior": lambda run, data: pofx.posterior(
        run, data[:1, None] / 255, "denoise", 0.1, method="pigdm", options={"steps": 3}
    ).sample(2),
    "interpolate": lambda run, data: run.interpolate(data[:1], data[1:2], steps=3),
    "reconstruct": lambda run, data: run.reconstruct(data[:2]),
}


@devices
@pytest.mark.parametrize(
    "model, job",
    [("vae", "evaluate"), ("vae", "interpolate"), ("flow-matching", "posterior"), ("glow", "reconstruct"),
     *(pytest.param(*dear, marks=pytest.mark.slow) for dear in (("vae", "audit"), ("flow-matching", "edit")))],
)  # fmt: skip
def test_a_run_on_a_device_does_each_job(model, job, where, tmp_path):
    data = DATA["images"]()
    small = {"width": 16, "depth": 1} if model == "flow-matching" else {}
    run = pofx.fit(data, model, steps=2, out=tmp_path / "run", progress=False, batch_size=16, **small)
    with where() as device, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        JOBS[job](run.to(device), data)


def joint(run_on):
    """Parts of an event, some given others."""
    g = np.random.default_rng(0)
    table = pd.DataFrame({"a": g.normal(size=60), "b": g.choice(["x", "y"], 60)})
    model = Joint("circuit", steps=2, options={"states": 4, "batch_size": 16})
    model.fit({"cells": g.integers(0, 3, (60, 4)), "table": table})
    assert model.run.device == run_on
    drawn = model.sample(3, given={"table": {"b": "y"}})
    assert list(drawn["table"]["b"]) == ["y"] * 3
    assert model.log_prob({"cells": drawn["cells"]}, given=()).shape == (3,)


def imputed(run_on):
    """Missing cells, and the density of known ones."""
    found = Imputer(steps=2, options={"states": 4, "batch_size": 16}).fit(rows())
    assert found.run_.device == run_on
    assert not found.transform(rows()).iloc[:, :2].isna().any().any()
    assert np.isfinite(found.log_prob(rows())).all()


def mutants(run_on):
    """Scores of sequences by bounds with shared codes, and by columns that are hidden."""
    aligned = ["ACDEFG", "ACDEFA", "ACDKFG", "ACDKFA"] * 10
    shared = {"steps": 2, "progress": False, "batch_size": 16}
    for model, score in (("vae", lambda run: elbo(run, aligned[:3])),
                         ("masked-diffusion", lambda run: masked_marginals(run, aligned[0]).sum(1))):  # fmt: skip
        run = pofx.fit(proteins(aligned), model, **shared)
        assert run.device == run_on
        assert np.isfinite(score(run)).all()


def classes(run_on):
    run = pofx.fit("digits", "circuit", condition="label", steps=2, progress=False, states=4, batch_size=16)
    assert run.device == run_on
    assert pofx.classify(run, DATA["images"]()[:3] % 17).to_numpy().sum(1) == pytest.approx(1.0)


def known_columns(run_on):
    """Columns of a table given another one, by classes, intervals and heads."""
    some = {"steps": 2, "batch_size": 16}
    for model, options in (("made", {**some, "leading": "b"}), ("circuit", some), ("copula", {}), ("vae", some)):
        run = pofx.fit(rows(), model, progress=False, **options)
        assert list(run.sample(3, given={"b": 2}).b) == [2, 2, 2]


def simulator(run_on):
    """Parameters of a simulator."""
    made = pofx.infer(lambda theta, g: theta + g.normal(size=theta.shape), {"a": "uniform(0, 1)"}, simulations=60,
                      steps=2, members=1, vectorised=True, progress=False)  # fmt: skip
    assert made.runs[0].device == run_on
    assert np.isfinite(made.log_prob(made.sample(3, [0.4]), [0.4])).all()


@devices
@pytest.mark.parametrize(
    "use",
    [joint, mutants, classes, known_columns, *(pytest.param(f, marks=pytest.mark.slow) for f in (imputed, simulator))],
)
def test_a_run_stays_where_it_was_trained_and_serves_its_use_there(use, where):
    with where() as device, warnings.catch_warnings(), mock.patch.object(Accelerator, "device", device):
        warnings.simplefilter("ignore")
        use(device)


@every
@NO_GPU
def test_a_model_learns_in_bf16_on_a_gpu(case):
    model = learned(case, GPU, "auto")
    assert all(torch.isfinite(p).all() for p in model.parameters())
