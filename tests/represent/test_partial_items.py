"""Partial images and texts: what is known of them wherever it is, and -1 elsewhere."""

import numpy as np
import pytest
import torch

import pofx
from pofx.core.errors import DataError
from pofx.data.kinds.image import images
from pofx.data.kinds.text import texts
from pofx.represent.characters import Characters
from pofx.represent.image import Binary, Levels


def pictures(grey=True):
    return np.random.default_rng(0).integers(0, 256, (3, 4, 5) if grey else (3, 4, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("how", ["nan", "minus", "masked"])
def test_pixels_may_be_unknown_anywhere(grey, how):
    x = pictures(grey)
    view = Levels.fit(images(x))
    hole = np.zeros(x.shape, bool)
    hole[:, 1:3, 2:4] = True
    known = {
        "nan": np.where(hole, np.nan, x),
        "minus": np.where(hole, -1, x.astype(int)),
        "masked": np.ma.masked_array(x, hole),
    }[how]
    found = view.prefix(known)
    whole = view.tensor(x).long()
    gaps = torch.from_numpy(hole)[:, None] if grey else torch.from_numpy(hole).permute(0, 3, 1, 2)
    assert torch.equal(found[~gaps], whole[~gaps]) and (found[gaps] == -1).all()


def test_pixels_of_one_picture_and_of_black_and_white_ones():
    x = 255 * (pictures() > 127).astype(np.uint8)
    view = Binary.fit(images(x), binarise="threshold")
    known = np.where(np.arange(4)[None, :, None] % 2 == 0, np.nan, x)
    found = view.prefix(known)
    assert (found[:, :, ::2] == -1).all() and torch.equal(found[:, 0, 1::2], torch.from_numpy(x[:, 1::2] // 255).long())
    rows = view.prefix(x[:, :2])
    assert (rows[:, :, 2:] == -1).all() and (rows[:, :, :2] >= 0).all()


def test_texts_have_gaps_of_so_many_characters():
    view = Characters.fit(texts(["to be or not", "not to be"]), length=12)
    found = view.prefix(("to ", 2, " or"))
    codes = view.tensor(["to be or"])[0]
    assert found[0, :3].tolist() == codes[:3].tolist() and found[0, 5:8].tolist() == codes[5:8].tolist()
    assert (found[0, 3:5] == -1).all() and (found[0, 8:] == -1).all()
    assert torch.equal(view.prefix(["to", (1, "o")])[0], view.prefix("to")[0])
    for wrong in [("to", 0), ("to", 13), ("to", ""), ("to", 1.5)]:
        with pytest.raises(DataError, match="gap"):
            view.prefix(wrong)


def test_a_masked_model_fills_gaps_and_a_causal_one_names_them():
    x = np.random.default_rng(1).integers(0, 4, (40, 3, 4), dtype=np.uint8)
    data = pofx.images(x, levels=4)
    known = np.where(np.arange(4) == 1, np.nan, x[:2])
    run = pofx.fit(data, "masked-diffusion", steps=2, width=32, layers=1, progress=False)
    drawn = run.sample(2, prefix=known)
    assert np.array_equal(drawn[~np.isnan(known)], x[:2][~np.isnan(known)])
    causal = pofx.fit(data, "pixelcnn", steps=2, width=8, layers=1, progress=False)
    with pytest.raises(DataError, match="gaps"):
        causal.sample(2, prefix=known)
