"""The diffusion core against closed forms: Gaussians, guidance, and what a run keeps."""

import pytest
import torch

from pofx.core.config import config, model_from_json, model_to_json
from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.diffusion.denoiser import Denoiser
from pofx.families.diffusion.diffusion import Diffusion
from pofx.families.diffusion.flow_map import FlowMap
from pofx.families.diffusion.guided import GuidedWalk
from pofx.maths.multistep import SAMPLERS
from pofx.maths.paths import PATHS, angle

MEAN, STD = 0.7, 0.4  # of the Gaussian whose denoiser is known


class Oracle(Denoiser):
    """The velocity of N(MEAN, std²) data, on the circle."""

    std = STD

    def estimate(self, x, angles, context=None, branch=None):
        phi = angles.reshape(-1, *[1] * (x.ndim - 1))
        cos, sin = phi.cos(), phi.sin()
        variance = cos**2 * self.std**2 + sin**2
        z = (x - cos * MEAN) / variance
        return cos * (sin * z) - sin * (MEAN + cos * self.std**2 * z), None


def oracle(shape, std=STD, **values):
    """A model whose denoiser knows the answer."""
    model = Diffusion(Continuous(shape), width=8, **values)
    model.denoiser.__class__ = Oracle
    model.denoiser.std = std
    return model


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("std", [pytest.param(0.1, marks=pytest.mark.slow), 0.4])
def test_a_hundred_ancestral_steps_spread_the_gaussian_as_it_should(name, std):
    torch.manual_seed(0)
    model, n = oracle((2,), std, path=name, sampler="ancestral", sampler_steps=100), 10_000
    x = model.sample(n, generator=Streams(0, n))
    assert float(x.std(0).mean()) == pytest.approx(std, rel=0.025)  # drawn with x held over a step, it is 0.93 std
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.02 * max(std, 0.2))


@pytest.mark.parametrize("shape, steps", [((2,), 16), ((5,), 64)])
def test_few_heun_steps_keep_a_narrow_mode_of_the_plane_as_wide_as_it_is(shape, steps):
    model, n = oracle(shape, 0.17, sampler_steps=steps), 20_000
    x = model.sample(n, generator=Streams(0, n))
    assert float(x.std(0).mean()) == pytest.approx(0.17, rel=0.03)


@pytest.mark.parametrize("path", PATHS)
def test_log_prob_is_the_gaussians(path):
    model = oracle((3,), path=path)
    x = MEAN + STD * torch.randn(50, 3)
    wanted = torch.distributions.Normal(MEAN, STD).log_prob(x).sum(1)
    with torch.inference_mode():
        found = model.likelihood(x, tolerance=1e-4)
        assert (found.value - wanted).abs().max() < 1e-3 and found.sampling is None
        assert found.integration.max() <= 1e-4 and found.evaluations >= 48
        z = model.encode(x)
        assert torch.allclose(z, (x - MEAN) / STD, atol=0.02)
        assert torch.allclose(model.decode(z), x, atol=1e-4)
    found = model.likelihood(x, tolerance=1e-4, exact=False)
    assert (found.value - wanted).abs().max() < 1e-3  # the Jacobian is diagonal: any probe is exact
    assert found.sampling.max() < 1e-4


def tiny(event=None, condition=None, **values):
    torch.manual_seed(0)
    model = Diffusion(event or Continuous((2,)), condition, **{"width": 16, "depth": 1, **values})
    with torch.no_grad():
        for p in model.denoiser.net.parameters():
            p.add_(0.1 * torch.randn_like(p))
        for p in model.denoiser.conditioner.parameters():
            p.add_(torch.randn_like(p))
    return model.eval()


@torch.no_grad()
def test_guidance_one_is_conditional_and_zero_is_unconditional():
    c = torch.tensor([0, 1, 2, 2])
    net, path = tiny(condition=Discrete((), 3)).denoiser, PATHS["linear"]
    x, t = torch.randn(4, 2), torch.tensor(0.4)

    def guided(w, given=c):
        return GuidedWalk(net, given, path, weight=w)(x, t)

    phi = angle(path(t))
    scaled = x / (0.6**2 + 0.4**2) ** 0.5
    for w, context in ((1.0, net.embed(c)), (0.0, net.embed(c, torch.ones(4, dtype=torch.bool)))):
        wanted = phi.cos() * scaled - phi.sin() * net.velocity(scaled, phi.expand(4), context)
        assert torch.allclose(guided(w), wanted, atol=1e-6)
    assert torch.equal(guided(0.0), guided(0.0, c.flip(0))) and not torch.equal(guided(0.0), guided(1.0))
    assert torch.allclose(guided(2.0), guided(0.0) + 2 * (guided(1.0) - guided(0.0)), atol=1e-5)


@torch.no_grad()
def test_denoise_is_the_estimate_in_units_of_the_event():
    model = oracle((3,))
    model.denoiser.center.fill_(2.0)
    model.denoiser.scale.fill_(5.0)
    t = torch.tensor(0.3)
    alpha, sigma = model.schedule(t)
    x = 2 + 5 * (MEAN + STD * torch.randn(4000, 3))
    x_t = alpha * x + sigma * torch.randn_like(x)
    estimate = model.denoise(x_t, t)
    assert float((estimate - x).mean()) == pytest.approx(0, abs=0.05)
    gain = alpha * (5 * STD) ** 2 / (alpha**2 * (5 * STD) ** 2 + sigma**2)
    wanted = 2 + 5 * MEAN + gain * (x_t - alpha * (2 + 5 * MEAN))
    assert torch.allclose(estimate, wanted, atol=1e-4)
    assert torch.allclose(model.denoise(x_t, t.expand(4000)), estimate, atol=1e-5)


@pytest.mark.slow
def test_the_error_of_the_probes_is_the_spread_over_other_probes():
    model = tiny(Continuous((20,)), width=32, probes=8)
    x = torch.randn(6, 20)
    found = model.likelihood(x, tolerance=0.05)
    exact = model.likelihood(x, tolerance=0.05, exact=True).value
    assert (found.sampling > 0).all() and ((found.value - exact).abs() < 5 * found.sampling + 0.05).all()
    assert tiny(Continuous((20,)), probes=1).likelihood(x, tolerance=0.5).sampling.isnan().all()
    value, error = model.log_prob_estimate(x)
    assert torch.equal(value, model.log_prob(x)) and (error > 0).all()


def test_what_the_size_of_an_event_chooses_is_kept_as_a_value():
    plane, digits = Diffusion(Continuous((2,))), Diffusion(Continuous((1, 8, 8)))
    assert (plane.octaves, plane.noises, plane.spacing) == (3, 4, "squared")
    assert (digits.octaves, digits.noises, digits.spacing) == (0, 1, "shifted")
    again = Diffusion(Continuous((2,)), **config(digits))
    assert (again.octaves, again.noises, again.spacing) == (0, 1, "shifted")
    model = Diffusion(Continuous((2,)))
    model.steps = 7
    assert model.sampler_steps == 7 == config(model)["sampler_steps"]


def test_runs_of_earlier_versions_are_read():
    new = Diffusion(Continuous((2,)), sampler_steps=9)
    old = {k.removeprefix("denoiser."): v for k, v in new.state_dict().items()}
    name, options, weights = Diffusion.upgraded("ddpm", {"steps": 9}, old)
    assert name == "ddpm" and options["network"] == "mlp" and set(weights) == set(new.state_dict())
    plain = {**model_to_json("ddpm", new), "options": {"steps": 9, "weight": "min-snr"}}
    read = model_from_json(plain)
    assert isinstance(read, Diffusion) and (read.sampler_steps, read.weighting) == (9, "min-snr")


@pytest.mark.parametrize(
    "sampler", [pytest.param(s, marks=[pytest.mark.slow] if s == "adaptive" else []) for s in SAMPLERS]
)
@torch.no_grad()
def test_sample_i_depends_on_its_stream_alone(sampler):
    threshold = "none" if sampler == "adaptive" else "static"
    model = tiny(Bounded((1, 9, 7)), network="unet", sampler=sampler, sampler_steps=4, threshold=threshold)
    whole = model.sample(6, generator=Streams(3, 6))
    close = 0.1 if sampler == "adaptive" else 1e-4  # its steps are chosen by errors near a tolerance
    assert torch.allclose(model.sample(2, generator=Streams(3, 6)[3:5]), whole[3:5], atol=close)
    assert whole.shape == (6, 1, 9, 7) and torch.isfinite(whole).all()
    assert sampler == "adaptive" or whole.abs().max() <= 1 + 1e-5


def test_the_network_sees_unit_variance_and_the_untrained_loss_is_its_weight():
    model = Diffusion(Continuous((4,)), path="cosine", prediction="v", width=16)
    data = 3 + 5 * torch.randn(4000, 4)
    model.prepare(lambda n: Batch(data[:n]))
    assert torch.allclose(model.denoiser.center, data.mean(0)) and torch.allclose(
        model.denoiser.scale, data.std(0), rtol=1e-3
    )
    torch.manual_seed(0)
    assert float(model.loss(Batch(data)).detach()) == pytest.approx(1.0, abs=0.03)
    assert model.validation(Batch(data)) == model.validation(Batch(data))


def test_constant_columns_and_wrong_options():
    model = Diffusion(Continuous((2,)), width=16)
    model.prepare(lambda n: Batch(torch.tensor([[1.0, 5.0], [2.0, 5.0]])))
    assert model.denoiser.scale[1] == 1 and torch.isfinite(model.log_prob(torch.tensor([[1.5, 5.0]]))).all()
    for wrong in ({"path": "straight"}, {"sampler": "huen"}, {"sampler_steps": 0}, {"network": "unet"}):
        with pytest.raises(UsageError):
            Diffusion(Continuous((2,)), **wrong)


@pytest.mark.parametrize("cls", [Diffusion, FlowMap])
def test_the_width_is_saved_as_chosen_and_runs_from_before_have_theirs(cls):
    small, large = Bounded((1, 28, 28)), Bounded((3, 32, 32))
    assert (cls(small).width, cls(large).width, cls(Continuous((2,))).width) == (32, 64, 128)
    channels = cls(small, width=0).denoiser.net.first.out_channels  # as all were before
    assert channels == 64 and cls(small).denoiser.net.first.out_channels == 32
    assert config(cls(small))["width"] == 32


def test_a_diffusion_begins_with_embeddings_of_texts_that_differ():
    model = Diffusion(Continuous((2,)), Discrete((4,), 5), network="mlp", width=8)
    x = torch.randint(0, 5, (200, 4))
    model.prepare(lambda n: Batch(torch.randn(200, 2), x, None))
    z = model.denoiser.embed(x).vector
    assert z.mean(0).abs().max() < 1e-3 and torch.allclose(z.std(0), torch.ones(z.shape[1]), atol=1e-2)
