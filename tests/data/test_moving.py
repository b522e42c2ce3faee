"""Moving sprites and digits: straight paths within the walls, every frame the same thing."""

import numpy as np

from pofx.data.moving import FRAMES, moving_digits, paths
from pofx.data.sources import load


def test_paths_are_straight_but_for_the_walls():
    at = paths(300, 2.0, 9.0, 12, np.random.default_rng(0))
    assert at.min() >= 2.0 and at.max() <= 9.0
    steps = np.abs(np.diff(at, axis=1))
    assert steps.max() <= 1.6 + 1e-9
    free = (at[:, :-1] > 3.6) & (at[:, :-1] < 7.4)  # no wall within a step
    assert (steps[free] >= 0.7 - 1e-9).all()


def test_a_digit_keeps_its_pixels():
    clips, labels = moving_digits(50, 1)
    ink = clips.reshape(50, 8, -1).sum(2)
    assert clips.shape == (50, 8, 16, 16) and clips.max() <= 16 and (ink == ink[:, :1]).all() and (ink > 0).all()
    assert set(labels) <= set(range(10)) and (np.diff(clips.astype(int), axis=1) != 0).any((1, 2, 3)).all()


def test_they_are_data_sets_of_clips_with_labels():
    sprites, digits = load("moving-sprites"), load("moving-digits")
    assert sprites.card.kind == digits.card.kind == "video"
    assert sprites.train.values.shape[1:] == (FRAMES, 16, 16) and digits.train.values.shape[1:] == (8, 16, 16)
    assert len(np.unique(sprites.train.labels)) == 3 and len(np.unique(digits.train.labels)) == 10
    assert np.array_equal(load("moving-digits").test.values, digits.test.values)
