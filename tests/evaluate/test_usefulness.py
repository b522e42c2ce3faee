"""Laws of what rows are good for: learning from generated rows, closest records, bits per byte of texts."""

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.core.representation import Items
from pofx.data.kind import kinds
from pofx.data.sources import load
from pofx.evaluate.arrangement import arrange
from pofx.evaluate.density import likelihood, per_byte
from pofx.evaluate.metrics.closest_record import ClosestRecord, closest_share
from pofx.evaluate.metrics.usefulness import Usefulness
from pofx.evaluate.suite import compare_samples, controls


def rows(n, seed, classes=False):
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=n), generator.normal(size=n)
    y = a + 0.3 * generator.normal(size=n)
    return pd.DataFrame({"a": a, "b": b, "y": (y > 0).astype(int) if classes else y})


def normal(n, d, seed):
    return np.random.default_rng(seed).normal(size=(n, d))


# learning from generated rows


@pytest.mark.parametrize("classes", [False, True])
def test_good_rows_teach_as_much_as_real_ones_and_shuffled_ones_nothing(classes):
    data = load(pofx.table(rows(1500, 0, classes)))
    good = Usefulness().read(Items("table", rows(1200, 1, classes)), data)
    broken = rows(1200, 2, classes)
    broken["y"] = broken["y"].sample(frac=1, random_state=0).to_numpy()
    bad = Usefulness().read(Items("table", broken), data)
    about = good.extra["tstr"]
    assert about["measure"] == ("accuracy" if classes else "R²") and about["target"] == "y"
    truth = 1 / 1.09 if not classes else 1 - np.arctan(0.3) / np.pi  # explained variance; share of equal signs
    assert about["trtr"] == pytest.approx(truth, abs=0.07)
    assert about["dummy"] == pytest.approx(0.5 if classes else 0, abs=0.1)
    assert abs(good.values["tstr_gap"]) < 3 * good.extra["tstr_gap"]["stderr"] + 0.01
    assert bad.values["tstr"] < (0.62 if classes else 0.1)
    assert bad.values["tstr_gap"] > 5 * bad.extra["tstr_gap"]["stderr"]
    assert good.values["tstr"] == pytest.approx(about["trtr"] - good.values["tstr_gap"])


def test_labels_asked_for_are_the_target_and_one_class_teaches_the_dummy():
    frame = rows(900, 0, True)
    data = load(pofx.table(frame[["a", "b"]], labels=frame["y"].to_numpy()))
    fresh = rows(400, 5, True)
    read = Usefulness().read(Items("table", fresh[["a", "b"]], fresh["y"].to_numpy()), data)
    assert read.extra["tstr"]["target"] == "label" and read.values["tstr"] > 0.8
    collapsed = Usefulness().read(Items("table", fresh[["a", "b"]], np.ones(400, int)), data)
    assert collapsed.values["tstr"] == pytest.approx(collapsed.extra["tstr"]["dummy"], abs=0.1)
    assert not Usefulness().read(Items("table", fresh.iloc[:10]), load(pofx.table(rows(900, 0)))).values


@pytest.mark.slow
def test_tables_are_read_for_use_and_controls_are_not_judged_by_their_own_rows():
    data = load(pofx.table(rows(700, 0)))
    plan = arrange(data)
    found = {m.metric: m for m in compare_samples(rows(600, 3), data, plan, [])}
    assert found["tstr"].value > 0.8 and found["tstr_gap"].stderr > 0
    table = controls(data, spaces=["pca"])
    read = {name: {m["metric"]: m["value"] for m in row["measurements"]} for name, row in table.items()}
    assert read["real-test"]["tstr"] < 0.97  # by test rows learnt by heart it would be 1
    assert read["marginals"]["tstr"] < 0.2 < 0.8 < read["memoriser"]["tstr"]
    assert {"closest_record", "column_shapes", "pair_trends", "c2st"} <= set(read["real-test"])


# closest records


def test_new_rows_read_one_half_whatever_the_sizes():
    found = [
        closest_share(normal(200, 3, s), normal(60, 3, 1000 + s), normal(900, 3, 2000 + s), seed=s) for s in range(60)
    ]
    z = np.array([(share - 0.5) / error for share, error in found])
    assert abs(np.mean([share for share, _ in found]) - 0.5) < 0.015
    assert 0.5 < z.std() < 1.25


def test_copies_are_nearer_and_ties_count_half():
    train, held = normal(300, 4, 0), normal(300, 4, 1)
    assert closest_share(train[:200], held, train)[0] == 1
    assert closest_share(held[:200], held, train)[0] == 0
    both = np.concatenate((train[:150], held[:150]))
    assert closest_share(both, both, both)[0] == 0.5  # every sample stands in both
    read = ClosestRecord().read(train[:200] + 1e-3, held, train)
    assert read.extra["closest_record"]["p"] < 1e-6 and "smell test" in read.extra["closest_record"]["note"]
    assert {kind.name for kind in kinds().values() if ClosestRecord.takes(kind)} >= {"table", "points"}
    assert not ClosestRecord.takes(kinds()["image"])
    many = normal(3000, 4, 2)  # of five copied rows in six the record was not drawn: the blindness that is told
    assert closest_share(many[:200], held, many)[0] < 0.65


# bits per byte


def test_bits_per_byte_of_a_known_code():
    texts = ["ab", "é", "abcd"]  # 2, 2 and 4 bytes
    log_p = -np.log(2) * np.array([4.0, 4.0, 8.0])
    value, error = per_byte(log_p, texts)
    assert value == pytest.approx(2) and error == pytest.approx(0, abs=1e-12)
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(300):
        sizes = generator.integers(1, 20, 100)
        cost = 3 * sizes + generator.normal(size=100)
        draws.append(per_byte(-np.log(2) * cost, ["x" * n for n in sizes]))
    values, errors = np.array(draws).T
    assert values.mean() == pytest.approx(3, abs=0.01) and errors.mean() == pytest.approx(values.std(), rel=0.2)


def test_texts_are_told_in_bits_per_byte():
    data = load(pofx.tokens(["anna", "bob", "eve", "hannah", "otto", "ada", "zoë"] * 20))
    run = pofx.fit(data, "made", steps=5, width=64, progress=False)
    found = {m.metric: m for m in likelihood(run, data.train, data.test)}
    nats, per = found["nats"], found["bits_per_byte"]
    sizes = np.mean([len(t.encode()) for t in data.test.values])
    assert per.value == pytest.approx(nats.value / np.log(2) / sizes) and per.extra["density"] == "exact"
    assert per.extra["gap"] == pytest.approx(per.value - per.extra["train"])
