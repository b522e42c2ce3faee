"""What is special to the GAN: exact penalties, lazy scaling, ownership of phases, uncoupled items, no checkerboard."""

import copy
import dataclasses
import inspect
import math
import re
import warnings

import pytest
import torch
from torch.nn.functional import softplus

from pofx.core.config import build
from pofx.core.config import entry as row_of
from pofx.core.errors import Unsupported, UsageError, unknown
from pofx.core.event import Bounded, Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.gan import control
from pofx.families.gan.candidates import Odds, chosen
from pofx.families.gan.control import MIXES, direction_of, span
from pofx.families.gan.gan import GAN
from pofx.families.gan.health import symptoms
from pofx.families.gan.mismatch import others_of
from pofx.maths.adversarial import LOSSES
from pofx.nets.image.synthesis import Residual, Synthesis, channels, pyramid, resize
from pofx.train.options import TrainOptions

EVENTS = [Bounded((1, 8, 8)), Bounded((3, 9, 13)), Continuous((2,))]


def model(event=EVENTS[0], condition=None, **values):
    """A small GAN whose zero-initialised weights are moved, so that every path carries signal."""
    torch.manual_seed(0)
    gan = GAN(event, condition, **{**GAN.small, **values})
    with torch.no_grad():
        for p in gan.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return gan


def batch(event, n=6, condition=None):
    torch.manual_seed(1)
    y = None if condition is None else torch.randint(condition.largest, (n,))
    return Batch(torch.randn(n, *event.shape).tanh(), y)


@pytest.mark.parametrize("event", EVENTS)
def test_the_penalty_moves_the_critic(event):
    gan = model(event)
    sum(gan("regulariser", batch(event)).values()).backward()
    slopes = [p.grad for p in gan.critic.parameters() if p.grad is not None and p.ndim > 1]
    assert len(slopes) > 2 and all(g.abs().sum() > 0 for g in slopes)


def test_lazy_penalties_average_to_the_penalty_of_every_step():
    x = batch(EVENTS[2])

    def slopes(every):
        gan = model(EVENTS[2], every=every)
        torch.manual_seed(2)
        sum(gan("regulariser", x).values()).backward()
        return [p.grad / every if p.grad is not None else torch.zeros_like(p) for p in gan.critic.parameters()]

    for lazy, eager in zip(slopes(8), slopes(1), strict=True):
        torch.testing.assert_close(lazy, eager)


def test_losses_are_the_relativistic_pairs():
    gan = model(EVENTS[2])
    x = batch(EVENTS[2])
    torch.manual_seed(3)
    fake = gan.critic(gan.draw(x)[0])
    real = gan.critic(x.x)
    for phase, pairs in (("generator", real - fake), ("critic", fake - real)):
        torch.manual_seed(3)
        torch.testing.assert_close(gan(phase, x)[phase], softplus(pairs).mean())


@pytest.mark.parametrize("condition", [None, Discrete((), 3)])
def test_each_phase_reaches_only_the_parameters_it_owns(condition):
    gan = model(condition=condition)
    owned = {phase.name: {id(p) for p in phase.parameters} for phase in gan.phases()}
    assert owned["critic"] == owned["regulariser"] == {id(p) for p in gan.critic.parameters()}
    assert owned["generator"] == {id(p) for p in gan.generator.parameters()}
    for phase in gan.phases():
        gan.zero_grad(set_to_none=True)
        for p in gan.parameters():
            p.requires_grad_(id(p) in owned[phase.name])
        loss = gan(phase.name, batch(EVENTS[0], condition=condition))
        (sum(loss.values()) if isinstance(loss, dict) else loss).backward()
        moved = {id(p) for p in gan.parameters() if p.grad is not None}
        assert moved <= owned[phase.name] if phase.name == "regulariser" else moved == owned[phase.name]


def test_a_critic_phase_leaves_the_generator_alone_without_freezing():
    gan = model()
    for name in ("critic", "regulariser"):
        loss = gan(name, batch(EVENTS[0]))
        (sum(loss.values()) if isinstance(loss, dict) else loss).backward()
    assert all(p.grad is None for p in gan.generator.parameters())


RECIPES = [recipe.name for recipe in GAN.recipes]


def recipe(name, event, condition=None, **values):
    torch.manual_seed(0)
    return build(name, event, condition, **{"width": 16, "latent": 8, **values})


@pytest.mark.parametrize("shape", [(1, 27, 31), (5, 1, 64), (3, 16, 16)])
@pytest.mark.parametrize("name", RECIPES)
def test_every_architecture_takes_any_height_width_and_channels(name, shape):
    gan = recipe(name, Bounded(shape), Discrete((), 3), growth=0)
    x = Batch(torch.randn(4, *shape).tanh(), torch.arange(4) % 3)
    for phase in gan.phases():
        loss = gan(phase.name, x)
        assert all(torch.isfinite(v) for v in (loss.values() if isinstance(loss, dict) else [loss]))
    gan.eval()
    y = gan.sample(4, x.condition, generator=Streams(0, 4))
    assert y.shape == x.x.shape and torch.isfinite(y).all() and y.abs().max() <= 1


@pytest.mark.parametrize("name", RECIPES)
def test_no_recipe_couples_the_items_of_a_sample(name):
    gan = recipe(name, EVENTS[0]).eval()
    whole = gan.sample(5, generator=Streams(3, 5))
    torch.testing.assert_close(whole[1:3], gan.sample(2, generator=Streams(3, 5)[1:3]), rtol=1e-4, atol=1e-5)


def test_critics_under_a_gradient_penalty_couple_no_items():
    for entry in GAN.recipes:
        gan = recipe(entry.name, EVENTS[0])
        if gan.penalty in ("r1", "r2", "r1+r2", "gradient") and not gan.group:
            x = torch.randn(4, 1, 8, 8)
            other = torch.cat((x[:1], torch.randn(3, 1, 8, 8)))
            torch.testing.assert_close(gan.critic(x)[0], gan.critic(other)[0], msg=entry.name)


@pytest.mark.parametrize("name", RECIPES)
def test_the_logits_of_real_items_do_not_depend_on_the_samples_beside_them(name):
    """Batch norms and deviations over a mixed batch tell real items from samples, and leave samples no direction."""
    gan = recipe(name, EVENTS[0], growth=0).train(name not in ("sngan", "sagan", "biggan"))
    x, seen = batch(EVENTS[0], n=8), {}
    gan.duel = dataclasses.replace(gan.duel, critic=lambda real, fake: seen.update(real=real, fake=fake) or real.mean())
    gan("critic", x)
    torch.testing.assert_close(seen["real"], gan.critic(x.x))
    torch.manual_seed(2)
    gan("critic", x)
    torch.manual_seed(2)
    torch.testing.assert_close(seen["fake"], gan.critic(gan.draw(x)[0]))


def test_finite_differences_compare_items_that_were_changed_alike():
    gan = model(EVENTS[0], augment=["cutout", "translation"], penalty="r1", differences=0.01, gamma=1.0)
    plain = model(EVENTS[0], penalty="r1", differences=0.01, gamma=1.0)
    x = Batch(torch.rand(64, 1, 8, 8) * 2 - 1)
    torch.manual_seed(3)
    changed = float(gan("regulariser", x)["r1"].detach())
    assert changed < 3 * float(plain("regulariser", x)["r1"].detach())


def test_mismatched_conditions_count_only_where_they_differ_and_leave_patches_beside_their_items():
    gan = model(condition=Discrete((), 3), matching=2.0)
    x = batch(EVENTS[0], condition=Discrete((), 3))
    seen = {}
    gan.duel = dataclasses.replace(gan.duel, critic=lambda real, fake: seen.update(real=real, fake=fake) or real.mean())
    gan("critic", x)
    others = x.condition.roll(1)
    differ = others != x.condition
    assert 0 < int(differ.sum()) < 6
    torch.testing.assert_close(seen["fake"], gan.critic(x.x, others)[differ])
    same = Batch(x.x, torch.zeros_like(x.condition))
    assert float(gan("critic", same)["matching"].detach()) == 0


def test_spectral_norms_are_one_and_stay_still_in_eval_mode():
    gan = recipe("sngan", EVENTS[0])
    for _ in range(60):
        gan.critic(torch.randn(2, 1, 8, 8))
    gan.eval()
    before = {k: v.clone() for k, v in gan.state_dict().items()}
    gan.critic(torch.randn(2, 1, 8, 8))
    assert all(torch.equal(v, before[k]) for k, v in gan.state_dict().items())
    layers = [m for m in gan.critic.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    for layer in layers:
        assert float(torch.linalg.matrix_norm(layer.weight.flatten(1), 2)) == pytest.approx(1, abs=1e-2)
    assert len(layers) > 5


def test_clipped_weights_lie_in_their_bounds():
    gan = recipe("wgan", EVENTS[0])
    next(p for p in gan.phases() if p.name == "critic").after({})
    assert max(float(p.detach().abs().max()) for p in gan.critic.parameters()) <= 0.01


def test_truncation_draws_codes_towards_their_mean_and_needs_codes():
    gan = recipe("stylegan2", Bounded((1, 16, 16))).eval()
    for strength in gan.generator.net.parameters():
        strength.data.add_(0.1 * torch.randn_like(strength))
    gan.generator.net.mapping.mean.normal_()

    def spread(psi):
        streams = Streams(0, 64)
        return float(gan.sample(64, generator=streams, truncation=psi).std(0).mean())

    assert spread(1.0) == pytest.approx(float(gan.sample(64, generator=Streams(0, 64)).std(0).mean()))
    assert spread(0.0) < 0.8 * spread(1.0)
    with pytest.raises(UsageError, match="temperature"):
        recipe("dcgan", EVENTS[0]).sample(2, generator=Streams(0, 2), truncation=0.5)
    flat = recipe("dcgan", EVENTS[0]).eval().sample(3, generator=Streams(0, 3), temperature=0.0)
    torch.testing.assert_close(flat[0], flat[1])


def test_truncation_leaves_the_class_and_temperature_acts_on_codes_w():
    gan = recipe("stylegan2", Bounded((1, 16, 16)), Discrete((), 3)).eval()
    for strength in gan.generator.net.parameters():
        strength.data.add_(0.1 * torch.randn_like(strength))
    classes = torch.arange(3).repeat(4)
    for option in ("truncation", "temperature"):
        x = gan.sample(12, classes, generator=Streams(0, 12), **{option: 0.0})
        between = float((x[0] - x[1]).abs().mean())
        within = float((x[0] - x[3]).abs().mean())  # the noise of cells alone, and of no temperature nothing
        assert between > 0.01 and within < (0.5 * between if option == "truncation" else 1e-5)


def test_temperature_is_refused_where_noise_is_normed():
    gan = recipe("progan", EVENTS[0]).eval()
    with pytest.raises(UsageError, match="norms its noise"):
        gan.sample(2, generator=Streams(0, 2), temperature=0.5)
    assert "temperature" not in [control.name for control in gan.controls()]


def test_a_grid_of_fewer_numbers_than_codes_is_encoded():
    gan = recipe("gan", Bounded((1, 1, 1)), latent=64)
    assert gan.encode(torch.zeros(2, 1, 1, 1)).shape == (2, gan.generator.inputs)


def test_the_probability_of_augmentation_follows_a_sure_critic():
    gan = recipe("r3gan", EVENTS[0], augment=["flip", "translation"], adaptive=0.6)
    assert float(gan.probability) == 0
    for sure, direction in ((5.0, 1), (-5.0, -1)):
        gan.probability.fill_(0.4)
        gan._learn(torch.full((64,), sure), 64)
        assert (float(gan.probability) - 0.4) * direction > 0
    x = torch.randn(8, 1, 8, 8, requires_grad=True)
    gan.seen_as(x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_a_progressive_net_fades_in_and_ends_as_the_whole_net():
    gan = recipe("progan", Bounded((1, 32, 32)), growth=100)
    stages = []
    for seen in (0, 100, 150, 200, 300, 10_000):
        gan.seen.fill_(seen)
        stages.append(gan.stage)
    assert stages[:5] == [0, 0, 0.5, 1, 1] and stages[-1] > 3
    z, net = torch.randn(2, 8), gan.generator.net
    torch.testing.assert_close(net(z, stage=len(net.sizes) - 1.0), net(z))
    low, high, middle = (net(z, stage=s) for s in (0.999999, 1.0, 0.5))
    torch.testing.assert_close(low, high, rtol=1e-3, atol=1e-3)
    whole = torch.nn.functional.interpolate(torch.ones(1, 1, 4, 4), size=(32, 32))
    assert middle.shape[-2:] == whole.shape[-2:]


def test_an_auxiliary_critic_learns_classes_and_needs_them():
    gan = recipe("dcgan", EVENTS[0], Discrete((), 3), auxiliary=True)
    parts = gan("critic", batch(EVENTS[0], condition=Discrete((), 3)))
    assert float(parts["class"].detach()) == pytest.approx(math.log(3), abs=0.3)
    with pytest.raises(Unsupported, match="auxiliary"):
        recipe("dcgan", EVENTS[0], Continuous((2,)), auxiliary=True)


def test_finite_differences_stand_in_for_exact_penalties():
    x = batch(EVENTS[2], n=40)
    torch.manual_seed(5)
    exact = model(EVENTS[2], activation="silu")("regulariser", x)
    torch.manual_seed(5)
    close = model(EVENTS[2], activation="silu", differences=0.01)("regulariser", x)
    for name, value in exact.items():
        assert float(close[name].detach()) == pytest.approx(float(value.detach()), rel=0.01)


def test_finite_differences_are_refused_where_both_sides_would_be_shuffled_apart():
    with pytest.raises(Unsupported, match="shuffle=0"):
        recipe("wavegan", Bounded((64,)), None, penalty="r1", differences=0.01)
    recipe("wavegan", Bounded((64,)), None, penalty="r1", differences=0.01, shuffle=0)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_and_term_trains(name):
    gan = model(
        EVENTS[2], loss=name, latent=2, transport=0.1, centring=0.1, normalise=True, penalty="r1+r2", differences=0.01
    )
    for phase in gan.phases():
        loss = gan(phase.name, batch(EVENTS[2]))
        total = sum(loss.values()) if isinstance(loss, dict) else loss
        total.backward()
        assert torch.isfinite(total)
    grid = model(EVENTS[0], consistency=1.0, augment=["colour", "cutout"], mixing=1.0)
    assert "consistency" in grid("critic", batch(EVENTS[0]))


@pytest.mark.parametrize("event", EVENTS)
def test_no_item_sees_another(event):
    gan = model(event)
    x = batch(event).x
    other = torch.cat((x[:1], torch.randn_like(x[1:])))
    torch.testing.assert_close(gan.critic(x)[0], gan.critic(other)[0])
    whole = gan.sample(6, generator=Streams(0, 6))
    torch.testing.assert_close(whole[2:4], gan.sample(2, generator=Streams(0, 6)[2:4]), rtol=1e-4, atol=1e-5)
    assert whole.shape == (6, *event.shape) and whole.std(0).mean() > 0.01


@pytest.mark.parametrize("event", EVENTS)
def test_bounded_events_stay_in_their_bounds(event):
    gan = model(event)
    with torch.no_grad():
        for p in gan.generator.parameters():
            p.mul_(3)
    x = gan.sample(16, generator=Streams(0, 16))
    assert torch.isfinite(x).all() and (x.abs().max() <= 1 or not isinstance(event, Bounded))


@pytest.mark.parametrize("condition", [Discrete((), 3), Continuous((2,))])
def test_projection(condition):
    gan = model(condition=condition)
    x = batch(EVENTS[0]).x
    discrete = isinstance(condition, Discrete)
    y = torch.arange(6) % 3 if discrete else torch.randn(6, 2)
    wrong = (y + 1) % 3 if discrete else y + 1
    assert (gan.critic(x, y) - gan.critic(x, wrong)).abs().min() > 1e-6
    assert (
        gan.sample(6, y, generator=Streams(0, 6)) - gan.sample(6, wrong, generator=Streams(0, 6))
    ).abs().max() > 1e-6
    plain = copy.deepcopy(gan.critic)
    for p in plain.embed.parameters():
        p.data.zero_()
    torch.testing.assert_close(plain(x, y), plain(x))
    fresh = GAN(EVENTS[0], condition, **GAN.small)
    torch.testing.assert_close(fresh.critic(x, y), fresh.critic(x))  # starts unconditional


def test_a_constant_stays_constant_inside_under_upsampling():
    torch.manual_seed(0)
    block = Residual(8)
    torch.nn.init.normal_(block.outer.weight)
    for size in ((8, 8), (7, 13)):
        h = torch.randn(1, 8, 1, 1).expand(1, 8, *(-(-s // 2) for s in size))
        inside = block(resize(h, size))[:, :, 2:-2, 2:-2]
        torch.testing.assert_close(inside, inside[:, :, :1, :1].expand_as(inside), rtol=1e-4, atol=1e-4)


def test_every_size_has_its_pyramid():
    assert pyramid((1, 28, 28)) == [(28, 28), (14, 14), (7, 7)]
    assert pyramid((1, 9, 13))[-1] == (5, 7)
    assert [channels(size, 128) for size in pyramid((1, 28, 28))] == [32, 64, 128]
    for shape in ((1, 1, 1), (2, 3, 30), (1, 8, 8), (3, 32, 32)):
        net = Synthesis(shape, 4, 8)
        assert net(torch.randn(2, net.inputs)).shape == (2, *shape)


def test_double_backward_survives_bfloat16():
    gan = model(EVENTS[0], width=32)
    x = batch(EVENTS[0])
    values = []
    for low in (False, True):
        torch.manual_seed(4)
        gan.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = gan("regulariser", x)
        sum(loss.values()).backward()
        values.append(loss["r1"].item())
        assert loss["r1"].dtype == torch.float32
        assert all(torch.isfinite(p.grad).all() for p in gan.critic.parameters() if p.grad is not None)
    assert math.isclose(*values, rel_tol=0.05)


def test_losses_say_nothing_about_quality_and_bad_values_are_refused():
    assert model().validation(batch(EVENTS[0])) is None
    with pytest.raises(UsageError, match="every"):
        GAN(EVENTS[0], every=0)
    with pytest.raises(UsageError, match="gamma"):
        GAN(EVENTS[0], gamma=-1.0)


@pytest.mark.slow
def test_a_gaussian_is_learned():
    event = Continuous((2,))
    torch.manual_seed(0)
    gan = GAN(event, latent=4, units=32, gamma=0.2, every=4, inversion="optimisation")
    mean, spread = torch.tensor([1.0, -0.5]), torch.tensor([0.5, 1.5])
    optimisers = {}
    for phase in gan.phases():
        key = "generator" if phase.name == "generator" else "critic"
        optimisers.setdefault(key, torch.optim.Adam(phase.parameters, lr=3e-3, betas=(0.0, 0.9)))
    for step in range(600):
        for phase in gan.phases():
            if step % phase.every == 0:
                loss = gan(phase.name, Batch(mean + spread * torch.randn(128, 2)))
                optimiser = optimisers["generator" if phase.name == "generator" else "critic"]
                optimiser.zero_grad()
                (sum(loss.values()) if isinstance(loss, dict) else loss).backward()
                optimiser.step()
        for optimiser in optimisers.values():
            optimiser.param_groups[0]["lr"] *= 0.996
    x = gan.sample(4000, generator=Streams(0, 4000)).detach()
    torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=0.15)
    torch.testing.assert_close(x.std(0), spread, rtol=0.15, atol=0)


def test_runs_of_earlier_versions_are_read():
    new = model(EVENTS[2], inversion="optimisation", calibrate=False)
    buffers = dict(new.named_buffers())
    old = {k: v for k, v in new.state_dict().items() if k not in buffers}
    name, options, weights = GAN.upgraded("gan", {"latent": 4, "gamma": None}, old)
    known = {"latent": 4, "gamma": None, "inversion": "optimisation", "units": 64}
    assert name == "r3gan" and options == known
    assert set(weights) == set(new.state_dict())
    assert GAN.upgraded("gan", {"architecture": "mlp"}, {})[0] == "gan"
    assert GAN.unstated["activation"] == "silu"  # as perceptrons were before there was a choice


def test_codes_by_optimisation_recover_samples_item_by_item():
    gan = model(EVENTS[2], inversion_steps=200, latent=2, octaves=0).eval()
    x = gan.sample(5, generator=Streams(0, 5)).detach()
    with torch.inference_mode():
        z = gan.encode(x.clone())
        back = gan.decode(z)
        alone = gan.encode(x[:2].clone())
    assert float((back - x).square().mean()) < 1e-2 * float(x.var())
    torch.testing.assert_close(alone, z[:2], rtol=1e-3, atol=1e-3)
    assert z.shape == (5, *gan.code.shape)


@pytest.mark.parametrize("name", ["dcgan", "sngan", "biggan", "stylegan2", "progan", "r3gan", "gan"])
def test_every_architecture_encodes_and_its_encoder_learns_without_moving_the_generator(name):
    condition = Discrete((), 3)
    gan = recipe(name, EVENTS[1], condition, growth=0)
    x = batch(EVENTS[1], condition=condition)
    before = {k: v.clone() for k, v in gan.generator.state_dict().items()}
    phase = next(p for p in gan.phases() if p.name == "inversion")
    descent = torch.optim.Adam(phase.parameters, lr=1e-2)
    losses = []
    for _ in range(12):
        descent.zero_grad()
        loss = gan("inversion", x)
        loss.backward()
        descent.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    after = gan.generator.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    gan.eval()
    assert gan.decode(gan.encode(x.x, x.condition), x.condition).shape == x.x.shape


def test_style_mixing_takes_the_layers_that_it_names_from_a_second_code():
    assert [span(m, 9) for m in MIXES] == [(0, 3), (3, 6), (6, 9), (0, 9)] and span("none", 9) == (0, 0)
    event = Bounded((1, 28, 28))
    gan = recipe("stylegan2", event, mix_levels="coarse").eval()
    plain = recipe("stylegan2", event).eval()
    plain.load_state_dict(gan.state_dict())
    mixed, own = gan.sample(3, generator=Streams(0, 3)), plain.sample(3, generator=Streams(0, 3))
    assert not torch.allclose(mixed, own)
    second = Streams(0, 3)
    second.normal(gan.generator.inputs)
    gan.mix_levels = "all"
    wanted = gan.generator(torch.cat((second.normal(gan.latent), Streams(0, 3).normal(gan.generator.inputs)[:, 8:]), 1))
    torch.testing.assert_close(gan.sample(3, generator=Streams(0, 3)), wanted.clamp(-1, 1))
    gan.mix_levels = "none"
    torch.testing.assert_close(gan.sample(3, generator=Streams(0, 3)), own)
    with pytest.raises(UsageError, match="mix_levels needs codes w"):
        recipe("dcgan", EVENTS[0], mix_levels="fine").sample(2, generator=Streams(0, 2))


@pytest.mark.parametrize("name", ["dcgan", "sngan", "biggan", "stylegan", "stylegan2", "progan", "r3gan", "gan"])
def test_directions_move_samples_by_their_strength(name):
    gan = recipe(name, EVENTS[1]).eval()
    first, last = direction_of(gan.generator, "sefa", 1), direction_of(gan.generator, "sefa", 4)
    assert first.shape == last.shape and not torch.allclose(first, last)
    own = gan.sample(4, generator=Streams(0, 4))
    gan.direction, gan.strength = 1, 3.0
    assert not torch.allclose(gan.sample(4, generator=Streams(0, 4)), own)
    gan.strength = 0.0
    torch.testing.assert_close(gan.sample(4, generator=Streams(0, 4)), own)
    with pytest.raises(UsageError, match="direction must be at most"):
        direction_of(gan.generator, "sefa", 4000)


def test_principal_directions_and_class_arithmetic_need_codes_w():
    gan = recipe("stylegan2", EVENTS[0], Discrete((), 3)).eval()
    given = torch.tensor([0, 1, 2, 0])
    own = gan.sample(4, given, generator=Streams(0, 4))
    gan.directions, gan.direction = "ganspace", 2
    assert not torch.allclose(gan.sample(4, given, generator=Streams(0, 4)), own)
    gan.direction, gan.plus, gan.minus = 0, 1, 2
    assert not torch.allclose(gan.sample(4, given, generator=Streams(0, 4)), own)
    gan.minus = 1
    torch.testing.assert_close(gan.sample(4, given, generator=Streams(0, 4)), own)
    with pytest.raises(Unsupported, match="sefa"):
        direction_of(recipe("r3gan", EVENTS[0]).generator, "ganspace", 1)
    plain = recipe("stylegan2", EVENTS[0], plus=1)
    with pytest.raises(Unsupported, match="condition label"):
        plain.sample(2, generator=Streams(0, 2))


TRANSLATIONS = ("pix2pix", "cyclegan")


def test_a_strength_without_a_direction_is_said_to_have_no_effect():
    for options in ((0, "sefa", -1, -1, 3.0), (0, "ganspace", -1, -1, 1.0)):
        with pytest.warns(UserWarning, match="has no effect alone: pass direction=1"):
            control.check_steps(*options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        control.check_steps(0, "sefa", -1, -1, 1.0)
        control.check_steps(0, "sefa", 2, -1, 3.0)


@pytest.mark.parametrize("name", ["r3gan", "pix2pix", "cyclegan", "mmd-gan", "vae", "vq-vae"])
def test_warnings_name_options_that_the_model_has(name):
    row = row_of(name)
    worst = {"validation": 9.0, "best validation": 1.0, "near-duplicate share": 0.9, "class entropy": 0.0,
             "class entropy of data": 2.0, "critic accuracy": 1.0, "share": 1.0, "active units": 0.0,
             "mutual information": 0.0, "code_usage": 0.01, "condition right": 0.1,
             "condition right of data": 0.9}  # fmt: skip
    event = Discrete((1, 8, 8), 2) if name.startswith("v") else Bounded((1, 8, 8))
    said = " ".join(
        build(name, event, event if name in TRANSLATIONS else None, **row.model.small).health(worst).values()
    )
    known = {*inspect.signature(row.model.__init__).parameters, *(f.name for f in dataclasses.fields(TrainOptions))}
    assert said
    named = re.findall(r"\b(?:[a-z]+_[a-z_]+|[a-z]+(?==)|lr|cycle|pool|gamma|features|identity|augment|codes)\b", said)
    assert named and set(named) <= known, set(named) - known


def test_health_names_collapse_divergence_and_a_critic_that_wins():
    fine = {"share": 0.5, "class entropy": 2.2, "class entropy of data": 2.3, "near-duplicate share": 0.02,
            "validation": 1.0, "best validation": 0.9, "critic accuracy": 0.8}  # fmt: skip

    def seen(**numbers):
        found = symptoms({**fine, **{name.replace("_", " "): value for name, value in numbers.items()}})
        return {name for name, sentence in found.items() if sentence}

    assert symptoms(fine) == {"collapse": "", "divergence": "", "critic": ""}  # what was so before is over
    assert symptoms({"share": 0.5}) == {}  # nothing was measured
    assert seen(class_entropy=0.1) == {"collapse"}
    assert seen(**{"near-duplicate share": 0.9}) == {"collapse"}
    alike = symptoms({**fine, "near-duplicate share": 0.9})["collapse"]
    assert "90% of samples are near copies" in alike and "spread" not in alike  # over all classes, that is no symptom
    assert "copies" not in symptoms({**fine, "class entropy": 0.1})["collapse"]
    assert seen(validation=9.0) == {"divergence"} and seen(critic_accuracy=0.999) == {"critic"}
    assert not symptoms({**fine, "share": 0.01, "class entropy": 0.0, "critic accuracy": 1.0})
    for sentence in symptoms({**fine, "class entropy": 0.1, "validation": 9.0, "critic accuracy": 1.0}).values():
        assert "Pass" in sentence or "pass" in sentence


def test_mends_are_those_that_are_not_in_use():
    worst = {"class entropy": 0.0, "class entropy of data": 2.0, "critic accuracy": 1.0}
    plain, best = build("gan", EVENTS[2]).health(worst), build("r3gan", EVENTS[2]).health(worst)
    assert "loss=relativistic and penalty=r1+r2" in plain["collapse"] and "penalty=r1+r2" in plain["critic"]
    assert "relativistic" not in best["collapse"] and "penalty" not in best["critic"]
    assert "augment" not in best["critic"]  # which changes grids
    assert "group" not in build("stylegan2", EVENTS[0], width=32).health(worst)["collapse"]  # it has groups
    ignored = {"condition right": 0.1, "condition right of data": 0.9}
    told = [recipe("dcgan", EVENTS[0], Discrete((), 3), **v).health(ignored)["condition"] for v in
            ({}, {"matching": 0.0}, {"auxiliary": True})]  # fmt: skip
    assert "matching" not in told[0] and "auxiliary=true" in told[0] and "matching=1 or auxiliary=true" in told[1]
    assert "matching" not in told[2] and "auxiliary" not in told[2]


def test_telemetry_follows_the_critic():
    gan = model(EVENTS[2])
    assert not gan.telemetry()
    gan("critic", batch(EVENTS[2]))
    assert set(gan.telemetry()) == {"D(real)", "D(fake)", "critic accuracy"}
    assert all(v.ndim == 0 and not v.requires_grad for v in gan.telemetry().values())


def test_perceptrons_of_vectors_bend_sharply_unless_stated():
    """25 Gaussians: relu finds all, silu half of them in the same time (docs/benchmarks.md)."""
    gan, smooth = model(EVENTS[2]), model(EVENTS[2], activation="silu")
    for made, name in ((gan, "relu"), (smooth, "silu")):
        assert made.generator.net.activation == made.critic.features.activation == name


@pytest.mark.parametrize("name", ["stylegan2", "r3gan", "pix2pix"])
@pytest.mark.parametrize("condition", [None, Discrete((), 3), Continuous((4,))])
def test_whatever_steers_samples_can_be_drawn_and_changes_them(name, condition):
    gan = recipe(name, EVENTS[0], condition).eval()
    with torch.no_grad():
        for p in gan.generator.parameters():
            p.add_(0.1 * torch.randn_like(p))
    given = None if condition is None else torch.arange(4) % 3 if isinstance(condition, Discrete) else torch.randn(4, 4)
    found = {control.name: control.lines for control in gan.controls()}
    assert ("classes" in found) == (name == "stylegan2" and isinstance(condition, Discrete))
    assert ("ganspace-1" in found) == (name == "stylegan2" and not isinstance(condition, Continuous))
    assert bool(found) == (name != "pix2pix")
    for lines in found.values():
        drawn = []
        for _, options in lines:
            changed = {k: (getattr(gan, k), v) for k, v in options.items() if k in gan.adjustable}
            for k, (_, new) in changed.items():
                setattr(gan, k, new)
            tempered = {k: v for k, v in options.items() if k not in gan.adjustable}
            drawn.append(gan.sample(4, given, generator=Streams(0, 4), **tempered))
            for k, (old, _) in changed.items():
                setattr(gan, k, old)
        assert all(not torch.allclose(a, b) for a, b in zip(drawn, drawn[1:], strict=False))


@pytest.mark.parametrize("name", ["progan", "stylegan", "stylegan2"])
def test_style_generators_reach_the_bounds_exactly_and_only_of_bounded_events(name):
    """A critic that sees real pixels at a bound, and samples near it, needs nothing else to tell them apart."""
    for event in (Bounded((1, 8, 8)), Continuous((1, 8, 8))):
        gan = recipe(name, event, growth=0)
        assert GAN.unstated["saturated"] is False  # runs from before
        with torch.no_grad():
            for head in gan.generator.net.heads:
                head.weight.mul_(1000)
            x = gan.generator(torch.randn(4, gan.generator.inputs)).abs()
        assert (float(x.max()) == 1) == isinstance(event, Bounded) and float(x.max()) >= 1


def test_tapered_nets_spend_less_on_fine_resolutions_and_take_any_size():
    for shape in ((1, 28, 28), (2, 5, 40)):
        event = Bounded(shape)
        whole = recipe("sagan", event, width=64, latent=8)
        tapered = recipe("sagan", event, width=64, latent=8, tapered=True)
        count, fewer = (sum(p.numel() for p in m.parameters()) for m in (whole, tapered))
        assert fewer < count
        assert tapered.critic(torch.rand(2, *shape)).shape == (2,)
        assert tapered.eval().sample(2, generator=Streams(0, 2)).shape == (2, *shape)


def test_texts_are_also_held_against_those_that_differ_least():
    torch.manual_seed(0)
    texts = torch.tensor([[1, 1, 1, 1], [2, 2, 2, 2], [1, 1, 1, 2], [2, 2, 2, 1], [1, 1, 1, 1]])
    chosen = torch.stack([others_of(texts, 5, texts.device) for _ in range(200)])
    assert set(chosen[:, 0].tolist()) == {4, 2}  # its neighbour, which has the same text, and the nearest other one
    assert set(chosen[:, 1].tolist()) == {0, 3}
    same = torch.ones(3, 4, dtype=torch.int64)
    for c in (same, torch.tensor([0, 1, 2]), torch.rand(3, 4), {"a": torch.tensor([0, 1, 2])}):
        assert others_of(c, 3, same.device).tolist() == [2, 0, 1]


def test_candidates_follow_the_odds_of_the_critic():
    """Sampling importance resampling of N(0, 1) by exact log odds of N(1, 0.5²) gives that, whatever their scale."""
    streams, k = Streams(0, 4000), 64
    odds = Odds()
    log_odds = lambda x: (0.5 * x.square() - 2 * (x - 1).square())[:, 0]  # noqa: E731
    real, fake = 1 + 0.5 * torch.randn(20_000, 1), torch.randn(20_000, 1)
    for part in range(400):  # a tenth of the log odds: the scale becomes ten
        at = slice(part * 50, part * 50 + 50)
        odds.follow(0.1 * log_odds(real[at]), 0.1 * log_odds(fake[at]))
    assert 7 < float(odds.scale) < 14
    odds.scale.fill_(10)
    x = chosen(lambda: streams.normal(1), lambda x: 0.1 * log_odds(x), k, odds, streams)
    assert abs(float(x.mean()) - 1) < 0.05 and abs(float(x.std()) - 0.5) < 0.05
    first = chosen(lambda: streams.normal(1), log_odds, 1, odds, Streams(0, 4000))
    assert abs(float(first.mean())) < 0.1  # one draw is that draw


def test_candidates_of_a_model_are_refused_where_there_are_no_odds():
    grid, streams = Bounded((1, 8, 8)), Streams(0, 3)
    for options in ({"name": "stylegan2"}, {"name": "r3gan", "calibrate": False}):
        model = build(options.pop("name"), grid, width=8, latent=4, candidates=4, **options)
        with pytest.raises(Unsupported, match="candidates=1"):
            model.sample(3, generator=streams)
    model = build("r3gan", grid, width=8, latent=4, candidates=4)
    x = model.sample(3, generator=Streams(0, 3))
    torch.testing.assert_close(model.sample(2, generator=Streams(0, 2)), x[:2])


@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [("stylegan2", "truncation_psi", "truncation"), ("wgan-gp", "n_critic", "critic_steps"),
     ("stylegan2", "pl_weight", "path_length"), ("cyclegan", "lambda_A", "cycle")],
)  # fmt: skip
def test_options_that_other_libraries_name_otherwise_are_answered_by_ours(name, theirs, ours):
    known = {*inspect.signature(row_of(name).model.__init__).parameters, *inspect.signature(GAN.sample).parameters}
    assert str(unknown(f"option of {name}", theirs, known)) == f"unknown option of {name} '{theirs}': it is {ours} here"


@pytest.mark.parametrize(
    ("event", "options", "blocks", "average"),
    [
        (Continuous((2,)), {}, 2, 2000),
        (Continuous((2,)), {"blocks": 3}, 3, 2000),
        (Continuous((64,)), {"architecture": "wave"}, 1, None),
        (Bounded((1, 8, 8)), {}, 1, None),
    ],
)
def test_only_points_are_averaged_briefly_and_get_two_blocks(event, options, blocks, average):
    gan = GAN(event, **{**GAN.small, **options})
    assert (gan.blocks, gan.suited().get("ema_images")) == (blocks, average)
