"""Flows and pipelines of other libraries as runs; runs as distributions, pipelines and programs: the same numbers."""

import numpy as np
import pytest
import torch

import pofx
from pofx.core.errors import PofxError, Unsupported, UsageError

QUICK = {"steps": 2, "batch_size": 32, "progress": False}


@pytest.fixture(scope="module")
def flow():
    return pofx.fit("moons", model="nsf", width=16, bins=4, blocks=1, **QUICK)


@pytest.fixture(scope="module")
def denoiser():
    return pofx.fit("digits", model="ddpm", network="mlp", width=32, depth=1, **QUICK)


def theirs(library):
    torch.manual_seed(0)
    if library == "zuko":
        zuko = pytest.importorskip("zuko")
        return zuko.flows.MAF(features=2, transforms=2, hidden_features=(16,)), pofx.from_zuko
    pytest.importorskip("nflows")
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.transforms.autoregressive import MaskedAffineAutoregressiveTransform

    return Flow(MaskedAffineAutoregressiveTransform(2, 16), StandardNormal([2])), pofx.from_nflows


@pytest.mark.parametrize("library", ["zuko", "nflows"])
def test_a_flow_of_another_library_is_a_run(library, tmp_path):
    module, wrap = theirs(library)
    run = wrap(module, 2)
    x = run.sample(50, seed=1)
    assert x.shape == (50, 2)
    assert np.allclose(run.sample(3, seed=1), x[:3], atol=1e-5)
    with torch.no_grad():
        own = (module().log_prob if library == "zuko" else module.log_prob)(torch.as_tensor(x, dtype=torch.float32))
    score = run.score(x)
    assert np.allclose(score.value, own.numpy(), atol=1e-4)
    assert score.density == pofx.Density.EXACT
    assert np.allclose(run.reconstruct(x), x, atol=1e-3)
    with pytest.raises(Unsupported, match="save it with"):
        run.save(tmp_path / "x")
    with pytest.raises(UsageError):
        wrap(module, 3)
    with pytest.raises(UsageError):
        wrap("a flow", 2)


@pytest.mark.slow
def test_a_flow_of_another_library_is_judged_like_any_other():
    from pofx.data.sources import load
    from pofx.evaluate.suite import evaluate

    module, wrap = theirs("zuko")
    found = evaluate(wrap(module, 2), load("moons"), n=100, likelihood_seconds=1, force=True, progress=False)
    names = {row.get("metric") for row in found["measurements"]}
    assert "c2st" in names


def test_a_run_is_a_torch_distribution(flow):
    law = pofx.as_distribution(flow)
    assert isinstance(law, torch.distributions.Distribution)
    torch.manual_seed(0)
    x = law.sample((3, 4))
    assert x.shape == (3, 4, 2)
    torch.manual_seed(0)
    assert torch.equal(law.sample((3, 4)), x)
    value = x.clone().requires_grad_(True)
    log_p = law.log_prob(value)
    assert log_p.shape == (3, 4)
    assert np.allclose(log_p.detach().numpy().flatten(), flow.log_prob(x.reshape(-1, 2).numpy()), atol=1e-4)
    (gradient,) = torch.autograd.grad(log_p.sum(), value)
    assert gradient.shape == x.shape
    with pytest.raises(PofxError, match="shape"):
        law.log_prob(torch.zeros(3))


def peer():
    """diffusers, without torchvision where that does not fit the torch that is installed."""
    found = pytest.importorskip("diffusers")
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        found.utils.import_utils._torchvision_available = False
    return found


def pipeline(steps=1000):
    diffusers = peer()
    torch.manual_seed(0)
    net = diffusers.UNet2DModel(sample_size=8, in_channels=1, out_channels=1, layers_per_block=1,
                                block_out_channels=(8, 8), norm_num_groups=4, down_block_types=("DownBlock2D",) * 2,
                                up_block_types=("UpBlock2D",) * 2)  # fmt: skip
    return diffusers.DDIMPipeline(unet=net.eval(), scheduler=diffusers.DDIMScheduler(num_train_timesteps=steps))


def test_a_pipeline_of_diffusers_draws_the_same_samples_from_the_same_noise(tmp_path):
    theirs = pipeline()
    theirs.save_pretrained(tmp_path / "p")
    for given in (theirs, tmp_path / "p"):
        run = pofx.from_diffusers(given, sampler_steps=10)
        z = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(3))
        theirs.set_progress_bar_config(disable=True)
        out = theirs(batch_size=2, num_inference_steps=10, eta=0.0, output_type="np",
                     generator=torch.Generator().manual_seed(3)).images  # fmt: skip
        with torch.inference_mode():
            ours = run.model.decode(z).numpy()
        assert np.abs((ours / 2 + 0.5).transpose(0, 2, 3, 1) - out).max() < 1e-4
    assert run.sample(3).dtype == np.uint8
    assert run.using(sampler_steps=5).model.steps == 5


@pytest.mark.slow
def test_a_run_is_a_pipeline_of_diffusers(denoiser):
    peer()
    made = pofx.to_diffusers(denoiser, levels=200)
    made.set_progress_bar_config(disable=True)
    images = made(batch_size=2, num_inference_steps=5, output_type="np").images
    assert images.shape[0] == 2
    assert np.isfinite(images).all()
    x, level = torch.rand(2, *denoiser.model.event.shape) * 2 - 1, 60
    with torch.no_grad():
        alpha = made.scheduler.alphas_cumprod[level].sqrt()
        noise = made.unet(x, level).sample
        data = (x - (1 - alpha**2).sqrt() * noise) / alpha
        t = made.unet.times[level]
        a, s = denoiser.model.schedule(t)
        own = denoiser.model.denoise(x * (a**2 + s**2).sqrt(), t.expand(2))
    assert torch.allclose(data, own, atol=1e-3)


def test_pipelines_that_cannot_be_are_refused(flow):
    peer()
    with pytest.raises(UsageError, match="pipeline"):
        pofx.from_diffusers(object())
    with pytest.raises(Unsupported, match="denoiser"):
        pofx.to_diffusers(flow)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("verb", ["decode", pytest.param("encode", marks=SLOW), pytest.param("score", marks=SLOW)])
def test_a_program_computes_what_the_run_does(verb, tmp_path):
    run = pofx.fit("moons", model="realnvp", layers=2, width=16, blocks=1, **QUICK)
    try:
        path = pofx.export(run, tmp_path / "p.pt2", verb)
    except Unsupported as error:
        assert verb != "decode", error  # densities decide by their values which items are too far
        pytest.skip(str(error))
    program = torch.export.load(path).module()
    x = run.sample(2, seed=5)
    z = run.encode(x)
    with torch.no_grad():
        given = torch.from_numpy(z) if verb == "decode" else run.representation.tensor(x)
        found = program(given).numpy()
    expected = {"decode": x, "encode": z, "score": run.log_prob(x)}[verb]
    assert np.allclose(found, expected, atol=1e-3)


@pytest.mark.slow
def test_what_cannot_be_exported_is_refused(flow, denoiser, tmp_path):
    with pytest.raises(UsageError, match="ending"):
        pofx.export(flow, tmp_path / "p.txt")
    with pytest.raises(UsageError, match="verb"):
        pofx.export(flow, tmp_path / "p.pt2", "draw")
    with pytest.raises(Unsupported, match="no codes"):
        pofx.export(pofx.fit("digits", model="made", width=16, blocks=1, **QUICK), tmp_path / "p.pt2")


def test_hooks_receive_the_numbers_of_a_training(tmp_path):
    logged = []

    class Board:
        def log(self, numbers, step):
            logged.append((step, numbers))

    hooks = [pofx.to_wandb(Board())]
    try:
        hooks.append(pofx.to_tensorboard(tmp_path / "board"))
    except UsageError:
        pass
    seen = []
    pofx.fit("moons", model="gmm", steps=3, progress=pofx.together(*hooks, seen.append))
    assert seen
    assert len(hooks) == 1 or list((tmp_path / "board").iterdir())
    assert all(np.isfinite(v) for _, numbers in logged for v in numbers.values())
    with pytest.raises(UsageError, match="wandb"):
        pofx.to_wandb(5)
