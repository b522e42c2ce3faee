"""Captions state what the picture shows: colour by its pixels, size and count by connected parts."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from pofx.core.config import build
from pofx.core.event import Bounded, Discrete
from pofx.core.model import Batch
from pofx.data.captioned_shapes import COLOURS, COUNTS, FACTORS, SCALES, captions, render
from pofx.data.sources import load


def test_captions_are_english():
    assert captions([[2, 0, 0, 0]]) == ["three small red squares"]
    assert captions([[0, 1, 2, 1]]) == ["one large blue ellipse"]


def test_pictures_show_what_the_caption_states():
    rng = np.random.default_rng(0)
    values = np.stack([rng.integers(0, k, 400) for k in FACTORS.values()], 1)
    pictures = render(values)
    assert pictures.shape == (400, 32, 32, 3) and pictures.dtype == np.uint8
    paint = np.array(list(COLOURS.values()))
    for picture, (_, _, colour, _) in zip(pictures, values, strict=True):
        assert np.array_equal(picture.reshape(-1, 3).max(0), paint[colour])
    parts = np.array([ndimage.label(p.max(2) > 100)[1] for p in pictures])
    assert (parts == values[:, 0] + 1).mean() > 0.9  # neighbours may touch
    covered = (pictures.max(3) > 100).mean((1, 2)) / (values[:, 0] + 1)
    assert covered[values[:, 1] == 1].mean() > 2 * covered[values[:, 1] == 0].mean()
    assert len(COUNTS) * len(SCALES) == 8


@pytest.mark.slow
def test_the_caption_is_the_condition_of_every_item():
    data = load("captioned-shapes")
    assert data.train.condition.kind == "text" and len(data.train.condition) == len(data.train)
    assert np.array_equal(render(np.array([[0, 0, 0, 0]]), seed=1), render(np.array([[0, 0, 0, 0]]), seed=1))


def test_a_matching_critic_counts_real_items_under_other_conditions_as_samples():
    torch.manual_seed(0)
    gan = build("r3gan", Bounded((3, 8, 8)), Discrete((6,), 5), width=16, latent=8, matching=1.0)
    with torch.no_grad():
        for p in gan.parameters():
            p.add_(0.1 * torch.randn_like(p))
    batch = Batch(torch.rand(4, 3, 8, 8), torch.randint(5, (4, 6)))
    parts = gan("critic", batch)
    assert float(parts["matching"].detach()) > 0
    same = gan("critic", Batch(batch.x, batch.condition[:1].expand(4, 6)))
    assert float(same["matching"].detach()) == 0  # where conditions are equal nothing is mismatched
