"""Posteriors of simulators against closed forms; bounds, failures, checks of calibration, saving."""

import warnings
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from scipy import stats

import pofx
from pofx.apps.infer import infer
from pofx.apps.pair_plot import pair_plot, predictive_plot
from pofx.apps.parameter_posterior import Posterior
from pofx.apps.pooled import Evidence
from pofx.apps.prior import Prior
from pofx.apps.simulate import names_in, read_observation, simulate
from pofx.core.errors import CorruptError, DataError, UsageError
from pofx.evaluate.calibration import calibration, tarp
from pofx.maths.particles import tempered

NORMAL = {"a": "normal(0, 1)", "b": "normal(0, 1)"}
QUICK = {"width": 24, "layers": 2, "blocks": 1, "bins": 4}


def noisy(theta, rng):
    """x = θ + 0.5 noise: the posterior of x is N(0.8 x, 0.2)."""
    return theta + 0.5 * rng.standard_normal(theta.shape)


@pytest.fixture(scope="module")
def gaussian():
    return infer(noisy, NORMAL, simulations=1_500, vectorised=True, method="posterior", steps=80, members=1,
                 options=QUICK, trainer={"batch_size": 128}, progress=False)  # fmt: skip


def test_a_gaussian_posterior_is_found_for_any_observation(gaussian):
    for x in ([0.0, 0.0], [1.0, -1.0]):
        draws = gaussian.sample(2_000, x, seed=1)
        assert np.abs(draws.mean(0) - 0.8 * np.array(x)).max() < 0.12
        assert np.abs(draws.std(0) - 0.2**0.5).max() < 0.1
        truth = stats.norm(0.8 * np.array(x), 0.2**0.5).logpdf(draws).sum(1)
        assert abs((gaussian.log_prob(draws, x) - truth).mean()) < 0.1
    assert np.abs(gaussian.map(x) - 0.8 * np.array(x)).max() < 0.3
    assert gaussian.sample((7,), [0, 0]).shape == (7, 2) and gaussian.sample((2, 3), [0, 0]).shape == (2, 3, 2)


@pytest.mark.slow
def test_held_out_simulations_find_it_calibrated_and_a_wrong_one_not(gaussian):
    found = gaussian.check(100, draws=60)
    assert found.sound, found
    assert found.coverage[0.9][1] <= 0.9 <= found.coverage[0.9][2]
    theta, x = gaussian.held_out
    narrow = 0.8 * x[:100, None] + 0.2 * np.random.default_rng(0).standard_normal((100, 60, 2))
    assert not calibration(theta[:100], narrow).sound


def test_particles_draw_from_the_product_of_prior_and_likelihood():
    x = np.array([1.0, -0.5])
    draws = tempered(
        lambda n, seed: np.random.default_rng(seed).standard_normal((n, 2)),
        lambda t: stats.norm.logpdf(t).sum(1),
        lambda t: stats.norm(t, 0.1).logpdf(x).sum(1),
        2_000,
        seed=0,
    )
    exact = 0.01 / 1.01
    assert np.abs(draws.mean(0) - x / 1.01).max() < 0.015
    assert np.abs(draws.std(0) / exact**0.5 - 1).max() < 0.12


@pytest.mark.slow
def test_a_likelihood_gives_the_same_posterior():
    found = infer(noisy, NORMAL, simulations=1_500, vectorised=True, method="likelihood", steps=150, options=QUICK,
                  trainer={"batch_size": 128}, progress=False)  # fmt: skip
    draws = found.sample(500, [1.0, -1.0], seed=0)
    assert np.abs(draws.mean(0) - [0.8, -0.8]).max() < 0.2
    assert np.abs(draws.std(0) - 0.2**0.5).max() < 0.12


def test_a_ratio_gives_the_same_posterior_and_is_saved(tmp_path):
    found = infer(noisy, NORMAL, simulations=2_000, vectorised=True, method="nre", members=1, steps=12,
                  options={"units": (64, 64)}, progress=False)  # fmt: skip
    assert found.method == "ratio"
    draws = found.sample(500, [1.0, -1.0], seed=0)
    assert np.abs(draws.mean(0) - [0.8, -0.8]).max() < 0.2
    assert np.abs(draws.std(0) - 0.2**0.5).max() < 0.12
    gap = found.log_prob([[0.8, -0.8]], [1.0, -1.0]) - found.log_prob([[-0.4, 0.4]], [1.0, -1.0])
    assert gap[0] == pytest.approx(7.2, rel=0.4)  # (1.2² + 1.2²) / 2 / 0.2
    again = pofx.Posterior.load(found.at([1.0, -1.0]).save(tmp_path / "p"))
    with pytest.raises(CorruptError, match="read it with pofx.Posterior.load"):
        pofx.load(tmp_path / "p")
    assert np.array_equal(again.sample(20, seed=3), found.sample(20, [1.0, -1.0], seed=3))
    (tmp_path / "p" / "run-0.npz").write_bytes(b"no")
    with pytest.raises(CorruptError):
        pofx.Posterior.load(tmp_path / "p")


@pytest.mark.slow
def test_a_bounded_prior_never_leaks():
    prior = {"rate": "uniform(0, 1)", "scale": stats.lognorm(0.5)}
    found = infer(lambda t, rng: t + 0.3 * rng.standard_normal(t.shape), prior, simulations=600, vectorised=True,
                  steps=60, options=QUICK, progress=False)  # fmt: skip
    draws = found.sample(3_000, [0.0, 0.1])
    assert ((draws[:, 0] >= 0) & (draws[:, 0] <= 1) & (draws[:, 1] >= 0)).all()
    assert found.log_prob([[1.2, 1.0], [0.5, -1.0]], [0.5, 1.0]).tolist() == [-np.inf, -np.inf]
    with pytest.raises(UsageError, match="texts can be saved"):
        found.save("nowhere")


@pytest.mark.slow
def test_rounds_simulate_where_the_posterior_lies():
    seen = []

    def simulator(theta, rng):
        seen.append(theta)
        return theta + 0.05 * rng.standard_normal(theta.shape)

    found = infer(simulator, {"a": "uniform(-5, 5)", "b": "uniform(-5, 5)"}, simulations=800, rounds=2,
                  observation=[1.0, 2.0], vectorised=True, steps=150, options=QUICK,
                  trainer={"batch_size": 128}, progress=False)  # fmt: skip
    assert seen[1].std(0).max() < 0.7 * seen[0].std(0).max()
    assert np.abs(found.sample(1_000).mean(0) - [1.0, 2.0]).max() < 0.4
    assert found.rounds == 2


@pytest.mark.parametrize(
    ("seen", "shape"), [(0.4, ()), ([0.4], ()), (np.ones((3, 4, 4)), (3, 4, 4)), (np.ones((5, 2)), (5, 2))]
)
def test_data_of_any_shape_are_conditions(seen, shape):
    found = infer(lambda t, rng: t[0] + rng.standard_normal(shape), NORMAL, simulations=60, steps=1, members=1,
                  options=QUICK, progress=False)  # fmt: skip
    assert found.sample(3, seen).shape == (3, 2)
    assert np.isfinite(found.log_prob(found.sample(3, seen), seen)).all()


def test_rounds_of_a_ratio_simulate_from_its_posterior(tmp_path):
    seen = []

    def simulator(theta, rng):
        seen.append(theta)
        return theta + 0.3 * rng.standard_normal(theta.shape)

    found = infer(simulator, {"a": "uniform(-5, 5)", "b": "uniform(-5, 5)"}, simulations=600, rounds=2, method="nre",
                  observation=[1.0, 2.0], vectorised=True, members=1, steps=20, progress=False)  # fmt: skip
    assert seen[1].std(0).max() < 0.7 * seen[0].std(0).max() and len(found.held_out[0]) == 60
    assert np.abs(found.sample(300).mean(0) - [1.0, 2.0]).max() < 0.5
    picture = found.predictive_picture(tmp_path / "p.png", lambda t, rng: t + 0.3 * rng.standard_normal(2), 30)
    assert picture.stat().st_size > 1_000


def test_failed_runs_are_counted_and_left_out():
    def simulator(theta, rng):
        if theta[0] > 1:
            raise FloatingPointError("diverged")
        return theta + rng.standard_normal(2)

    theta = Prior.of(NORMAL).sample(200, 0)
    x = simulate(simulator, theta)
    assert np.isnan(x[theta[:, 0] > 1]).all()
    with pytest.warns(UserWarning, match="failed or are not finite"):
        found = infer(None, NORMAL, data=(theta, x), steps=1, members=1, method="npe", options=QUICK, progress=False)
    assert found.failed == pytest.approx((theta[:, 0] > 1).mean())

    def broken(theta):
        raise ValueError("no")

    with pytest.raises(DataError, match="every run of the simulator failed: the first with ValueError: no"):
        simulate(broken, theta)


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_runs_in_parallel_equal_runs_in_turn(backend):
    theta = Prior.of(NORMAL).sample(30, 0)
    simulator = lambda theta, rng: theta + rng.standard_normal(2)  # noqa: E731 - sent to processes by value
    one = simulate(simulator, theta, seed=3)
    with joblib.parallel_config(backend=backend):
        assert np.array_equal(one, simulate(simulator, theta, workers=2, seed=3))
    assert len(np.unique(one - theta)) == 60


@pytest.mark.slow
def test_a_posterior_is_saved_and_loaded(gaussian, tmp_path):
    again = pofx.Posterior.load(gaussian.at([0.3, 0.1]).save(tmp_path / "p"))
    assert np.array_equal(again.sample(10, seed=2), gaussian.sample(10, [0.3, 0.1], seed=2))
    assert again.check(30, draws=20).n == 30
    assert gaussian.pairs(tmp_path / "pairs.png", [0, 0], n=200, truth=[0, 0]).stat().st_size > 1_000


def test_priors_of_scipy_texts_and_torch_agree():
    theta = np.array([[0.5, -1.0], [2.0, 0.0]])
    texts = Prior.of({"a": "uniform(-1, 1)", "b": "normal(0, 2)"})
    assert texts.log_prob(theta)[0] == pytest.approx(-np.log(2) + stats.norm(0, 2).logpdf(-1))
    assert texts.log_prob(theta)[1] == -np.inf
    box = Prior.of(torch.distributions.Independent(torch.distributions.Uniform(-torch.ones(3), torch.ones(3)), 1))
    assert box.bounds == ((-1, 1),) * 3
    assert np.array_equal(box.sample(5, 1), box.sample(5, 1))
    assert Prior.of(torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))).support == {}
    mixed = Prior.of(
        [torch.distributions.Uniform(-1, 1), torch.distributions.Normal(torch.zeros(1), 2 * torch.ones(1))]
    )
    assert mixed.names == ("θ1", "θ2") and mixed.bounds == texts.bounds
    assert mixed.log_prob(theta) == pytest.approx(texts.log_prob(theta), abs=1e-5)
    assert np.array_equal(mixed.sample(5, 1), mixed.sample(5, 1)) and np.ptp(mixed.sample(5, 1)) > 0
    joint = Prior.of(stats.multivariate_normal([0.0, 1.0], [[1.0, 0.5], [0.5, 2.0]]))
    assert len(joint) == 2 and joint.sample(4000, 0).mean(0) == pytest.approx([0, 1], abs=0.1)
    assert joint.log_prob(theta) == pytest.approx(joint._source.source.logpdf(theta))


@pytest.mark.parametrize(
    ("text", "ends", "median"),
    [("loguniform(0.01, 1)", (0.01, 1), 0.1), ("halfnormal(2)", (0, np.inf), 1.349),
     ("student(3, 1, 2)", (-np.inf, np.inf), 1),
     ("truncnormal(0, 1, -1, 1)", (-1, 1), 0)],
)  # fmt: skip
def test_written_priors(text, ends, median):
    prior = Prior.of({"a": text})
    assert prior.bounds == (ends,) and np.median(prior.sample(4000, 0)) == pytest.approx(median, abs=0.12)


def test_observations_of_files_may_have_names(tmp_path):
    for text, shape in (
        ("0.1,0.2\n", (2,)),
        ("a,b\n0.1,0.2\n", (2,)),
        ("a,b\n1,2\n3,4\n", (2, 2)),
        ("1\n2\n3\n", (3,)),
    ):
        (tmp_path / "x.csv").write_text(text)
        assert read_observation(tmp_path / "x.csv").shape == shape
    for text, names in (('z,"x"\n1,2\n', ("z", "x")), ("1,2\n3,4\n", ()), ("a\n1\n2\n", ())):
        (tmp_path / "x.csv").write_text(text)
        assert names_in(tmp_path / "x.csv") == names
    (tmp_path / "x.csv").write_text("a,b\nx,y\n")
    with pytest.raises(DataError, match="holds no observation"):
        read_observation(tmp_path / "x.csv")


def test_simulators_of_torch_get_tensors_and_seeded_numbers():
    def simulator(theta):
        return theta + torch.randn_like(theta)

    theta = np.zeros((30, 2))
    for vectorised in (False, True):
        x = simulate(simulator, theta, vectorised=vectorised, seed=3)
        assert x.shape == (30, 2) and x.std() > 0.5 and len(np.unique(x)) == 60
        assert np.array_equal(x, simulate(simulator, theta, vectorised=vectorised, seed=3))
    with pytest.raises(DataError, match="AttributeError"):
        simulate(lambda t: t.nothing(), theta)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Prior.of({"a": "unifrom(0, 1)"}), "unifrom"),
        (lambda: Prior.of({"a": "uniform 0 1"}), "must be written as"),
        (lambda: Prior.of({"a": "normal(0, -1)"}), "is no distribution"),
        (lambda: Prior.of(3), "got int"),
        (lambda: Prior.of([torch.distributions.Normal(torch.zeros(2), 1.0)]), "of its own"),
        (lambda: Prior.of({"a": 3}), r"got 3"),
        (lambda: infer(noisy, NORMAL, method="ratoi", progress=False), "ratoi"),
        (lambda: infer(noisy, NORMAL, rounds=2, progress=False), "need an observation"),
        (lambda: predictive_plot(Path("p.png"), np.full((9, 2), np.nan), np.zeros(2)), "nothing to draw"),
        (lambda: infer(None, NORMAL, progress=False), "simulator, or the simulations"),
        (lambda: infer(None, NORMAL, data=(np.zeros((30, 3)), np.zeros((30, 2)))), "must be parameters"),
        (lambda: simulate(lambda t: np.zeros(int(t[0])), np.array([[1.0], [2.0]])), "one shape"),
        (lambda: simulate(lambda: 0, np.zeros((3, 1))), "got 0 arguments"),
        (lambda: simulate(lambda t: t + 1j, np.zeros((3, 1))), "real and imaginary"),
        (lambda: simulate(lambda t: t, np.zeros((3, 1)), workers=0), "workers must be"),
        (lambda: infer(noisy, NORMAL, simulations=0), "simulations must be"),
        (lambda: infer(noisy, NORMAL, model="wgan"), "no density"),
        (lambda: infer(noisy, NORMAL, model="gmm"), "takes no numbers as its condition"),
        (lambda: infer(None, {"a": "uniform(0, 1)"}, data=(np.full((30, 1), 5.0), np.zeros((30, 2)))), "prior allows"),
        (lambda: pair_plot(Path("p.png"), np.zeros((9, 2)), ("a", "b"), [1.0]), "truth must be 2"),
        (lambda: pair_plot(Path("p.abc"), np.zeros((9, 2)), ("a", "b")), "change the ending"),
    ],
)
def test_wrong_requests_are_refused(call, message):
    with pytest.raises((UsageError, DataError), match=message):
        call()


def test_observations_of_another_shape_are_refused(gaussian):
    with pytest.raises(DataError, match="shape"):
        gaussian.sample(3, [1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="not finite"):
        gaussian.sample(3, [1.0, np.nan])
    with pytest.raises(UsageError, match="observation is missing"):
        gaussian.sample(3)


def test_random_regions_see_a_bias_that_ranks_alone_would_miss():
    rng = np.random.default_rng(0)
    theta = rng.standard_normal((400, 2))
    right = rng.standard_normal((400, 100, 2))  # the prior: calibrated, if useless
    assert tarp(theta, right) < 0.09
    assert tarp(theta, theta[:, None] + 0.1 + 0.3 * right) > 0.1


def test_few_draws_do_not_look_like_a_wrong_posterior():
    rng = np.random.default_rng(0)
    theta, draws = rng.standard_normal((4000, 2)), rng.standard_normal((4000, 9, 2))
    found = calibration(theta, draws, lambda x, i: -(x**2).sum(1))
    assert found.sound and found.tarp < found.tarp_noise  # shares in tenths are a tenth from uniform
    assert all(low <= level <= high for level, (_, low, high) in found.coverage.items())


def test_the_command_line_learns_a_posterior_from_a_file(tmp_path):
    from typer.testing import CliRunner

    from pofx.cli.main import app

    (tmp_path / "lab.py").write_text("def f(theta, rng):\n    return theta + 0.5 * rng.standard_normal(2)\n")
    (tmp_path / "seen.csv").write_text("u,v\n0.5,-0.5\n")
    command = ["infer", f"{tmp_path}/lab.py:f", "-p", "a=normal(0, 1)", "-p", "b=uniform(-2, 2)",
               "--simulations", "60", "--steps", "2", "--members", "1",
               "--observation", f"{tmp_path}/seen.csv", "--out", f"{tmp_path}/p", "-n", "50",
               "-o", "width=16",
               "-o", "layers=1"]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "90 % regions hold" in done.output
    assert {"posterior.json", "samples.csv", "pairs.png", "predictive.png"} <= {
        p.name for p in (tmp_path / "p").iterdir()
    }
    other = [
        "infer",
        f"{tmp_path}/p",
        "--observation",
        f"{tmp_path}/seen.csv",
        "--out",
        f"{tmp_path}/other",
        "-n",
        "20",
    ]
    asked = CliRunner().invoke(app, other)
    assert asked.exit_code == 0, asked.output
    assert len((tmp_path / "other" / "samples.csv").read_text().splitlines()) == 21
    other[5] = f"{tmp_path}/third"
    assert "needs --observation" in str(CliRunner().invoke(app, [*other[:2], *other[4:]]).exception)
    again = CliRunner().invoke(app, ["infer", f"{tmp_path}/lab.py:g", "-p", "a=normal(0, 1)", "--out", f"{tmp_path}/q"])
    assert "unknown function of lab.py 'g'" in str(again.exception)


def test_noise_of_a_vectorised_simulator_is_no_function_of_the_parameters():
    theta = Prior.of({"a": "normal(0, 1)"}).sample(4000, seed=3)
    noise = simulate(lambda t, rng: rng.normal(size=t.shape), theta, vectorised=True, seed=3)
    assert abs(np.corrcoef(theta[:, 0], noise[:, 0])[0, 1]) < 0.1
    again = simulate(lambda t, rng: rng.normal(size=t.shape), theta, vectorised=True, seed=3)
    assert np.array_equal(noise, again)


def test_an_observation_unlike_all_simulations_is_named(gaussian):
    with pytest.warns(UserWarning, match="beyond it: the posterior is an extrapolation"):
        gaussian.sample(2, [30.0, 0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gaussian.sample(2, [1.0, 0.0])
    assert repr(gaussian) == "<Posterior: a, b given data, by posterior with 1 model>"
    assert repr(gaussian.check(20, draws=20)).startswith("<Calibration: ")


def test_simulations_of_a_file_and_simulators_of_all_parameters_at_once(tmp_path):
    """What a cluster has simulated is learned from as it is."""
    from typer.testing import CliRunner

    from pofx.cli.main import app

    theta = Prior.of(NORMAL).sample(60, seed=0)
    np.savez(tmp_path / "some.npz", theta=theta, x=theta + 0.1)
    np.savez(tmp_path / "bad.npz", theta=theta)
    (tmp_path / "lab.py").write_text("def f(theta, rng):\n    return theta + 0.1 * rng.standard_normal(theta.shape)\n")
    (tmp_path / "seen.csv").write_text("0.1,0.2\n")
    shared = ["-p", "a=normal(0, 1),b=normal(0, 1)", "--steps", "1", "--members", "1", "--method", "npe",
              "--simulations", "60", "-o", "width=8", "-n", "20", "--observation", f"{tmp_path}/seen.csv"]  # fmt: skip
    for source, more in (("some.npz", []), ("lab.py:f", ["--vectorised"])):
        out = tmp_path / source[:3]
        done = CliRunner().invoke(app, ["infer", f"{tmp_path}/{source}", *shared, *more, "--out", str(out)])
        assert done.exit_code == 0, (done.output, done.exception)
        assert (out / "predictive.png").exists() == bool(more)
    bad = CliRunner().invoke(app, ["infer", f"{tmp_path}/bad.npz", *shared, "--out", f"{tmp_path}/q"])
    assert "has no array x" in str(bad.exception)


def test_a_likelihood_weights_draws_of_a_poor_posterior(tmp_path):
    """The simulator is linear within bounds: its likelihood is known before training, its posterior is cut off."""
    prior = {"a": "uniform(-1, 1)", "b": "uniform(-1, 1)"}
    found = infer(noisy, prior, simulations=600, vectorised=True, method="both", steps=3, members=1, options=QUICK,
                  progress=False)  # fmt: skip
    assert found.likelihood.share > 0.4
    x = np.array([0.9, 0.0])
    grid = np.linspace(-1, 1, 41)[:-1] + 0.025
    at = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
    p = np.exp(found.log_prob(at, x))
    assert p.sum() * 0.05**2 == pytest.approx(1.0, abs=0.1)
    exact = np.exp(-2 * ((at - x) ** 2).sum(1))
    exact /= exact.sum()
    drawn = found.sample(1_500, x)
    assert len(np.unique(drawn, axis=0)) > 1_000  # draws that count, not the same ones again
    assert np.abs(drawn.mean(0) - exact @ at).max() < 0.08
    assert np.abs(drawn.std(0) - (exact @ at**2 - (exact @ at) ** 2) ** 0.5).max() < 0.08
    assert np.array_equal(found.sample(50, x), found.sample(50, x)) and np.abs(drawn).max() <= 1
    again = Posterior.load(found.save(tmp_path / "p"))
    assert np.array_equal(again.sample(50, x), found.sample(50, x))
    with pytest.warns(UserWarning, match="20 of the 20 held-out simulations that check also chose"):
        assert np.isfinite(found.check(20, draws=20).tarp)
    assert again.likelihood.power == found.likelihood.power
    alone = replace(found, likelihood=replace(found.likelihood, share=0.0, power=1.0))
    assert alone.log_prob(at[:5], x) == pytest.approx(alone._density(at[:5], np.repeat(x[None], 5, 0)))


def test_evidence_that_is_too_sharp_gets_the_power_that_makes_it_right():
    """The posterior is N(0, 1) in three dimensions, what was learned is narrower by the root of two."""
    rng, n, k = np.random.default_rng(0), 600, 64
    truth, drawn = rng.standard_normal((n, 3)), rng.standard_normal((n, k, 3)) / 2**0.5
    sharp = [-(part**2).sum(-1) for part in (truth, drawn)]
    flat = (np.zeros(n), np.zeros((n, k)))
    found = Evidence(flat, tuple(sharp), tuple(sharp))
    assert found.levels(0.0, 1.0).mean() > 0.6
    assert found.power(0.0) == pytest.approx(0.6, abs=0.05) and found.power(0.5) == found.power(0.0)  # the least tried
    right = Evidence(flat, (sharp[0], -((2**0.5 * drawn) ** 2).sum(-1) / 2), flat)
    assert right.levels(0.0, 1.0).shape == (n,) and right.score(0.0) > right.score(1.0)


def test_densities_at_an_end_of_the_prior_are_those_beside_it():
    prior = {"a": "uniform(0, 1)", "b": "beta(0.5, 0.5)"}
    found = infer(noisy, prior, simulations=600, vectorised=True, method="npe", steps=30, members=1, options=QUICK,
                  progress=False)  # fmt: skip
    ends = found.log_prob([[0.0, 0.5], [1e-12, 0.5], [1e-3, 0.5], [1.0, 0.5], [0.999, 0.5], [0.5, 0.0]], [0.5, 0.5])
    assert np.isfinite(ends).all() and ends[0] == ends[1]
    assert ends[[0, 3]] == pytest.approx(ends[[2, 4]], abs=0.8)
    assert np.isneginf(found.log_prob([[-1e-6, 0.5]], [0.5, 0.5])).all()


def test_several_observations_are_drawn_in_one_call(gaussian):
    x = np.array([[0.0, 0.5], [1.0, -1.0], [0.5, 0.5]])
    found = gaussian.sample_batched((2, 150), x)
    assert found.shape == (2, 150, 3, 2) and np.abs(found.mean((0, 1)) - 0.8 * x).max() < 0.2
    with pytest.raises(DataError, match="got 3 of them.*sample_batched"):
        gaussian.sample(3, x)


class Places(torch.nn.Module):
    """Eight features of pictures of 8 x 8."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.ReLU(),
                                          torch.nn.Linear(32, 8))  # fmt: skip

    def forward(self, x):
        return self.layers(x)


def spot(theta, rng):
    """Pictures (n, 8, 8) of a spot at a place, with noise."""
    rows, columns = np.mgrid[:8, :8]
    far = (rows - 3.5 - theta[:, 0, None, None]) ** 2 + (columns - 3.5 - theta[:, 1, None, None]) ** 2
    return np.exp(-far / 4) + 0.1 * rng.standard_normal((len(theta), 8, 8))


def test_an_embedding_of_ones_own_is_trained_used_and_saved(tmp_path):
    torch.manual_seed(0)  # the user's network, which begins anew in each run of the tests otherwise
    prior, net = {"a": "uniform(-3, 3)", "b": "uniform(-3, 3)"}, Places()
    before = net.layers[1].weight.detach().clone()
    how = {"simulations": 600, "vectorised": True, "steps": 120, "members": 1, "options": QUICK, "progress": False}
    found = infer(spot, prior, embedding=net, method="npe", **how)
    assert torch.equal(net.layers[1].weight, before)  # a copy is trained
    assert found.embedding.shape == (8, 8) and found.held_out[1].shape[1:] == (8, 8)
    seen = spot(np.array([[1.5, -1.0]]), np.random.default_rng(5))[0]
    draws = found.sample(200, seen)
    assert np.abs(draws.mean(0) - [1.5, -1.0]).max() < 0.5 and draws.std(0).max() < 0.9  # of the prior: 1.7
    assert np.abs(found.map(seen) - [1.5, -1.0]).max() < 0.6 and np.isfinite(found.log_prob(draws, seen)).all()
    found.save(tmp_path / "p")
    again = Posterior.load(tmp_path / "p", embedding=Places)
    assert np.array_equal(again.sample(5, seen), found.sample(5, seen))
    with pytest.raises(UsageError, match="pass embedding="):
        Posterior.load(tmp_path / "p")
    with pytest.raises(UsageError, match="another network"):
        Posterior.load(tmp_path / "p", embedding=torch.nn.Linear(2, 2))
    (tmp_path / "p" / "embedding.safetensors").write_bytes(b"no")
    with pytest.raises(CorruptError, match="cannot be read"):
        Posterior.load(tmp_path / "p", embedding=net)
    assert len(found.check(20, draws=20).sbc) == 2
    assert found.predictive(spot, 3, seen, vectorised=True).shape == (3, 8, 8)


def test_functions_are_embeddings_too_in_rounds_of_any_method():
    found = infer(spot, {"a": "uniform(-3, 3)", "b": "uniform(-3, 3)"}, method="nre", simulations=120, vectorised=True,
                  steps=3, members=1, progress=False, rounds=2, observation=np.ones((8, 8)),
                  embedding=lambda x: x.mean(2))  # fmt: skip
    assert found.sample(4).shape == (4, 2) and found.rounds == 2


@pytest.mark.parametrize(
    ("net", "message"),
    [(3, "a module of torch or a function"), (torch.nn.Linear(3, 2), "must take data"), (torch.nn.Linear, "without"),
     (lambda x: np.full((len(x), 1), np.nan), "not finite"), (lambda x: np.ones((len(x), 0)), "1 to 1000 features")],
)  # fmt: skip
def test_wrong_embeddings_are_refused(net, message):
    with pytest.raises((UsageError, DataError), match=message):
        infer(spot, NORMAL, simulations=60, vectorised=True, embedding=net, progress=False)


def test_options_of_other_libraries_are_answered_by_ours():
    for theirs, ours in (("num_simulations", "simulations"), ("embedding_net", "embedding"), ("num_rounds", "rounds")):
        with pytest.raises(UsageError, match=f"unknown option of infer '{theirs}': it is {ours} here"):
            infer(spot, NORMAL, **{theirs: 10})


def test_a_prior_without_a_mean_is_one():
    assert np.isfinite(Prior.of({"a": "student(1, 0, 2)"}).log_prob([[3.0]])).all()


@pytest.mark.parametrize(
    "prior",
    [
        torch.distributions.Uniform(torch.zeros(1), torch.ones(1)),
        {"a": torch.distributions.Uniform(0.0, 1.0)},
        {"a": "uniform(0, 1)"},
    ],
)
def test_numbers_beside_an_end_are_inside_whatever_their_rounding(prior):
    found = Prior.of(prior).log_prob([[1 - 1e-9], [1.0], [0.0], [1e-50], [1 + 1e-6], [-1e-9]])
    assert np.allclose(found[:4], 0, atol=1e-6) and np.isneginf(found[4:]).all()


def test_a_prior_of_positive_numbers_has_a_density_near_zero():
    found = Prior.of({"a": torch.distributions.LogNormal(0.0, 1.0)}).log_prob([[0.0], [1e-60], [1.0]])
    assert np.isfinite(found).all() and (found[:2] < found[2]).all()
