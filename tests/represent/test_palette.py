"""Pictures as colours of a palette: they come back, other colours are impossible, too many are refused."""

import numpy as np
import pytest
import torch

import pofx
from pofx.core.errors import DataError
from pofx.core.event import check
from pofx.core.random import Streams
from pofx.data.kinds.image import images
from pofx.represent.palette import Palette

COLOURS = np.array([(0, 0, 0), (255, 0, 10), (3, 200, 9), (7, 7, 255), (7, 255, 7)], np.uint8)


def sprites(n=24, side=4, seed=0):
    return COLOURS[np.random.default_rng(seed).integers(0, len(COLOURS), (n, side, side))]


@pytest.mark.parametrize("grey", [False, True])
def test_pictures_come_back_and_classes_are_colours(grey):
    x = sprites()[..., 1] if grey else sprites()
    view = Palette.fit(images(x))
    raw = view.tensor(x)
    event, ladj = view.encode(raw, Streams(0, len(raw)))
    check(view.event, event)
    assert event.shape == (24, 1, 4, 4) and view.event.largest == len(
        np.unique(x.reshape(-1, 1 if grey else 3), axis=0)
    )
    assert np.array_equal(view.items(view.decode(event)), x) and not ladj.any()
    begun = view.prefix(x[:, :2])
    assert torch.equal(begun[:, :, :2], event[:, :, :2]) and (begun[:, :, 2:] == -1).all()


def test_another_colour_has_no_probability_and_too_many_are_refused():
    x = sprites()
    other = x[:2].copy()
    other[1, 0, 0] = (1, 2, 3)
    run = pofx.fit(pofx.images(x), "pixelcnn", represent="palette", steps=2, width=8, layers=1, progress=False)
    log_p = run.log_prob(other)
    assert np.isfinite(log_p[0]) and log_p[1] == -np.inf and run.density == pofx.Density.EXACT
    drawn = run.sample(3)
    assert drawn.shape == (3, 4, 4, 3) and (drawn[..., None, :] == COLOURS).all(-1).any(-1).all()
    with pytest.raises(DataError, match="no training picture"):
        run.sample(1, prefix=other[1:, :1])
    with pytest.raises(DataError, match="colours, a palette at most 256"):
        Palette.fit(images(np.random.default_rng(0).integers(0, 255, (9, 8, 8, 3)).astype(np.uint8)))


def test_a_run_of_a_palette_is_kept(tmp_path):
    run = pofx.fit(pofx.images(sprites()), "masked-diffusion", represent="palette", steps=2, width=32, layers=1,
                   progress=False)  # fmt: skip
    run.save(tmp_path / "r")
    assert np.array_equal(pofx.load(tmp_path / "r").sample(2, seed=1), run.sample(2, seed=1))
