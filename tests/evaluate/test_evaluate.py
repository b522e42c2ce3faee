"""Laws of the metrics: known values at equality, planted faults that each must see, uncertainty that is true."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kstest

import pofx
from pofx.core.errors import DataError, UsageError
from pofx.core.model import Density
from pofx.core.representation import Items
from pofx.data.dataset import Dataset, dataset, take
from pofx.data.digits import load
from pofx.data.kind import digest
from pofx.data.vectors import Vectors
from pofx.evaluate.arrangement import arrange, control_items, shuffled
from pofx.evaluate.density import likelihood
from pofx.evaluate.distances import nearest, radii, squared
from pofx.evaluate.features import fit_spaces
from pofx.evaluate.measurement import Measurement, half_sampling
from pofx.evaluate.metrics.class_balance import histogram, total_variation, total_variation_floor
from pofx.evaluate.metrics.near_copy import near_copies, tail_test
from pofx.evaluate.metrics.neighbours import neighbour_scores
from pofx.evaluate.metrics.two_sample import c2st
from pofx.evaluate.suite import compare_samples, controls, evaluate
from pofx.maths.frechet import frechet_distance, frechet_floor, frechet_infinity
from pofx.represent.labels import Labels


def normal(n: int, d: int, seed: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) * scale


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load(0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("spaces")


# distances


def test_distances_equal_the_definition_in_both_precisions():
    x, y = normal(50, 7, 0) + 100, normal(90, 7, 1) + 100
    exact = ((x[:, None] - y[None]) ** 2).sum(-1)
    assert np.allclose(squared(x, y), exact, atol=1e-9)
    big = np.concatenate((y, normal(100_000, 7, 2) + 100))  # float32 tiles
    gap, index = nearest(x, big)
    truth = np.sqrt(((x[:, None] - big[None]) ** 2).sum(-1))
    assert np.allclose(gap, truth.min(1), atol=1e-5) and (gap >= 0).all()
    assert (index == truth.argmin(1)).mean() > 0.95
    own = np.sort(squared(y, y), 1)[:, 3]
    assert np.allclose(radii(y, 3), own)
    assert (nearest(big[:40], big)[0] == 0).all()


# Fréchet


def test_frechet_null_is_the_known_bias():
    values = [frechet_distance(normal(1000, 64, s), normal(1000, 64, 100 + s)) for s in range(5)]
    assert np.mean(values) == pytest.approx(2.24, abs=0.10)
    assert frechet_floor(normal(50_000, 64, 3), 1000, 1000) == pytest.approx(64 * 65 / 4 * 0.002 + 64 * 0.002, rel=0.01)
    assert np.mean(values) == pytest.approx(frechet_floor(normal(1000, 64, 3), 1000, 1000), rel=0.06)


def test_frechet_infinity_takes_the_bias_away():
    values = [frechet_infinity(normal(2000, 64, s), normal(2000, 64, 50 + s), seed=s)[0] for s in range(3)]
    assert np.mean(values) == pytest.approx(0, abs=0.05)


def test_frechet_equals_the_closed_form_for_gaussians():
    a, b = np.diag([1.0, 4.0, 9.0]), np.array([1.0, -2.0, 0.5])
    x, y = normal(200_000, 3, 0) @ np.sqrt(a) + b, normal(200_000, 3, 1)
    assert frechet_distance(x, y) == pytest.approx((b**2).sum() + 0 + 1 + 4, rel=0.02)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    flat = np.concatenate((normal(100, 2, 0), np.zeros((100, 3))), 1)  # singular covariance
    assert np.isfinite(frechet_distance(flat, flat + 1)) and frechet_distance(flat, flat + 1) == pytest.approx(5)


# neighbours


def test_neighbours_match_prdc():
    prdc = pytest.importorskip("prdc")
    real, fake = normal(300, 8, 0), normal(240, 8, 1, 1.2)
    theirs = prdc.compute_prdc(real_features=real, fake_features=fake, nearest_k=5)
    ours = neighbour_scores(fake, real, 5)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-12), name


def test_contraction_is_seen_by_recall_and_by_the_classifier_only():
    x, y = normal(1000, 16, 0, 0.5), normal(1000, 16, 1)
    scores = neighbour_scores(x, y)
    assert scores["recall"] < 0.1
    assert scores["precision"] > 0.95 and scores["density"] > 1.5  # blind
    area, p = c2st(x, y, permutations=49)
    assert area > 0.97 and p <= 0.02


def test_half_junk_halves_precision_and_a_dropped_mode_lowers_coverage():
    real = normal(600, 2, 0) + 10 * (np.arange(600) % 3)[:, None]
    good = normal(600, 2, 1) + 10 * (np.arange(600) % 3)[:, None]
    junk = np.where((np.arange(600) % 2 == 0)[:, None], good, 500 + normal(600, 2, 2))
    assert neighbour_scores(junk, real)["precision"] == pytest.approx(0.5, abs=0.05)
    dropped = normal(600, 2, 1) + 10 * (np.arange(600) % 2)[:, None]
    assert neighbour_scores(dropped, real)["coverage"] == pytest.approx(2 / 3, abs=0.05)
    with pytest.raises(UsageError, match="more than 5 items"):
        neighbour_scores(real[:5], good)


# two-sample test


@pytest.mark.slow
def test_c2st_p_values_are_uniform_without_a_difference():
    p = [c2st(normal(40, 3, s), normal(40, 3, 1000 + s), permutations=59, seed=s)[1] for s in range(200)]
    shifted = np.array(p) - np.random.default_rng(0).uniform(0, 1 / 60, 200)  # p takes 60 values
    assert kstest(shifted, "uniform").pvalue > 0.01
    areas = [c2st(normal(200, 3, s), normal(200, 3, 1000 + s), permutations=0)[0] for s in range(30)]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.02)


def test_c2st_sees_a_correlation_that_margins_hide():
    x = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.95], [0.95, 1]], 400)
    assert c2st(x, normal(400, 2, 1), permutations=19)[0] > 0.7
    with pytest.raises(UsageError, match="at least 10"):
        c2st(x[:5], x[:5])


# near copies


def test_tail_test_false_alarms_and_power_on_digits(digits):
    values = np.concatenate([s.values for s in digits.splits().values()]).reshape(1797, -1).astype(float)
    alarms, ten, many = [], [], []
    for seed in range(40):
        order = np.random.default_rng(seed).permutation(1797)
        train, held, fresh = values[order[:800]], values[order[800:1300]], values[order[1300:1790]]
        base, mine = nearest(held, train)[0], nearest(fresh, train)[0]
        alarms.append(tail_test(mine, base)[0] < 0.05)
        for copies, out in ((10, ten), (25, many)):
            out.append(tail_test(np.where(np.arange(490) < copies, 0, mine), base)[0])
    assert np.mean(alarms) <= 0.05
    assert np.mean(np.array(ten) < 0.01) >= 0.95
    assert np.median(many) < 1e-4


def test_ties_do_not_accuse():
    zeros = np.zeros(200)
    assert tail_test(zeros, zeros)[0] == 1.0  # data of duplicates: nothing can be said


def test_near_copies_name_the_pairs():
    train, held, samples = normal(300, 5, 0), normal(200, 5, 1), normal(200, 5, 2)
    samples[7] = train[123]
    found = near_copies(samples, held, train)
    assert found["closest"][0] == [7, 123, 0.0] and found["exact"] == 1
    assert found["ratio"] == pytest.approx(1, abs=0.15)


# uncertainty


def test_half_sampling_equals_the_spread_of_fresh_draws():
    def x(seed):
        return normal(1000, 32, seed, 1.15)

    def y(seed):
        return normal(1000, 32, 500 + seed)

    for statistic in (frechet_distance, lambda a, b: neighbour_scores(a, b)["precision"]):
        fresh = np.std([statistic(x(s), y(s)) for s in range(25)], ddof=1)
        halves = [half_sampling(statistic, x(s), y(s), 20, s) for s in range(3)]
        assert 0.8 < np.mean(halves) / fresh < 1.6
    # at equality the distance is of second order: the halves overstate its error, by no more than 2
    fresh = np.std([frechet_distance(y(s), y(90 + s)) for s in range(25)], ddof=1)
    assert 1 < half_sampling(frechet_distance, y(0), y(90), 40) / fresh < 2.5
    mean = half_sampling(lambda x, y: float(x.mean()), normal(401, 1, 0), normal(401, 1, 1), 400)
    assert mean == pytest.approx(1 / np.sqrt(401), rel=0.15)
    with pytest.raises(UsageError, match="at least 4"):
        half_sampling(frechet_distance, normal(3, 1, 0), normal(3, 1, 0))


def test_measurements_are_plain_json():
    row = Measurement("coverage", np.float64(0.5), float("nan"), "higher", extra={"a": np.arange(2), "b": np.inf})
    assert json.loads(json.dumps(row.json()))["extra"] == {"a": [0, 1], "b": None}
    with pytest.raises(UsageError, match="better"):
        Measurement("coverage", 1.0, better="more")  # type: ignore[arg-type]


# class balance


def test_class_balance_counts_empty_classes_and_knows_its_bias():
    reference = np.full(10, 0.1)
    assert total_variation(histogram(np.zeros(50, int), 10), reference) == pytest.approx(0.9)
    draws = np.random.default_rng(0).integers(10, size=(300, 400))
    mean = np.mean([total_variation(histogram(d, 10), reference) for d in draws])
    assert total_variation_floor(reference, 400) == pytest.approx(mean, rel=0.05)


# feature spaces


def test_spaces_are_deterministic_kept_and_hashed(digits, cache):
    first = fit_spaces(digits.train, ("pca", "random"), folder=cache)
    again = fit_spaces(digits.train, ("pca", "random"), folder=cache)
    fresh = fit_spaces(digits.train, ("pca", "random"))
    for a, b, c in zip(first, again, fresh, strict=True):
        assert a.label == b.label == c.label
        assert np.array_equal(a.of(digits.test), b.of(digits.test))
        assert np.array_equal(a.of(digits.test), c(digits.test.values))
        assert a.of(digits.test).shape == (180, a.dims) and a.dims <= 64
    for file in cache.glob("*.npz"):
        file.write_bytes(b"broken")
    assert fit_spaces(digits.train, ("pca",), folder=cache)[0].label == first[0].label
    assert fit_spaces(take(digits.train, np.arange(900)), ("pca",))[0].label != first[0].label
    with pytest.raises(UsageError, match="pca"):
        fit_spaces(digits.train, ("pc",))
    with pytest.raises(UsageError, match="labels"):
        fit_spaces(Items("image", digits.train.values, None, digits.train.facts), ("classifier",))


def test_the_global_generator_is_left_alone(digits):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    fit_spaces(take(digits.train, np.arange(200)), ("random",))
    assert torch.equal(before, torch.get_rng_state())


KIND_OF = {"DataFrame": "table", "list": "text", "i": "tokens", "f": "points"}


@pytest.mark.parametrize(
    "values",
    [
        pd.DataFrame(
            {"a": np.arange(40.0), "b": np.tile([1, 2], 20), "c": np.tile(["u", "v"], 20), "one": np.ones(40)}
        ),
        ["abc", "abd", "xyz", "x"] * 10,
        np.tile(np.arange(6), (40, 1)),
        np.random.default_rng(0).normal(size=(40, 2)),
    ],
    ids=["frame", "strings", "integers", "points"],
)
def test_every_kind_of_items_has_vectors_and_margins(values):
    items = Items(KIND_OF[type(values).__name__ if not isinstance(values, np.ndarray) else values.dtype.kind], values)
    vectors = Vectors.fit(items)(values)
    assert vectors.dtype == np.float32 and len(vectors) == 40 and np.isfinite(vectors).all()
    mixed = shuffled(items, 25, 0)
    assert Vectors.fit(items)(mixed.values).shape == (25, vectors.shape[1])
    assert digest(items) == digest(items) != digest(mixed)
    space = fit_spaces(items, ("pca",))[0]
    assert space(mixed.values).shape == (25, space.dims)
    with pytest.raises(DataError, match="no items"):
        Vectors.fit(Items(items.kind, values[:0]))


# the suite


def table(row: dict) -> dict:
    return {(m["metric"], (m["space"] or "").split("-")[0]): m for m in row["measurements"]}


@pytest.mark.slow
def test_controls_stand_where_they_must(digits, cache):
    rows = {name: table(row) for name, row in controls(digits, cache=cache).items()}
    real, copies, margins = (rows[name] for name in ("real-test", "memoriser", "marginals"))
    assert set(real) == set(copies) == set(margins)
    assert real["coverage", "pca"]["value"] > 0.9 and margins["coverage", "pca"]["value"] < 0.3
    assert real["near_copy", "pca"]["value"] > 0.05 and copies["near_copy", "pca"]["value"] < 1e-6
    assert real["class_tv", "classifier"]["value"] < 0.05 < margins["class_tv", "classifier"]["value"]
    assert real["class_tv", "classifier"]["extra"]["classifier_accuracy"] > 0.95
    assert abs(real["c2st", "pca"]["value"] - 0.5) < 0.1 and real["c2st", "pca"]["extra"]["p"] > 0.01
    assert margins["c2st", "pca"]["value"] > 0.9 and margins["c2st", "pca"]["extra"]["p"] < 0.05
    assert real["frechet_distance", "pca"]["value"] < 2 * real["frechet_distance", "pca"]["extra"]["floor"]
    assert {m["n"] for key, m in real.items() if key[0] == "coverage"} == {360}


@pytest.mark.slow
def test_planted_faults(digits, cache):
    plan = arrange(digits)
    spaces = fit_spaces(digits.train, ("pca", "classifier"), folder=cache)
    real = control_items(digits, plan)["real-test"]

    def measured(values):
        return table({"measurements": [m.json() for m in compare_samples(values, digits, plan, spaces)]})

    dropped = measured(real.values[real.labels != 3])  # a class is missing
    assert dropped["class_tv", "classifier"]["value"] == pytest.approx(0.1, abs=0.03)
    junk = real.values.copy()
    junk[::2] = np.random.default_rng(0).integers(17, size=junk[::2].shape)
    half = measured(junk)
    assert half["precision", "pca"]["value"] == pytest.approx(0.5, abs=0.1)
    assert half["c2st", "pca"]["extra"]["p"] < 0.05


def test_both_arrangements_keep_reference_and_control_apart(digits):
    plan = arrange(digits)
    assert plan.from_train and plan.n == 360 and len(plan.reference) == 3 and plan.samples == 1080
    assert len(np.unique(np.concatenate(plan.reference))) == 1080
    numbers = Items("points", np.arange(4000.0)[:, None])
    big = dataset(numbers, take(numbers, range(50)), numbers, "numbers", source="", licence="", count_overlaps=False)
    plan = arrange(big)
    control = control_items(big, plan)["real-test"]
    assert plan.name == "held-out" and plan.n == 2000 == plan.samples
    assert not set(control.values[:, 0]) & set(big.test.values[plan.reference[0], 0])
    with pytest.raises(UsageError, match="at least 20"):
        arrange(digits, n=10)


class Score:
    stderr, unit, measure, evaluations, note = None, "nats", "Lebesgue", 1, ""

    def __init__(self, value, density=Density.EXACT):
        self.value, self.density = value, density


class Gaussian:
    """An artifact of a standard normal in two dimensions, or given a class c about the mean (c, c)."""

    card: dict = {}
    name = "gaussian"
    device = torch.device("cpu")
    condition_source = None

    def __init__(self, condition=None, density=Density.EXACT):
        self.model = torch.nn.Linear(1, 1)
        self.model.condition = condition
        self.density = density
        self.conditioning = None if condition is None else Labels(["0", "1"], [100, 100], "int64")
        self.representation = type("R", (), {"dims": 2})()

    def conditions(self, condition, n, seed):
        return None

    def sample(self, n, condition=None, *, seed=0):
        return normal(n, 2, seed)

    def draw(self, n, condition=None, *, seed=0):
        return Items("points", self.sample(n, seed=seed))

    def score(self, values, condition=None):
        if isinstance(values, Items):
            values = values.values
        shift = 0 if condition is None else int(condition)
        return Score(-((values - shift) ** 2).sum(1) / 2 - np.log(2 * np.pi), self.density)


@pytest.fixture
def plane() -> Dataset:
    parts = [Items("points", normal(n, 2, 90 + n)) for n in (600, 100, 200)]
    return dataset(*parts, "plane", source="", licence="", count_overlaps=False)


def test_evaluate_measures_a_perfect_model(plane):
    result = evaluate(Gaussian(), plane, seed=5)
    json.dumps(result, allow_nan=False)
    found = table(result)
    entropy = 1 + np.log(2 * np.pi)
    assert found["nats", ""]["value"] == pytest.approx(entropy, abs=4 * found["nats", ""]["stderr"])
    assert found["bits_per_dim", ""]["value"] == pytest.approx(found["nats", ""]["value"] / 2 / np.log(2))
    assert found["nats", ""]["extra"]["density"] == "exact" and found["nats", ""]["better"] == "lower"
    assert abs(found["nats", ""]["extra"]["gap"]) < 4 * found["nats", ""]["extra"]["gap_stderr"]
    assert found["coverage", "pca"]["value"] > 0.9 and found["c2st", "pca"]["extra"]["p"] > 0.01
    assert found["samples_per_second", ""]["value"] > 0 and found["log_probs_per_second", ""]["value"] > 0
    assert result["cost"]["parameters"] == 2 and result["protocol"]["n"] == 300
    again = evaluate(Gaussian(), plane, seed=5)
    for a, b in zip(result["measurements"], again["measurements"], strict=True):
        assert a["value"] == b["value"] or a["metric"].endswith("per_second")


def test_likelihood_of_conditional_and_unnormalised_models(plane):
    from pofx.core.event import Discrete

    labelled = Items("points", plane.test.values, np.arange(200) % 2)
    rows = likelihood(Gaussian(Discrete((), 2)), labelled, labelled)  # type: ignore[arg-type]
    x = labelled.values
    each = [-((x - c) ** 2).sum(1) / 2 - np.log(2 * np.pi) for c in (0, 1)]
    assert rows[0].value == pytest.approx(-(np.logaddexp(*each) - np.log(2)).mean())
    assert "marginal over 2 classes" in rows[0].note
    relative = likelihood(Gaussian(density=Density.RELATIVE), plane.train, plane.test)  # type: ignore[arg-type]
    assert relative[0].better == "none" and "not comparable" in relative[0].note


def test_runs_are_evaluated_and_audited_by_name_of_the_data_or_none():
    """The same questions in Python as at the command line: a run, a data set, its name, or that of training."""
    run = pofx.fit("digits", "gmm", options={"components": 2}, progress=False)
    own = {"n": 60, "spaces": ["pca"], "likelihood_seconds": 0.2, "progress": False}
    by_name, by_data, plain = (pofx.evaluate(run, x, **own) for x in ("digits", load(0), None))
    at = [float(e.table().set_index("metric").value["frechet_distance"]) for e in (by_name, by_data, plain)]
    assert at[0] == pytest.approx(at[1]) == pytest.approx(at[2])
    assert "frechet_distance" in plain._repr_html_() and json.dumps(plain)
    assert {f["result"] for f in pofx.audit(run, progress=False)} <= {"ok", "warning", "failed"}
    with pytest.raises(UsageError, match="image"):
        pofx.evaluate(run, normal(10, 3, 0))
    values = pd.DataFrame(normal(240, 2, 0), columns=["a", "b"])
    rows = pofx.fit(values, "kde", progress=False)
    assert len(pofx.evaluate(rows, values, likelihood_seconds=0.2, progress=False).table())
    with pytest.raises(UsageError, match="--against"):
        pofx.evaluate(rows)


def test_models_are_listed_with_their_density():
    table = pofx.models()
    assert table.loc["nsf", "density"] == "exact" and table.loc["r3gan", "density"] == "none"
