"""Several parts of one event: any given any others, a density of each, pictures that show what their captions name."""

import numpy as np
import pytest
from typer.testing import CliRunner

from pofx.apps.joint import Joint
from pofx.apps.multimodal import agreement, read_parts
from pofx.cli.main import app
from pofx.core.errors import DataError, PofxError, Unsupported, UsageError
from pofx.data.captioned_tiles import read, seen, text, tiles

pytestmark = pytest.mark.filterwarnings("ignore")


def small(n=600, seed=0):
    """Two bits, and a row of three that holds their sum in its first place, with one flip in ten in the second."""
    g = np.random.default_rng(seed)
    a = g.integers(0, 2, (n, 2))
    b = np.stack((a.sum(1), np.where(g.random(n) < 0.1, 1 - a[:, 0], a[:, 0]), g.integers(0, 3, n)), 1)
    return {"bits": a, "row": b}


@pytest.fixture(scope="module")
def joint():
    return Joint(options={"states": 8}, steps=30).fit(small())


def test_the_rule_sees_what_is_drawn():
    pictures, captions = tiles(200)
    assert (seen(pictures) == captions).all()
    assert (read(text(captions[0])) == captions[0]).all() and read("large ring").tolist() == [1, -1, 2]
    assert (seen(np.zeros((1, 10, 10), int)) == -1).all()


def test_each_part_given_the_other_and_both_from_nothing(joint):
    both = joint.sample(400, seed=1)
    assert both["bits"].shape == (400, 2) and (both["row"][:, 0] == both["bits"].sum(1)).mean() > 0.9
    given = small(200, 5)
    row = joint.sample(200, {"bits": given["bits"]}, seed=2)
    assert np.array_equal(row["bits"], given["bits"]) and (row["row"][:, 0] == given["bits"].sum(1)).mean() > 0.9
    bits = joint.sample(200, {"row": given["row"]}, seed=3)["bits"]
    assert (bits.sum(1) == given["row"][:, 0]).mean() > 0.9
    partly = joint.sample(200, {"bits": np.array([1, -1])}, seed=3)
    assert (partly["bits"][:, 0] == 1).all() and 0.3 < partly["bits"][:, 1].mean() < 0.7
    assert np.array_equal(
        joint.sample(5, {"bits": [1, 0]}, seed=4)["row"], joint.sample(5, {"bits": [1, 0]}, seed=4)["row"]
    )


def test_conditionals_are_differences_and_sum_to_one(joint):
    every = np.array([[a, b] for a in (0, 1) for b in (0, 1)])
    row = np.repeat([[1, 1, 0]], 4, 0)
    p = np.exp(joint.log_prob({"bits": every, "row": row}, given=["row"]))
    assert p.sum() == pytest.approx(1, abs=0.03) and p[2] > 0.7  # (1, 0)
    whole = joint.log_prob({"bits": every, "row": row})
    assert np.allclose(whole, joint.log_prob({"row": row}) + np.log(p), atol=1e-3)


def test_what_cannot_be_is_refused(joint):
    with pytest.raises(UsageError, match="part"):
        joint.sample(2, {"sound": [1]})
    with pytest.raises(DataError, match="shape"):
        joint.sample(2, {"bits": np.ones((3, 2), int)})
    with pytest.raises(DataError, match="equally many"):
        Joint().fit({"a": np.ones((4, 2), int), "b": np.ones((5, 2), int)})
    for wrong in (np.int64(3), np.ones((4, 0), int), [], None, -np.ones((4, 2), int)):
        with pytest.raises(PofxError):
            Joint().fit({"a": np.ones((4, 2), int), "b": wrong})
    with pytest.raises(Unsupported, match="circuit"):
        Joint("made", steps=1).fit(small(60))


@pytest.mark.parametrize("model", ["circuit", "masked-diffusion", "made"])
def test_parts_with_unlike_classes_draw_their_own_alone(model):
    g = np.random.default_rng(0)
    label = g.integers(0, 3, 400)
    parts = {
        "label": label, "flag": label > 0, "constant": np.zeros((400, 1), int),
        "picture": np.minimum(g.integers(0, 40, (400, 2, 2)) + 20 * label[:, None, None], 61).astype("u1"),
    }  # fmt: skip
    options = {"states": 8} if model == "circuit" else {"width": 32}
    if model == "made":
        with pytest.raises(Unsupported, match="choose circuit, vae or masked-diffusion"):
            Joint(model, options=options, steps=1).fit(parts)
        return
    made = Joint(model, options=options, steps=20).fit(parts)
    drawn = made.sample(300, seed=1)
    for name, part in parts.items():
        assert drawn[name].shape == (300, *part.shape[1:]) and drawn[name].max() <= part.max(), name
    given = made.sample(20, {"label": 2, "picture": np.full((2, 2), -1)})
    assert (given["label"] == 2).all() and given["picture"].max() <= 61
    if model == "circuit":  # no mass lies on classes that a part does not have
        every = {"label": np.arange(3), "flag": np.zeros(3, int)}
        mass = np.exp(made.log_prob({"label": every["label"]})).sum()
        assert mass == pytest.approx(1, abs=1e-4)
        assert (drawn["flag"] == (drawn["label"] > 0)).mean() > 0.9
    for wrong in ({"label": 3}, {"label": -2}, {"flag": 0.5}, {"picture": np.full((2, 2), 62)}, {"picture": 1}):
        with pytest.raises(PofxError):
            made.sample(2, wrong)


def test_agreement_is_above_chance_in_all_directions():
    pictures, captions = tiles(1200)
    made = Joint(options={"states": 16}, steps=15).fit({"caption": captions, "picture": pictures})
    found = agreement(made, *tiles(60, 9))
    assert min(v for k, v in found.items() if k != "chance") > found["chance"] + 0.1


def test_the_verb(tmp_path):
    parts = small(100)
    np.savez(tmp_path / "x.npz", **parts)
    words = ["multimodal", str(tmp_path / "x.npz"), "--out", str(tmp_path / "out"), "--minutes", "0.02", "-n", "4"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "out" / "events.npz") as file:
        assert file["row"].shape == (4, 3)
    np.savez(tmp_path / "some.npz", bits=np.array([[1, 1]]))
    again = [*words[:2], "--run", str(tmp_path / "out"), "--given", str(tmp_path / "some.npz"), "-n", "5", "--out"]
    done = CliRunner().invoke(app, [*again, str(tmp_path / "more")])
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "more" / "events.npz") as file:
        assert file["bits"].tolist() == [[1, 1]] * 5 and file["row"].shape == (5, 3)
    np.savez(tmp_path / "some.npz", bit=np.array([[1, 1]]))
    wrong = CliRunner().invoke(app, [*again, str(tmp_path / "no")])
    assert "unknown part" in str(wrong.exception)


def test_labels_that_are_words_are_drawn_and_written(tmp_path):
    bits = np.resize([0, 1], 60)
    np.savez(tmp_path / "x.npz", word=np.array(["no", "yes"])[bits], row=np.stack((bits, 1 - bits), 1))
    words = ["multimodal", str(tmp_path / "x.npz"), "--out", str(tmp_path / "out"), "--minutes", "0.02", "-n", "4"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "out" / "events.npz") as file:
        assert set(file["word"].tolist()) <= {"no", "yes"} and file["row"].shape == (4, 2)


def test_a_saved_model_draws_the_same(joint, tmp_path):
    again = Joint.load(joint.save(tmp_path / "joint"))
    a, b = (one.sample(6, {"row": np.array([[2, 1, -1]])}, seed=3) for one in (joint, again))
    assert all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("use", ["joint.Joint", "virtual_lab.VirtualLab", "forecaster.Forecaster", "voice.Voice"])
def test_a_run_of_another_use_is_named(use, joint, tmp_path):
    from importlib import import_module

    module, _, name = use.partition(".")
    of = getattr(import_module(f"pofx.apps.{module}"), name)
    joint.run.save(tmp_path / "run")
    with pytest.raises(UsageError, match="give the folder of a"):
        of.load(tmp_path / "run")
    with pytest.raises(UsageError, match="does not exist"):
        of.load(tmp_path / "nowhere")


def test_a_file_that_is_no_npz_is_named_so(tmp_path):
    (tmp_path / "parts.txt").write_text("1 2 3")
    with pytest.raises(DataError, match="give an .npz"):
        read_parts(tmp_path / "parts.txt")
