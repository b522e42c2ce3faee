"""Translation: images to images of any size, unpaired sets, pools of earlier translations."""

import numpy as np
import pytest
import torch

import pofx
from pofx.core.config import build
from pofx.core.errors import Unsupported
from pofx.core.event import Bounded, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.gan.cyclegan import CycleGAN


def pix2pix(event, condition, **values):
    torch.manual_seed(0)
    return build("pix2pix", event, condition, **{"width": 16, **values})


@pytest.mark.parametrize("shapes", [((1, 9, 13), (3, 9, 13)), ((3, 16, 16), (1, 8, 8)), ((2, 1, 20), (1, 1, 20))])
def test_any_size_and_number_of_channels(shapes):
    event, condition = map(Bounded, shapes)
    batch = Batch(torch.rand(4, *event.shape) * 2 - 1, torch.rand(4, *condition.shape) * 2 - 1)
    for model in (pix2pix(event, condition), CycleGAN(event, condition, width=16)):
        for phase in model.phases():
            loss = model(phase.name, batch)
            assert all(torch.isfinite(v) for v in (loss.values() if isinstance(loss, dict) else [loss]))
        model.eval()
        x = model.sample(4, batch.condition, generator=Streams(0, 4))
        assert x.shape == batch.x.shape and x.abs().max() <= 1
        part = model.sample(2, batch.condition[1:3], generator=Streams(0, 4)[1:3])
        torch.testing.assert_close(part, x[1:3], rtol=1e-4, atol=1e-5)


def test_the_critic_judges_patches_beside_the_condition_and_the_image_matters():
    event = condition = Bounded((1, 16, 16))
    model = pix2pix(event, condition)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x, given = torch.rand(4, 1, 16, 16), torch.rand(4, 1, 16, 16)
    logits = model.critic(x, given)
    assert len(logits) == 4 * 16
    assert not torch.allclose(logits, model.critic(x, given.flip(0)))
    other = x.clone()
    other[1:] = 0  # patches of the first item do not see the others
    torch.testing.assert_close(model.critic(other, given)[:16], logits[:16])
    model.eval()
    own = model.sample(4, given, generator=Streams(0, 4))
    assert not torch.allclose(own, model.sample(4, given.flip(0), generator=Streams(0, 4)))
    assert not torch.allclose(own, model.sample(4, given, generator=Streams(1, 4)))
    with pytest.raises(Unsupported, match="patches"):
        pix2pix(event, Discrete((), 3), auxiliary=True)


@pytest.mark.slow
def test_a_paired_translation_is_learned_by_its_l1_part():
    event = Bounded((1, 8, 8))
    model = pix2pix(event, event)
    descents = {p.name: torch.optim.Adam(p.parameters, lr=3e-3, betas=(0.5, 0.99)) for p in model.phases()}
    for _ in range(60):
        a = torch.rand(16, 1, 8, 8) * 1.6 - 0.8
        for phase in model.phases()[:2]:
            for p in model.parameters():
                p.requires_grad_(False)
            for p in phase.parameters:
                p.requires_grad_(True)
            descents[phase.name].zero_grad()
            sum(model(phase.name, Batch(-a, a)).values()).backward()
            descents[phase.name].step()
    a = torch.rand(8, 1, 8, 8) * 1.6 - 0.8
    x = model.eval().sample(8, a, generator=Streams(0, 8))
    assert float((x + a).abs().mean()) < 0.5 * float((2 * a).abs().mean())  # half of copying the input


def test_codes_of_a_cycle_are_images_a_and_the_pool_shows_earlier_ones():
    torch.manual_seed(0)
    a, b = Bounded((3, 8, 8)), Bounded((1, 8, 8))
    model = CycleGAN(b, a, width=16, pool=8)
    assert model.code == a
    batch = Batch(torch.rand(4, 1, 8, 8), torch.rand(4, 3, 8, 8))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    model("critics", batch), model("critics", batch)
    assert int(model.filled) == 8 and model.pool_b.abs().sum() > 0
    before = model.pool_b.clone()
    for _ in range(4):
        model("critics", Batch(torch.rand(4, 1, 8, 8), torch.rand(4, 3, 8, 8)))
    changed = np.mean([not torch.equal(v, w) for v, w in zip(before, model.pool_b, strict=True)])
    assert 0 < changed
    z = model.eval().encode(batch.x)
    assert z.shape == (4, 3, 8, 8) and model.decode(z).shape == (4, 1, 8, 8)
    torch.testing.assert_close(model.sample(4, batch.condition, generator=Streams(0, 4)), model.decode(batch.condition))


def test_without_an_image_a_is_noise():
    torch.manual_seed(0)
    model = CycleGAN(Bounded((1, 8, 8)), Discrete((), 3), width=16, pool=0)
    given = torch.tensor([0, 1, 2])
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x = model.eval().sample(3, given, generator=Streams(0, 3))
    assert x.shape == (3, 1, 8, 8) and not torch.allclose(x, model.sample(3, given, generator=Streams(1, 3)))
    assert not torch.allclose(x, model.sample(3, given.flip(0), generator=Streams(0, 3)))


def test_a_translation_without_images_to_translate_is_reported_at_once():
    event = Bounded((1, 8, 8))
    for name in ("pix2pix", "cyclegan"):
        alone, given = (build(name, event, condition, width=16) for condition in (None, event))
        assert "--condition" in alone.health({"share": 0.01})["condition"]
        assert "condition" not in given.health({"share": 0.01})


def test_critics_of_a_cycle_see_the_translations_of_the_step_once():
    torch.manual_seed(0)
    event = Bounded((1, 8, 8))
    model, calls = CycleGAN(event, event, width=16, pool=0), []
    model.forth.register_forward_hook(lambda *_: calls.append(1))
    batch = Batch(torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8))
    model("translation", batch)
    translated = len(calls)
    model("critics", batch)
    assert len(calls) == translated  # they are those of the translation
    model("critics", batch)
    assert len(calls) == translated + 1  # once: afterwards they are made anew
    model.eval()("translation", batch)
    assert not model.made


def test_translators_begin_with_the_symmetry_and_the_sign_that_bring_both_sets_together():
    torch.manual_seed(0)
    event = Bounded((1, 8, 8))
    a = torch.rand(200, 1, 8, 8) * torch.linspace(1, 0, 8) * 1.8 - 0.9
    b = -torch.rot90(a.roll(100, 0), 1, (2, 3))
    model = CycleGAN(event, event, width=16)
    model.eval().prepare(lambda n: Batch(b[:n], a[:n]))
    assert (int(model.symmetry), float(model.sign)) == (1, -1.0)
    there = model.decode(a[:4])
    torch.testing.assert_close(there, -torch.rot90(a[:4], 1, (2, 3)), atol=0.04, rtol=0)
    torch.testing.assert_close(model.encode(there), a[:4], atol=0.08, rtol=0)
    plain = CycleGAN(event, event, width=16, align=False, residual=False).eval()
    plain.prepare(lambda n: Batch(b[:n], a[:n]))
    assert float(plain.decode(a[:4]).abs().max()) == 0 and "symmetry" not in plain.state_dict()


def test_images_of_other_channels_are_added_as_grey_and_noise_is_not():
    torch.manual_seed(0)
    grey, colour, x = Bounded((1, 8, 8)), Bounded((3, 8, 8)), torch.rand(2, 3, 8, 8) - 0.5
    model = CycleGAN(grey, colour, width=16).eval()  # from colour to grey
    there = model.decode(x)
    torch.testing.assert_close(there, x.mean(1, keepdim=True), atol=0.04, rtol=0)
    torch.testing.assert_close(model.encode(there), there.expand(2, 3, 8, 8), atol=0.04, rtol=0)
    former = CycleGAN(grey, colour, width=16, grey=False).eval()
    former.load_state_dict(model.state_dict())
    assert float(former.decode(x).abs().max()) < 1e-6  # the last layer begins at zero
    assert float(CycleGAN(grey, None, width=16).eval().sample(2, generator=Streams(0, 2)).abs().max()) == 0


def test_a_dozen_pairs_of_which_one_is_held_out_train():
    pictures = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    run = pofx.fit(pofx.images(pictures), "pix2pix", condition=pofx.images(pictures), steps=2, width=4, progress=False)
    assert run.sample(2, condition=pictures[:2]).shape == (2, 8, 8)
