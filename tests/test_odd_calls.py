"""Calls whose answer would be wrong without a word: options that change nothing, rows that lose their names, values
that are moved, outliers that set the scale."""

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.apps.anomaly import AnomalyDetector
from pofx.apps.augment import GenerativeOversampler
from pofx.apps.impute import Imputer
from pofx.core.errors import DataError, PofxError, UsageError
from pofx.sklearn import GenerativeClassifier

G = np.random.default_rng(0)
X = G.normal(size=(60, 2))
TABLE = pd.DataFrame({"a": X[:, 0], "b": G.integers(0, 5, 60)})
HOW = {"steps": 1, "progress": False}


@pytest.mark.parametrize("model", ["gmm", "kde"])
@pytest.mark.parametrize("option", [{"lr": 0.1}, {"batch_size": 4}, {"clip": 0.5}, {"warmup": 3}])
def test_an_option_that_changes_nothing_is_named(model, option):
    with pytest.warns(UserWarning, match=f"{next(iter(option))} changes nothing"):
        pofx.fit(pofx.points(X), model, **HOW, **option)


def test_privacy_is_never_only_written_down():
    with pytest.raises(UsageError, match="not private"):
        pofx.fit(pofx.points(X), "kde", item_clip=1.0, item_noise=1.0, **HOW)


def test_options_of_steps_change_models_with_steps(recwarn):
    pofx.fit(pofx.points(X), "nsf", width=8, lr=0.1, **HOW)
    assert not [w for w in recwarn if "changes nothing" in str(w.message)]


def test_rows_keep_their_names():
    rows = TABLE.head(5).set_axis([7, 3, 9, 1, 4]).astype({"b": "float64"})
    rows.loc[3, "a"] = np.nan
    imputer = Imputer(steps=1).fit(TABLE)
    filled, drawn = imputer.transform(rows), imputer.draws(rows, 2)
    assert list(filled.index) == list(drawn[1].index) == list(rows.index)
    assert filled.loc[9, "a"] == rows.loc[9, "a"] and np.isfinite(filled.loc[3, "a"])
    detector = AnomalyDetector(("knn",)).fit(TABLE)
    for found in (detector.partial(rows), detector.attribution(rows)):
        assert list(found.index) == list(rows.index)


def test_a_sentinel_does_not_set_the_scale():
    for far in (1e4, 1e9, 1e300):
        rows = np.vstack([X, [[far, 0.0]]])
        found = AnomalyDetector(("knn",)).fit(rows).decision_function([[0.0, 0.0], [far, 0.0], [6.0, 6.0]])
        assert found[0] < 1 < found[2] and found[1] > 1, found


def test_a_condition_far_from_training_is_stated_or_refused():
    run = pofx.fit(TABLE, "nsf", condition="a", width=8, **HOW)
    with pytest.raises(DataError, match="infinite"):
        run.sample(1, condition=np.inf)
    with pytest.warns(UserWarning, match="standard deviations"):
        run.sample(1, condition=1e30)
    labels = pofx.fit(TABLE.astype({"b": str}), "nsf", condition="b", width=8, **HOW)
    assert labels.sample(1, condition=np.array("1"))["b"].tolist() == ["1"]


def test_groups_of_one_are_no_groups():
    with pytest.raises(UsageError, match="groups"):
        pofx.fit(TABLE, "circuit", balance="a", **HOW)


def test_weights_whose_sum_is_infinite_are_refused():
    with pytest.raises(DataError, match="divide"):
        pofx.fit(pofx.points(X), "gmm", weight=np.full(60, 1e308), **HOW)


def test_a_missing_class_is_no_class():
    classes = np.array(["a", None] * 30, dtype=object)
    with pytest.raises(ValueError, match="every row"):
        GenerativeClassifier(steps=1).fit(X, classes)
    with pytest.raises(ValueError, match="every row"):
        GenerativeOversampler().fit_resample(TABLE, pd.Series(classes))


@pytest.mark.parametrize("given", [{"members": ()}, {"members": ("nobody",)}, {"seeds": 0}])
def test_a_detector_of_nobody_is_refused(given):
    with pytest.raises(ValueError, match="member|model"):
        AnomalyDetector(**given).fit(X)
    assert len(AnomalyDetector("knn").fit(X).predict(X)) == 60


def test_items_of_another_kind_are_refused():
    text = pofx.fit(pofx.texts(["ab", "ba", "abc"] * 20), "gpt", width=8, heads=1, layers=1, **HOW)
    rows = pofx.fit(TABLE, "gmm", **HOW)
    words = pd.DataFrame({"a": ["ab", "ba"], "b": ["x", "y"]})
    others = [(text, v) for v in (pofx.table(TABLE), words, {"a": 1}, {"ab", "ba"})]
    for run, values in (*others, (rows, pofx.texts(["ab", "ba"]))):
        with pytest.raises(DataError, match="items|list of strings"):
            run.score(values)
    assert np.isfinite(pofx.fit(pofx.points(X), "gmm", **HOW).log_prob(pofx.table(X))).all()
    for read in (pofx.molecules, pofx.proteins, pofx.texts):
        with pytest.raises(DataError, match="list"):
            read(words)


@pytest.mark.parametrize("protocol", ["one-class", "contaminated"])
def test_the_share_that_is_flagged_is_that_of_all_rows(protocol):
    rows = G.normal(size=(400, 2))
    found = AnomalyDetector(("iforest",), contamination=0.1, protocol=protocol).fit(rows)
    assert found.labels_.mean() == pytest.approx(0.1, abs=0.02)
    with pytest.raises(ValueError, match="at least 2"):
        AnomalyDetector(("lof",)).fit(pd.DataFrame({"c": ["a"], "x": [0.0]}))


ROWS = pd.DataFrame({"a": X[:, 0], "g": np.where(X[:, 1] > 0, "x", "y")})
OTHERS = {
    "a table for a run": lambda run: pofx.edit(ROWS, X, strength=0.5),
    "nothing for a run": lambda run: pofx.memorisation(None, ROWS),
    "a number for a run": lambda run: pofx.fairness_report(5, ROWS, "g"),
    "a word for a run": lambda run: pofx.LatentSpace("nowhere", ROWS),
    "a key for a run": lambda run: pofx.CodeMark("a key of eight", run),
    "a number for the data": lambda run: pofx.memorisation(run, 5),
    "a number of words": lambda run: pofx.memorisation(run, ROWS, n="many"),
    "no number": lambda run: pofx.memorisation(run, ROWS, n=0),
    "a seed of words": lambda run: pofx.fairness_report(run, ROWS, "g", seed="one"),
    "words as a mask": lambda run: pofx.edit(run, X, mask="left"),
    "a short key": lambda run: pofx.PixelMark(b"short"),
    "a number for a key": lambda run: pofx.PixelMark(12345678),
    "a strength of words": lambda run: pofx.PixelMark(b"long enough", "much"),
    "tables for drawn items": lambda run: pofx.detect_by_family(ROWS, {"a": ROWS, "b": ROWS}),
    "a list of makers": lambda run: pofx.detect_by_family(ROWS, [ROWS, ROWS]),
    "words as measurements": lambda run: pofx.posterior(run, ["a", "b"], "denoise", 0.1),
    "simulations of words": lambda run: pofx.infer(lambda p: p, {"x": "normal(0,1)"}, simulations="many"),
    "workers of nobody": lambda run: pofx.infer(lambda p: p, {"x": "normal(0,1)"}, simulations=60, workers=0),
    "a path for a table": lambda run: pofx.Synthesizer("gmm").fit("rows.csv"),
    "draws before learning": lambda run: pofx.Synthesizer("gmm").sample(3),
}


@pytest.mark.parametrize("name", OTHERS)
def test_uses_refuse_other_things_than_runs_and_data_in_words(name):
    with pytest.raises(PofxError, match=r"[:(]"):
        OTHERS[name](pofx.fit(pofx.points(X), "gmm", **HOW))


def test_uses_take_folders_of_runs_and_whatever_fit_takes(tmp_path):
    pofx.fit(ROWS, "circuit", out=tmp_path / "run", **HOW)
    more = pd.concat([ROWS] * 4, ignore_index=True)
    with pytest.warns(UserWarning, match="not the data"):
        table = pofx.fairness_report(tmp_path / "run", more, "g")
    assert set(table.index) == {"x", "y"}
    assert pofx.memorisation(str(tmp_path / "run"), ROWS, n=30).numbers["samples"] == 30
