"""Flows and pipelines of other libraries as runs; runs as distributions, pipelines and programs: the same numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

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


@pytest.mark.parametrize("library", ["zuko", "nflows"])
def test_the_context_of_a_flow_is_the_condition_of_the_run(library):
    torch.manual_seed(0)
    if library == "zuko":
        zuko = pytest.importorskip("zuko")
        module = zuko.flows.NSF(features=2, context=3, transforms=1, hidden_features=(16,))
        run = pofx.from_zuko(module, context=3)
    else:
        pytest.importorskip("nflows")
        from nflows.distributions.normal import ConditionalDiagonalNormal
        from nflows.flows.base import Flow
        from nflows.transforms.autoregressive import MaskedAffineAutoregressiveTransform

        transform = MaskedAffineAutoregressiveTransform(2, 16, context_features=3)
        module = Flow(transform, ConditionalDiagonalNormal([2], torch.nn.Linear(3, 4)))
        run = pofx.from_nflows(module, context=3)
    c = np.random.default_rng(0).normal(size=(6, 3)).astype("f4")
    x = run.sample(6, c, seed=1)
    assert np.allclose(run.sample(3, c[:3], seed=1), x[:3], atol=1e-5)
    inside, given = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(c)
    with torch.no_grad():
        own = module(given).log_prob(inside) if library == "zuko" else module.log_prob(inside, context=given)
    assert np.allclose(run.log_prob(x, c), own.numpy(), atol=1e-4)
    assert np.allclose(run.decode(run.encode(x, c), c), x, atol=1e-3)
    assert not np.allclose(run.log_prob(x, c), run.log_prob(x, c[::-1].copy()))
    wrap = pofx.from_zuko if library == "zuko" else pofx.from_nflows
    for wrong in ({}, {"context": 2}, {"context": 3, "dims": 4}, {"context": -1}):
        with pytest.raises(UsageError):
            wrap(module, **wrong)
    with pytest.raises(PofxError, match="condition"):
        run.sample(3)


@pytest.mark.parametrize("kind", ["NAF", "GF", "CNF", "double", "mixture"])
def test_flows_that_take_derivatives_or_other_types_and_mixtures_are_runs(kind):
    zuko = pytest.importorskip("zuko")
    torch.manual_seed(0)
    module = {
        "double": lambda: zuko.flows.MAF(2, hidden_features=(8,)).double(),
        "mixture": lambda: zuko.mixtures.GMM(2, components=3),
        "GF": lambda: zuko.flows.GF(2, hidden_features=(8,)),
        "CNF": lambda: zuko.flows.CNF(2, hidden_features=(8,)),
        "NAF": lambda: zuko.flows.NAF(2, hidden_features=(8,)),
    }[kind]()
    run = pofx.from_zuko(module)
    x = run.sample(4, seed=1)
    given = torch.as_tensor(x, dtype=torch.float64 if kind == "double" else torch.float32)
    assert np.allclose(run.log_prob(x), module().log_prob(given).detach().numpy(), atol=2e-2 if kind == "CNF" else 1e-3)
    assert run.density == pofx.Density.EXACT
    if kind == "mixture":
        with pytest.raises(Unsupported, match="no codes"):
            run.encode(x)
    else:
        assert np.allclose(run.reconstruct(x), x, atol=1e-2)


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
    pictures = pofx.as_distribution(pofx.fit("digits", model="made", width=16, blocks=1, **QUICK))
    drawn = pictures.sample((2,))
    assert pictures.support.check(drawn).all() and not pictures.support.check(drawn.float() + 0.5).any()
    given = pofx.fit("digits", model="made", width=16, blocks=1, condition="label", **QUICK)
    with pytest.raises(Unsupported, match="condition="):  # of labels drawn at random it would not be log p
        pofx.as_distribution(given)
    assert pofx.as_distribution(given, 3).log_prob(drawn).shape == (2,)


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


SCHEDULES = {  # of a pipeline: what of it the steps depend on
    "clipped elsewhere": {"clip_sample_range": 2.0},
    "not clipped": {"clip_sample": False},
    "clipped by quantiles": {"thresholding": True, "sample_max_value": 2.0},
    "from the end": {"timestep_spacing": "trailing"},
    "evenly": {"timestep_spacing": "linspace"},
    "velocities": {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    "items": {"prediction_type": "sample"},
    "not to the data": {"set_alpha_to_one": False, "steps_offset": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_samples_are_the_same_under_every_schedule(name):
    theirs = pipeline()
    theirs.scheduler = peer().DDIMScheduler(**SCHEDULES[name])
    theirs.set_progress_bar_config(disable=True)
    run = pofx.from_diffusers(theirs, sampler_steps=7)
    z = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    out = theirs(batch_size=2, num_inference_steps=7, eta=0.0, output_type="np",
                 generator=torch.Generator().manual_seed(3)).images  # fmt: skip
    with torch.inference_mode():
        ours = run.model.decode(z).numpy()
        back = run.model.encode(run.model.decode(z))
    assert np.abs((ours / 2 + 0.5).transpose(0, 2, 3, 1) - out).max() < 1e-4
    assert torch.isfinite(back).all()


@pytest.mark.slow
def test_a_pipeline_around_a_run_is_stored_and_read_by_diffusers(denoiser, tmp_path):
    made = pofx.to_diffusers(denoiser, levels=50)
    made.save_pretrained(tmp_path / "p")
    back = peer().DDIMPipeline.from_pretrained(tmp_path / "p")
    drawn = []
    for one in (made, back):
        one.set_progress_bar_config(disable=True)
        drawn.append(one(batch_size=2, num_inference_steps=5, eta=0.0, output_type="np",
                         generator=torch.Generator().manual_seed(3)).images)  # fmt: skip
    assert np.array_equal(*drawn)
    for wrong in ({"levels": 1}, {"levels": "many"}):
        with pytest.raises(UsageError, match="levels"):
            pofx.to_diffusers(denoiser, **wrong)
    with pytest.raises(PofxError):
        pofx.to_diffusers(tmp_path / "p")


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


def test_pipelines_that_cannot_be_are_refused(flow, tmp_path):
    peer()
    with pytest.raises(UsageError, match="pipeline"):
        pofx.from_diffusers(object())
    (tmp_path / "p").mkdir()
    with pytest.raises(UsageError, match="no pipeline"):
        pofx.from_diffusers(tmp_path / "p")
    few = pipeline(20)
    with pytest.raises(UsageError, match="at most the 20"):
        pofx.from_diffusers(few, sampler_steps=50).sample(1)
    few.unet.register_to_config(num_class_embeds=10)
    with pytest.raises(Unsupported, match="class"):
        pofx.from_diffusers(few)
    few.unet.register_to_config(num_class_embeds=None, sample_size=None)
    with pytest.raises(UsageError, match="sample_size"):
        pofx.from_diffusers(few)
    with pytest.raises(Unsupported, match="denoiser"):
        pofx.to_diffusers(flow)


def gpt2_weights(width=16, layers=2, classes=11, length=7, biased=True, transposed=False):
    """A state dict as nanoGPT has it; `transposed` as transformers stores linear maps."""
    torch.manual_seed(0)
    state = {
        "transformer.wte.weight": torch.randn(classes, width),
        "transformer.wpe.weight": torch.randn(length, width),
    }

    def linear(name, inputs, outputs):
        weight = torch.randn(outputs, inputs) / inputs**0.5
        state[f"{name}.weight"] = weight.T.contiguous() if transposed else weight
        if biased:
            state[f"{name}.bias"] = torch.randn(outputs)

    def norm(name):
        state[f"{name}.weight"] = 1 + 0.1 * torch.randn(width)
        if biased:
            state[f"{name}.bias"] = 0.1 * torch.randn(width)

    for i in range(layers):
        at = f"transformer.h.{i}"
        norm(f"{at}.ln_1"), norm(f"{at}.ln_2")
        linear(f"{at}.attn.c_attn", width, 3 * width), linear(f"{at}.attn.c_proj", width, width)
        linear(f"{at}.mlp.c_fc", width, 4 * width), linear(f"{at}.mlp.c_proj", 4 * width, width)
    norm("transformer.ln_f")
    state["lm_head.weight"] = state["transformer.wte.weight"]
    return state


def gpt2_logits(state, tokens, heads, curve, transposed=False):
    """GPT-2 from its mathematics, place by place: tokens (k,) → logits of what follows each."""
    from torch.nn.functional import gelu, layer_norm

    def of(name, h):
        weight = state[f"transformer.{name}.weight"]
        weight = weight.T if transposed else weight
        return h @ weight.T + state.get(f"transformer.{name}.bias", 0.0)

    def norm(name, h):
        return layer_norm(h, h.shape[-1:], state[f"transformer.{name}.weight"], state.get(f"transformer.{name}.bias"))

    h = state["transformer.wte.weight"][tokens] + state["transformer.wpe.weight"][: len(tokens)]
    size, layer = h.shape[1] // heads, 0
    while f"transformer.h.{layer}.ln_1.weight" in state:
        q, k, v = of(f"h.{layer}.attn.c_attn", norm(f"h.{layer}.ln_1", h)).chunk(3, 1)
        parts = []
        for head in range(heads):
            at = slice(head * size, (head + 1) * size)
            scores = q[:, at] @ k[:, at].T / size**0.5
            parts.append(scores.masked_fill(torch.ones_like(scores).triu(1) > 0, -torch.inf).softmax(1) @ v[:, at])
        h = h + of(f"h.{layer}.attn.c_proj", torch.cat(parts, 1))
        units = gelu(of(f"h.{layer}.mlp.c_fc", norm(f"h.{layer}.ln_2", h)), approximate=curve)
        h, layer = h + of(f"h.{layer}.mlp.c_proj", units), layer + 1
    return norm("ln_f", h) @ state["transformer.wte.weight"].T


@pytest.mark.parametrize(("biased", "transposed", "activation"), [(True, True, "gelu-tanh"), (False, False, "gelu")])
def test_weights_of_gpt2_have_its_logits(biased, transposed, activation, tmp_path):
    state = gpt2_weights(biased=biased, transposed=transposed)
    run = pofx.from_gpt2(state, heads=2, start=4, activation=activation)
    x = torch.randint(11, (3, 7), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = run.model.logits(x)
    curve = "tanh" if activation == "gelu-tanh" else "none"
    for row, logits in zip(x, ours, strict=True):
        theirs = gpt2_logits(state, torch.cat((torch.tensor([4]), row[:-1])), 2, curve, transposed)
        assert torch.allclose(logits, theirs, atol=1e-4)
    log_p = ours.log_softmax(-1).gather(-1, x[..., None])[..., 0].sum(1)
    assert np.allclose(run.log_prob(x.numpy()), log_p.numpy(), atol=1e-4)
    drawn = run.sample(4, seed=1, temperature=0.8)
    run.save(tmp_path)
    assert np.array_equal(pofx.load(tmp_path).sample(4, seed=1, temperature=0.8), drawn) and drawn.shape == (4, 7)
    checkpoint = {"model": {f"_orig_mod.{k}": v for k, v in state.items()}, "model_args": {"n_head": 2}}
    again = pofx.from_gpt2(checkpoint, start=4, activation=activation)
    assert np.array_equal(again.sample(4, seed=1, temperature=0.8), drawn)


def test_a_model_of_transformers_has_the_same_logits_here():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    try:
        transformers.GPT2LMHeadModel  # noqa: B018  (loaded when it is needed)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"transformers cannot load its GPT-2 here: {str(error)[:80]}")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=23, n_positions=9, n_embd=32, n_layer=2, n_head=4, bos_token_id=3)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    run = pofx.from_gpt2(theirs)
    x = torch.randint(23, (2, 9))
    with torch.no_grad():
        logits = theirs(torch.cat((torch.full((2, 1), 3), x[:, :-1]), 1)).logits
        assert torch.allclose(run.model.logits(x), logits, atol=1e-4)


def test_weights_of_other_networks_are_refused(tmp_path):
    state = gpt2_weights()
    for wrong, reason in (
        (torch.nn.Linear(2, 2), "wte.weight"),
        ({"a": 1}, "state dict"),
        ({**state, "lm_head.weight": torch.randn(11, 16)}, "share"),
        ({**state, "transformer.h.1.adapter.weight": torch.ones(2)}, "got also h.1.adapter"),
        ({k: v for k, v in state.items() if k != "transformer.h.1.mlp.c_fc.bias"}, "every bias or none"),
        ({k: v for k, v in state.items() if k != "transformer.h.0.mlp.c_fc.weight"}, "must have h.0.mlp.c_fc"),
        ({**state, "transformer.wte.weight": state["transformer.wte.weight"] * torch.nan}, "finite"),
        ({**state, "transformer.h.0.ln_1.weight": torch.ones(9)}, r"do not fit.{1,200}$"),
    ):
        with pytest.raises(UsageError, match=reason):
            pofx.from_gpt2(wrong, heads=2, start=0)
    for how in ({"heads": 0}, {"heads": "2"}, {"heads": 2, "start": "a"}, {"heads": 2, "start": 0, "activation": "x"}):
        with pytest.raises(UsageError, match="must be"):
            pofx.from_gpt2(state, **how)
    for path in (tmp_path, tmp_path / "ckpt.pt", "gpt2"):
        with pytest.raises(UsageError, match="safetensors"):
            pofx.from_gpt2(path)
    save_file({k: v.clone() for k, v in state.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"n_head": 2, "bos_token_id": 0}')
    of_file = pofx.from_gpt2(tmp_path / "model.safetensors", heads=2, start=0)
    assert np.array_equal(pofx.from_gpt2(tmp_path).sample(2), of_file.sample(2))
    assert "imported from GPT-2" in repr(of_file) and "None" not in of_file.model_card().split("## Training")[1]
    assert " 0 " not in of_file._repr_html_() and "None" not in of_file._repr_html_()
    found = pofx.from_gpt2({k: v.numpy() for k, v in state.items()}, heads=2, start=0)
    assert np.array_equal(found.sample(2), pofx.from_gpt2(state, heads=2, start=0).sample(2))
    with pytest.raises(UsageError, match="start"):
        pofx.from_gpt2(state, heads=2)
    with pytest.raises(UsageError, match="heads"):
        pofx.from_gpt2(state, start=0)
    del state["transformer.h.1.mlp.c_proj.weight"]
    with pytest.raises(UsageError, match="c_proj"):
        pofx.from_gpt2(state, heads=2, start=0)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["decode", "encode", "score"])
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


PROGRAMS = """
import sys
import numpy as np
import torch
import pofx
from onnx.reference import ReferenceEvaluator
folder = sys.argv[1]
for model, small in (("realnvp", {"layers": 2, "width": 16, "blocks": 1}), ("vae", {"latent": 4, "width": 16})):
    run = pofx.fit("moons", model=model, options=small, steps=2, progress=False)
    z = np.random.default_rng(0).normal(size=(3, *run.model.code.shape)).astype(np.float32)
    program = ReferenceEvaluator(str(pofx.export(run, folder + "/p.onnx")))
    theirs = program.run(None, {program.input_names[0]: z})[0]
    plain = torch.export.load(pofx.export(run, folder + "/p.pt2")).module()(torch.from_numpy(z)).detach().numpy()
    assert np.allclose(theirs, run.decode(z), atol=1e-4), model
    assert np.allclose(plain, run.decode(z), atol=1e-4), model
run = pofx.fit("digits", model="vae", latent=2, width=16, steps=2, progress=False)
plain = torch.export.load(pofx.export(run, folder + "/d.pt2")).module()
for n in (2, 5):
    z = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)
    assert len(plain(torch.from_numpy(z))) == n
pofx.export(run, folder + "/d.onnx")
import os
assert sorted(os.listdir(folder)) == ["d.onnx", "d.pt2", "p.onnx", "p.pt2"], os.listdir(folder)  # weights are inside
"""


@pytest.mark.slow
def test_programs_compute_what_the_run_does_for_any_number_of_items(tmp_path):
    """ONNX by the interpreter of onnx itself. In a process of its own: checks of shapes, which only tests have, hide
    from torch that the number of items is free."""
    pytest.importorskip("onnxscript", reason="onnx and onnxscript are not installed: pofx[onnx]")
    env = {**os.environ, "PYTHONPATH": str(Path(pofx.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAMS, str(tmp_path)], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_onnx_without_its_libraries_is_refused_in_words(flow, tmp_path, monkeypatch):
    from pofx.combine import export

    def absent(*_):
        raise ImportError("No module named 'onnx'")

    monkeypatch.setattr(export, "_onnx", absent)
    run = pofx.fit("moons", model="realnvp", layers=1, width=8, blocks=1, **QUICK)
    with pytest.raises(UsageError, match=r"pofx\[onnx\]"):
        pofx.export(run, tmp_path / "p.onnx")
    assert not list(tmp_path.iterdir())


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
    for wrong in (lambda: pofx.together(None), lambda: pofx.to_tensorboard(None)):
        with pytest.raises(UsageError, match="must be"):
            wrong()


def test_validation_is_logged_as_such(tmp_path, monkeypatch):
    """Under "validation" the loss of training was logged once, and that of validation nowhere."""
    import signal
    import types

    import pofx.cli.main as cli

    logged = []
    project = types.SimpleNamespace(log=lambda numbers, step: logged.append((step, numbers)))
    made = types.SimpleNamespace(init=lambda project: logged.append(project) or made, log=project.log)
    monkeypatch.setitem(sys.modules, "wandb", made)
    monkeypatch.setattr(signal, "signal", lambda *a: None)
    monkeypatch.setattr(sys, "argv", ["pofx", "train", "moons", "--model", "nsf", "--steps", "4", "-o", "width=8",
                                      "--wandb", "mine", "--out", str(tmp_path / "r")])  # fmt: skip
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code and logged[0] == "mine"
    lines = [json.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_text().splitlines()]
    stored = {line["step"]: line["validation"] for line in lines if "validation" in line}
    seen = {step: numbers["validation/loss"] for step, numbers in logged[1:] if "validation/loss" in numbers}
    assert stored and seen == pytest.approx(stored, rel=1e-4)
    assert all(set(numbers) <= {"validation/loss", "training/model", "steps per second"} for _, numbers in logged[1:])
