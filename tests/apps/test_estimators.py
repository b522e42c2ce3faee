"""Estimators follow scikit-learn: its own checks, clone, pipelines, DataFrames in and out, calibrated classes."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from pofx.apps.anomaly import AnomalyDetector
from pofx.apps.augment import GenerativeOversampler
from pofx.apps.impute import Imputer
from pofx.apps.synthesizer import Synthesizer
from pofx.sklearn import DensityEstimator, Encoder, GenerativeClassifier

FAST = {"components": 1, "covariance": "full", "ridge": 1e-3}
ESTIMATORS = [
    DensityEstimator(options=FAST),
    GenerativeClassifier(options=FAST),
    Encoder(steps=2, options={"width": 8, "layers": 2}),
    AnomalyDetector(("knn", "gmm")),
    GenerativeOversampler(),
    Imputer(steps=2, options={"states": 4, "batch_size": 16}),
    Synthesizer("circuit", steps=2, options={"states": 4, "batch_size": 16}),
]
REPEATED = (
    "the rows that choose weights are drawn by row, and batches hold rows in proportion to their weights: equal in law"
)
EXCEPTIONS: dict[str, str] = {
    "check_sample_weight_equivalence_on_dense_data": REPEATED,
    "check_sample_weights_invariance": REPEATED,
}
NAMED = "its option `score` states what is scored, so that it has no method of that name"
CELL = "a cell that is no number, word or date is a DataError, which names the column"
OWN: dict[str, dict[str, str]] = {  # of one estimator
    "AnomalyDetector": {
        "check_fit_score_takes_y": NAMED,
        "check_n_features_in_after_fitting": NAMED,
        "check_pipeline_consistency": NAMED,
    },
    "Imputer": {
        "check_dtype_object": CELL,
        "check_transformer_preserve_dtypes": "what comes out is a table whose columns have types of their own",
    },
    "Synthesizer": {
        "check_dtype_object": CELL,
        "check_dont_overwrite_parameters": "what a fit finds has plain names (run, merged, left_out), as in its report",
        "check_do_not_raise_errors_in_init_or_set_params": "options that exclude each other are refused at once",
    },
}

INHERITED = {  # checks of what the estimators share that take longest: of the first of them
    *("check_methods_subset_invariance", "check_estimators_dtypes", "check_pipeline_consistency"),
    *("check_fit_score_takes_y", "check_fit_idempotent", "check_dtype_object", "check_estimators_nan_inf"),
    "check_estimators_pickle",
}


def checks():
    for estimator in ESTIMATORS:
        for made, check in estimator_checks_generator(estimator, legacy=True):
            name = getattr(check, "func", check).__name__
            slow = name in INHERITED and estimator is not ESTIMATORS[0] and name != "check_estimators_pickle"
            marks = [pytest.mark.slow] if slow else []
            yield pytest.param(made, check, id=f"{type(estimator).__name__}-{name}", marks=marks)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), checks())
def test_scikit_learn_checks(estimator, check):
    name = getattr(check, "func", check).__name__
    reason = (EXCEPTIONS | OWN.get(type(estimator).__name__, {})).get(name)
    if reason is not None:
        pytest.xfail(reason)
    check(estimator)


def people(n=300, seed=0):
    g = np.random.default_rng(seed)
    plan = g.choice(["free", "pro"], n, p=[0.7, 0.3])
    income = np.round(np.where(plan == "pro", 60.0, 30.0) + 10 * g.normal(size=n), 2)
    return pd.DataFrame({"income": income, "age": g.integers(18, 80, n), "plan": plan})


def test_data_frames_come_back_as_they_were():
    frame = people()
    estimator = DensityEstimator().fit(frame)
    drawn = estimator.sample(50, random_state=3)
    assert list(drawn.columns) == list(frame.columns) and set(drawn["plan"]) <= {"free", "pro"}
    assert drawn["age"].dtype == frame["age"].dtype
    assert estimator.score_samples(frame).shape == (300,)
    numbers = frame[["income", "age"]]
    again = DensityEstimator().fit(numbers)
    assert list(again.feature_names_in_) == ["income", "age"]
    assert list(again.sample(5).columns) == ["income", "age"]


def test_estimators_are_cloned_and_searched_over():
    x = people()[["income", "age"]].to_numpy(float)
    estimator = make_pipeline(StandardScaler(), DensityEstimator(options=FAST))
    scores = cross_val_score(clone(estimator), x, cv=3)
    assert np.isfinite(scores).all()
    a, b = (clone(estimator).fit(x)[-1].score_samples(x[:5]) for _ in range(2))
    assert np.array_equal(a, b)


def test_an_encoder_gives_features_and_their_rows_back():
    x = people()[["income", "age"]].to_numpy(float)
    encoder = Encoder(steps=5, options={"width": 8, "layers": 2}).set_output(transform="pandas")
    codes = encoder.fit_transform(x)
    assert list(codes.columns) == ["encoder0", "encoder1"]
    assert np.allclose(encoder.inverse_transform(codes), x, atol=1e-2)


def expected_calibration_error(p, y, bins=15):
    confidence, right = p.max(1), p.argmax(1) == y
    at = np.clip((confidence * bins).astype(int), 0, bins - 1)
    return sum(abs(right[at == k].mean() - confidence[at == k].mean()) * (at == k).mean() for k in np.unique(at))


@pytest.mark.filterwarnings("ignore")
def test_a_generative_classifier_of_digits_is_accurate_and_calibrated():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:1200], order[1200:]
    classes = GenerativeClassifier("gmm", options={"components": 1, "ridge": 0.1})
    model = make_pipeline(PCA(30, random_state=0), classes).fit(x[train], y[train])
    floor = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(x[train], y[train])
    p = model.predict_proba(x[test])
    assert np.allclose(p.sum(1), 1)
    assert model.score(x[test], y[test]) > floor.score(x[test], y[test]) - 0.02
    assert expected_calibration_error(p, y[test]) < 0.05


def test_what_never_varied_in_training_decides_nothing():
    g = np.random.default_rng(0)
    x, y = g.normal(size=(200, 3)), np.repeat([0, 1], 100)
    x[:, 0] += 3 * y
    x[:, 2] = 7.0
    model = GenerativeClassifier(options=FAST).fit(x, y)
    moved = x.copy()
    moved[:, 2] = -1.0
    assert np.allclose(model.predict_proba(moved), model.predict_proba(x))


def test_rows_count_as_often_as_their_weight():
    """Two groups of rows: the density and the classes follow the weights, not the numbers of rows."""
    g = np.random.default_rng(0)
    x = np.concatenate((g.normal(-3, 1, (300, 1)), g.normal(3, 1, (100, 1))))
    weight = np.where(x[:, 0] > 0, 9.0, 1.0)  # shares 1/4 and 3/4 become 1/4 · 9 against 3/4
    options = {"components": 2, "covariance": "full", "ridge": 1e-3}
    drawn = DensityEstimator(options=options).fit(x, sample_weight=weight).sample(2000)
    assert (drawn[:, 0] > 0).mean() == pytest.approx(0.75, abs=0.04)
    y = (x[:, 0] > 0).astype(int)
    noise = g.normal(size=(400, 1))  # knows nothing of the class: the prior decides
    classes = GenerativeClassifier(options=FAST).fit(noise, y, sample_weight=weight)
    assert classes.predict_proba(noise)[:, 1].mean() == pytest.approx(0.75, abs=0.05)
    out = DensityEstimator(options=options).fit(x, sample_weight=(x[:, 0] > 0).astype(float))
    assert out.sample(200)[:, 0].min() > -3, "rows of weight 0 teach nothing"
    with pytest.raises(ValueError, match="(?i)negative"):
        DensityEstimator(options=FAST).fit(x, sample_weight=-weight)


def test_classes_of_digits_are_calibrated_by_default():
    """Pixels that never vary in a class may vary in others: the ridge is chosen for classes, in units of all rows."""
    x, y = load_digits(return_X_y=True)
    kept = y < 4
    x, y = x[kept], y[kept]
    rest = np.arange(len(y)) % 3 == 0
    found = GenerativeClassifier().fit(x[~rest], y[~rest])
    p = found.predict_proba(x[rest])
    right = found.classes_[p.argmax(1)] == y[rest]
    assert right.mean() > 0.97 and abs(p.max(1).mean() - right.mean()) < 0.05
    assert "ridge" in found.chosen_ and not GenerativeClassifier(options={"ridge": 0.1}).fit(x, y).chosen_


def test_rows_that_choose_weights_are_no_repeats():
    """They are two splits at once, and were taken for values that repeat, which have no density."""
    g = np.random.default_rng(0)
    frame = pd.DataFrame({"x": g.normal(size=200), "plan": g.choice(["free", "pro"], 200)})
    for rows in (frame, frame.head(8)):
        learner = DensityEstimator("circuit", steps=2, options={"states": 2}).fit(rows)
        about = learner.run_.representation.schema["x"]
        assert about["type"] == "real" and "atoms" not in about
