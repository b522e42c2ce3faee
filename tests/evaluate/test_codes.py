"""Laws of the scores of codes: perfect, rotated, random and ruined codes read what they must."""

import numpy as np
import pytest

import pofx
from pofx.core.errors import UsageError
from pofx.data.sources import load
from pofx.evaluate.metrics.codes import CodeProbe, linear_probe, neighbour_vote, path_length, probes
from pofx.evaluate.metrics.factors import dci, factor_vote, mig, sap
from pofx.evaluate.metrics.membership import LossAttack


@pytest.fixture(scope="module")
def known():
    generator = np.random.default_rng(0)
    factors = generator.integers(0, 5, size=(1000, 4))
    codes = factors + 0.05 * generator.normal(size=(1000, 4))
    rotation = np.linalg.qr(generator.normal(size=(4, 4)))[0]
    return factors, codes, codes @ rotation, generator.normal(size=(1000, 4))


def test_mutual_information_gap(known):
    factors, perfect, rotated, random = known
    assert mig(perfect, factors) > 0.9
    assert mig(rotated, factors) < 0.4
    assert mig(random, factors) < 0.05
    ruined = perfect.copy()
    ruined[0, 0] = 1e3
    assert mig(ruined, factors) > 0.9


@pytest.mark.parametrize("score", [sap, lambda z, f: dci(z, f)["disentanglement"], factor_vote])
def test_every_score_orders_perfect_rotated_and_random_codes(known, score):
    factors, perfect, rotated, random = known
    a, b, c = (score(z, factors) for z in (perfect, rotated, random))
    assert a > b + 0.1 and b > c - 0.06


def test_perfect_codes_are_complete_and_informative(known):
    factors, perfect, _, random = known
    found = dci(perfect, factors)
    assert found["completeness"] > 0.95 and found["informativeness"] > 0.95
    assert dci(random, factors)["informativeness"] < 0.35
    assert factor_vote(perfect, factors) > 0.97
    dead = np.concatenate((perfect, 1e-6 * random), 1)  # codes that never move have no vote
    assert factor_vote(dead, factors) > 0.97
    with pytest.raises(UsageError, match="collapsed"):
        factor_vote(np.zeros((100, 3)), factors[:100])
    with pytest.raises(UsageError, match="equal n"):
        mig(perfect[:10], factors)


def test_readers_see_what_is_there():
    generator = np.random.default_rng(1)
    labels = {s: generator.integers(0, 3, n) for s, n in (("train", 300), ("validation", 100), ("test", 200))}
    good = {s: np.eye(3)[y] + 0.2 * generator.normal(size=(len(y), 3)) for s, y in labels.items()}
    junk = {s: generator.normal(size=(len(y), 3)) for s, y in labels.items()}
    found = probes({"codes": good, "untrained": junk}, labels)
    assert found["codes"]["linear"] > 0.95 and found["codes"]["neighbours"] > 0.95
    assert found["untrained"]["linear"] < 0.5
    assert linear_probe(*((good[s], labels[s]) for s in ("train", "validation", "test"))) == found["codes"]["linear"]
    assert neighbour_vote((good["train"], labels["train"]), (good["test"], labels["test"]), 1) > 0.9
    with pytest.raises(UsageError, match="two classes"):
        linear_probe(*((good[s], np.zeros(len(labels[s]), int)) for s in ("train", "validation", "test")))


def test_path_length_of_a_linear_decoder_is_its_squared_gain():
    generator = np.random.default_rng(2)
    z, a = generator.normal(size=(4000, 3)), generator.normal(size=(3, 7))
    direction = generator.normal(size=(4000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    value, error = path_length(z @ a, (z + 1e-3 * direction) @ a, 1e-3)
    assert value == pytest.approx((a**2).sum() / 3, rel=0.05) and 0 < error < 0.05 * value


@pytest.mark.slow
def test_a_model_is_asked_for_its_codes_and_its_densities():
    data = load("digits")
    run = pofx.fit(data, "vae", steps=150, progress=False)
    read = CodeProbe().read(run, data, seconds=60)
    about = read.extra["code_linear"]
    assert read.values["code_linear"] > 0.5 and about["pca"] > 0.9 and 0.05 < about["untrained"] <= 1
    again = CodeProbe().read(run, data, seconds=60)
    assert again.values == read.values and again.extra == read.extra
    told = LossAttack().read(run, data, seconds=60)
    assert 0.3 < told.values["mia_loss"] < 0.8 and told.extra["mia_loss"]["items"] == len(data.test)
    without_codes, without_density = (pofx.fit(data, name, steps=1, progress=False) for name in ("gmm", "gan"))
    assert not CodeProbe().read(without_codes, data).values and not LossAttack().read(without_density, data).values
