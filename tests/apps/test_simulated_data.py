"""Laws of data of simulators as users return them: any container, names in any order, failed runs, in-place code."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from pofx.apps.infer import infer
from pofx.apps.observations import numbers
from pofx.apps.prior import Prior
from pofx.apps.simulate import named_data, simulate
from pofx.core.errors import DataError, UsageError

PRIOR = {"a": stats.norm(0, 1), "b": stats.uniform(-1, 2)}
QUICK = {"steps": 5, "members": 1, "options": {"width": 16, "layers": 1, "blocks": 1, "bins": 4}, "progress": False}
THETA = Prior.of(PRIOR).sample(40, 0)


def plain(theta):
    return [theta[0] + theta[1], theta[0] - theta[1], theta[0] * theta[1]]


WANTED = np.array([plain(one) for one in THETA])


@pytest.mark.parametrize(
    "made",
    [
        plain,
        lambda theta: tuple(plain(theta)),
        lambda theta: torch.tensor(plain(theta), requires_grad=True),
        lambda theta: dict(zip("xyz", plain(theta), strict=True)),
        lambda theta: pd.Series(plain(theta), index=list("xyz")),
        lambda theta: pd.DataFrame([plain(theta)], columns=list("xyz")),
        lambda theta: dict(zip("zyx" if theta[0] > 0 else "xyz", plain(theta)[:: -1 if theta[0] > 0 else 1],
                               strict=True)),
    ],
)  # fmt: skip
def test_data_of_every_container_are_the_same_numbers(made):
    found, names = named_data(made, THETA)
    order = np.argsort(names) if names else slice(None)  # the first run may have the other order
    assert np.allclose(found[:, order], WANTED, atol=1e-6)


def test_all_at_once_they_are_too():
    x, y, z = WANTED.T
    for made in (
        {"x": x, "y": y, "z": z},
        pd.DataFrame({"x": x, "y": y, "z": z}),
        torch.tensor(WANTED),
        WANTED.tolist(),
    ):
        assert np.allclose(simulate(lambda theta, made=made: made, THETA, vectorised=True), WANTED)
    with pytest.raises(UsageError, match="must return 40 rows"):
        simulate(lambda theta: 1.0, THETA, vectorised=True)


def test_parameters_that_a_simulator_changes_stay_as_they_were():
    def greedy(theta):
        theta *= 0
        return theta

    for vectorised in (False, True):
        theta = THETA.copy()
        assert not simulate(greedy, theta, vectorised=vectorised).any() and np.array_equal(theta, THETA)


def test_a_simulator_may_have_an_argument_for_each_parameter():
    def swapped(b, a):
        return [a + b, a - b, a * b]

    def random(a, b, rng):
        return a + b + rng.normal()

    assert np.allclose(simulate(swapped, THETA, parameters=["a", "b"]), WANTED)
    assert np.allclose(simulate(lambda a, b: np.stack([a + b, a - b, a * b], 1), THETA, vectorised=True,
                                parameters=["a", "b"]), WANTED)  # fmt: skip
    assert np.std(simulate(random, THETA, parameters=["a", "b"])[:, None] - WANTED[:, :1]) > 0.3
    assert np.allclose(simulate(lambda theta, rng: plain(theta), THETA, parameters=["a", "b"]), WANTED)


@pytest.mark.parametrize("failed", [None, np.nan, float("inf"), "no", [1.0, None, 2.0]])
def test_a_run_that_returns_no_data_failed(failed):
    found = simulate(lambda theta: failed if theta[0] > 0 else plain(theta), THETA)
    lost = THETA[:, 0] > 0
    assert not np.isfinite(found[lost]).all(1).any() and np.allclose(found[~lost], WANTED[~lost])


def test_observations_and_parameters_have_names_in_any_order(tmp_path, monkeypatch):
    names = ["x", "y", "z"]
    with np.errstate(all="ignore"):
        posterior = infer(lambda theta: dict(zip(names, plain(theta), strict=True)), PRIOR, simulations=120,
                          observation={"z": 0.1, "x": 0.2, "y": 0.3}, method="posterior", **QUICK)  # fmt: skip
    assert posterior.data_names == tuple(names) and posterior.x.tolist() == [0.2, 0.3, 0.1]
    draws = posterior.sample(3, [0.2, 0.3, 0.1])
    again = type(posterior).load(posterior.save(tmp_path / "p"))
    for seen in (pd.Series([0.3, 0.1, 0.2], index=["y", "z", "x"]), {"y": 0.3, "z": 0.1, "x": 0.2}):
        assert np.array_equal(again.sample(3, seen), draws)
    with pytest.raises(DataError, match="must have the names x, y, z"):
        posterior.sample(3, {"x": 0.2, "y": 0.3, "w": 0.1})
    theta = np.array([[0.1, 0.2], [0.3, -0.4]])
    value = posterior.log_prob(theta)
    assert np.allclose(posterior.log_prob(pd.DataFrame(theta[:, ::-1], columns=["b", "a"])), value)
    assert np.allclose(posterior.log_prob({"b": 0.2, "a": 0.1}), value[:1])
    drawn = []
    monkeypatch.setattr("pofx.apps.pair_plot.pair_plot", lambda *given: drawn.append(given))
    posterior.pairs(tmp_path / "pairs.png", n=20, truth={"b": 0.2, "a": 0.1})
    assert drawn[0][2] == ("a", "b") and drawn[0][3].tolist() == [0.1, 0.2]
    for wrong in ([0.1, 0.2, 0.3], [np.nan, 0.1], "ab", {"a": 1.0}):
        with pytest.raises(DataError):
            posterior.log_prob(wrong)
    assert posterior.sample(()).shape == (2,) and posterior.sample(torch.Size([2, 3])).shape == (2, 3, 2)
    for wrong in (0, -1, 2.0, "3", (2, -1), True):
        with pytest.raises(UsageError, match="n must be"):
            posterior.sample(wrong)
    fresh = Prior.of(PRIOR).sample(30, 5)
    x = pd.DataFrame([dict(zip(names, plain(one), strict=True)) for one in fresh])[["z", "y", "x"]]
    calls = [(pd.DataFrame(fresh[:, ::-1], columns=["b", "a"]), x), (fresh, x[names].to_numpy())]
    monkeypatch.setattr("pofx.apps.parameter_posterior.calibration", lambda *given, **how: given)
    one, other = (posterior.check(data=data, draws=20) for data in calls)
    assert np.array_equal(one[0], fresh) and np.array_equal(one[1], other[1]) and one[1].shape == (30, 20, 2)
    with pytest.raises(DataError, match=r"data must be parameters \(n, 2\) and data \(n, 3\)"):
        posterior.check(data=(fresh, fresh))
    assert replace(posterior, x=None).at([0.2, 0.3, 0.1]).x.tolist() == [0.2, 0.3, 0.1]


@pytest.mark.parametrize("wrong", ["a", [1, "b"], [[1], [1, 2]], [1j], np.array(["2020-01-01"], "M8[D]"), object()])
def test_what_are_no_numbers_is_refused(wrong):
    with pytest.raises(DataError):
        numbers(wrong)


def test_a_simulator_may_take_a_dict_of_parameters():
    found = simulate(lambda p: [p["a"] + p["b"], p["a"] - p["b"], p["a"] * p["b"]], THETA, parameters=["a", "b"])
    assert np.allclose(found, WANTED)
    with pytest.raises(UsageError, match="function of parameters"):
        simulate(3, THETA)


@pytest.mark.parametrize("options", [{"options": {"layerz": 3}}, {"options": {"layers": "x"}}, {"trainer": {"lrr": 1}},
                                     {"options": {"layers": 3}, "method": "nre"}])  # fmt: skip
def test_unknown_options_are_refused_before_anything_is_simulated(options):
    def never(theta):
        raise AssertionError

    with pytest.raises(UsageError, match="layer|lrr"):
        infer(never, PRIOR, simulations=100, **options)


def test_parts_of_different_sizes_are_one_row_in_any_order():
    found, names = named_data(lambda theta: {"spectrum": theta + 1, "count": theta[0]}, THETA)
    assert np.allclose(found, np.concatenate((THETA + 1, THETA[:, :1]), 1)) and names == ("spectrum", "count")
    assert numbers({"count": 3, "spectrum": [1.0, 2.0]}, names).tolist() == [1.0, 2.0, 3.0]


def test_simulations_that_were_made_may_be_columns_by_name():
    x = {"u": THETA[:, 0] * 2, "v": THETA[:, 1]}
    posterior = infer(None, PRIOR, data=({"b": THETA[:, 1], "a": THETA[:, 0]}, x), method="posterior", **QUICK)
    assert posterior.data_names == ("u", "v") and np.isfinite(posterior.log_prob(THETA[:2], {"v": 0.1, "u": 1.0})).all()
