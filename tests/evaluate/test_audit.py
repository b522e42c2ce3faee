"""The audit passes sound models and names the fault of spoiled ones."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import pofx
from pofx.data.sources import load
from pofx.evaluate.audit import audit, checks
from pofx.evaluate.checks import codes, densities, draws, samples


def results(findings):
    return {f["check"]: f["result"] for f in findings}


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def made(digits):
    return pofx.fit(digits, "made", steps=60, width=64, progress=False)


@pytest.fixture(scope="module")
def points():
    x = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    return load(pofx.points(x))


def test_checks_are_found_and_a_sound_model_passes(made, digits):
    assert len(checks()) >= 14
    found = audit(made, digits)
    assert all(set(f) == {"check", "result", "seen", "mend"} for f in found)
    assert {"causality", "seeds", "support", "checkerboard and blur"} <= set(results(found))
    assert "failed" not in results(found).values(), found


def test_mends_of_codes_are_those_of_the_model(digits):
    run = pofx.fit(digits, "r3gan", steps=1, width=4, progress=False)
    found = {f["check"]: f for f in (*codes._codes(run, digits, 0), *codes._collapse(run, digits, 0))}
    assert found["reconstruction"]["result"] == "warning" and "inversion_steps=100" in found["reconstruction"]["mend"]
    assert "KL" not in found["active codes"]["mend"]


def test_a_translation_that_draws_nothing_passes_and_one_that_draws_elsewhere_fails(monkeypatch):
    test, rng, found = load(pofx.points(np.ones((9, 2)))).test, np.random.default_rng(0), {}
    for name, given, restless in (("translation", True, False), ("constant", False, False), ("restless", True, True)):

        def items(*given, restless=restless, **options):
            return dataclasses.replace(test, values=rng.normal(size=(24, 2)) if restless else np.ones((24, 2)))

        monkeypatch.setattr(draws, "drawn", items)
        run = SimpleNamespace(model=SimpleNamespace(condition="images" if given else None))
        found[name] = next(draws._seeds(run, SimpleNamespace(test=test), 0))
    assert found["translation"]["result"] == "ok" and "conditions alone" in found["translation"]["seen"]
    assert found["constant"]["result"] == "failed" == found["restless"]["result"]


@pytest.mark.parametrize("orderings", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_any_one_order_is_causal_and_a_mixture_is_left_out(digits, orderings):
    run = pofx.fit(digits, "made", steps=3, width=64, ordering="random", orderings=orderings, progress=False)
    found = results(densities._causality(run, digits, 0)) if orderings == 1 else results(audit(run, digits))
    assert found.get("causality") == ("ok" if orderings == 1 else None)


def test_a_model_that_sees_ahead_fails(made, digits, monkeypatch):
    terms = made.model.log_prob_terms

    def peeking(x, condition=None):
        return terms(x, condition) + 1e-2 * x.flip(-1)

    monkeypatch.setattr(made.model, "log_prob_terms", peeking)
    assert results(densities._causality(made, digits, 0)) == {"causality": "failed"}


def test_tails_that_rise_or_break_are_seen(points, monkeypatch):
    run = pofx.fit(points, "gmm", steps=5, progress=False)
    assert results(densities._tails(run, points, 0)) == {"tails": "ok"}
    monkeypatch.setattr(run.model, "log_prob", lambda x, condition=None: x.flatten(1).square().sum(1))
    assert results(densities._tails(run, points, 0)) == {"tails": "warning"}
    monkeypatch.setattr(run.model, "log_prob", lambda x, condition=None: x.flatten(1).sum(1) / 0)
    assert results(densities._tails(run, points, 0)) == {"tails": "failed"}


@pytest.mark.slow
def test_bounds_tighten_and_codes_move(digits):
    run = pofx.fit(digits, "vae", steps=40, progress=False)
    found = results(audit(run, digits))
    assert found["calibration of the bound"] in ("ok", "warning") and found["active codes"] == "ok"
    assert found["sandwich"] in ("ok", "warning") and "reconstruction" in found and "invertibility" not in found
    one = SimpleNamespace(
        model=run.model, encode=lambda values, condition=None: np.arange(len(values))[:, None] * np.eye(40)[:1]
    )
    assert results(codes._collapse(one, digits, 0)) == {"active codes": "warning"}


def drawing(like, drawn):
    """An artifact that draws these values."""
    return SimpleNamespace(
        conditioning=None,
        condition_source=None,
        sample=lambda n, seed=0: drawn[:n],
        draw=lambda n, condition=None, seed=0: dataclasses.replace(like, values=drawn[:n], labels=None),
    )


def test_a_checkerboard_is_seen(digits):
    board = 12 * (np.indices((8, 8)).sum(0) % 2)
    real = digits.train.values
    for drawn, result in ((np.clip(real // 2 + board, 0, 16).astype(real.dtype), "warning"), (real, "ok")):
        stand_in = drawing(digits.train, drawn)
        assert results(samples._finest(stand_in, digits, 0)) == {"checkerboard and blur": result}


def test_collapse_is_seen(points):
    real = points.train.values
    for drawn, result in ((real, "ok"), (np.repeat(real[:4], 50, 0), "warning")):
        stand_in = drawing(points.train, drawn)
        assert results(samples._spread_and_copies(stand_in, points, 0))["collapse"] == result


def test_an_inverse_that_does_not_invert_fails(points):
    run = pofx.fit(points, "realnvp", steps=2, progress=False)
    assert results(codes._codes(run, points, 0)) == {"invertibility": "ok"}
    broken = SimpleNamespace(model=run.model, representation=run.representation, reconstruct=lambda v, c=None: v * 1.1)
    assert results(codes._codes(broken, points, 0)) == {"invertibility": "failed"}


def test_texts_that_end_can_be_examined():
    data = load(pofx.tokens(["anna", "bob", "eve", "hannah", "otto", "ada"] * 20))
    run = pofx.fit(data, "made", steps=5, width=64, progress=False)
    assert np.isfinite(run.score(data.test.values).value).all()
    assert results(audit(run, data))["causality"] == "ok"
