"""A picture as condition, concatenated: what is drawn depends on it place by place, with every sampler and guidance."""

import json

import numpy as np
import pytest
import torch

import pofx
from pofx.combine.distilled import METHODS, Distilled
from pofx.core import config
from pofx.core.event import Bounded, Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.diffusion.ddgan import DenoisingGAN
from pofx.families.diffusion.diffusion import Diffusion
from pofx.families.diffusion.flow_map import FlowMap
from pofx.families.flow.haar_cascade import HaarCascade
from pofx.maths.multistep import SAMPLERS

EVENT, PICTURE = Bounded((1, 8, 8)), Bounded((1, 8, 8))
PARTS = {"label": Discrete((), 3), "picture": PICTURE}
NETWORKS = {
    "unet": {"width": 16, "depth": 1},
    "dit": {"width": 32, "depth": 1, "patch": 2},
    "mlp": {"width": 64, "depth": 1},
}
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 17, (96, 8, 8)).astype(np.uint8)
QUIET = {"progress": False, "steps": 3, "batch_size": 16}


def moved(model):
    """No weight at its start."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval().requires_grad_(False)


def made(network="unet", condition=PICTURE, cls=Diffusion, **options):
    torch.manual_seed(0)
    return moved(cls(EVENT, condition, network=network, **NETWORKS[network], **options))


def given(n=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *PICTURE.shape, generator=generator) * 2 - 1


@pytest.mark.parametrize("network", ["unet", "dit"])
def test_an_impulse_in_the_condition_changes_what_is_near_it_most(network):
    model, x = made(network), torch.zeros(64, 1, 8, 8)
    places = torch.arange(64)
    impulses = 2 * torch.eye(64).reshape(64, 1, 8, 8)
    row, column = places // 8, places % 8
    apart = torch.maximum((row[:, None] - row).abs(), (column[:, None] - column).abs())

    def ratio(model):
        change = model.denoise(x, torch.tensor(0.9), impulses) - model.denoise(x, torch.tensor(0.9), 0 * x)
        change = change.abs().flatten(1)
        return float(change[apart <= 1].mean() / change[apart >= 4].mean())

    assert ratio(model) > 1.5 and ratio(made(network, grid_condition="embed")) < 1.3


def translated(grid_condition, wanted, network, steps=200):
    """The squared error of E[x | condition] from pure noise, where x is a map of pictures of independent places."""
    torch.manual_seed(0)
    model = Diffusion(
        EVENT, PICTURE, network=network, **NETWORKS[network], grid_condition=grid_condition, condition_dropout=0.0
    )
    optimiser = torch.optim.Adam(model.parameters(), 4e-3)
    model.prepare(lambda n: Batch(wanted(given(512)), given(512)))
    for k in range(steps):
        c = given(64, k)
        loss = model.loss(Batch(wanted(c), c))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    c, noise = given(64, -1), model.denoiser.scale * torch.randn(64, 1, 8, 8)
    with torch.no_grad():
        return float((model.denoise(noise, torch.tensor(0.999), c) - wanted(c)).square().mean()) * 3  # of variance 1/3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "wanted"),
    [("unet", lambda c: -c), ("unet", lambda c: c.roll(1, -1)), ("dit", lambda c: -c)],
    ids=["unet-inversion", "unet-shift", "dit-inversion"],
)
def test_a_map_of_places_is_learned_and_an_embedding_cannot(network, wanted):
    assert translated("concatenate", wanted, network) < 0.12
    assert translated("embed", wanted, network) > 0.6


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("parts", [False, True], ids=["picture", "label and picture"])
def test_dropped_conditions_are_those_of_no_condition(network, parts):
    model = made(network, PARTS if parts else PICTURE)
    assert model.grid_condition == "concatenate"
    c = {"label": torch.tensor([0, 1, 2, 0]), "picture": given()} if parts else given()
    x, t = torch.randn(4, 1, 8, 8), torch.tensor(0.5)
    net, angles = model.denoiser, torch.full((4,), 0.7)
    free = net.velocity(x, angles, net.free(4))
    assert torch.allclose(net.velocity(x, angles, net.embed(c, torch.ones(4, dtype=torch.bool))), free, atol=1e-6)
    drop = torch.tensor([True, False, True, False])
    half = net.velocity(x, angles, net.embed(c, drop))
    assert torch.allclose(half[drop], free[drop], atol=1e-6)
    assert torch.allclose(half[~drop], net.velocity(x, angles, net.embed(c))[~drop], atol=1e-6)
    assert (half[~drop] - free[~drop]).abs().max() > 1e-3
    if parts:
        for key, other in (("label", torch.tensor([1, 2, 0, 1])), ("picture", given(seed=1))):
            assert (model.denoise(x, t, {**c, key: other}) - model.denoise(x, t, c)).abs().max() > 1e-4, key


@pytest.mark.parametrize(
    "sampler", [pytest.param(s, marks=[pytest.mark.slow] if s == "adaptive" else []) for s in SAMPLERS]
)
def test_every_sampler_follows_the_picture_and_guidance(sampler):
    model, c = made(sampler=sampler, sampler_steps=3, tolerance=0.1), given()

    def draw(condition, **options):
        for key, value in options.items():
            setattr(model, key, value)
        return model.sample(4, condition, generator=Streams(0, 4))

    plain = draw(c)
    assert (draw(given(seed=1)) - plain).abs().max() > 1e-4
    if sampler != "adaptive":  # whose steps follow the field of the batch
        assert torch.allclose(draw(c)[:2], model.sample(2, c[:2], generator=Streams(0, 2)), atol=1e-4)
        assert torch.allclose(draw(c, guidance=0.0), draw(given(seed=1), guidance=0.0), atol=1e-6)
    strong = draw(c, guidance=3.0, guidance_rescale=0.5, guidance_interval=(0.2, 0.9), threshold="dynamic")
    assert torch.isfinite(strong).all() and (strong - plain).abs().max() > 1e-4


@pytest.mark.parametrize("trace", ["hutchinson", pytest.param("hutch++", marks=pytest.mark.slow)])
def test_density_and_codes_follow_the_picture(trace):
    model, c, x = made(network="mlp", likelihood_steps=8, ode_steps=32, trace=trace), given(), given(seed=2)
    value, error = model.log_prob_estimate(x, c)
    assert torch.isfinite(value).all() and torch.isfinite(error).all()
    assert (model.log_prob(x, given(seed=1)) - value).abs().max() > 1e-3
    assert torch.allclose(model.decode(model.encode(x, c), c), x, atol=1e-3)
    assert (model.encode(x, given(seed=1)) - model.encode(x, c)).abs().max() > 1e-3
    model.scoring = "bound"
    assert torch.isfinite(model.log_prob(x, c)).all()


@pytest.mark.parametrize("cls", [Diffusion, FlowMap, DenoisingGAN])
@pytest.mark.parametrize("condition", [PICTURE, PARTS], ids=["picture", "label and picture"])
def test_other_networks_of_the_family_concatenate_as_well(cls, condition):
    torch.manual_seed(0)
    model = cls(EVENT, condition, network="unet", width=16, depth=1)
    c = {"label": torch.tensor([0, 1, 2, 0]), "picture": given()} if condition is PARTS else given()
    batch = Batch(given(seed=3), c)
    model.prepare(lambda n: batch)
    for phase in model.phases():
        losses = phase.loss(batch)
        total = sum(losses.values()) if isinstance(losses, dict) else losses
        assert torch.isfinite(total)
        model.zero_grad()
        total.backward()
        assert any(p.grad is not None and bool(p.grad.any()) for p in phase.parameters)
    model = moved(model)
    other = {**c, "picture": given(seed=1)} if isinstance(c, dict) else given(seed=1)
    drawn = [model.sample(4, v, generator=Streams(0, 4)) for v in (c, c, other)]
    assert torch.equal(drawn[0], drawn[1]) and (drawn[0] - drawn[2]).abs().max() > 1e-4
    plain = config.model_to_json(model.name or "flow-matching", model)
    again = config.model_from_json(plain)
    assert again.grid_condition == "concatenate"
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval().sample(4, c, generator=Streams(0, 4)), drawn[0])
    del plain["options"]["grid_condition"]  # a run of before
    assert config.model_from_json(plain).grid_condition == "embed"


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_teacher_of_pictures_is_distilled(method):
    teacher, c = made(condition=PARTS), {"label": torch.tensor([0, 1, 2, 0]), "picture": given()}
    objective = Distilled(teacher, method, guidance=2.0)
    assert objective.student.grid_condition == "concatenate"
    for phase in objective.phases():
        losses = phase.loss(Batch(given(seed=3), c))
        assert torch.isfinite(sum(losses.values()) if isinstance(losses, dict) else losses)


def test_the_scales_of_a_cascade_are_given_the_coarser_grid_by_concatenation():
    options = {"details": "flow-matching", "details_options": {"network": "unet", "width": 16, "depth": 1}}
    options["coarse_options"] = HaarCascade.small["coarse_options"]
    model = HaarCascade(Bounded((1, 8, 8)), Discrete((), 3), **options)
    assert model.part("details0").grid_condition == "concatenate"
    assert set(model.part("details0").denoiser.grids.events) == {"coarse"}
    plain = config.model_to_json("haar-cascade", model)
    again = config.model_from_json(json.loads(json.dumps(plain)))
    assert again.state_dict().keys() == model.state_dict().keys()
    del plain["options"]["grid_condition"]  # a run of before
    before = config.model_from_json(plain)
    assert before.part("details0").grid_condition == "embed"
    whole = HaarCascade(
        Bounded((1, 8, 8)), Bounded((1, 4, 4)), coarse="flow-matching", **{**options, "coarse_options": {}}
    )
    assert whole.part("coarse").grid_condition == whole.part("details0").grid_condition == "concatenate"


@pytest.mark.slow
def test_runs_state_how_pictures_enter_and_those_from_before_load_as_they_were(tmp_path):
    from pofx import storage
    from pofx.core.files import read_json, write_json

    items = pofx.images(PIXELS, levels=17, labels=np.resize([0, 1, 2], 96))
    parts = ["label", pofx.images(PIXELS[:, ::2, ::2], levels=17)]
    one = {"label": 1, "image": PIXELS[0, ::2, ::2]}
    for choice in ("concatenate", "embed"):
        options = {"network": "unet", "width": 16, "depth": 1} | (
            {"grid_condition": choice} if choice == "embed" else {}
        )
        run = pofx.fit(items, "flow-matching", condition=parts, options=options, **QUIET)
        assert run.model.grid_condition == choice
        run.save(tmp_path / choice)
        again = pofx.load(tmp_path / choice)
        drawn = run.sample(4, condition=one)
        assert again.model.grid_condition == choice and np.array_equal(again.sample(4, condition=one), drawn)
    path = tmp_path / "embed" / storage.FILE
    plain = {k: v for k, v in read_json(path).items() if k != "hash"}
    del plain["model"]["options"]["grid_condition"]
    write_json(path, storage._sealed(plain))
    before = pofx.load(tmp_path / "embed")
    assert before.model.grid_condition == "embed" and np.array_equal(before.sample(4, condition=one), drawn)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [("divergence-head", {}), ("control", {"form": "encoder"}), ("control", {})]
)
def test_what_is_built_around_a_run_given_pictures(name, options):
    items, pictures = pofx.images(PIXELS, levels=17), pofx.images(PIXELS[:, ::2, ::2], levels=17)
    own = {"network": "unet", "width": 16, "depth": 1}
    run = pofx.fit(items, "flow-matching", condition=pictures, options=own, **QUIET)
    around = pofx.fit(items, name, run=run, condition=pictures, options={**own, **options}, **QUIET)
    assert around.sample(2, condition=PIXELS[:2, ::2, ::2]).shape == (2, 8, 8)
    if name == "divergence-head":
        assert around.model.head.grids is not None
        assert np.isfinite(around.log_prob(PIXELS[:2], condition=PIXELS[:2, ::2, ::2])).all()
        around.model.log_prob_error()


def test_signals_and_volumes():
    for shape in ((2, 16), (1, 4, 8, 8)):
        event, coarse = Continuous(shape), Continuous((1, *(s // 2 for s in shape[1:])))
        model = moved(Diffusion(event, coarse, network="unet", width=16, depth=1, grid_condition="concatenate"))
        c = torch.randn(2, *coarse.shape)
        assert model.sample(2, c, generator=Streams(0, 2)).shape == (2, *shape)
