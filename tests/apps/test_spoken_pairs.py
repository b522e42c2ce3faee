"""Pictures and recordings of the same digit: paired by it, named by classifiers, agreement in all three directions."""

import numpy as np
import pytest
from sklearn.svm import SVC

import pofx
from pofx.apps import spoken_pairs as app_of
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
                at = [np.abs(pairs.pictures - one).sum((1, 2)).argmin() for one in given["picture"]]
            else:
                known = pairs.sounds.to_numpy()
                at = [np.square(known - one).sum(1).argmin() for one in given["sound"].to_numpy()]
            return {"picture": pairs.pictures[at], "sound": pairs.sounds.iloc[at]}

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
