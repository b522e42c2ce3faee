"""Laws of the latent tools: paths keep their ends, directions find what was planted, floors are beside every number."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import ndtr
from typer.testing import CliRunner

import pofx
from pofx.apps.latent import LatentSpace, terms
from pofx.cli.main import app
from pofx.core.errors import Unsupported, UsageError
from pofx.data.sources import load
from pofx.maths import directions
from pofx.maths.bent import Bent
from pofx.maths.interpolation import by_quantile


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latent") / "vae"
    return pofx.fit("digits", "vae", steps=150, latent=6, out=folder, progress=False), folder


@pytest.fixture(scope="module")
def space(run):
    return LatentSpace(run[0], load("digits"))


def test_paths_by_quantiles_keep_their_ends_and_the_median():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 3)).astype(np.float32)
    path = by_quantile(a, b, 7)
    assert np.array_equal(path[:, 0], a) and np.array_equal(path[:, -1], b)
    assert np.allclose(by_quantile(a, -a, 3)[:, 1], 0, atol=1e-6)
    many = by_quantile(*rng.normal(size=(2, 20_000, 1)), 3)[:, 1, 0]
    assert ndtr(many).std() == pytest.approx(24**-0.5, abs=0.005)  # the mean of two uniforms


def test_directions_find_what_was_planted():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 2, (2, 4000)).astype(bool)
    codes = rng.normal(size=(4000, 4)) * (1, 1, 1, 3)
    codes[:, 0] += 2 * first + 1.5 * second
    codes[:, 1] += 2 * second
    own = directions.attribute(codes, first)
    assert np.allclose(own, (2, 0, 0, 0), atol=0.2)
    axes, spread = directions.components(codes, 2)
    assert abs(axes[0, 3]) > 0.99 and spread[0] == pytest.approx(3, rel=0.05)
    maps = rng.normal(size=(4, 9)) * np.array((0.1, 5, 1, 0.1))[:, None]
    found, gain = directions.sensitive(lambda z: z @ maps, codes[:6], 2)
    assert abs(found[0, 1]) > 0.95 and gain[0] == pytest.approx(np.linalg.svd(maps)[1][0], rel=1e-3)
    with pytest.raises(UsageError, match="absent in others"):
        directions.attribute(codes, np.ones(4000, bool))


def test_an_attribute_that_goes_with_another_has_a_direction_of_its_own():
    """Codes that are linear in two factors, neither at a right angle nor independent: the path of means is in part the
    other's."""
    rng = np.random.default_rng(2)
    factors = rng.normal(size=(4000, 2))
    factors[:, 1] += 0.8 * factors[:, 0]
    mixing = np.array([[1.0, 0.8], [0.0, 0.6], [0.0, 0.0], [0.0, 0.0]])
    codes = (factors > 0) @ mixing.T + 0.05 * rng.normal(size=(4000, 4))
    above = [factors[:, k] > 0 for k in range(2)]
    moved = directions.jointly(codes, above) @ np.linalg.pinv(mixing).T
    assert np.allclose(moved, np.eye(2), atol=0.02)
    path = np.linalg.pinv(mixing) @ directions.attribute(codes, above[0])
    assert path[1] > 0.3 * path[0]
    assert np.allclose(directions.jointly(codes, above[:1])[0], directions.attribute(codes, above[0]))
    classes = rng.integers(0, 3, 4000)  # exclude each other: from the mean of all to that of a class
    own = directions.jointly(codes, [classes == k for k in range(3)])
    middle = np.mean([codes[classes == k].mean(0) for k in range(3)], 0)
    assert np.allclose(own, [codes[classes == k].mean(0) - middle for k in range(3)], atol=0.01)
    flat = np.concatenate((codes, np.zeros((4000, 1)), codes[:, :1]), 1)  # codes that never move, or move together
    assert np.isfinite(directions.jointly(flat, above)).all()


def test_a_bent_path_changes_one_factor_where_a_straight_one_changes_both():
    """Codes on three quarters of a ring: an angle and a radius."""
    rng = np.random.default_rng(0)
    factors = np.stack((rng.uniform(-2.3, 2.3, 600), rng.uniform(1, 2, 600)), 1)
    at = np.stack((np.sin(factors[:, 0]), np.cos(factors[:, 0])), 1) * factors[:, 1:]
    frame = np.linalg.qr(rng.normal(size=(5, 5)))[0][:2]
    codes = at @ frame + 0.01 * rng.normal(size=(600, 5))

    def read(z):
        a, b = (z @ frame.T).T
        return np.stack((np.arctan2(a, b), np.hypot(a, b)), 1)

    fitted = Bent.of(codes, factors)
    assert np.abs(fitted.factors(codes) - factors).mean(0).max() < 0.05
    low = codes[(factors[:, 0] < -1) & (factors[:, 0] > -1.8)]
    half, moved = fitted.path(low, 0, np.array([1.2, 2.4]))
    change = read(moved) - read(low)
    assert np.abs(change[:, 0] - 2.4).mean() < 0.1 and np.abs(change[:, 1]).mean() < 0.05
    assert np.abs((read(half) - read(low))[:, 0] - 1.2).mean() < 0.1
    straight = low + 2.4 * directions.attribute(codes, factors[:, 0] > 0) / 2.3
    assert np.abs(read(straight) - read(low))[:, 1].mean() > 0.3
    beyond = read(fitted.path(low, 0, np.array([9.0]))[0])[:, 0]  # not beyond what the items have
    assert beyond.max() < 2.6 and beyond.mean() > 2.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("8 - 3 + 1", [(1, "8"), (-1, "3"), (1, "1")]),
        ("8-3+11", [(1, "8"), (-1, "3"), (1, "11")]),
        ("-3 \u2212 1", [(-1, "3"), (-1, "1")]),
        ("well-known-New York", [(1, "well-known"), (-1, "New York")]),
    ],
)
def test_sums_of_labels_are_read_as_they_are_written(text, found):
    assert terms(text, ("1", "3", "8", "11", "well-known", "New York")) == found


@pytest.mark.parametrize("text", ["", "8 -", "8 3", "8 - eleven", "12"])
def test_what_is_no_sum_of_labels_is_refused(text):
    with pytest.raises(UsageError, match="unknown label"):
        terms(text, ("1", "3", "8"))


def test_paths_and_arithmetic_of_a_run(space):
    for kind in ("straight", "spherical", "quantile"):
        path = space.path(0, 1, 5, kind)
        ends = space.decode(space.codes[:2]).values
        assert len(path) == 5 and np.array_equal(path.values[[0, -1]], ends)
    with pytest.raises(UsageError, match="unknown path"):
        space.path(0, 1, kind="round")
    assert set(space.means) == {str(k) for k in range(10)}
    same = space.arithmetic("3 - 1 + 1").values[0].astype(int)
    assert np.abs(same - space.arithmetic("3").values[0]).max() <= 1
    with pytest.raises(UsageError, match="label"):
        space.arithmetic("3 - king")


@pytest.mark.slow
def test_an_attribute_moves_its_own_label(space):
    """Along the direction of a class its classifier gains; other classes lie across."""
    move = space.attribute("0")
    others = [space.means[name] - space.codes.mean(0) for name in "123456789"]
    own = space.means["0"] - space.codes.mean(0)
    cosine = lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)  # noqa: E731
    assert cosine(move, own) > 0 and np.mean([cosine(move, of) for of in others]) < 0.1
    led = space.towards("0", steps=5)
    assert np.array_equal(led.values[0], space.decode(space.codes[[space.other("0")]], space.other("0")).values[0])
    zeros = space.items.values[np.asarray(space.items.labels) == 0].mean(0)
    first, last = (np.square(led.values[k] - zeros).sum() for k in (0, -1))
    assert last < first


@pytest.mark.slow
def test_every_check_has_a_floor_and_reads_what_was_learned(space):
    checks = {check.name: check for check in space.checks()}
    assert {"path length", "mig", "two-sample AUC", "confidence", "linear probe"} <= set(checks)
    assert all(check.floors and np.isfinite(check.value) for check in checks.values())
    assert checks["informativeness"].value > checks["informativeness"].floors["random codes"] + 0.2
    assert set(checks["linear probe"].floors) == {"PCA of the same size", "untrained encoder"}
    means = checks["two-sample AUC"].floors["means of two items"]
    assert means > 0.6  # a classifier distinguishes the floor from real items


def test_runs_without_codes_of_numbers_are_refused():
    run = pofx.fit("moons", "gmm", steps=1, progress=False)
    with pytest.raises(Unsupported, match="no codes"):
        LatentSpace(run, load("moons"))


@pytest.mark.slow
def test_the_verb_writes_pictures_a_moving_one_a_map_and_numbers(run, tmp_path):
    out = tmp_path / "latent"
    words = ["latent", str(run[1]), "--out", str(out), "--arithmetic", "8 - 3 + 1", "--attribute", "0"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "linear probe" in done.output and all(
        len(line) <= 80 for line in done.output.splitlines() if line[:1] != "→"
    )
    names = {path.name for path in out.iterdir()}
    assert names >= {"straight.png", "spherical.png", "quantile.png", "arithmetic-1.png", "attribute-0.png",
                     "components.png", "components.gif", "sensitive.gif", "map.png", "latent.json"}  # fmt: skip
    assert Image.open(out / "components.gif").n_frames == 16
    assert {row["name"] for row in json.loads((out / "latent.json").read_text())["checks"]} >= {"mig", "confidence"}


def test_columns_of_rows_are_attributes_of_their_codes():
    g = np.random.default_rng(0)
    a = g.normal(size=900)
    rows = pd.DataFrame({"a": a, "kind": np.where(a > 0.5, "high", "low"), "n": g.integers(0, 3, 900)})
    rows.loc[::9, "a"] = np.nan
    space = LatentSpace(pofx.fit(rows, "vae", steps=15, progress=False, options={"width": 16, "latent": 3}), rows)
    assert {"a", "kind=high", "kind=low", "n=2"} <= set(space.attributes)
    assert space.attribute("kind=high", others=True).shape == (3,)
    with pytest.raises(UsageError, match="kind=high"):
        space.attribute("kind")


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("nsf-coupling", {"width": 8}),
        ("flow-matching", {"width": 8}),
        ("hvae", {"width": 16}),
        ("gan", {"width": 8}),
        ("rbm", {"hidden": 9}),
        ("dbm", {"hidden": 9, "upper": 4}),
    ],
)
def test_every_kind_of_codes_has_paths_sums_directions_and_a_map(model, options):
    g = np.random.default_rng(0)
    names = np.array(["king", "man", "woman"])[g.integers(0, 3, 150)]
    x = (g.random((150, 8, 8)) < np.where(names == "king", 0.6, 0.2)[:, None, None]).astype(np.uint8)
    data = pofx.images(x, levels=2, labels=names)
    space = LatentSpace(pofx.fit(data, model, steps=2, progress=False, options=options), data)
    assert len(space.codes) == len(space.items) and np.isfinite(space.codes).all()
    for kind in ("straight", "spherical", "quantile"):
        assert space.path(0, 1, 3, kind).values.shape == (3, 8, 8)
    assert set(space.means) == set(names)
    assert space.arithmetic("king - man + woman").values.shape == (1, 8, 8)
    assert space.traverse(space.components(2)[0], steps=3).values.shape == (6, 8, 8)
    assert space.towards("king", steps=3, others=True).values.shape == (3, 8, 8)
    assert space.map().shape == (len(space.items), 2)
