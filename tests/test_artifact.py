"""Laws of the artifact: what a condition means; given items are never read under a condition drawn at random."""

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.artifact import Artifact
from pofx.core import config
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.event import Bounded
from pofx.data.conditions import type_of
from pofx.maths.interpolation import spherical, straight
from pofx.represent.choose import choose
from pofx.represent.labels import Labels

POINTS = np.random.default_rng(0).normal(size=(12, 2))
NAMES = ["-1", "0", "1"]


def conditional(name: str, names: list[str] = NAMES) -> Artifact:
    row = config.entry(name)
    view = choose(pofx.points(POINTS), row.model)
    labels = Labels(names, [1] * len(names), type_of(names))
    model = config.build(name, view.event, labels.event, **row.model.small).eval()
    card = {"label_names": names, "training": {"condition": "label"}}
    return Artifact(view, model, name, card, labels)


@pytest.mark.parametrize("verb", ["score", "encode", "reconstruct"])
def test_items_without_their_condition_are_refused(verb):
    with pytest.raises(Unsupported, match="condition"):
        getattr(conditional("vae"), verb)(POINTS)


def test_codes_without_their_condition_are_refused():
    artifact = conditional("vae")
    codes = artifact.encode(POINTS, ["0"] * len(POINTS))
    with pytest.raises(Unsupported, match="condition"):
        artifact.decode(codes)
    assert artifact.decode(codes, "0").shape == POINTS.shape


def discrete(items, name="made", **options) -> Artifact:
    row = config.entry(name)
    view = choose(items, row.model)
    return Artifact(view, config.build(name, view.event, **{**row.model.small, **options}).eval(), name, {})


@pytest.mark.parametrize(("name", "shape"), [("made", (6, 4, 5)), ("pixelcnn", (6, 4, 5, 3))])
def test_images_are_completed_from_their_first_rows(name, shape):
    x = np.random.default_rng(0).integers(0, 5, shape).astype(np.uint8)
    artifact = discrete(pofx.images(x, levels=5), name)
    drawn = artifact.sample(6, prefix=x[:, :2], seed=1)
    assert drawn.shape == x.shape and np.array_equal(drawn[:, :2], x[:, :2])
    assert not np.array_equal(drawn[:, 2:], x[:, 2:])
    assert np.array_equal(artifact.sample(3, prefix=x[:1, :2], seed=1)[0], drawn[0])
    with pytest.raises(DataError, match="first rows"):
        artifact.sample(6, prefix=x[:, :, :2])
    with pytest.raises(DataError, match="one partial item or n"):
        artifact.sample(5, prefix=x[:2])


def test_texts_are_completed_from_their_beginnings():
    artifact = discrete(pofx.tokens(["hello", "help", "hold", "yes"]))
    drawn = artifact.sample(3, prefix=["he", "hold", ""])
    assert drawn[0].startswith("he") and drawn[1].startswith("hold")
    assert all(text.startswith("hel") for text in artifact.sample(4, prefix="hel"))


def test_terms_are_those_of_each_dimension():
    x = np.random.default_rng(0).integers(0, 5, (6, 4, 5)).astype(np.uint8)
    artifact = discrete(pofx.images(x, levels=5))
    terms = artifact.log_prob_terms(x)
    assert terms.shape == (6, 1, 4, 5)
    assert np.allclose(terms.sum((1, 2, 3)), artifact.log_prob(x), atol=1e-4)
    with pytest.raises(Unsupported, match="autoregressive"):
        conditional("gmm").log_prob_terms(POINTS, "0")


def test_sharpening_is_refused_by_name_where_there_is_none():
    x = np.random.default_rng(0).integers(0, 5, (6, 4, 5)).astype(np.uint8)
    artifact = discrete(pofx.images(x, levels=5))
    assert not np.array_equal(artifact.sample(4, temperature=0.1), artifact.sample(4))
    with pytest.raises(UsageError, match="temperature"):
        artifact.sample(2, temprature=0.5)
    with pytest.raises(UsageError):
        conditional("gmm").sample(2, "0", temperature=0.5)
    with pytest.raises(DataError, match="values by column"):
        conditional("gmm").sample(2, "0", prefix=POINTS)


def test_spherical_ways_keep_norms_and_begin_and_end_where_they_should():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(5, 12)) * s for s in (1, 3))
    ways = spherical(a, b, 9)
    assert np.allclose(ways[:, 0], a) and np.allclose(ways[:, -1], b)
    norms = np.linalg.norm(ways, axis=2)
    assert np.allclose(norms, np.linspace(norms[:, 0], norms[:, -1], 9, axis=1))
    degenerate = np.array([[1.0, 0], [1, 0], [0, 0]]), np.array([[-1.0, 0], [2, 0], [0, 1]])
    assert np.allclose(spherical(*degenerate, 5), straight(*degenerate, 5))  # no great circle: straight, and finite


@pytest.mark.parametrize("name", ["nsf", "realnvp"])
@pytest.mark.parametrize("path", ["auto", "straight"])
def test_flows_interpolate_from_item_to_item(name, path):
    view = choose(pofx.points(POINTS), config.entry(name).model)
    run = Artifact(view, config.build(name, view.event, **config.entry(name).model.small).eval(), name, {})
    paths = run.interpolate(POINTS[:2], POINTS[2:4], steps=4, path=path).reshape(2, 4, 2)
    assert np.allclose(paths[:, 0], POINTS[:2], atol=1e-3) and np.allclose(paths[:, -1], POINTS[2:4], atol=1e-3)
    with pytest.raises(UsageError, match="spherical or straight"):
        run.interpolate(POINTS[:1], POINTS[1:2], path="curved")


@pytest.mark.parametrize("name", ["nsf", "realnvp"])
def test_flows_are_tempered_by_their_codes(name):
    view = choose(pofx.points(POINTS), config.entry(name).model)
    run = Artifact(view, config.build(name, view.event, **config.entry(name).model.small).eval(), name, {})
    z, half = run.encode(run.sample(50, seed=3)), run.encode(run.sample(50, seed=3, temperature=0.5))
    assert np.allclose(half, 0.5 * z, atol=1e-3) and np.array_equal(run.sample(5, temperature=1), run.sample(5))
    assert np.ptp(run.sample(5, temperature=0), axis=0).max() < 1e-6
    with pytest.raises(UsageError, match="from 0 to"):
        run.sample(5, temperature=-1)
    with pytest.raises(UsageError, match="did you mean temperature"):
        run.sample(5, temperatur=1)


def test_sampling_options_of_the_constructor_are_options_of_sample():
    """`run.sample(n, sampler=…)` is `run.using(sampler=…).sample(n)`, and the run stays as it was."""
    view = choose(pofx.points(POINTS), config.entry("flow-matching").model)
    model = config.build("flow-matching", view.event, **{**config.entry("flow-matching").model.small}).eval()
    run = Artifact(view, model, "flow-matching", {})
    other = run.sample(4, seed=1, sampler="euler", sampler_steps=3)
    assert np.array_equal(other, run.using(sampler="euler", sampler_steps=3).sample(4, seed=1))
    assert np.array_equal(other, run.sample(4, seed=1, sampler="euler", steps=3))
    assert not np.array_equal(other, run.sample(4, seed=1)) and run.model.sampler == "heun"
    with pytest.raises(UsageError, match="unknown sampling option"):
        run.sample(4, samplers="euler")
    with pytest.raises(UsageError, match="sampler"):
        run.sample(4, sampler="best")


def test_grids_on_the_linear_path_draw_by_a_multistep_solver_and_others_by_heun():
    own = [config.build("flow-matching", Bounded(shape), width=16).sampler for shape in ((1, 8, 8), (2,))]
    assert own == ["dpm++2m", "heun"]
    assert config.build("flow-matching", Bounded((1, 8, 8)), width=16, churn=5.0).sampler == "heun"


def test_rows_are_scored_in_every_form_that_holds_their_names():
    table = pd.DataFrame({"a": np.arange(30) / 7, "b": list("xyz") * 10})
    run = pofx.fit(table, "made", steps=2, progress=False)
    want = run.log_prob(table[:2])
    forms = [table.iloc[0], table.iloc[0].to_dict(), table[:2].to_dict("records"), table[:2].to_dict("list")]
    for form, n in zip(forms, (1, 1, 2, 2), strict=True):
        assert run.log_prob(form) == pytest.approx(want[:n])
    with pytest.raises(DataError, match="missing: b"):
        run.log_prob({"a": 1.0})


def test_large_events_come_in_smaller_batches_on_a_processor():
    runs = [discrete(pofx.images(np.zeros((4, side, side), np.uint8), levels=2)) for side in (4, 20)]
    assert [run.batch() for run in runs] == [500, 250]
    assert [run.batch(7) for run in runs] == [7, 7] and runs[1].batch(stepwise=True) == 500
    x = np.zeros((9, 20, 20), np.uint8)
    assert np.allclose(runs[1].score(x, batch_size=2).value, runs[1].log_prob(x))
