"""Laws of PixelCNN++: mixtures over channels are distributions, grids of any size, tables and terms agree, caches."""

import math

import pytest
import torch

from pofx.core import config
from pofx.core.errors import UsageError
from pofx.core.event import Discrete
from pofx.core.model import Batch
from pofx.families.autoregressive import pixelcnn_pp
from pofx.maths.discretised_logistic import log_mass
from pofx.maths.linked_logistics import channel_logits, count, log_terms
from pofx.nets.causal.shifted_conv import NormedConv

SIZE = {"width": 4, "blocks": 1, "mixtures": 2}


def rough(event, condition=None, *, dtype=torch.float64, scale=0.3, **options):
    """A model with weights far from its start."""
    torch.manual_seed(0)
    model = config.build("pixelcnn++", event, condition, **{**SIZE, **options}).to(dtype).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(scale * torch.randn_like(p))
    return model


def mixtures(n, channels, m, *, wide):
    """Random mixtures, with means far outside and scales from the narrowest to the widest when `wide`."""
    raw = torch.randn(n, count(channels, m), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = raw.unflatten(-1, (-1, m))
    if wide:
        parts[:, 1 : 1 + channels] *= 2.0
        parts[:, 1 + channels : 1 + 2 * channels] *= 5.0
    return raw


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("channels", "levels"), [(1, 5), (2, 4), (3, 3), (4, 2), (2, 1)])
def test_a_mixture_over_channels_is_one_distribution(channels, levels, wide):
    raw = mixtures(40, channels, 3, wide=wide)
    x = torch.cartesian_prod(*[torch.arange(levels)] * channels).reshape(-1, channels)
    pairs = raw[:, None].expand(-1, len(x), -1), x.expand(len(raw), -1, -1)
    terms = log_terms(*pairs, levels)
    assert torch.allclose(terms.sum(-1).exp().sum(1), torch.ones(40, dtype=torch.float64), atol=1e-12)
    for c in range(channels):  # each conditional is one too, and its table holds the terms
        table = channel_logits(*pairs, levels, c)
        assert torch.allclose(table.exp().sum(-1), torch.ones(()).double(), atol=1e-12)
        assert torch.allclose(table.gather(-1, pairs[1][..., c, None])[..., 0], terms[..., c], atol=1e-9)


def test_one_channel_is_the_plain_mixture_and_one_component_the_product():
    raw, x = mixtures(200, 1, 4, wide=True), torch.arange(200) % 7
    assert torch.allclose(log_terms(raw, x[:, None], 7)[:, 0], log_mass(raw, x, 7))
    raw, x = mixtures(200, 2, 1, wide=False), torch.randint(9, (200, 2))
    weight, mean, second, scale, second_scale, link = raw.unbind(-1)
    moved = second + link.tanh() * (x[:, 0] / 4 - 1)  # the mean of the second channel follows the first one
    singles = [torch.stack((weight, m, s), -1) for m, s in ((mean, scale), (moved, second_scale))]
    expected = torch.stack([log_mass(single, x[:, c], 9) for c, single in enumerate(singles)], -1)
    assert torch.allclose(log_terms(raw, x, 9), expected)


def test_many_levels_sum_to_one_and_their_gradients_are_finite():
    means = torch.tensor([-1.5, -1.0, -0.3, 0.0, 0.999, 1.0, 3.0], dtype=torch.float64)
    scales = torch.tensor([-9.0, -7.0, -4.0, -1.0, 2.0, 9.0], dtype=torch.float64)
    raw = torch.cartesian_prod(torch.zeros(1).double(), means, scales).requires_grad_()
    x = torch.arange(256)[None, :, None].expand(len(raw), -1, -1)
    terms = log_terms(raw[:, None].expand(-1, 256, -1), x, 256)
    assert torch.allclose(terms.exp().sum((1, 2)), torch.ones(len(raw)).double(), atol=1e-9)
    terms.sum().backward()
    assert torch.isfinite(terms).all() and torch.isfinite(raw.grad).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 1), (1, 1, 5), (2, 3, 3), (1, 5, 4), (3, 8, 7)])
@pytest.mark.parametrize("scales", [None, 1, 2, 3])
def test_grids_of_any_size_at_any_number_of_scales(shape, scales):
    event = Discrete(shape, 4)
    model = rough(event, Discrete((), 3), scales=scales)
    x, condition = torch.randint(4, (3, *shape)), torch.arange(3)
    whole = model.logits(x, condition).reshape(3, -1, 4)
    assert torch.allclose(
        model.log_prob_terms(x, condition).flatten(1), whole.gather(-1, x.flatten(1)[..., None])[..., 0], atol=1e-9
    )
    cursor = model.cursor(3, condition)
    for place in model.order().tolist():
        assert torch.allclose(cursor.logits(), whole[:, place], atol=1e-10)
        cursor.put(x.flatten(1)[:, place])


def test_coarse_scales_see_across_the_grid():
    model = rough(Discrete((1, 17, 17), 4), scales=3)
    x = torch.randint(4, (1, 1, 17, 17))
    moved = x.clone()
    moved[0, 0, 0, 0] = (x[0, 0, 0, 0] + 2) % 4
    change = (model.cells(moved) - model.cells(x)).abs().amax(-1)
    assert change[0, 16, 16] > 0 and change[0, 0, 0] == 0


def test_neither_training_nor_scoring_builds_a_table_of_levels(monkeypatch):
    def refused(*_):
        raise AssertionError("the table of all levels was built")

    model = rough(Discrete((3, 4, 4), 256))
    x = torch.randint(256, (2, 3, 4, 4))
    expected = model.logits(x).gather(-1, x[..., None])[..., 0]
    monkeypatch.setattr(pixelcnn_pp, "channel_logits", refused)
    assert torch.allclose(model.log_prob_terms(x), expected, atol=1e-9)
    assert model.loss(Batch(x)).item() == pytest.approx(-expected.mean().item())


def test_training_starts_near_the_distribution_of_each_dimension():
    n, event = 400, Discrete((2, 3, 3), 33)
    torch.manual_seed(0)
    centre = torch.randint(3, 30, event.shape)
    x = (centre + torch.randint(-1, 2, (n, *event.shape))).clamp(0, 32)  # three near levels at every place
    x[:, 0, 0, 0] = 7  # one level
    x[:, 0, 2, 2] = 32 * torch.randint(2, (n,))  # two levels far apart
    model = config.build("pixelcnn++", event, **{**SIZE, "mixtures": 10}).eval()
    model.prepare(lambda count: Batch(x[:count]))
    terms = -model.log_prob_terms(x).mean(0)
    assert terms.mean() < math.log(3) + 0.8 < math.log(33) - 1.0
    assert terms[0, 0, 0] < 0.5 and terms[0, 2, 2] < math.log(2) + 0.8
    x[0, 0, 0, 0] = 30  # what is rare is not impossible
    assert -model.log_prob_terms(x)[0, 0, 0, 0] < 12


def test_low_precision_keeps_the_density():
    model = rough(Discrete((3, 8, 8), 256), dtype=torch.float32, scale=0.05)
    x = torch.randint(256, (4, 3, 8, 8))
    with torch.autocast("cpu", torch.bfloat16):
        low = model.log_prob_terms(x)
    assert low.dtype == torch.float32
    assert abs(float((low - model.log_prob_terms(x)).mean())) < 1e-2


def test_a_weight_is_its_direction_at_the_length_of_its_gain():
    torch.manual_seed(0)
    conv = NormedConv(64, 32, 2, 1, 1).double()
    before = conv.weight()
    with torch.no_grad():
        conv.direction.mul_(7.0)
    assert torch.allclose(conv.weight(), before)
    x = torch.randn(8, 64, 9, 9, dtype=torch.float64)
    assert conv(x)[:, :, 1:, 1:-1].square().mean().item() == pytest.approx(1.0, abs=0.1)


def test_bad_values_are_refused_with_the_mend():
    for key in ("width", "blocks", "scales", "mixtures"):
        with pytest.raises(UsageError, match=f"{key}=1"):
            config.build("pixelcnn++", Discrete((1, 4, 4), 2), **{key: 0})


def test_the_width_of_pixelcnn_follows_the_grid_and_its_channels():
    for shape, width, dropout in (((1, 8, 8), 48, 0.2), ((1, 28, 28), 64, 0.0), ((3, 16, 16), 66, 0.0)):
        model = config.build("pixelcnn", Discrete(shape, 2), layers=1)
        assert model.net.mix.in_channels == width and model.net.dropout.p == dropout
        assert model.width == width and model.dropout is None  # the width is saved as the size chose it
