"""Pictures and recordings of the same digit: paired by it, named by classifiers, agreement in all three directions."""

import numpy as np
import pytest
from sklearn.svm import SVC

import pofx
from pofx.apps import spoken_pairs as app_of
from pofx.apps.joint import Joint
from pofx.core.errors import DataError
from pofx.data.kinds.audio import audio

RATE = 4000


def clip(digit, g):
    t = np.arange(g.integers(500, 700)) / RATE
    return (0.2 * np.sin(2 * np.pi * (400 + 500 * digit) * t)).astype(np.float32)


@pytest.fixture(scope="module")
def pairs():
    g = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = np.zeros((60, 14, 14), int)
    x[y == 0, :, :5], x[y == 1, :, 9:] = 3, 3
    said = np.arange(24) % 2
    sounds = audio([clip(d, g) for d in said], rate=RATE)
    made = app_of.paired(x, y, sounds, said, (x[:6], y[:6]), (sounds, said), 40, 0)
    made.clips = made.view = np.asarray  # codes as they are: how they sound is a test of voices
    made.ear = SVC(C=10).fit(made.held["sound"][0].to_numpy(), said)
    return made


def test_pairs_are_of_one_digit_and_classifiers_name_it(pairs):
    assert pairs.pictures.shape == (40, 14, 14) and pairs.sounds.shape[0] == 40
    assert np.array_equal(pairs.see(pairs.pictures), pairs.hear(pairs.sounds))


def test_a_model_that_repeats_the_pairs_agrees_in_all_directions(pairs):
    class Memory:
        def sample(self, n, given=None, *, seed=0):
            g = np.random.default_rng(seed)
            if not given:
                at = g.integers(40, size=n)
            elif "picture" in given:
                known = app_of.pixels(given["picture"])
                at = [np.abs(pairs.pictures - one).sum((1, 2)).argmin() for one in known]
            else:
                known = pairs.sounds.to_numpy()
                at = [np.square(known - one).sum(1).argmin() for one in given["sound"].to_numpy()]
            return {"picture": app_of.squares(pairs.pictures[at]), "sound": pairs.sounds.iloc[at]}

    found = app_of.agreement(Memory(), pairs, 20)
    assert min(v for k, v in found.items() if k != "chance") == 1.0 and found["chance"] < 1


def test_greys_are_means_of_four_pixels_in_four_classes():
    picture = np.zeros((1, 28, 28), np.uint8)
    picture[0, :2, :2] = 255
    assert app_of.greys(picture)[0, 0, 0] == 3 and app_of.greys(picture).sum() == 3


def test_figures_and_words_are_digits():
    items = pofx.audio([np.ones(50, np.float32)] * 2, rate=RATE)
    items.facts["label_names"] = ["seven", "3"]
    items = items if items.labels is not None else app_of.Items("audio", items.values, np.array([0, 1]), items.facts)
    assert list(app_of._digits(items)) == [7, 3]


def test_squares_are_pictures_and_back():
    g = np.random.default_rng(0)
    x = g.integers(4, size=(5, 14, 14))
    assert app_of.squares(x).shape == (5, 49) and np.array_equal(app_of.pixels(app_of.squares(x)), x)
    x[0, 3, 2] = -1  # a square that is known in part is not known
    assert (app_of.squares(x) < 0).sum() == 1 and app_of.squares(x)[0, 8] == -1
    for wrong in (x[:, :5], x + 4, x.astype(float)):
        with pytest.raises(DataError, match="picture must"):
            app_of.squares(wrong)


def test_pairs_are_learned_and_drawn_given_a_part(pairs):
    joint = app_of.fitted(Joint("masked-diffusion", options={"width": 32, "layers": 1}, steps=2), pairs)
    both = joint.sample(2)
    assert app_of.pixels(both["picture"]).shape == (2, 14, 14)
    x = pairs.pictures[:3]
    found = joint.sample(3, {"picture": app_of.squares(x)})
    assert np.array_equal(app_of.pixels(found["picture"]), x) and len(found["sound"]) == 3
    assert len(joint.sample(2, {"sound": pairs.sounds.iloc[:1]})["picture"]) == 2
