"""Any table, images, texts and options: each is an error of pofx or a right answer; what goes in comes out again.

The laws: a view of items and back is the items, or a projection of them (a second pass changes nothing); items have no
NaN as their log p; samples have the columns, types and ranges of the data; any option is accepted or refused.
"""

import math
import warnings

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

import pofx
from pofx.core.errors import PofxError
from pofx.core.items import Items
from pofx.core.random import Streams
from pofx.represent.choose import views
from pofx.train.options import Budget, TrainOptions, limits

pytestmark = pytest.mark.filterwarnings("ignore")
quick = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None, "derandomize": True}


# --- strategies: shapes and types are drawn by hypothesis, the numbers by numpy, which is faster


@st.composite
def column(draw, n: int):
    """A column of a table of one of the types that people have."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = 10.0 ** draw(st.integers(-6, 9))
    offset = draw(st.sampled_from([0.0, 1.0, -3e4, 1.7e6, 2459000.5, 2.0**40]))
    whole = rng.integers(0, draw(st.sampled_from([2, 3, 10, 1000])), n)
    kind = draw(
        st.sampled_from(["normal", "skewed", "whole", "decimal", "bool", "word", "date", "same", "atoms", "uint"])
    )
    if kind == "normal":
        return rng.normal(offset, scale, n).astype(draw(st.sampled_from(["float64", "float32"])))
    if kind == "skewed":
        return np.exp(rng.normal(0, 2, n)) * scale
    if kind == "whole":
        return (whole + int(offset)).astype(draw(st.sampled_from(["int64", "float64"])))
    if kind == "uint":
        return whole.astype(draw(st.sampled_from(["uint8", "int8", "uint16"])))
    if kind == "decimal":
        return np.round(whole / 10.0 ** draw(st.integers(1, 4)) + offset, 4)
    if kind == "bool":
        return rng.random(n) < draw(st.sampled_from([0.0, 0.05, 0.5]))
    if kind == "word":
        words = draw(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4, unique=True))
        return pd.Series(rng.choice(np.array(words, dtype=object), n), dtype=object)
    if kind == "date":
        return pd.Timestamp("1999-12-31") + pd.to_timedelta(whole, draw(st.sampled_from(["D", "h", "s"])))
    if kind == "same":
        return np.full(n, draw(st.sampled_from([0.0, 0.1, -7.0, 1e9])))
    return np.where(rng.random(n) < 0.7, 0.0, rng.normal(size=n))


@st.composite
def tables(draw):
    n, names = (
        draw(st.integers(8, 40)),
        draw(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=4, unique=True)),
    )
    return pd.DataFrame({name: draw(column(n)) for name in names})


@st.composite
def pictures(draw):
    shape = draw(st.tuples(st.integers(5, 20), st.integers(1, 9), st.integers(1, 9)))
    channels = draw(st.sampled_from([(), (1,), (2,), (3,), (4,)]))
    levels = draw(st.sampled_from([2, 3, 16, 255, 256]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    used = draw(st.integers(1, levels))
    dtype = draw(st.sampled_from(["uint8", "int64", "int16"]))
    return rng.integers(0, used, (*shape, *channels)).astype(dtype), levels


texts = st.lists(st.text(max_size=12), min_size=4, max_size=20)
WILD = st.one_of(
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.booleans(),
    st.none(),
    st.lists(st.one_of(st.integers(), st.floats(), st.text(max_size=3)), max_size=3),
    st.sampled_from([10**30, -(10**30), "NaN", "1e999", b"x", {"a": 1}, np.float32(0.5), np.int64(3), object()]),
)


# --- laws


def passed(view, items):
    raw = view.tensor(items)
    x, ladj = view.encode(raw, Streams.of_items(0, raw))
    assert bool(ladj.isfinite().all())
    return view.items(view.decode(x))


def check_views(items: Items):
    """Every view of the items gives them back; a lossy one changes nothing any more in a second pass. Not so
    bins of a table, within which the place of a value is drawn."""
    for cls in (view for view in views(items.kind) if view.name != "bins"):
        try:
            view = cls.fit(items)
        except PofxError:
            continue
        once = passed(view, items.values)
        same(once, items.values if view.volume >= 3 and view.name != "binary" else passed(view, once))


def same(a, b):
    if isinstance(a, pd.DataFrame):
        assert list(a.columns) == list(b.columns) and [str(t) for t in a.dtypes] == [str(t) for t in b.dtypes]
        for name in a.columns:
            if a[name].dtype.kind == "f":
                scale = float(np.abs(b[name]).max()) + float(np.ptp(b[name]))
                wide = 1e-5 * scale if np.ptp(b[name]) else 0.0
                np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=wide)
            else:
                assert list(a[name]) == list(b[name])
    elif isinstance(a, list):
        assert a == b
    else:
        np.testing.assert_array_equal(a, np.asarray(b).reshape(np.shape(a)))


@given(tables())
@settings(max_examples=60, **quick)
def test_any_table_comes_back_and_is_modelled(frame):
    try:
        items = pofx.table(frame)
    except PofxError:
        return
    try:
        check_views(items)
    except AssertionError as error:
        raise AssertionError(f"{frame.dtypes.to_dict()} {frame.head(3).to_dict()}: {error}") from error


@given(tables())
@settings(max_examples=25, **quick)
def test_any_table_is_fitted_drawn_and_scored(frame):
    try:
        run = pofx.fit(frame, "gmm", steps=1, components=1, progress=False)
    except PofxError:
        return
    drawn = run.sample(20)
    assert list(drawn.columns) == list(map(str, frame.columns))
    for name in frame.columns:
        assert drawn[name].dtype == frame[name].dtype, name
        if frame[name].dtype.kind in "iuM":
            assert frame[name].min() <= drawn[name].min() and drawn[name].max() <= frame[name].max()
    log_p = run.log_prob(frame)
    assert len(log_p) == len(frame) and not np.isnan(log_p).any() and not (log_p == np.inf).any()
    assert np.isfinite(run.log_prob(drawn)).all()


@given(pictures())
@settings(max_examples=40, **quick)
def test_any_images_come_back(found):
    array, levels = found
    check_views(pofx.images(array, levels=levels))


@given(texts)
@settings(max_examples=60, **quick)
def test_any_texts_come_back(found):
    try:
        items = pofx.texts(found)
    except PofxError:
        return
    check_views(items)


@given(st.integers(4, 30), st.integers(1, 12), st.integers(1, 300), st.integers(0, 2**32))
@settings(max_examples=30, **quick)
def test_any_tokens_come_back(n, length, classes, seed):
    array = np.random.default_rng(seed).integers(0, classes, (n, length))
    check_views(pofx.tokens(array))


@given(st.sampled_from(sorted(limits())), WILD)
@settings(max_examples=300, **quick)
def test_any_trainer_option_is_accepted_or_refused(name, value):
    try:
        made = TrainOptions.of({name: value})
    except PofxError as error:
        assert name in str(error) and 20 < len(str(error)) < 1000
    else:
        assert getattr(made, name) == value or list(getattr(made, name)) == list(value)


@given(st.one_of(WILD, st.from_regex(r"-?\d{1,5}(\.\d)? ?(s|m|h|min|steps|epochs|Tflops|days)?", fullmatch=True)))
@settings(max_examples=300, **quick)
def test_any_budget_is_accepted_or_refused(value):
    try:
        budget = Budget.of(value)
    except PofxError as error:
        assert "budget" in str(error) or any(key in str(error) for key in ("steps", "minutes", "epochs", "flops"))
    else:
        assert 0 < next(iter(budget.request.values())) < math.inf
        (again,), (once,) = Budget.of(str(budget)).request.values(), budget.request.values()
        assert again == pytest.approx(once, rel=1e-4)


@given(st.sampled_from(["n", "seed", "batch_size", "condition", "prefix", "temperature"]), WILD)
@settings(max_examples=100, **quick)
def test_any_value_of_sample_is_accepted_or_refused(name, value):
    given_ = {"n": 2, name: value}
    if name == "n" and isinstance(value, int) and value > 1000:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            drawn = _run().sample(**given_)
        except PofxError as error:
            assert 20 < len(str(error)) < 1000
        else:
            assert len(drawn) == given_["n"] and np.isfinite(drawn).all()


def _run(found=[]):  # noqa: B006  # made once
    if not found:
        x = np.random.default_rng(0).normal(size=(60, 2))
        found.append(pofx.fit(pofx.points(x), "realnvp", steps=1, width=8, layers=2, progress=False))
    return found[0]
