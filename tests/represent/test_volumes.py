"""Views of clips and solids: what goes in comes out, and the law of bits per dimension."""

import math

import numpy as np
import pytest
import torch

from pofx.core.errors import DataError
from pofx.core.event import check
from pofx.core.random import Streams
from pofx.data.kinds.video import video
from pofx.data.kinds.voxels import voxels
from pofx.represent.choose import views
from pofx.represent.volumes import VolumeLevels, VolumeLogit, VolumeUnit

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("view", [VolumeLevels, VolumeLogit, VolumeUnit])
@pytest.mark.parametrize("shape", [(3, 6, 5), (3, 6, 5, 1), (3, 6, 5, 3)])
def test_clips_go_out_as_they_came_in(view, shape):
    x = RNG.integers(0, 7, (9, *shape), dtype=np.uint8)
    fitted = view.fit(video(x, levels=7))
    raw = fitted.tensor(x)
    event, ladj = fitted.encode(raw, Streams(0, 9))
    check(fitted.event, event)
    channels = shape[3] if len(shape) == 4 else 1
    assert fitted.event.shape == (channels, 3, 6, 5) and ladj.shape == (9,) and fitted.dims == math.prod(shape)
    out = fitted.items(fitted.decode(event))
    assert np.array_equal(out, x) and out.dtype == np.uint8
    assert fitted.as_batch(x[0]).shape == x[:1].shape
    again = view(**{k: getattr(fitted, k) for k in ("shape", "levels", "flat")})
    assert again.event == fitted.event
    with pytest.raises(DataError):
        fitted.tensor(x[:, :2])


def test_the_first_frames_are_a_prefix():
    x = RNG.integers(0, 4, (5, 3, 6, 5), dtype=np.uint8)
    fitted = VolumeLevels.fit(video(x, levels=4))
    known = fitted.prefix(x[:, :2])
    assert known.shape == (5, 1, 3, 6, 5) and (known[:, :, 2] == -1).all()
    assert np.array_equal(known[:, 0, :2].numpy(), x[:, :2])


def test_solids_have_the_views_of_clips():
    x = voxels(RNG.integers(0, 2, (9, 4, 4, 4)))
    assert [v.name for v in views("voxels")] == ["levels", "logit", "unit"]
    fitted = VolumeUnit.fit(x)
    event, ladj = fitted.encode(fitted.tensor(x.values), Streams(0, 9))
    assert event.shape == (9, 1, 4, 4, 4) and np.array_equal(fitted.items(fitted.decode(event)), x.values)
    bits = -(torch.full(event.shape, -math.log(2.0)).flatten(1).sum(1) + ladj) / (64 * math.log(2))
    assert torch.allclose(bits, torch.ones(9), atol=1e-5)  # uniform in [-1, 1] is one bit a voxel
