"""Planted faults are caught by some p-value, honest samples are not accused; rates: bench/interval_coverage.py."""

import numpy as np
import pytest

from peers import bench
from pofx.evaluate.metrics.class_balance import same_classes
from pofx.evaluate.metrics.label_agreement import LabelAgreement, disagreement

trust = bench("interval_coverage")


def told(data, fault, seed):
    (samples, real, train), classify = trust.split(data, seed)
    made = trust.plant(fault, *samples, train[0], seed)
    return None if made is None else trust.alarms(*made, real, train, classify, seed)


@pytest.mark.parametrize(("data", "fault"), [(data, fault) for data in trust.DATA for fault in trust.FAULTS[1:]])
def test_a_planted_fault_is_caught(data, fault):
    found = told(data, fault, 0)
    if found is None:
        assert data == "gaussian" and fault in ("dropped class", "swapped labels")  # it has no classes
        return
    assert min(found.values()) < trust.LEVEL, found
    if fault == "swapped labels":
        assert found["label_agreement"] < 1e-6 and found["class_tv"] > trust.LEVEL
    if fault == "2 % copies":
        assert found["near_copy"] < trust.LEVEL
    if fault == "dropped class":
        assert found["class_tv"] < trust.LEVEL


@pytest.mark.parametrize("data", trust.DATA)
def test_honest_samples_are_not_accused(data):
    found = [p for seed in range(3) for p in told(data, "none", seed).values()]
    assert sum(p < trust.LEVEL for p in found) <= 1 and sum(p < 0.05 for p in found) <= 4


def test_p_values_of_classes_are_those_of_equal_classes():
    draw = lambda seed, n: np.random.default_rng(seed).choice(4, n, p=(0.4, 0.3, 0.2, 0.1))  # noqa: E731
    p = np.array([same_classes(draw(s, 120), draw(900 + s, 90), 4, draws=199, seed=s) for s in range(200)])
    assert (p < 0.05).mean() <= 0.08 and 0.01 < (p < 0.2).mean()
    kept = draw(0, 300)
    assert same_classes(kept[kept != 3], draw(1, 300), 4) < 0.01  # dropped
    assert same_classes(kept, kept, 4) == 1
    assert 0 < same_classes(np.zeros(5, int), np.zeros(7, int), 3) <= 1


def test_disagreement_is_of_the_class_where_it_happens():
    labels = np.arange(400) % 8
    seen = np.where(np.arange(400) % 20 == 0, 0, labels)  # the classifier errs now and then
    assert disagreement(seen, labels, seen, labels)[0] > 0.5
    asked = np.where(labels == 5, 6, labels)
    p, by = disagreement(seen, asked, seen, labels)
    assert p < 1e-6 and min(by, key=by.get) == 6
    sure = np.eye(8)[seen]
    assert not LabelAgreement().read(sure, sure, labels, np.full(8, 1 / 8)).values  # nothing was asked
    read = LabelAgreement().read(sure, sure, labels, np.full(8, 1 / 8), labels)
    assert read.values["label_agreement"] == read.extra["label_agreement"]["held"]
