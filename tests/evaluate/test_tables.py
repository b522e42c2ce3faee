"""Judging tables: what the usual averages pass, trees and mutual information do not; words and gaps are no obstacle."""

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.core.items import Items
from pofx.data.sources import load
from pofx.evaluate.metrics.marginals import column_shapes
from pofx.evaluate.metrics.pair_dependence import PairDependence, dependences, pair_error
from pofx.evaluate.metrics.tree_two_sample import TreeTwoSample, tree_auc
from pofx.evaluate.metrics.usefulness import Usefulness, merits, predicted
from pofx.evaluate.table_codes import classes_of, codes


def mixed(n, seed):
    g = np.random.default_rng(seed)
    a = g.normal(size=n)
    kind = np.where(a + 0.3 * g.normal(size=n) > 0, "high", "low").astype(object)
    b = np.where(g.random(n) < 0.1, np.nan, -a + 0.5 * g.normal(size=n))
    kind[g.random(n) < 0.05] = None
    return pd.DataFrame({"a": a, "b": b, "kind": kind})


def apart(n, seed):
    """The same columns, independent of each other."""
    return pd.DataFrame({c: mixed(n, seed + k)[c] for k, c in enumerate(("a", "b", "kind"))})


def test_independent_columns_pass_shapes_and_fail_trees_and_pairs():
    real, new, alone = mixed(1500, 0), mixed(1500, 1), apart(1500, 2)
    assert np.mean(list(column_shapes(alone, real).values())) > 0.95
    fair, error = tree_auc(new, real)
    assert abs(fair - 0.5) < 4 * error and error < 0.02
    assert tree_auc(alone, real)[0] > 0.8
    assert pair_error(alone, real)[0] > 0.9 > 0.2 > pair_error(new, real)[0]


def test_the_dependence_of_copies_is_one_and_of_noise_nothing():
    g = np.random.default_rng(0)
    frame = pd.DataFrame({"a": g.integers(0, 4, 4000).astype(str), "c": g.normal(size=4000)})
    frame["b"] = frame["a"].map({"0": "w", "1": "x", "2": "y", "3": "z"})
    (nmi,) = dependences([frame], frame)
    assert nmi[0, 2] == pytest.approx(1, abs=0.01) and abs(nmi[0, 1]) < 0.005 and nmi[2, 0] == nmi[0, 2]


def test_words_are_numbered_by_the_reference_and_gaps_stay():
    real = pd.DataFrame({"w": ["a", "b", None], "x": [1.0, np.nan, 3.0]})
    (found, other), words = codes([real, pd.DataFrame({"w": ["c", "a", "b"], "x": [0.0, 1.0, 2.0]})], real)
    assert words.tolist() == [True, False]
    assert np.isnan(found[2, 0]) and np.isnan(found[1, 1]) and other[:, 0].tolist() == [2, 0, 1]
    assert classes_of([pd.Series(["b", "z"])], pd.Series(["a", "b"]))[0].tolist() == [1, 2]
    assert classes_of([pd.Series([0.9, 2.2])], pd.Series([1, 2, 3]))[0].tolist() == [0, 1]
    assert classes_of([pd.Series(np.arange(50.0))], pd.Series(np.arange(50.0))) is None


def test_usefulness_learns_from_words_and_predicts_words():
    data = load(pofx.table(mixed(1500, 0)))
    good = Usefulness().read(Items("table", mixed(1200, 1)), data)
    bad = Usefulness().read(Items("table", apart(1200, 2)), data)
    assert good.extra["tstr"]["target"] == "kind" and good.extra["tstr"]["measure"] == "accuracy"
    assert good.values["tstr"] > 0.75 > 0.65 > bad.values["tstr"]
    swapped = load(pofx.table(mixed(1500, 0)[["kind", "b", "a"]]))
    assert Usefulness().read(Items("table", mixed(1200, 1)[["kind", "b", "a"]]), swapped).values["tstr"] > 0.5


def test_the_metrics_read_items_and_need_rows():
    real, new = Items("table", mixed(400, 0)), Items("table", mixed(400, 1))
    tree, pairs = TreeTwoSample().read(new, real, real), PairDependence().read(new, real, real)
    assert 0.3 < tree.values["tree_c2st"] < 0.7 and tree.extra["tree_c2st"]["stderr"] > 0
    assert pairs.values["pair_dependence"] < 0.5 and "a, b" in pairs.extra["pair_dependence"]["of"]
    few = Items("table", mixed(8, 0))
    assert not TreeTwoSample().read(few, few, few).values and not PairDependence().read(few, few, few).values


def test_columns_of_hardly_any_value_are_judged_by_what_is_missing():
    """Trees need a value of every column in every fold: an empty column failed all of them."""
    g = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": g.normal(size=90), "void": np.nan, "word": None, "few": np.nan, "y": g.integers(0, 2, 90)}
    )
    frame.loc[[3, 5], "few"] = 1.5
    other = frame.assign(a=g.normal(size=90), void=1.0)
    assert tree_auc(frame, other)[0] == pytest.approx(1, abs=0.01)  # never missing in the other
    assert tree_auc(frame, frame.assign(a=g.normal(size=90)))[0] < 0.75
    (a, b), classes, words = predicted([frame, other], frame, "y")
    assert 0 <= merits(a, b, classes, words).mean() <= 1
