"""Weights: repeated rows in expectation, exactly so for closed forms; rows of weight zero do not exist."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import pofx
from pofx.core.errors import DataError, UsageError
from pofx.core.items import Items
from pofx.core.random import Still
from pofx.data.dataset import Dataset, dataset
from pofx.data.sources import load, whole
from pofx.data.weights import balanced, banded, groups_of, systematic
from pofx.evaluate.suite import evaluate
from pofx.represent.table import Points
from pofx.runs.models import model_entry
from pofx.train.feed import Feed

CLOSED = {
    "gmm": {"components": 1, "covariance": "full", "ridge": 1e-3},
    "kde": {},
    "independent": {},
    "copula": {},
}


def rows(n=90, seed=0):
    g = np.random.default_rng(seed)
    x = g.normal(size=(n, 2)) * [1.0, 3.0]
    return x, g.integers(0, 4, n).astype(float)


def splits(train, weight=None, held=None):
    """A data set with these training items and fixed others."""
    other = Items("points", rows(40, seed=9)[0] if held is None else held)
    if weight is not None:
        other = replace(other, weight=np.ones(len(other)))
    items = Items("points", train, weight=weight)
    return dataset(items, other, other, "rows", source="a test", licence="none", count_overlaps=False)


@pytest.mark.parametrize("model", list(CLOSED))
def test_whole_weights_equal_repeated_rows_exactly_where_the_fit_is_closed(model):
    x, w = rows()
    view = Points.fit(Items("points", x))

    def fitted(values, weight=None):
        feed = Feed(view.tensor(values), None, view, weight=weight, seed=0, device=torch.device("cpu"))
        net = model_entry(model).model(view.event, None, **CLOSED[model])
        net.prepare(feed.take)
        return net.log_prob(feed.representation.events(view.tensor(rows(50, seed=2)[0]), Still(0, 50)))

    weighted, repeated = fitted(x, torch.from_numpy(w)), fitted(np.repeat(x, w.astype(int), axis=0))
    assert torch.allclose(weighted, repeated, atol=1e-5)
    assert (fitted(x[w > 0]) - repeated).abs().max() > 1e-3


def test_classes_of_weighted_rows_have_the_frequencies_of_repeated_ones():
    frame = pd.DataFrame({"a": list("xxyz") * 25, "b": [0, 1, 1, 0] * 25, "w": [1, 2, 5, 0] * 25})
    run = pofx.fit(frame, "circuit", weight="w", states=2, steps=25, progress=False)
    assert set(run.sample(200)["a"]) == {"x", "y"}  # z has no weight
    known = load(frame, weight="w").train
    wanted = known.weight[known.values["a"] == "y"].sum() / known.weight.sum()
    assert np.exp(run.log_prob(pd.DataFrame({"a": ["y"], "b": [1]})))[0] == pytest.approx(wanted, abs=0.12)
    assert abs(wanted - 1 / 3) > 0.25, "without weights a third"
    assert run.card["data"]["facts"]["weight"] == {"column": "w"}


def feed_of(weight, n=7, seed=0):
    items = Items("points", np.arange(2 * n, dtype=float).reshape(n, 2))
    view = Points.fit(items)
    given = torch.as_tensor(weight, dtype=torch.float64)
    return Feed(view.tensor(items.values), None, view, weight=given, seed=seed, device=torch.device("cpu"))


def test_batches_hold_items_in_proportion_to_their_weights():
    w = np.array([0.0, 1.0, 2.0, 0.5, 3.0, 0.0, 0.5])
    feed = feed_of(w)
    seen = torch.cat([feed.indices(step, 10) for step in range(700)])
    share = torch.bincount(seen, minlength=7) / len(seen)
    assert share[0] == share[5] == 0
    assert np.allclose(share, w / w.sum(), atol=0.004)
    for s in range(10):  # each pass of n items is within one of its share
        one = torch.bincount(feed.indices(s, 7), minlength=7)
        assert (np.abs(one.numpy() - 7 * w / w.sum()) < 1 + 1e-9).all()
    assert torch.equal(feed.indices(3, 8)[4:], feed.indices(3, 8, 1, 2)), "processes share a batch"
    assert torch.equal(feed.indices(5, 8), feed_of(w).indices(5, 8))


def test_equal_weights_are_no_weights():
    order = torch.cat([feed_of(np.full(7, 2.5)).indices(s, 7) for s in range(3)]).reshape(3, 7)
    assert (order.sort(1).values == torch.arange(7)).all()
    assert len(np.unique(systematic(np.full(50, 0.3), 50, np.random.default_rng(0)))) == 50


def test_taken_and_validation_items_are_weighted_too():
    feed = feed_of([0.0, 1.0, 2.0, 0.0, 4.0, 0.0, 0.0])
    assert torch.bincount(feed.taken(100), minlength=7).tolist() == [0, 1, 2, 0, 4, 0, 0]
    assert len(feed.taken(5)) == 5
    assert sum(len(b) for b in feed.validation(7, 3)) == 7
    held = torch.cat([b.x for b in feed.validation(7, 3)])
    assert len(held.unique(dim=0)) == 3


def test_the_validation_loss_is_the_weighted_mean():
    x = np.array([[0.0, 0.0], [6.0, 6.0]]).repeat(30, 0) + np.random.default_rng(0).normal(size=(60, 2))
    held = replace(Items("points", x), weight=np.repeat([0.0, 1.0], 30))
    near = replace(held, weight=np.repeat([1.0, 0.0], 30))
    values = []
    for other in (held, near):
        base = splits(x[:30], np.ones(30))
        run = pofx.fit(Dataset(base.train, other, other, base.card), "gmm", steps=1, progress=False, **CLOSED["gmm"])
        values.append(run.card["training"].get("validation") or run.card["training"].get("best validation"))
    assert values[0] is None or values[0] > values[1] + 5


def test_a_column_of_weights_is_read_from_files_and_not_modelled(tmp_path):
    x, w = rows()
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "w": w})
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = load(str(tmp_path / "t.csv"), weight="w")
    assert list(data.train.values.columns) == ["a", "b"] and list(data.train.facts["schema"]) == ["a", "b"]
    assert sum(data.card.sizes.values()) == (w > 0).sum()
    assert data.train.weight.min() > 0
    assert data.card.hash == load(str(tmp_path / "t.csv"), weight="w").card.hash
    assert data.card.hash != load(str(tmp_path / "t.csv")).card.hash
    by_array = load(str(tmp_path / "t.csv"), weight=w)
    assert sum(by_array.card.sizes.values()) == (w > 0).sum()
    assert list(whole(str(tmp_path / "t.csv"), weight="w").values.columns) == ["a", "b"]


def test_a_run_with_weights_is_resumed_and_evaluated(tmp_path):
    x, w = rows(200)
    pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "w": w}).to_csv(tmp_path / "t.csv", index=False)
    run = pofx.fit(str(tmp_path / "t.csv"), "gmm", weight="w", steps=1, out=tmp_path / "run", progress=False)
    again = pofx.fit(out=tmp_path / "run", resume=True, progress=False)
    assert again.card["data"]["hash"] == run.card["data"]["hash"]
    from pofx.evaluate.provenance import trained_on

    found = evaluate(run, trained_on(run), likelihood_seconds=2, progress=False)
    data = trained_on(run)
    value = -run.log_prob(data.test)
    wanted = (value * data.test.weight).sum() / data.test.weight.sum()
    nats = next(m for m in found["measurements"] if m["metric"] == "nats")
    assert nats["value"] == pytest.approx(wanted, abs=1e-5)


def test_balanced_groups_count_the_same():
    frame = pd.DataFrame({"a": np.arange(100.0), "g": ["many"] * 90 + ["few"] * 10})
    items = pofx.table(frame)
    w = balanced(items, "g").weight
    assert w[:90].sum() == pytest.approx(w[90:].sum()) and w.sum() == pytest.approx(100)
    twice = balanced(replace(items, weight=np.repeat([1.0, 3.0], [90, 10])), "g").weight
    assert twice[:90].sum() == pytest.approx(twice[90:].sum())
    run = pofx.fit(frame, "circuit", balance="g", steps=40, states=4, progress=False)
    assert (run.sample(400)["g"] == "few").mean() == pytest.approx(0.5, abs=0.1)
    assert run.card["training"]["balance"] == "g"
    assert set(groups_of(load("digits").train, "label")) == {str(k) for k in range(10)}


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        ([1.0] * 5, "one number for each of 60 items"),
        (np.r_[-1.0, np.ones(59)], "at least 0"),
        (np.r_[np.nan, np.ones(59)], "finite"),
        (np.zeros(60), "above 0"),
        (["a"] * 60, "numbers"),
    ],
)
def test_wrong_weights_are_refused(weight, words):
    with pytest.raises(DataError, match=words):
        load(pofx.points(rows(60)[0]), weight=weight)


def test_columns_that_are_no_weights_or_groups_are_refused():
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=200), "b": 1.0})
    with pytest.raises(UsageError, match="weight column"):
        load(frame, weight="c")
    with pytest.raises(UsageError, match="groups"):
        pofx.fit(frame, "gmm", balance="a", steps=1, progress=False)
    with pytest.raises(UsageError, match="no columns"):
        load("digits", weight="c")


def test_numbers_of_many_values_are_groups_by_quarters():
    known = np.array([*range(100), "missing"], dtype=object)
    found = banded(np.array([0, 24, 25, 99, 500, "missing"], dtype=object), known)
    assert list(found) == ["up to 24", "up to 24", "24 to 49", "above 74", "above 74", "missing"]
    few = np.array([1, 2, 3] * 20)
    assert banded(few, few) is few
    words = np.array(["a", "b"] * 20, dtype=object)
    assert banded(words, words) is words
    frame = pd.DataFrame({"age": np.r_[np.zeros(60), np.arange(1, 41)], "x": np.arange(100.0)})
    weight = balanced(pofx.table(frame), "age").weight
    sizes = pd.Series(weight).groupby(banded(frame.age.to_numpy(object), frame.age.to_numpy(object))).sum()
    assert np.allclose(sizes, sizes.iloc[0])
