"""Laws of conditions from `fit` to every verb: one way in, one meaning of a label, and whatever items may be."""

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.data.conditions import as_items
from pofx.data.sources import load

RNG = np.random.default_rng(0)
N = 240
SMALL = {"layers": 1, "bins": 4, "width": 16, "blocks": 1}


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    made = pd.DataFrame(
        {
            "income": rng.normal(size=N),
            "age": rng.integers(18, 90, N),
            "plan": rng.choice(["basic", "pro"], N),
            "paid": rng.random(N) < 0.5,
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, N), unit="D"),
        }
    )
    made.loc[:9, "plan"] = None
    made["income"] += made.age / 10
    return made


def fitted(data, condition, model="nsf", steps=2, **options):
    values = SMALL if model == "nsf" and not options else options
    return pofx.fit(data, model, condition=condition, steps=steps, progress=False, options=values)


# --- labels: one meaning in every verb

LABELS = {
    "integers with gaps": (np.arange(0, 40, 4), 4, "4", [5, 1.7, 40, "x"]),
    "years": (np.array([1999, 2003, 2020]), 2003, "2003", [0, 1, 2000]),
    "signs": (np.array([-1, 1]), 1, "1", [0, 2]),
    "positions": (np.array([0, 1, 2]), 1, "1", [3, -1]),
    "not all positions": (np.array([1, 2, 9]), 2, "2", [0, 5]),
    "truth": (np.array([False, True]), True, "True", ["maybe", 7]),
    "words": (np.array(["cat", "dog"]), "dog", "dog", ["cow", 2, -1]),
    "leading zeros": (np.array(["00001", "01234", "02345"]), "01234", "01234", [1, 0, "1", 1234]),
    "words that pandas reads as missing": (np.array(["NA", "None", "yes"]), "NA", "NA", ["nan", 3]),
    "bytes": (np.array([b"a", b"b"]), b"b", "b", ["c"]),
}


@pytest.mark.parametrize("name", LABELS)
def test_a_label_means_the_same_in_every_verb(name):
    classes, label, text, wrong = LABELS[name]
    y = np.resize(classes, N)
    places = np.array([list(classes).index(v) for v in y])
    x = np.random.default_rng(0).normal(size=(N, 2)) + 8 * places[:, None]
    run = fitted(pofx.points(x, labels=y), "label", "gmm", components=1)
    mine = y == label
    want = run.log_prob(x[mine], condition=y[mine])
    for given in (label, text, [label] * mine.sum(), np.array([label] * mine.sum())):
        assert np.array_equal(run.log_prob(x[mine], condition=given), want)
    assert want.mean() > -4
    assert abs(run.sample(200, condition=label).mean() - x[mine].mean()) < 0.5
    assert set(run.draw(50).condition.values) <= {v.decode() if isinstance(v, bytes) else v for v in classes.tolist()}
    for value in wrong:
        with pytest.raises(UsageError, match="unknown label"):
            run.sample(2, condition=value)
        with pytest.raises(UsageError, match="unknown label"):
            run.log_prob(x[:1], condition=value)


def test_codes_are_read_under_the_label_that_is_named():
    y = np.resize([20, 55, 200], N)
    x = np.random.default_rng(0).normal(size=(N, 2)) + y[:, None] / 20
    run = fitted(pofx.points(x, labels=y), "label")
    z = run.encode(x[:6], condition=y[:6])
    assert np.array_equal(z, run.encode(x[:6], condition=[str(v) for v in y[:6]]))
    assert np.allclose(run.decode(z, y[:6]), x[:6], atol=1e-3)
    paths = run.interpolate(x[:3], x[3:6], 4, y[:3]).reshape(3, 4, 2)  # a label for each pair
    assert np.allclose(paths[:, 0], x[:3], atol=1e-3) and np.allclose(paths[:, -1], x[3:6], atol=1e-3)


def test_words_may_also_be_given_by_their_position_and_a_class_without_training_items_warns():
    run = fitted(pofx.points(RNG.normal(size=(N, 2)), labels=np.resize(["cat", "dog"], N)), "label", "gmm")
    assert np.array_equal(run.sample(3, condition=1), run.sample(3, condition="dog"))
    from pofx.represent.labels import Labels

    object.__setattr__(run, "conditioning", Labels(["cat", "dog"], [10, 0]))
    with pytest.warns(UserWarning, match="no training item has the label dog"):
        run.sample(3, condition="dog")


# --- columns


@pytest.mark.parametrize("condition", ["plan", ["age"], ["age", "plan"], ["plan", "paid", "since", "age"]])
def test_columns_are_taken_from_the_table_and_come_back_with_its_samples(condition, tmp_path):
    data = frame().drop(columns=[c for c in ("paid", "since", "plan") if c not in condition])
    run = fitted(data, condition)
    columns = [condition] if isinstance(condition, str) else condition
    assert set(run.representation.columns) == set(data.columns) - set(columns)
    apart = run.log_prob(data.drop(columns=columns), condition=data[columns])
    assert np.array_equal(run.log_prob(data), apart) and np.isfinite(apart).all()
    drawn = run.sample(5, condition=data[columns].tail(5))
    assert list(drawn.columns) == list(data.columns)
    pd.testing.assert_frame_equal(drawn[columns], data[columns].tail(5).reset_index(drop=True), check_dtype=False)
    assert columns[0] not in run.sample(5, condition=data[columns].tail(5), with_condition=False).columns
    run.save(tmp_path)
    again = pofx.load(tmp_path)
    assert np.array_equal(again.log_prob(data), apart)
    assert again.sample(5, condition=data[columns].tail(5)).equals(drawn)


def test_a_label_column_is_drawn_as_often_as_in_training_and_keeps_its_type():
    data = pd.DataFrame({"x": RNG.normal(size=N), "year": np.resize([1999, 1999, 1999, 2020], N)})
    drawn = fitted(data, "year", "gmm").sample(400, seed=1)
    assert drawn.year.dtype == np.int64 and 0.65 < (drawn.year == 1999).mean() < 0.85


def test_one_row_is_given_as_a_mapping_also_of_texts():
    run = fitted(frame().drop(columns=["since"]), ["age", "plan", "paid"])
    as_numbers = run.sample(3, condition={"age": 30, "plan": "pro", "paid": True})
    as_texts = run.sample(3, condition={"age": "30", "plan": "pro", "paid": "true"})
    assert as_numbers.equals(as_texts) and (as_numbers.age == 30).all()
    assert run.conditioning.written("age=30,plan=pro,paid=1") == [{"age": "30", "plan": "pro", "paid": "1"}]
    with pytest.raises(UsageError, match="age="):
        run.conditioning.written("30")
    with pytest.raises(DataError, match="lacks the columns plan, paid"):
        run.sample(1, condition={"age": 30})
    with pytest.raises(DataError, match="age of the condition is missing"):
        run.sample(1, condition={"age": "thirty", "plan": "pro", "paid": True})
    with pytest.warns(UserWarning, match="paid"):
        run.sample(1, condition={"age": 30, "plan": "pro", "paid": "perhaps"})
    with pytest.raises(Unsupported, match="give one per item"):
        run.sample(2)


def test_features_beside_the_target_are_a_regression():
    """p(y | a, b) with y = 2 a + [b is "u"] + noise: better than the marginal, and where it should be."""
    rng = np.random.default_rng(0)
    x = pd.DataFrame({"a": rng.normal(size=1000), "b": rng.choice(["u", "v"], 1000)})
    y = pd.DataFrame({"y": 2 * x.a + (x.b == "u") + 0.1 * rng.normal(size=1000)})
    run = pofx.fit(y, "nsf", condition=x, steps=300, progress=False, options={**SMALL, "width": 32})
    assert run.log_prob(y, condition=x).mean() > 0.3  # the truth is 0.88, the marginal -2.2
    drawn = run.sample(200, condition={"a": 1.0, "b": "u"}).to_numpy()[:, 0]
    assert abs(drawn.mean() - 3) < 0.2
    with pytest.raises(DataError, match="lacks the columns b"):
        run.log_prob(y, condition=x[["a"]])


@pytest.mark.parametrize(
    ("condition", "match"),
    [("lavel", "unknown column"), (["age", "agee"], "did you mean age"), (["income", "age"], "leave at least one")],
)
def test_columns_that_cannot_be_are_refused(condition, match):
    with pytest.raises(UsageError, match=match):
        load(frame()[["income", "age"]], condition=condition)


# --- what is beside the data


def beside():
    rng = np.random.default_rng(2)
    images = rng.integers(0, 16, (N, 6, 6)).astype(np.uint8)
    texts = [f"item number {i} of {'many' if i % 2 else 'few'}" for i in range(N)]
    mixed = frame()[["age", "plan", "paid"]]
    signals = rng.normal(size=(N, 2, 5))
    return {
        "images": (pofx.images(images, levels=16), images, images[0]),
        "texts": (texts, texts, texts[0]),
        "mixed rows": (mixed, mixed, dict(mixed.iloc[0])),
        "array": (signals[:, 0], signals[:, 0], signals[0, 0]),
        "signals": (signals, signals, signals[0]),
        "labels": (np.resize(["u", "v"], N), np.resize(["u", "v"], N), "u"),
        "numbers": (np.linspace(0, 1, N), np.linspace(0, 1, N), 0.0),
        "Series": (frame().paid, frame().paid, bool(frame().paid[0])),
    }


@pytest.mark.parametrize("name", beside())
def test_anything_beside_the_items_conditions_a_model(name, tmp_path):
    given, values, one = beside()[name]
    x = np.random.default_rng(0).normal(size=(N, 2))
    run = fitted(pofx.points(x), given)
    assert run.card["training"]["condition"] is not None
    of = values[:8] if not isinstance(values, pd.DataFrame) else values.head(8)
    log_p = run.log_prob(x[:8], condition=of)
    assert np.allclose(run.log_prob(x[:1], condition=one), log_p[:1], atol=1e-6)
    whole, back = run.sample(8, condition=of, with_condition=True)
    assert len(back) == 8 and np.allclose(whole[:1], run.sample(1, condition=one), atol=1e-5)
    run.save(tmp_path)
    assert np.array_equal(pofx.load(tmp_path).log_prob(x[:8], condition=of), log_p)
    with pytest.raises(Unsupported, match="give one per item"):
        run.log_prob(x[:8])
    with pytest.raises(DataError, match="n must equal"):
        run.sample(3, condition=of)


def test_conditions_go_with_their_items_through_split_and_join():
    x = np.arange(60.0).reshape(30, 2)
    data = load(pofx.points(x), condition=x[:, 0])
    for items in data.splits().values():
        assert np.array_equal(items.values[:, 0], items.condition.values["condition"].to_numpy())
    whole = load(load(pofx.points(x)), condition=None)
    again = load(whole, condition=np.concatenate([p.values[:, 0] for p in whole.splits().values()]))
    for items in again.splits().values():
        assert np.array_equal(items.values[:, 0], items.condition.values["condition"].to_numpy())
    with pytest.raises(DataError, match="one item for each"):
        load(pofx.points(x), condition=x[:7, 0])


def test_what_a_condition_is_follows_from_its_values():
    kinds = {
        "label": [[1, 2, 1, 2], ["a", "b", "a", "b"], [True, False, True, True], pd.Series(["a", "a", "b", "b"])],
        "text": [["one", "two", "three", "four"], pd.DataFrame({"t": ["one", "two", "three", "four"]})],
        "table": [np.arange(4.0), np.eye(4), frame().head(4), list(range(0, 400, 4)), pd.Series([1.0, None, 2.0])],
        "signal": [np.zeros((4, 2, 3))],
    }
    for kind, values in kinds.items():
        for value in values:
            assert as_items(value).kind == kind, value
    for value in ([], np.zeros((2, 2, 2, 2, 2, 2)), object()):
        with pytest.raises(DataError):
            as_items(value)


def test_models_without_conditions_say_so():

    run = pofx.fit(pofx.points(RNG.normal(size=(N, 2))), "nsf", steps=1, progress=False, options=SMALL)
    with pytest.raises(Unsupported, match="without a condition"):
        run.sample(2, condition=1)
    with pytest.raises(UsageError, match="as its condition gmm takes Discrete"):
        fitted(pofx.points(RNG.normal(size=(N, 2))), RNG.normal(size=(N, 2)), "gmm")
    with pytest.raises(UsageError, match="no labels"):
        fitted(pofx.points(RNG.normal(size=(N, 2))), "label")


# --- scores of what cannot be


def test_items_beyond_the_arithmetic_have_probability_zero_with_a_reason():
    x = np.random.default_rng(0).normal(size=(N, 2))
    run = pofx.fit(pofx.points(x), "nsf", steps=1, progress=False, options=SMALL)
    scored = run.score(np.array([[0.0, 0.0], [1e60, 0.0], [1e25, 1.0]]))
    assert np.isfinite(scored.value[0]) and (scored.value[1:] == -np.inf).all() and 1 in scored.reasons
    assert 0 not in scored.reasons
