"""Representations: round trips, Jacobians against autograd, the bits-per-dimension law, the choice for a model."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from pofx.core.config import config
from pofx.core.errors import DataError, UsageError
from pofx.core.event import Bounded, Continuous, Discrete, check
from pofx.core.model import Density, Model
from pofx.core.random import Streams
from pofx.data.kinds.image import images
from pofx.data.kinds.points import points
from pofx.data.kinds.table import table
from pofx.data.kinds.tokens import tokens
from pofx.represent.characters import Characters
from pofx.represent.choose import choose, options, views
from pofx.represent.image import Binary, Levels, Logit, Unit
from pofx.represent.table import EDGE, Points, Table
from pofx.represent.tokens import Tokens

RNG = np.random.default_rng(0)
VIEWS = (Levels, Logit, Unit, Binary)


def every_level(levels: int, shape: tuple[int, ...] = (4, 4)) -> np.ndarray:
    n = -(-levels * 40 // math.prod(shape))
    return np.resize(np.arange(levels), (n, *shape)).astype(np.uint8)


# --- images


@pytest.mark.parametrize("levels", [2, 5, 17, 255, 256])
@pytest.mark.parametrize("view", [Levels, Logit, Unit])
def test_every_level_comes_back(view, levels):
    x = every_level(levels)
    fitted = view.fit(images(x, levels))
    raw = fitted.tensor(x)
    for seed in range(5):
        event, ladj = fitted.encode(raw, Streams(seed, len(raw)))
        check(fitted.event, event)
        assert np.array_equal(fitted.items(fitted.decode(event)), x) and ladj.shape == (len(x),)


@pytest.mark.parametrize("view", [Logit, Unit])
def test_noise_at_its_ends_stays_inside(view):
    class Extreme(Streams):
        def uniform(self, *shape):
            u = super().uniform(*shape)
            return torch.where(u < 0.5, torch.full_like(u, 2.0**-24), torch.full_like(u, 1 - 2.0**-24))

    x = every_level(256)
    fitted = view.fit(images(x))
    event, ladj = fitted.encode(fitted.tensor(x), Extreme(0, len(x)))
    assert np.array_equal(fitted.items(fitted.decode(event)), x) and torch.isfinite(ladj).all()


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 3)])
@pytest.mark.parametrize("view", VIEWS)
def test_shapes_go_out_as_they_came_in(view, shape):
    x = RNG.integers(0, 2, (7, *shape), dtype=np.uint8)
    fitted = view.fit(images(x, levels=2))
    raw = fitted.tensor(x)
    channels = shape[2] if len(shape) == 3 else 1
    assert raw.shape == (7, channels, 6, 5) and raw.dtype == torch.uint8 and fitted.event.shape == (channels, 6, 5)
    out = fitted.items(fitted.decode(fitted.encode(raw, Streams(0, 7))[0]))
    assert np.array_equal(out, x) and out.dtype == np.uint8 and fitted.dims == math.prod(x.shape[1:])


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("view", [Logit, Unit])
def test_a_uniform_model_scores_log2_levels(view, levels):
    """P1 of the likelihood pitfalls: a uniform density of s is worth exactly log2(levels) bits per dimension."""
    x = every_level(levels)
    fitted = view.fit(images(x, levels))
    event, ladj = fitted.encode(fitted.tensor(x), Streams(1, len(x)))
    if view is Unit:
        log_p = torch.full(event.shape, -math.log(2.0))
    else:  # the density of y when s is uniform
        p = event.double().sigmoid()
        log_p = p.log() + (1 - p).log() - math.log(1 - 2 * fitted.alpha)
    bits = -(log_p.flatten(1).sum(1) + ladj) / (fitted.dims * math.log(2))
    assert torch.allclose(bits.double(), torch.full_like(bits, math.log2(levels)).double(), atol=2e-5)


@pytest.mark.parametrize("alpha", [1e-6, 0.01, 0.05])
def test_logit_jacobian_is_that_of_autograd(alpha):
    levels = 4
    fitted = Logit((1, 1, 3), levels, True, alpha)
    raw = torch.tensor([[[[0, 2, 3]]]], dtype=torch.uint8)
    _, ladj = fitted.encode(raw, Streams(0, 1))
    k = (fitted._dequantise(raw, Streams(0, 1)) * levels).double().requires_grad_()
    y = torch.logit(alpha + (1 - 2 * alpha) * k / levels)
    (slope,) = torch.autograd.grad(y.sum(), k)
    assert ladj.item() == pytest.approx(slope.log().sum().item(), rel=1e-5)
    assert torch.isfinite(fitted.encode(raw, Streams(0, 1))[0]).all()


def test_encode_leaves_its_input_alone_and_draws_per_item():
    x = every_level(17)
    for view in VIEWS:
        fitted = view.fit(images(x, 17))
        raw = fitted.tensor(x)
        before = raw.clone()
        whole, ladj = fitted.encode(raw, Streams(3, len(raw)))
        part, ladj_part = fitted.encode(raw[5:9], Streams(3, len(raw))[5:9])
        assert torch.equal(raw, before) and torch.equal(whole[5:9], part) and torch.allclose(ladj[5:9], ladj_part)


def test_binary_dynamic_draws_anew_with_the_right_chance():
    x = np.full((4000, 2, 2), 4, dtype=np.uint8)
    fitted = Binary.fit(images(x, 17))
    raw = fitted.tensor(x)
    one, two = (fitted.encode(raw, Streams(seed, len(raw)))[0] for seed in (0, 1))
    assert one.float().mean().item() == pytest.approx(0.25, abs=0.02) and (one != two).any()
    assert "binarised" in fitted.measure and fitted.volume is Density.EXACT
    ends = np.array([[[0, 16]]], dtype=np.uint8)
    sure = Binary.fit(images(ends, 17))
    assert np.array_equal(sure.items(sure.decode(sure.encode(sure.tensor(ends), Streams(0, 1))[0])), ends)


def test_binary_static_belongs_to_the_image():
    x = RNG.integers(0, 17, (2000, 3, 3), dtype=np.uint8)
    fitted = Binary.fit(images(x, 17), binarise="static")
    raw = fitted.tensor(x)
    one = fitted.encode(raw, Streams(0, len(raw)))[0]
    other = fitted.encode(raw.flip(0), Streams(9, len(raw)))[0].flip(0)
    assert torch.equal(one, other)
    expected = raw.float().mean().item() / 16
    assert one.float().mean().item() == pytest.approx(expected, abs=0.015)
    half = Binary.fit(images(x, 17), binarise="threshold")
    assert torch.equal(half.encode(raw, Streams(0, len(raw)))[0], (raw > 8).long())


# --- tables and points


def frame(n: int = 200) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "real": RNG.normal(3, 20, n),
            "small": RNG.normal(0, 1, n).astype(np.float32),
            "age": RNG.integers(18, 90, n),
            "count": RNG.integers(0, 3, n).astype(np.int16),
            "flag": RNG.integers(0, 2, n).astype(bool),
            "fixed": np.full(n, 7),
        }
    )


def test_table_round_trip_keeps_names_types_and_whole_numbers():
    x = frame()
    fitted = Table.fit(table(x))
    assert fitted.event == Continuous((5,)) and fitted.dims == 5 and fitted.constants == {"fixed": 7.0}
    assert fitted.volume is Density.BOUND and "counting" in fitted.measure
    event, ladj = fitted.encode(fitted.tensor(x), Streams(0, len(x)))
    out = fitted.items(fitted.decode(event))
    assert list(out.columns) == list(x.columns)
    assert out.dtypes.astype(str).tolist() == ["float64", "float32", "int64", "int16", "bool", "int64"]
    for column in ("age", "count", "flag", "fixed"):
        assert np.array_equal(out[column], x[column].astype(out[column].dtype))
    assert np.allclose(out["real"], x["real"], rtol=1e-5, atol=1e-5)
    assert abs(float(event.mean())) < 0.2 and float(event.std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("places", [1, 2, 3])
def test_decimal_grids_are_found_and_come_back(places, dtype):
    x = (RNG.integers(-300, 300, (2000, 1)) / 10.0**places).astype(dtype)
    fitted = Table.fit(table(x))
    assert fitted.decimals == [places] and fitted.measure == "counting" and fitted.volume is Density.BOUND
    event, ladj = fitted.encode(fitted.tensor(x), Streams(0, len(x)))
    out = fitted.items(fitted.decode(event))["x0"].to_numpy()
    assert out.dtype == dtype and np.allclose(out, x[:, 0], rtol=1e-6, atol=1e-9)
    # a model that is uniform over the 600 values has mass 1/600 per value, of which the noise sees 1 - 2 EDGE
    width = 600 / fitted.std[0]
    assert float(ladj[0]) - math.log(width) == pytest.approx(-math.log(600) + math.log1p(-2 * EDGE), rel=1e-6)
    reasons = fitted.impossible(pd.DataFrame({"x0": [1.0, 10.0**-places / 2]}))
    assert list(reasons) == [1] and f"at most {places} decimals" in reasons[1]


def test_large_whole_numbers_come_back():
    x = RNG.integers(0, 10**6, (5000, 1))
    fitted = Table.fit(table(x))
    assert np.array_equal(fitted.items(fitted.decode(fitted.encode(fitted.tensor(x), Streams(0, 5000))[0])), x)


def test_reals_have_no_grid():
    assert Table.fit(table(RNG.normal(size=(500, 2)))).decimals == [-1, -1]
    rounded = RNG.normal(size=(500, 1)).round(4)  # hardly a value twice: as good as real
    assert Table.fit(table(rounded)).decimals == [-1]


def test_table_jacobian_is_that_of_autograd():
    x = frame()[["real", "small"]]
    fitted = Table.fit(table(x))
    raw = fitted.tensor(x)[:4].requires_grad_()
    assert fitted.volume is Density.EXACT and fitted.measure == "Lebesgue"
    y, ladj = fitted.encode(raw, Streams(0, 4))
    slopes = torch.stack([torch.autograd.grad(y[:, i].sum(), raw, retain_graph=True)[0][:, i] for i in range(2)], 1)
    assert torch.allclose(ladj.double(), slopes.log().sum(1))


def test_a_density_in_data_units_does_not_change_when_units_do():
    """P18: metres or centimetres, the standardised model is the same and log p differs by log 100 per column."""
    x = RNG.normal(size=(100, 2)) * [1, 30] + [5, -2]
    one, two = Points.fit(points(x)), Points.fit(points(100 * x))
    (y1, ladj1), (y2, ladj2) = (f.encode(f.tensor(v), Streams(0, 100)) for f, v in ((one, x), (two, 100 * x)))
    assert torch.allclose(y1, y2, atol=1e-5) and torch.allclose(ladj1, ladj2 + 2 * math.log(100))


def test_points_keep_dtype_and_constant_columns():
    x = np.concatenate([RNG.normal(size=(50, 2)), np.full((50, 1), 3.5)], 1).astype(np.float32)
    fitted = Points.fit(points(x))
    assert fitted.event == Continuous((2,)) and fitted.volume is Density.EXACT
    out = fitted.items(fitted.decode(fitted.encode(fitted.tensor(x), Streams(0, 50))[0]))
    assert out.dtype == np.float32 and np.allclose(out, x, atol=1e-5) and (out[:, 2] == 3.5).all()


def test_tables_refuse_what_they_were_not_fitted_to():
    x = frame()
    fitted = Table.fit(table(x))
    assert "fixed was always 7" in fitted.impossible(x.assign(fixed=8))[0]
    with pytest.raises(DataError, match="missing: age"):
        fitted.tensor(x.drop(columns="age"))
    assert "age held whole numbers in training (got 1.5)" in fitted.impossible(x.assign(age=1.5))[0]
    with pytest.raises(DataError, match="every column is constant"):
        Table.fit(table(np.ones((5, 2))))
    assert torch.equal(fitted.tensor(x[x.columns[::-1]]), fitted.tensor(x))
    with pytest.raises(DataError, match=r"\(n, 2\)"):
        Points.fit(points(RNG.normal(size=(9, 2)))).tensor(np.ones((3, 3)))


# --- tokens


def test_texts_round_trip_with_their_end():
    texts = ["emma", "olivia", "zoë", "", "a b"]
    fitted = Characters.fit(tokens(texts))
    assert fitted.event == Discrete((8,), len(set("".join(texts))) + 2, end=0)
    event, ladj = fitted.encode(fitted.tensor(texts), Streams(0, 5))
    check(fitted.event, event)
    assert fitted.items(fitted.decode(event)) == texts and (ladj == 0).all()
    assert fitted.items(fitted.tensor(["xyz"]))[0].startswith("\ufffd")
    with pytest.raises(DataError, match="limit is 8"):
        fitted.tensor(["much too long"])
    with pytest.raises(DataError, match="list of strings"):
        fitted.tensor([1, 2])


def test_sequences_of_classes_are_kept():
    x = RNG.integers(0, 5, (10, 4))
    fitted = Tokens.fit(tokens(x, classes=6))
    assert fitted.event == Discrete((4,), 6) and np.array_equal(fitted.items(fitted.tensor(x)), x)
    with pytest.raises(DataError, match="0 to 5"):
        fitted.tensor(x + 3)


# --- every view: saved as plain values


CASES = [
    *(view.fit(images(every_level(17), 17)) for view in VIEWS),
    Table.fit(table(frame())),
    Points.fit(points(RNG.normal(size=(20, 3)))),
    Characters.fit(tokens(["ab", "c"])),
    Tokens.fit(tokens(RNG.integers(0, 3, (5, 4)))),
]


@pytest.mark.parametrize("view", CASES, ids=lambda v: f"{v.kind}-{v.name}")
def test_views_survive_json(view):
    again = type(view)(**json.loads(json.dumps(config(view))))
    assert again.event == view.event and again.volume == view.volume and again.measure == view.measure
    assert config(again) == config(view) and again.dims == view.dims


# --- the choice


def model(*kinds: type) -> type[Model]:
    return type("Probe", (Model,), {"events": kinds, "name": "probe"})


@pytest.mark.parametrize(
    ("kinds", "wanted", "expected"),
    [
        ((Discrete,), {}, Levels),
        ((Continuous,), {}, Logit),
        ((Bounded, Continuous), {}, Unit),
        ((Discrete, Continuous), {}, Levels),
        ((Discrete,), {"binarise": "static"}, Binary),
        ((Continuous,), {"represent": "unit"}, Unit),
        ((Discrete, Continuous), {"represent": "logit"}, Logit),
        ((Continuous,), {"alpha": 0.05}, Logit),
    ],
)
def test_choice_for_images(kinds, wanted, expected):
    chosen = choose(images(every_level(17), 17), model(*kinds), wanted)
    assert type(chosen) is expected
    assert all(getattr(chosen, key) == value for key, value in wanted.items() if key != "represent")


def test_choice_for_points_of_a_model_that_prefers_bounded_events():
    assert isinstance(choose(points(RNG.normal(size=(9, 2))), model(Bounded, Continuous)), Points)


@pytest.mark.parametrize(
    ("kinds", "wanted", "words"),
    [
        ((Continuous,), {"binarise": "static"}, "probe takes Continuous events"),
        ((Discrete,), {"binarize": "static"}, "did you mean binarise"),
        ((Discrete,), {"represent": "logits"}, "did you mean logit"),
        ((Discrete,), {"binarise": "maybe"}, "dynamic, static or threshold"),
        ((Continuous,), {"alpha": 0.7}, r"\(0, 0.5\)"),
        ((Continuous,), {"alpha": 0.1, "binarise": "static"}, "no one view"),
    ],
)
def test_choice_refuses_in_words(kinds, wanted, words):
    with pytest.raises(UsageError, match=words):
        choose(images(every_level(17), 17), model(*kinds), wanted)


def test_no_view_of_points_is_discrete():
    with pytest.raises(UsageError, match=r"points items offer standard \(Continuous\)"):
        choose(points(RNG.normal(size=(9, 2))), model(Discrete))


def test_options_are_found():
    assert options("image") == {"represent": None, "alpha": 0.01, "binarise": "dynamic"}
    assert [v.name for v in views("image")] == ["levels", "logit", "unit", "middles", "binary", "palette"]
