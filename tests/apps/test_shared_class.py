"""Arrays through a class that they share: a part of few values is the class, else it is found."""

import numpy as np
import pytest
from typer.testing import CliRunner

from pofx.apps.shared_class import few_values, through_class
from pofx.apps.shared_parts import SharedParts
from pofx.cli.main import app
from pofx.core.errors import DataError, Unsupported, UsageError

pytestmark = pytest.mark.filterwarnings("ignore")
N = 240


@pytest.fixture(scope="module")
def parts():
    """A word of two places, and a picture whose rows from the number of the word on are filled."""
    words = np.stack((np.resize([0, 1, 2], N), np.resize([0, 0, 0, 1, 1, 1], N)), 1)
    rows = np.arange(2)[None, :, None] < words[:, 0, None, None]
    return {"word": words, "picture": np.broadcast_to(rows * (1 + words[:, 1, None, None]), (N, 2, 2)).astype(np.uint8)}


@pytest.fixture(scope="module")
def model(parts):
    small = {"width": 24, "layers": 1, "heads": 2, "batch_size": 64, "lr": 0.02, "precision": "fp32"}
    return through_class(parts, options={"picture": small}, steps=100)


def test_a_part_of_few_values_is_the_class_and_agrees_in_all_directions(model, parts):
    assert list(model.runs) == ["picture"] and len(model.values["word"]) == 6
    assert np.exp(model.log_p).sum() == pytest.approx(1)

    def of(pictures):
        heights = (np.asarray(pictures)[:, :, 0] > 0).sum(1)
        return heights

    both = model.sample(100, seed=1)
    assert both["picture"].shape == (100, 2, 2) and (of(both["picture"]) == both["word"][:, 0]).mean() > 0.6
    painted = model.sample(N, {"word": parts["word"]}, seed=2)["picture"]
    assert (of(painted) == parts["word"][:, 0]).mean() > 0.6
    named = model.sample(60, {"picture": parts["picture"][:60]}, seed=3)["word"]
    assert (named[:, 0] == parts["word"][:60, 0]).mean() > 0.6
    one = model.sample(5, {"picture": parts["picture"][2]}, seed=3)  # one for all, without its axis
    assert one["picture"].shape == (5, 2, 2)


def test_a_word_may_be_known_in_places_and_what_never_occurred_is_refused(model, parts):
    partly = model.sample(40, {"word": np.array([2, -1])}, seed=1)["word"]
    assert (partly[:, 0] == 2).all() and set(partly[:, 1]) == {0, 1}
    with pytest.raises(DataError, match="never occurred"):
        model.sample(2, {"word": np.array([7, 0])})
    assert np.isneginf(model.log_prob({"word": np.array([[7, 0]])})).all()
    every = np.array([[a, b] for a in range(3) for b in range(2)])
    assert np.exp(model.log_prob({"word": every})).sum() == pytest.approx(1)
    with pytest.raises(DataError, match="whole numbers"):
        model.sample(2, {"word": np.array([[0.5, 1.0]])})
    known = parts["picture"][0].astype(int)
    known[1] = -1
    with pytest.raises(Unsupported, match="learn a Joint"):
        model.sample(2, {"picture": known})
    with pytest.raises(UsageError, match="unknown part"):
        model.sample(2, {"sound": known})


def test_it_is_saved_with_its_values(model, tmp_path):
    again = SharedParts.load(model.save(tmp_path / "shared"))
    for name, part in model.sample(3, seed=4).items():
        assert np.array_equal(part, again.sample(3, seed=4)[name])


def test_without_such_a_part_the_class_is_found():
    which = np.resize([0, 1], N)
    places = 8.0 * which[:, None] - 4 + np.random.default_rng(0).normal(size=(N, 2))
    small = {"layers": 1, "width": 16}
    model = through_class({"a": places, "b": -places[:, :1]}, options={"a": small, "b": small}, steps=60)
    drawn = model.sample(100, seed=0)
    assert set(model.runs) == {"a", "b"} and ((drawn["a"][:, 0] > 0) == (drawn["b"][:, 0] < 0)).mean() > 0.8


@pytest.mark.parametrize(
    "wrong", [np.zeros(N), -np.ones((N, 2), int), np.arange(N), np.zeros((N, 2, 2)), np.zeros((3, 2), int), ["a"] * N]
)
def test_what_is_no_part_is_refused(wrong):
    with pytest.raises(DataError):
        through_class({"a": np.random.default_rng(0).integers(0, 50, (N, 3)), "b": wrong}, steps=1)


def test_rare_values_are_no_class():
    assert few_values(np.arange(100)[:, None]) is None and few_values(np.zeros((100, 2))) is None
    rows, code = few_values(np.resize([3, 5], 100))
    assert rows.tolist() == [3, 5] and code[:2].tolist() == [0, 1]


def test_the_verb_draws_arrays_through_a_class(parts, tmp_path):
    np.savez(tmp_path / "x.npz", **parts)
    words = ["multimodal", str(tmp_path / "x.npz"), "--model", "shared", "--minutes", "0.02", "-n", "4", "--out"]
    done = CliRunner().invoke(app, [*words, str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    np.savez(tmp_path / "some.npz", word=np.array([[1, 1]]))
    again = [*words[:2], "--run", str(tmp_path / "out"), "--given", str(tmp_path / "some.npz"), "-n", "5", "--out"]
    done = CliRunner().invoke(app, [*again, str(tmp_path / "more")])
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "more" / "events.npz") as file:
        assert file["word"].tolist() == [[1, 1]] * 5 and file["picture"].shape == (5, 2, 2)
