"""WaveGAN: any length, phase shuffle item by item, clips in and out."""

import warnings

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

import pofx
from pofx.core.config import build
from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.nets.vector.wave import GrowingConv, WaveFeatures, shuffled
from pofx.represent.waveform import Waveform


@pytest.mark.parametrize("length", [5, 100, 257])
def test_signals_of_any_length(length):
    torch.manual_seed(0)
    gan = build("wavegan", Bounded((length,)), Discrete((), 3), width=4, latent=8)
    x = Batch(torch.rand(4, length) * 2 - 1, torch.arange(4) % 3)
    for phase in gan.phases():
        loss = gan(phase.name, x)
        assert all(torch.isfinite(v) for v in (loss.values() if isinstance(loss, dict) else [loss]))
    y = gan.eval().sample(4, x.condition, generator=Streams(0, 4))
    assert y.shape == x.x.shape and y.abs().max() <= 1
    torch.testing.assert_close(gan.sample(2, x.condition[:2], generator=Streams(0, 4)[:2]), y[:2], rtol=1e-4, atol=1e-5)


def test_phase_shuffle_moves_every_item_by_its_own_number_of_places():
    torch.manual_seed(0)
    h = torch.arange(20.0).repeat(64, 2, 1)
    moved = shuffled(h, 3)
    shifts = moved[:, 0, 10] - 10
    assert set(shifts.tolist()) == {-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0}
    torch.testing.assert_close(moved[:, 0], moved[:, 1])
    one = moved[shifts == 2][0, 0]
    assert one[:18].tolist() == list(range(2, 20)) and one[18:].tolist() == [18, 17]  # reflected
    net = WaveFeatures(100, 4, 8)
    x = torch.rand(3, 100)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_clips_are_cut_or_filled_and_drawn(tmp_path):
    rng = np.random.default_rng(0)
    clips = [rng.uniform(-0.5, 0.5, n).astype(np.float32) for n in rng.integers(60, 130, 40)]
    data = pofx.audio(clips, rate=1000)
    run = pofx.fit(data, "wavegan", steps=2, length=100, width=4, progress=False)
    drawn = run.sample(3)
    assert [len(clip) for clip in drawn] == [100] * 3 and max(np.abs(c).max() for c in drawn) <= 1
    with pytest.raises(UsageError, match="represent=waveform"):  # what other models can have on request is named
        pofx.fit(data, "r3gan", steps=2, progress=False)
    longest = pofx.fit(data, "wavegan", steps=1, represent="waveform", width=4, progress=False)
    assert len(longest.sample(1)[0]) >= max(len(c) for c in clips) - 10


def test_a_few_clips_that_are_far_longer_do_not_lengthen_all():
    clips = [np.zeros(n, np.float32) for n in [100, 120] * 150]
    fit = lambda clips, **options: Waveform.fit(pofx.audio(clips, rate=1000), **options)  # noqa: E731
    assert fit([*clips, np.zeros(150, np.float32)]).length == 150  # not far
    with pytest.warns(UserWarning, match=r"1 of 301 clips are longer than 120 samples and are cut .*length=900"):
        assert fit([*clips, np.zeros(900, np.float32)]).length == 120
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit([*clips, np.zeros(900, np.float32)], length=900).length == 900
        assert fit([np.zeros(50, np.float32), np.zeros(900, np.float32)]).length == 900


@pytest.mark.parametrize("size", [24, 23])
def test_growing_and_convolving_at_once_is_one_after_the_other(size):
    torch.manual_seed(0)
    conv, h = GrowingConv(3, 5), torch.randn(2, 3, 6)
    wanted = conv(interpolate(h, scale_factor=4, mode="nearest"))
    torch.testing.assert_close(conv.grown(h, size), wanted[..., :size], rtol=1e-4, atol=1e-5)
    assert set(conv.state_dict()) == {"weight", "bias"}
