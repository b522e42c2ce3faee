"""Parts trained beside a frozen run: they start as the run, correct what is wrong with it, and never change it."""

import numpy as np
import pytest
import torch

import pofx
from pofx.combine.around.control import Control
from pofx.core.companion import Foundation
from pofx.core.config import build
from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Bounded, Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams

RNG = np.random.default_rng(0)
LABELS = (RNG.random(1000) < 0.5).astype(int)
POINTS = (0.4 * RNG.normal(size=(1000, 2)) + np.where(LABELS[:, None] == 1, [1.5, 0.0], [-1.5, 0.0])).astype(np.float32)
QUIET = {"progress": False, "trainer": {"batch_size": 250, "warmup": 10, "lr": 3e-3}}


@pytest.fixture(scope="module")
def both():
    """An exact denoiser of a mixture of two."""
    return pofx.fit(POINTS, "gmm", components=2, steps=1, progress=False)


@pytest.fixture(scope="module")
def classified(both):
    return pofx.fit(POINTS, "classifier-guidance", condition=LABELS, run=both, steps=250, width=32, **QUIET)


def events(run, n=250):
    x, _ = run.representation.encode(run.representation.tensor(POINTS[-n:]), Streams(0, n))
    return Batch(x)


@pytest.mark.slow
def test_a_noisy_classifier_gives_a_run_its_label(both, classified):
    drawn = classified.using(sampler_steps=20).sample(300, condition=[0, 1, 1] * 100)
    right = (drawn[:, 0] > 0) == np.array([False, True, True] * 100)
    assert right.mean() > 0.93
    assert abs(drawn[1::3].mean(0)[0] - 1.5) < 0.25
    alone = classified.using(guidance=0)
    assert np.allclose(alone.sample(9, condition=1), pofx.guided(both, lambda x: 0 * x[:, 0]).sample(9), atol=1e-3)


@pytest.mark.slow
def test_a_discriminator_corrects_a_run_that_is_wrong(both):
    """One wide Gaussian for two narrow ones: the discriminator of its draws pulls them apart."""
    wide = pofx.fit(POINTS, "gmm", components=1, steps=1, progress=False)
    run = pofx.fit(POINTS, "discriminator-guidance", run=wide, steps=200, draws=1000, width=64, **QUIET)
    run = run.using(sampler="dpm++2m", sampler_steps=20)
    between = [float((np.abs(r.sample(600, seed=5)[:, 0]) < 0.5).mean()) for r in (run.using(guidance=0), run)]
    assert between[0] > 0.2 and between[1] < 0.5 * between[0]
    assert run.model.validation(events(run)) < 0.69
    assert set(run.model.telemetry()) == {"accuracy"} and run.model.telemetry()["accuracy"] > 0.5


@pytest.mark.slow
def test_a_discriminator_of_a_right_run_has_nothing_to_correct(both):
    run = pofx.fit(POINTS, "discriminator-guidance", run=both, steps=100, width=32, **QUIET)
    x, t = torch.randn(50, 2), torch.tensor(0.5)
    assert float((run.model.denoise(x, t) - both.model.denoise(x, t)).abs().mean()) < 0.15
    assert float(run.model.validation(events(run))) == pytest.approx(0.693, abs=0.05)


@pytest.mark.parametrize(
    ("event", "condition", "network"),
    [
        (Continuous((3,)), Discrete((), 4), "mlp"),
        (Continuous((3,)), {"a": Continuous((2,)), "b": Discrete((1,), 3)}, "mlp"),
        (Bounded((1, 8, 8)), Bounded((1, 4, 4)), "unet"),
        (Bounded((3, 8, 8)), Discrete((1, 8, 8), 4), "dit"),
        (Bounded((1, 8, 8)), Continuous((1, 8, 8)), "mlp"),
        (Bounded((1, 8, 8)), Discrete((5,), 4, end=3), "unet"),
    ],
)
def test_a_branch_starts_as_the_run_and_learns_from_the_first_step(event, condition, network):
    torch.manual_seed(0)
    base = build("flow-matching", event, width=32, depth=1, network="mlp").eval()
    with torch.no_grad():
        for p in base.parameters():
            p.add_(0.05 * torch.randn_like(p))
    held = Foundation(base, "flow-matching")
    model = Control(event, condition, run=held, network=network, width=32, depth=1)
    before = {k: v.clone() for k, v in base.state_dict().items()}
    x, c, t = torch.randn(4, *event.shape), _conditions(condition, 4), torch.rand(4)
    assert torch.equal(model.denoise(x, t, c), base.denoise(x, t)) and torch.equal(
        model.denoise(x, t), base.denoise(x, t)
    )
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        model.loss(Batch(x, c)).backward()
        optimiser.step()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.branch.parameters())
    assert not torch.equal(model.denoise(x, t, c), base.denoise(x, t))
    other = _conditions(condition, 4, seed=7)
    assert not torch.allclose(model.denoise(x, t, c), model.denoise(x, t, other), atol=1e-7)
    assert all(torch.equal(v, before[k]) for k, v in base.state_dict().items())
    assert not {id(p) for p in base.parameters()} & {id(p) for p in model.parameters()}


@pytest.mark.parametrize(
    ("event", "condition"),
    [
        (Bounded((1, 9, 8)), Bounded((1, 4, 4))),
        (Bounded((3, 16, 16)), {"image": Bounded((1, 8, 8)), "label": Discrete((), 3)}),
        (Bounded((1, 8, 8)), Discrete((), 4)),
        (Bounded((2, 8)), Continuous((2,))),
    ],
)
def test_a_copied_encoder_starts_as_the_run_and_learns(event, condition):
    """Bit for bit at step 0; after three steps the condition shows, and the run is what it was."""
    torch.manual_seed(0)
    base = build("flow-matching", event, width=16, depth=1, network="unet").eval()
    with torch.no_grad():
        for p in base.parameters():
            p.add_(0.05 * torch.randn_like(p))
    model = Control(event, condition, run=Foundation(base, "flow-matching"), form="encoder")
    before = {k: v.clone() for k, v in base.state_dict().items()}
    x, c, t = torch.randn(4, *event.shape), _conditions(condition, 4), torch.rand(4)
    assert torch.equal(model.denoise(x, t, c), base.denoise(x, t))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        model.loss(Batch(x, c)).backward()
        optimiser.step()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not missing
    assert not torch.allclose(model.denoise(x, t, c), model.denoise(x, t, _conditions(condition, 4, seed=7)), atol=1e-7)
    assert torch.equal(model.denoise(x, t), base.denoise(x, t))
    assert all(torch.equal(v, before[k]) for k, v in base.state_dict().items())
    assert not {id(p) for p in base.parameters()} & {id(p) for p in model.parameters()}


def test_an_encoder_is_copied_of_a_unet_alone(both):
    with pytest.raises(Unsupported, match="form=small"):
        pofx.fit(POINTS, "control", condition=LABELS, run=both, form="encoder", steps=1, progress=False)


@pytest.mark.slow
def test_a_copied_encoder_follows_a_small_picture(tmp_path):
    """Digits given the means of their blocks: the draws have them, those of the run alone do not."""
    from pofx.data.sources import load

    digits = load("digits").train.values[:1200]
    items, blocks = pofx.images(digits, levels=17), digits.reshape(-1, 4, 2, 4, 2).mean((2, 4))
    small = pofx.images(blocks.round().astype("uint8"), levels=17)
    plain = {"progress": False, "batch_size": 64}
    base = pofx.fit(items, "flow-matching", network="unet", width=32, depth=1, steps=300, out=tmp_path / "a", **plain)
    run = pofx.fit(items, "control", condition=small, run=tmp_path / "a", form="encoder", steps=250, **plain)

    def error(r):
        drawn = r.sample(100, condition=small.values[:100]).reshape(-1, 4, 2, 4, 2).mean((2, 4))
        return float(np.abs(drawn - blocks[:100]).mean())

    assert error(run) < 0.5 * error(run.using(guidance=0))
    run.save(tmp_path / "b")
    again = pofx.load(tmp_path / "b")
    assert np.array_equal(again.sample(3, condition=small.values[:3]), run.sample(3, condition=small.values[:3]))
    assert base.name == "flow-matching"


def _conditions(event, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if isinstance(event, dict):
        return {k: _conditions(e, n, seed) for k, e in event.items()}
    if isinstance(event, Discrete):
        return torch.randint(event.largest, (n, *event.shape), generator=generator)
    return torch.randn(n, *event.shape, generator=generator)


@pytest.mark.slow
def test_a_branch_reaches_the_posterior(both):
    """Given x_1 + noise, draws of a controlled exact denoiser follow p(x_1 | condition)."""
    seen = (POINTS[:, :1] + 0.3 * RNG.normal(size=(1000, 1))).astype(np.float32)
    run = pofx.fit(POINTS, "control", condition=seen, run=both, steps=500, width=64, depth=1, **QUIET)
    drawn = run.using(sampler_steps=20).sample(200, condition=np.array([[1.6]] * 100 + [[-1.2]] * 100, np.float32))
    gain = 0.4**2 / (0.4**2 + 0.3**2)
    assert drawn[:100, 0].mean() == pytest.approx(1.5 + gain * 0.1, abs=0.12)
    assert drawn[100:, 0].mean() == pytest.approx(-1.5 + gain * 0.3, abs=0.12)
    assert drawn[:, 0].reshape(2, 100).std(1) == pytest.approx([0.24, 0.24], abs=0.08)
    assert drawn[:, 1].std() == pytest.approx(0.4, abs=0.08)
    alone = run.using(guidance=0, sampler_steps=20).sample(50, condition=np.ones((50, 1), np.float32))
    assert np.allclose(alone, pofx.guided(both, lambda x: 0 * x[:, 0]).using(sampler_steps=20).sample(50), atol=1e-3)


def test_a_branch_is_saved_with_its_run_and_resumes(tmp_path):
    images = RNG.integers(0, 255, (80, 8, 8), dtype=np.uint8)
    small = images[:, ::2, ::2]
    base = pofx.fit(
        pofx.images(images), "flow-matching", steps=4, width=16, depth=1, progress=False, out=tmp_path / "a"
    )
    kinds = {"condition": pofx.images(small).train if hasattr(pofx.images(small), "train") else pofx.images(small)}
    values = {"run": tmp_path / "a", "width": 16, "depth": 1, "progress": False, "batch_size": 16}
    run = pofx.fit(pofx.images(images), "control", **kinds, **values, steps=6, out=tmp_path / "b")
    assert run.sample(2, condition=small[:2]).shape == (2, 8, 8)
    again = pofx.load(tmp_path / "b")
    assert np.array_equal(again.sample(2, condition=small[:2]), run.sample(2, condition=small[:2]))
    assert again.card["companions"]["run"]["model"] == base.name
    assert np.array_equal(run.sample(5, condition=small[:5], batch_size=2), run.sample(5, condition=small[:5]))
    edited = pofx.edit(run, images[:2], strength=0.4, steps=3, condition=small[:2])
    assert edited.shape == (2, 8, 8)


def test_a_run_with_a_label_is_controlled_without_it():
    given = pofx.fit(POINTS, "gmm", components=1, steps=1, progress=False, condition=LABELS)
    run = pofx.fit(POINTS, "control", condition=POINTS[:, :1], run=given, steps=3, width=16, **QUIET)
    assert run.sample(2, condition=POINTS[:2, :1]).shape == (2, 2)


def test_impossible_parts_are_refused(both):
    with pytest.raises(UsageError, match="run="):
        pofx.fit(POINTS, "control", condition=LABELS, steps=1, progress=False)
    with pytest.raises(Unsupported, match="label"):
        pofx.fit(POINTS, "classifier-guidance", run=both, steps=1, progress=False)
    with pytest.raises(Unsupported, match="Denoising"):
        kde = pofx.fit(POINTS, "kde", steps=1, progress=False)
        pofx.fit(POINTS, "control", condition=LABELS, run=kde, steps=1, progress=False)
    with pytest.raises(Unsupported, match="condition"):
        pofx.fit(POINTS, "discriminator-guidance", condition=LABELS, run=both, steps=1, progress=False)
