"""Samplers against closed forms (Gaussians, mixtures, point masses), and against diffusers where it is installed."""

import math

import pytest
import torch

from pofx.maths.multistep import RANDOM, SAMPLERS, ancestral, dpmpp_2m, dpmpp_3m, unipc
from pofx.maths.paths import PATHS, Point, angle, time_at
from pofx.maths.samplers import Walk, ddim, euler, heun, times_of

MEAN, STD = 0.7, 0.4  # of the Gaussian whose denoiser is known
double = {"dtype": torch.float64}


def gaussian_denoiser(path, mean=MEAN, std=STD):
    def denoise(x, t):
        p = path(t)
        alpha, sigma = (v.reshape(-1, *[1] * (x.ndim - 1)) if v.ndim else v for v in (p.alpha, p.sigma))
        return mean + alpha * std**2 * (x - alpha * mean) / (alpha**2 * std**2 + sigma**2)

    return denoise


def mixture_denoiser(path, means=(-1.0, 1.5), std=0.3):
    def denoise(x, t):
        p = path(t)
        alpha, sigma = (v.reshape(-1, *[1] * x.ndim) if v.ndim else v for v in (p.alpha, p.sigma))
        variance = alpha**2 * std**2 + sigma**2
        m = torch.tensor(means, dtype=x.dtype)
        share = (-((x[..., None] - alpha * m) ** 2) / (2 * variance)).softmax(-1)
        return (share * (m + alpha * std**2 * (x[..., None] - alpha * m) / variance)).sum(-1)

    return denoise


def exact_flow(x, t, u, path, mean=MEAN, std=STD):
    """Where the probability flow takes x from time t to u: standard scores stay the same."""
    a, b = path(t), path(u)
    size = [(p.alpha**2 * std**2 + p.sigma**2).sqrt() for p in (a, b)]
    return b.alpha * mean + size[1] * (x - a.alpha * mean) / size[0]


class Part(Walk):
    """A walk that ends at its last time, before the data."""

    @property
    def places(self):
        return [self.at(t) for t in self.times]


def places(start, stop, steps, sampler):
    """Even times; before them two short steps for a method whose first steps are of lower order."""
    grid = torch.linspace(start, stop, steps + 1, **double)
    short = (start - stop) / steps**2
    return torch.cat((grid[:1], grid[:1] - short, grid[:1] - 2 * short, grid[1:])) if sampler is dpmpp_3m else grid


def order(sampler, path, steps=(20, 40), start=0.9, stop=0.2, denoiser=gaussian_denoiser, **values):
    x = torch.tensor([[-1.0], [0.3], [2.0]], **double)
    if denoiser is gaussian_denoiser:
        wanted = exact_flow(x, *torch.tensor([start, stop], **double), path)
    else:
        wanted = dpmpp_3m(denoiser(path), x, Part(path, places(start, stop, 8 * steps[1], dpmpp_3m)))
    errors = []
    for n in steps:
        walk = Part(path, places(start, stop, n, sampler))
        errors.append(float((sampler(denoiser(path), x, walk, **values) - wanted).abs().max()))
    return math.log2(errors[0] / errors[1])


@pytest.mark.parametrize("name", PATHS)
def test_solvers_show_their_order(name):
    path = PATHS[name]
    span = {"start": 0.6, "stop": 0.5} if name in ("ve", "edm") else {"start": 0.8, "stop": 0.4}
    few, many = (16, 32), (40, 80)
    assert order(euler, path, many, **span) == pytest.approx(1, abs=0.25)
    assert order(ddim, path, many, **span) == pytest.approx(1, abs=0.25)
    assert order(heun, path, few, **span) == pytest.approx(2, abs=0.35)
    assert order(dpmpp_2m, path, many, **span) == pytest.approx(2, abs=0.35)
    wide = span if name in ("ve", "edm") else {"start": 0.9, "stop": 0.2}
    assert order(dpmpp_3m, path, (160, 320), **wide) == pytest.approx(3, abs=0.45)
    assert order(unipc, path, few, order=1, **span) > 1.7
    assert order(unipc, path, few, order=2, **span) > 2.6


@pytest.mark.slow
def test_orders_hold_on_a_mixture():
    path = PATHS["cosine"]
    for sampler, wanted in ((ddim, 1), (heun, 2), (dpmpp_2m, 2), (dpmpp_3m, 3)):
        found = order(sampler, path, (80, 160), denoiser=mixture_denoiser)
        assert found == pytest.approx(wanted, abs=0.4), sampler


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("steps", [1, 3, 7, 20, 1000])
def test_samplers_return_a_point_mass(name, steps):
    path = PATHS[name]
    x = torch.randn(5, 3, **double)
    for sampler in SAMPLERS:
        if steps == 1000 and (sampler not in ("ddim", "unipc") or name != "vp-linear"):
            continue
        walk = Walk(path, times_of(path, steps).double(), lambda: torch.randn(5, 3, **double))
        out = SAMPLERS[sampler](lambda x, t: torch.full_like(x, 0.25), x, walk)
        assert torch.allclose(out, torch.full_like(out, 0.25), atol=1e-12), sampler


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_give_the_gaussian_its_mean_and_variance(name, sampler):
    generator = torch.Generator().manual_seed(0)
    n, path = 5_000, PATHS[name]
    first = path(torch.ones(()))
    x = (first.alpha**2 + first.sigma**2).sqrt() * torch.randn(n, 1, generator=generator)
    walk = Walk(path, times_of(path, 100), lambda: torch.randn(n, 1, generator=generator))
    out = SAMPLERS[sampler](gaussian_denoiser(path), x, walk)
    rough = sampler in ("euler", "ddim", "predictor-corrector") or name in ("ve", "edm")
    wide = 0.1 if rough else 0.06 if sampler in RANDOM else 0.03
    assert float(out.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(out.std()) == pytest.approx(STD, rel=wide)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("spacing", ["even", "squared", "shifted", "karras"])
def test_times_fall_from_noise_to_the_end_of_the_path(name, spacing):
    for steps in (2, 3, 17):
        times, even = times_of(PATHS[name], steps, spacing), times_of(PATHS[name], steps)
        assert times[0] == 1 and (times.diff() < 0).all() and len(times) in (steps, steps + 1)
        if spacing != "karras":
            assert times[-1] == even[-1]
        if spacing in ("squared", "shifted"):
            longer = (times - even)[1:-1]
            assert (longer > 0).all() if spacing == "shifted" else (longer < 0).all()


def test_one_random_step_has_the_posterior_variance():
    path, n = PATHS["vp-linear"], 50_000
    t, u = torch.tensor(0.5), torch.tensor(0.4)
    here, there = path(t), path(u)
    beta = 1 - (here.alpha / there.alpha) ** 2
    wanted = beta * there.sigma**2 / here.sigma**2  # Ho et al., eq. 7
    torch.manual_seed(0)
    walk = Part(path, torch.stack((t, u)), lambda: torch.randn(n), eta=1.0)
    for sampler in (ancestral, ddim):
        out = sampler(lambda x, t: torch.zeros_like(x), torch.zeros(n), walk)
        assert float(out.var()) == pytest.approx(float(wanted), rel=0.03)


def test_churn_keeps_the_distribution_and_costs_no_evaluations():
    path, n, calls = PATHS["edm"], 20_000, []
    generator = torch.Generator().manual_seed(0)

    def denoise(x, t):
        calls.append(float(t))
        return gaussian_denoiser(path)(x, t)

    x = 160.0 * torch.randn(n, 1, generator=generator)
    walk = Walk(path, times_of(path, 64), lambda: torch.randn(n, 1, generator=generator), churn=10.0)
    out = heun(denoise, x, walk)
    assert len(calls) == 127  # 2 N - 1
    assert float(out.mean()) == pytest.approx(MEAN, abs=0.02) and float(out.std()) == pytest.approx(STD, rel=0.06)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 14, 15])
def test_few_steps_are_finite(sampler, steps):
    for name, path in PATHS.items():
        if sampler == "adaptive" and (name != "vp-sigmoid" or steps > 2):
            continue  # it takes steps of its own
        x = torch.randn(4, 2)
        out = SAMPLERS[sampler](mixture_denoiser(path), x, Walk(path, times_of(path, steps), lambda: torch.randn(4, 2)))
        assert torch.isfinite(out).all()


@pytest.mark.parametrize("name", PATHS)
def test_karras_times_and_the_inverse_of_a_path(name):
    path = PATHS[name]
    t = torch.linspace(0.05, 0.95, 40, **double)
    assert torch.allclose(time_at(path, angle(path(t))), t, atol=1e-9)
    times = times_of(path, 12, "karras")
    assert len(times) == 12 and times[0] == 1 and (times.diff() < 0).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_noise_of_another_width_per_channel_only_scales(sampler):
    """Paths in units of the event have one sigma per channel (`Denoising.schedule`)."""
    if sampler == "adaptive":
        pytest.skip("takes paths of numbers")
    width = torch.tensor([[1.0], [3.0]])

    def wide(t):
        point = PATHS["linear"](t)
        return Point(point.alpha, width * point.sigma, point.d_alpha, width * point.d_sigma)

    noises = [torch.randn(6, 2, 1) for _ in range(40)]
    outs = []
    for path, scale in ((PATHS["linear"], torch.ones(2, 1)), (wide, width)):
        left = iter(noises)
        walk = Walk(path, times_of(path, 9), lambda left=left: next(left))
        base = gaussian_denoiser(PATHS["linear"], 0.0)
        outs.append(SAMPLERS[sampler](lambda x, t, s=scale, d=base: s * d(x / s, t), scale * noises[-1], walk) / scale)
    assert torch.allclose(*outs, atol=1e-5)


@pytest.mark.parametrize("ours", ["ddpm", "ddim", "ddim-eta", "dpm++2m", "unipc", "euler", "heun", "flow"])
def test_steps_equal_those_of_diffusers(ours):
    diffusers = pytest.importorskip("diffusers")
    steps, betas = 10, {"beta_start": 1e-4, "beta_end": 0.02, "num_train_timesteps": 1000}
    shared = {**betas, "beta_schedule": "linear"}
    spaced = {"timestep_spacing": "trailing"}
    made = {
        "ddpm": lambda: diffusers.DDPMScheduler(**shared, **spaced, clip_sample=False),
        "ddim": lambda: diffusers.DDIMScheduler(**shared, **spaced, clip_sample=False, set_alpha_to_one=True),
        "ddim-eta": lambda: diffusers.DDIMScheduler(**shared, **spaced, clip_sample=False, set_alpha_to_one=True),
        "dpm++2m": lambda: diffusers.DPMSolverMultistepScheduler(**shared, **spaced, final_sigmas_type="zero"),
        "unipc": lambda: diffusers.UniPCMultistepScheduler(**shared, **spaced, final_sigmas_type="zero"),
        "euler": lambda: diffusers.EulerDiscreteScheduler(**shared, **spaced),
        "heun": lambda: diffusers.HeunDiscreteScheduler(**shared, **spaced),
        "flow": lambda: diffusers.FlowMatchEulerDiscreteScheduler(),
    }
    scheduler = made[ours]()
    scheduler.set_timesteps(steps)
    exploding = ours in ("euler", "heun")  # x / alpha, sigma / alpha
    if ours == "flow":
        sigmas = scheduler.sigmas.double()
        places = [(1 - s, s) for s in sigmas]
    elif exploding:
        sigmas = torch.unique(scheduler.sigmas.double()).flip(0)
        places = [(torch.ones_like(s), s) for s in sigmas]
    else:
        bars = [scheduler.alphas_cumprod[int(t)].double() for t in scheduler.timesteps]
        bars.append(torch.ones((), **double))
        places = [(a.sqrt(), (1 - a).sqrt()) for a in bars]
    alphas, levels = (torch.stack(v) for v in zip(*places, strict=True))

    def path(t):  # places by their number
        k = t.round().long()
        return Point(alphas[k], levels[k], torch.full_like(t, math.inf), torch.full_like(t, math.inf))

    generator = torch.Generator().manual_seed(0)
    x = levels[0] * torch.randn(6, 3, generator=generator, **double)

    def eps_at(x, alpha, sigma):  # some smooth noise estimate
        return torch.tanh(0.7 * x / (alpha**2 + sigma**2).sqrt()) + 0.1 * sigma / (alpha + sigma)

    def denoise(x, t):
        p = path(t)
        return (x - p.sigma * eps_at(x, p.alpha, p.sigma)) / p.alpha if p.alpha > 0 else None

    def denoise_flow(x, t):
        p = path(t)
        return x - p.sigma * eps_at(x, p.alpha, p.sigma)  # velocity = noise - data

    noises = torch.randn(steps, 6, 3, generator=generator, **double)
    left = iter(noises)
    eta = 1.0 if ours in ("ddim-eta", "ddpm") else 0.0
    walk = Walk(path, torch.arange(len(alphas), **double), lambda: next(left), eta=eta)
    sampler = {"dpm++2m": dpmpp_2m, "heun": heun, "euler": euler, "flow": euler}.get(ours, ddim)
    estimate = denoise_flow if ours == "flow" else denoise
    found = unipc(estimate, x, walk, order=2) if ours == "unipc" else sampler(estimate, x, walk)

    y, k = x.clone(), 0
    for t in scheduler.timesteps:
        at = scheduler.step_index if getattr(scheduler, "step_index", None) is not None else k
        if ours == "heun":
            at = int((levels - scheduler.sigmas[at].double()).abs().argmin())
        seen = y / (levels[at] ** 2 + 1).sqrt() if exploding else y
        if exploding:
            seen = scheduler.scale_model_input(y, t)
            assert torch.allclose(seen, y / (levels[at] ** 2 + 1).sqrt(), atol=1e-6)
        eps = eps_at(y, alphas[at], levels[at])
        more = {}
        if ours == "ddim-eta":
            more = {"eta": 1.0, "variance_noise": noises[k] if k < steps - 1 else torch.zeros_like(y)}
        if ours == "ddpm":
            with_noise(scheduler, noises[k])
        y = scheduler.step(eps, t, y, **more).prev_sample
        k += 1
    assert torch.allclose(found, y.double(), atol=1e-5), float((found - y).abs().max())


def with_noise(scheduler, noise):
    """Let the next step of a scheduler draw this noise."""
    import diffusers.schedulers.scheduling_ddpm as module

    module.randn_tensor = lambda *a, **k: noise


def test_random_samplers_are_listed():
    assert set(RANDOM) < set(SAMPLERS)
