"""Parts through a class that they share: agreement, Bayes' rule, densities that add up, files."""

import numpy as np
import pytest

from pofx.apps.shared_parts import SharedParts
from pofx.core.errors import DataError, UsageError
from pofx.data.kinds.points import points
from pofx.data.kinds.tokens import tokens

N = 240


@pytest.fixture(scope="module")
def made():
    g = np.random.default_rng(0)
    which = np.resize([0, 1], N)
    words = np.repeat(3 * which[:, None], 2, 1) + g.integers(0, 2, (N, 2))
    places = (8.0 * which[:, None] - 4) + g.normal(size=(N, 2))
    parts = {"word": tokens(words, classes=5), "place": points(places)}
    options = {"word": {"states": 2, "steps": 20}, "place": {"steps": 5}}
    model = SharedParts({"word": "circuit", "place": "gmm"}, options=options, steps=150).fit(parts, which)
    return model, words, places, which


def test_parts_agree_from_nothing_and_given_each_other(made):
    model, words, places, which = made
    both = model.sample(100, seed=1)
    assert ((np.asarray(both["word"])[:, 0] >= 3) == (both["place"][:, 0] > 0)).mean() > 0.9
    there = model.sample(N, {"word": words}, seed=2)
    assert ((there["place"][:, 0] > 0) == which).mean() > 0.9 and np.array_equal(there["word"], words)
    said = model.sample(N, {"place": places}, seed=3)["word"]
    assert ((np.asarray(said)[:, 0] >= 3) == which).mean() > 0.9
    one = model.sample(5, {"place": places[:1]})
    assert len(one["place"]) == 5 and len(one["word"]) == 5


def test_densities_are_those_of_a_mixture(made):
    model, words, places, _ = made
    both = model.log_prob({"word": words[:4], "place": places[:4]})
    by_class = model.log_joint({"word": words[:4]}) + model.log_joint({"place": places[:4]}) - model.log_p
    assert np.allclose(both, np.logaddexp(*by_class.T), atol=1e-4)
    every = np.array([[a, b] for a in range(5) for b in range(5)])
    assert np.exp(model.log_prob({"word": every})).sum() == pytest.approx(1, abs=1e-4)


def test_it_is_saved_whole_and_refuses_what_it_does_not_know(made, tmp_path):
    model, words, _, _ = made
    again = SharedParts.load(model.save(tmp_path / "shared"))
    for name, part in model.sample(3, seed=4).items():
        assert np.array_equal(np.asarray(part), np.asarray(again.sample(3, seed=4)[name]))
    with pytest.raises(UsageError, match="unknown part"):
        model.sample(2, {"sound": words[:2]})
    with pytest.raises(DataError, match="one for all"):
        model.sample(3, {"word": words[:2]})
    with pytest.raises(DataError, match="must be those"):
        SharedParts({"word": "gpt"}).fit({}, np.zeros(3, int))
