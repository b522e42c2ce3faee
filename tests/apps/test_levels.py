"""Levels: what is known stays, rules and solver know small boards, floors and divergences know closed forms."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import pofx
from pofx.apps import levels as app_of
from pofx.apps import sokoban
from pofx.apps.templates import check_fills
from pofx.cli.main import app
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.data.files import contents
from pofx.data.kind import kind_of
from pofx.data.kinds.levels import levels_in

EASY = "#####\n#@$.#\n#####"
TWO = "######\n#.   #\n# $$@#\n#   .#\n######"
STUCK = "#####\n#$  #\n# @.#\n#####"


def boards(n=150, seed=0):
    """A room with a player, a box and a goal each in a row of their own."""
    g = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        rows = [list("#####"), *(list("#   #") for _ in range(3)), list("#####")]
        for y, c in zip(g.permutation(3) + 1, "@$.", strict=True):
            rows[y][g.integers(1, 4)] = c
        found.append("\n".join("".join(r) for r in rows))
    return found


@pytest.fixture(scope="module")
def data():
    return app_of.read(boards())


@pytest.fixture(scope="module")
def run(data):
    options = {"optimizer": "adamw", "lr": 4e-3, "warmup": 5, "validations": 0, "progress": False}
    return app_of.learn(data, width=16, layers=1, heads=2, steps=60, **options)


def test_the_solver_knows_small_boards():
    assert sokoban.pushes(EASY) == 1 and sokoban.well_formed(EASY)
    assert sokoban.pushes(STUCK) is None and sokoban.well_formed(STUCK)
    assert sokoban.pushes("#######\n#@ $ .#\n#######") == 2
    assert sokoban.pushes(TWO) is None or sokoban.pushes(TWO) >= 4
    assert sokoban.pushes("#####\n# * #\n#@  #\n#####") == 0
    for broken in ("#####\n# $.#\n#####", "#####\n#@$ #\n#####", "#####\n#@$. \n#####"):
        assert not sokoban.well_formed(broken)
    assert sokoban.pushes(TWO, nodes=1) is None


def test_levels_are_read_and_written_as_text_pictures_and_maps(tmp_path):
    items = pofx.levels(boards(4))
    kind = kind_of(items)
    assert "4 levels of 5 x 5" in kind.describe(items)
    assert levels_in(kind.content(items, ".txt").decode()) == boards(4)
    found = json.loads(kind.content(items, ".tmj"))
    assert found["layers"][1]["data"][0] == items.facts["tiles"].index("#") + 1 and len(found["layers"]) == 4
    assert kind.content(items, ".png")[:4] == b"\x89PNG"
    (tmp_path / "few.lvl").write_text("; 0\n" + boards(1)[0] + "\n\n; 1\n" + EASY.replace("\n", "\n"))
    with pytest.raises(DataError, match="one size"):
        contents(tmp_path / "few.lvl")
    with pytest.raises(DataError, match="not among"):
        pofx.levels(boards(2), tiles="# ")


def test_windows_of_a_level_are_in_one_split():
    wide = ["".join(f"{c}" * 12 for _ in range(1)) + "\n" + "ab" * 6 for c in "abcdefgh"]
    data = app_of.read(wide, width=6)
    kept = [{row[0, 0] for row in part.values} for part in data.splits().values()]
    assert not kept[0] & kept[1] and not kept[0] & kept[2] and data.card.facts["levels_held_out"] == 1
    with pytest.raises(DataError, match="at most that of the narrowest"):
        app_of.read(wide, width=40)


def test_of_a_single_level_stretches_are_held_out_and_smaller_ones_are_filled():
    lines = ["".join(chr(97 + i // 10) for i in range(200)), "x" * 200]
    data = app_of.read(["\n".join(lines)], width=10)
    held = [set(part.values[:, 0].reshape(-1).tolist()) for part in data.splits().values()]
    assert not held[0] & held[1] and not held[0] & held[2] and len(data.train) > 50
    rooms = [f"{'#' * w}\n{'#' * w}" for w in (3, 4, 5)]
    with pytest.raises(DataError, match="one size"):
        app_of.read(rooms)
    assert app_of.read(rooms, pad=".").train.values.shape[1:] == (2, 5)


def test_levels_come_as_arrays_lists_of_lines_and_files_in_subfolders(tmp_path):
    values = np.random.default_rng(0).integers(0, 3, (20, 3, 4))
    one = app_of.read(values)
    np.save(tmp_path / "a.npy", values)
    assert one.train.values.shape[1:] == (3, 4) and one.train.facts["names"] == ["0", "1", "2"]
    assert np.array_equal(app_of.read(tmp_path / "a.npy").train.values, one.train.values)
    assert len(app_of.read([["##", "#."], ["..", "##"], [".#", ".."]]).train) == 1
    (tmp_path / "d" / "inner").mkdir(parents=True)
    for i, level in enumerate(boards(5)):
        (tmp_path / "d" / "inner" / f"{i}.txt").write_text(level)
    assert app_of.read(tmp_path / "d").train.values.shape[1:] == (5, 5)
    for wrong in (np.ones((3, 2)), values.astype(float), [1, 2, 3], [], [[1, 2], [3]]):
        with pytest.raises(DataError, match="whole numbers|holds no levels"):
            app_of.read(wrong)
    with pytest.raises(DataError, match="cut windows"):
        app_of.read(["##\n.."])


def test_patterns_of_levels_lower_than_a_pattern_are_whole_columns():
    flat = np.random.default_rng(0).integers(0, 3, (30, 1, 6))
    assert app_of.pattern_divergence(flat, flat.astype(np.uint8)) == 0 < app_of.pattern_divergence(flat, 2 - flat)


def test_turned_levels_are_the_eight_symmetries():
    one = np.arange(9, dtype=np.uint8).reshape(1, 3, 3)
    assert len(app_of.turned(one)) == 8 and len(app_of.turned(np.zeros((1, 3, 3), np.uint8))) == 1
    assert len(app_of.turned(np.arange(6, dtype=np.uint8).reshape(1, 2, 3))) == 4


def test_floors_are_distributions_and_their_draws_are_like_the_data(data):
    train = data.train.values
    classes = len(data.train.facts["tiles"])
    near, alone = (app_of.Neighbours(train, classes, independent=i) for i in (False, True))
    assert near.nats(data.test.values) > 0
    places = train.reshape(len(train), -1)
    counts = np.stack([np.bincount(c, minlength=classes) for c in places.T]) + 1 / classes
    p = counts / counts.sum(1, keepdims=True)
    truth = -np.log(np.take_along_axis(p, data.test.values.reshape(len(data.test), -1).T, 1)).sum() / len(data.test)
    assert alone.nats(data.test.values) == pytest.approx(truth, rel=1e-6)
    assert near.sample(20).shape == (20, 5, 5)


def test_pattern_divergence_is_zero_for_equal_levels_and_grows():
    a = np.random.default_rng(0).integers(0, 3, (50, 6, 6)).astype(np.uint8)
    b = np.random.default_rng(1).integers(0, 3, (50, 6, 6)).astype(np.uint8)
    assert app_of.pattern_divergence(a, a) == 0
    assert app_of.pattern_divergence(a, b) < app_of.pattern_divergence(a, np.minimum(b, 1))
    assert app_of.nearest(a[:3], a).tolist() == [0, 0, 0]


def test_repairs_end_in_valid_levels_that_a_solver_solves(run, data):
    drawn = run.sample(40)
    mended = app_of.repair(run, drawn, "sokoban", solve=True, tries=12)
    tiles = data.train.facts["tiles"]
    good = app_of.valid(mended.values, tiles, "sokoban")
    assert good.mean() >= app_of.valid(drawn, tiles, "sokoban").mean()
    assert (~good).sum() <= mended.left <= mended.changed
    assert mended.left < mended.changed


def test_known_tiles_stay_and_levels_are_widened(data):
    one = app_of.learn(data, "masked-diffusion", width=32, layers=1, steps=20, progress=False)
    template = "#####\n#??.#\n#???#\n#@??#\n#####"
    drawn = pofx.levels(one.sample(10, prefix=[template]), data.train.facts["tiles"])
    texts = [line[0] for line in kind_of(drawn).shown(drawn.values, drawn.facts).lines]
    assert all(t[9] == "." and t[19] == "@" for t in texts)
    wide = app_of.widened(one, drawn.values[0], 11)
    assert wide.shape == (5, 11) and np.array_equal(wide[:, :5], drawn.values[0])
    with pytest.raises(DataError, match="must be among"):
        one.sample(1, prefix=[template.replace("@", "x")])


def test_a_model_in_a_fixed_order_does_not_widen(run):
    check_fills("gpt", begins=True, trained=True)
    with pytest.raises(UsageError, match="cannot fill this template: leave --run out"):
        check_fills("gpt", begins=False, trained=True)
    with pytest.raises(Unsupported, match="masked-diffusion"):
        app_of.widened(run, np.zeros((5, 5), np.uint8), 8)


def test_sizes_and_difficulty_are_conditions(data):
    found = app_of.conditioned(data, ["open", "pushes", "count_$"])
    frame = found.train.condition.values
    assert (frame["count_$"] == 1).all() and frame["open"].between(0, 1).all() and frame["pushes"].max() > 0
    with pytest.raises(UsageError, match="given must be"):
        app_of.conditioned(data, ["hard"])


def test_levels_in_tiles_of_another_game_are_named_before_training(tmp_path):
    rooms = [
        f"█████\n█☺$.█\n█{' ' * (i % 4)}{'█' * (3 - i % 4)}█\n█ █{'█' if i % 2 else ' '}█\n█████" for i in range(4)
    ]
    (tmp_path / "x.txt").write_text("\n\n".join(rooms), encoding="utf-8")
    done = CliRunner().invoke(
        app, ["levels", str(tmp_path / "x.txt"), "--rules", "sokoban", "--out", str(tmp_path / "o")]
    )
    assert "no training level follows the rules" in str(done.exception)
    (tmp_path / "y.txt").write_text("###\n#@#\n###\n\n###\n# \n###\n\n####\n#  #\n####", encoding="utf-8")
    with pytest.raises(DataError, match="--pad"):
        app_of.read(tmp_path / "y.txt")


def test_a_run_of_other_items_is_refused(tmp_path):
    (tmp_path / "rooms.txt").write_text("\n\n".join(boards(20)))
    pofx.fit(np.random.default_rng(0).normal(size=(60, 2)), "gmm", steps=1, out=tmp_path / "run", progress=False)
    words = ["levels", str(tmp_path / "rooms.txt"), "--run", str(tmp_path / "run"), "--out", str(tmp_path / "no")]
    assert "models points items" in str(CliRunner().invoke(app, words).exception)


def test_maps_of_an_editor_are_read_and_written_with_their_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(app_of, "RECIPES", {"gpt": {"width": 24, "layers": 1, "heads": 2, "optimizer": "adamw"}})
    g = np.random.default_rng(0)
    for i in range(20):
        grid = g.integers(0, 2, (4, 4)) * 5 + 3
        (tmp_path / f"{i}.csv").write_text("\n".join(",".join(map(str, row)) for row in grid))
    words = ["levels", str(tmp_path), "--minutes", "0.02", "-n", "4", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out" / "levels.tmj").read_text())
    assert {v for layer in found["layers"] for v in layer["data"]} <= {3, 8}
    assert (tmp_path / "out" / found["tilesets"][0]["image"]).exists()
    done = CliRunner().invoke(app, ["sample", str(tmp_path / "out"), "-n", "2", "--out", str(tmp_path / "two.tmj")])
    assert done.exit_code == 0, done.output
    again = json.loads((tmp_path / "two.tmj").read_text())
    assert {v for layer in again["layers"] for v in layer["data"]} <= {3, 8}
    empty = CliRunner().invoke(app, ["levels", str(tmp_path / "out" / "run"), "--out", str(tmp_path / "no")])
    assert "holds no levels" in str(empty.exception)


def test_the_verb_draws_repairs_and_reports(tmp_path, monkeypatch):
    (tmp_path / "rooms.txt").write_text("\n\n".join(boards()))
    monkeypatch.setattr(app_of, "RECIPES", {"gpt": {"width": 24, "layers": 1, "heads": 2, "optimizer": "adamw"}})
    monkeypatch.setattr(app_of, "TRIES", 2)
    words = [str(tmp_path / "rooms.txt"), "--rules", "sokoban", "--minutes", "0.02", "-n", "20"]
    done = CliRunner().invoke(app, ["levels", *words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    for name in ("held-out levels", "gpt, repaired", "neighbours table", "independent tiles"):
        assert name in done.output
    assert (tmp_path / "out" / "levels.tmj").exists() and (tmp_path / "out" / "levels.png").exists()
