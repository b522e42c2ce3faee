"""Laws of the feature spaces given by weights, and of log-mel statistics: they equal their libraries, bit for bit."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import pofx
from peers import peer
from pofx.core.errors import DataError, PofxError, UsageError
from pofx.core.representation import Items
from pofx.data.kind import named
from pofx.evaluate.features import fit_spaces
from pofx.evaluate.pretrained import rgb
from pofx.evaluate.spaces.logmel import LogMel, mel_bands
from pofx.maths.frechet import frechet_distance


def pictures(n=5, size=16, channels=3, levels=256, seed=0):
    shape = (n, size, size, channels) if channels > 1 else (n, size, size)
    values = np.random.default_rng(seed).integers(0, levels, shape).astype(np.uint8)
    return Items("image", values, None, {"levels": levels})


# Inception


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    module = peer("torch_fidelity.feature_extractor_inceptionv3")
    kind = module.FeatureExtractorInceptionV3
    bare = type("Bare", (kind,), {"load_state_dict": lambda self, state: None})
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setattr(module, "load_state_dict_from_url", lambda *args, **kwargs: {})
        torch.manual_seed(0)
        net = bare("random", ["2048"])
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(net.state_dict(), path)  # theirs reads nothing else
    save_file(net.state_dict(), path.with_suffix(".safetensors"))
    theirs = kind("theirs", ["2048"], feature_extractor_weights_path=str(path))
    return path.with_suffix(".safetensors"), theirs


@pytest.mark.slow
def test_inception_features_are_those_of_torch_fidelity_bit_for_bit(inception, tmp_path):
    path, theirs = inception
    items = pictures(2, 20)
    (space,) = fit_spaces(items, [f"inception={path}"], folder=tmp_path)
    with torch.no_grad():
        expected = theirs(torch.as_tensor(items.values).permute(0, 3, 1, 2))[0].numpy()
    assert space.dims == 2048 and space.name == "inception" and space.facts["weights"] == "weights.safetensors"
    assert np.array_equal(space.of(items), expected) and list(tmp_path.glob("inception-*.npz"))
    with pytest.raises(UsageError, match="predicts no classes"):
        space.predict(items.values)


def test_weights_that_are_missing_or_of_another_network_are_refused(tmp_path):
    items = pictures()
    with pytest.raises(UsageError, match="inception=a .safetensors FILE"):
        fit_spaces(items, ["inception"])
    with pytest.raises(UsageError, match="dinov2=a FOLDER"):
        fit_spaces(items, ["dinov2="])
    with pytest.raises(UsageError, match="one of images"):
        fit_spaces(Items("text", ["a", "b"]), ["clip=x"])
    with pytest.raises(UsageError, match="fitted here"):
        fit_spaces(items, ["pca=x"])
    with pytest.raises(UsageError, match="unknown feature space"):
        fit_spaces(items, ["inceptoin=x"])
    with pytest.raises(DataError, match="no weights at"):
        fit_spaces(items, [f"inception={tmp_path / 'none.pth'}"])
    with pytest.raises(DataError, match="no network at"):
        fit_spaces(items, [f"dinov2={tmp_path}"])
    torch.save(np.zeros, tmp_path / "code.pth")  # a pickle that would run code
    with pytest.raises(DataError, match="no .safetensors file.*convert"):
        fit_spaces(items, [f"inception={tmp_path / 'code.pth'}"])
    save_file({"conv": torch.zeros(2)}, tmp_path / "other.safetensors")
    # torchvision refuses a torch that it was not built for, at the first import alone
    refused = pytest.raises(PofxError, match="cannot be imported|is not installed|lacks 470 of 470")
    with refused:
        fit_spaces(items, [f"inception={tmp_path / 'other.safetensors'}"])


class Small(torch.nn.Module):
    """In place of torch-fidelity's Inception, which needs torchvision: two layers, its constructor, its names."""

    def __init__(self, name, features, feature_extractor_weights_path=None):
        super().__init__()
        self.first, self.norm, self.fc = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 10)
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=True))
        self.eval()

    def forward(self, x):
        return (torch.nn.functional.adaptive_avg_pool2d(self.norm(self.first(x.float())), 16).flatten(1)[:, :2048],)


@pytest.fixture
def weights(monkeypatch):
    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = Small
    for name, one in {"torch_fidelity": types.ModuleType("torch_fidelity"), module.__name__: module}.items():
        monkeypatch.setitem(sys.modules, name, one)
    torch.manual_seed(0)
    net = torch.nn.ModuleDict({"first": torch.nn.Conv2d(3, 8, 3), "norm": torch.nn.BatchNorm2d(8)})
    return {k: v.clone() for k, v in net.state_dict().items()}


class Harmful:
    def __reduce__(self):
        return (open, ("executed", "w"))


def test_own_weights_give_the_same_features_in_every_file_that_is_no_code(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    items = pictures(3, 20)
    tracked = {k: v for k, v in weights.items() if not k.endswith("tracked")}
    save_file(weights, "a.safetensors")
    save_file({f"module.{k}": v for k, v in tracked.items()}, "b.safetensors")
    save_file({**tracked, "fc.weight": torch.zeros(3, 8)}, "c.safetensors")
    found = [fit_spaces(items, [f"inception={name}.safetensors"])[0] for name in "abc"]
    first = found[0].of(items)
    assert first.std() > 0 and all(np.array_equal(space.of(items), first) for space in found)


def test_own_weights_that_do_not_fit_are_refused_by_name_and_nothing_is_executed(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    items = pictures(3, 20)
    cases = {
        "lacking": (
            {k: v for k, v in weights.items() if k != "norm.running_var"},
            "lacks 1 of 6.*norm.running_var",
        ),
        "other": ({"conv": torch.zeros(2)}, "lacks 6 of 6 tensors .*first.weight.*it has conv"),
        "nothing": ({}, "it has nothing"),
        "shape": ({**weights, "first.weight": torch.zeros(8, 1, 3, 3)}, r"first.weight \(8, 1, 3, 3\), not"),
        "nan": ({**weights, "norm.bias": torch.full((8,), torch.nan)}, "not finite numbers .norm.bias"),
    }
    for name, (content, _) in cases.items():
        save_file(content, f"{name}.safetensors")
    Path("damaged.safetensors").write_bytes(b"\xff" * 40)
    torch.save(weights, "weights.pth")
    torch.save({"first.weight": Harmful()}, "code.pth")
    torch.save({"first.weight": Harmful()}, "code.safetensors")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), "program.pt")
    wanted = {f"{name}.safetensors": match for name, (_, match) in cases.items()}
    wanted |= dict.fromkeys(("damaged.safetensors", "code.safetensors"), "no file of safetensors")
    wanted |= dict.fromkeys(("weights.pth", "code.pth", "program.pt"), "no .safetensors file.*convert")
    for name, match in wanted.items():
        with pytest.raises(DataError, match=match):
            fit_spaces(items, [f"inception={name}"])
    assert not Path("executed").exists()


def test_every_image_becomes_rgb():
    grey = pictures(2, 4, 1, levels=17).values
    found = rgb(named("image").shown(grey, {"levels": 17}).pictures)
    assert found.shape == (2, 3, 4, 4) and (found[:, 0] == found[:, 2]).all()
    assert np.array_equal(found[:, 0], np.rint(grey * 255.0 / 16))
    colours = pictures(2, 4).values
    assert np.array_equal(rgb(colours), colours.transpose(0, 3, 1, 2))
    with pytest.raises(UsageError, match="grey or RGB"):
        rgb(pictures(2, 4, 4).values)


# transformers


def bicubic(values, side, mean, deviation):
    small = [np.asarray(Image.fromarray(v).resize((side, side), Image.Resampling.BICUBIC), np.float32) for v in values]
    x = (np.stack(small) / 255 - np.asarray(mean)) / np.asarray(deviation)
    return torch.as_tensor(x).permute(0, 3, 1, 2).float()


def test_dinov2_features_are_those_of_transformers(tmp_path):
    transformers = peer("transformers")
    sizes = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=7)
    net = transformers.Dinov2Model(transformers.Dinov2Config(**sizes)).eval()
    net.save_pretrained(tmp_path)
    items = pictures(3, 40)
    (space,) = fit_spaces(items, [f"dinov2={tmp_path}"])
    x = bicubic(items.values, 28, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        expected = net(pixel_values=x).last_hidden_state[:, 0].numpy()  # the class token, after the norm
    assert space.dims == 24
    assert np.allclose(space(items.values), expected, atol=1e-5)
    kept = space.hash
    with torch.no_grad():
        net.embeddings.cls_token += 0.1
    net.save_pretrained(tmp_path)
    assert fit_spaces(items, [f"dinov2={tmp_path}"])[0].hash != kept  # other weights, another hash
    (tmp_path / "preprocessor_config.json").write_text(
        '{"crop_size": {"height": 14, "width": 14}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}'
    )
    (space,) = fit_spaces(items, [f"dinov2={tmp_path}"])
    with torch.no_grad():
        expected = net(pixel_values=bicubic(items.values, 14, [0.5] * 3, [0.5] * 3)).pooler_output.numpy()
    assert np.allclose(space(items.values), expected, atol=1e-5) and space.hash != kept


@pytest.mark.parametrize("projected", [False, True])
def test_clip_features_are_those_of_transformers(tmp_path, projected):
    transformers = peer("transformers")
    sizes = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=7)
    config = transformers.CLIPVisionConfig(**sizes, intermediate_size=32, projection_dim=10)
    kind = transformers.CLIPVisionModelWithProjection if projected else transformers.CLIPVisionModel
    net = kind(config).eval()
    net.save_pretrained(tmp_path)
    items = pictures(3, 40, 1)
    (space,) = fit_spaces(items, [f"clip={tmp_path}"])
    values = np.repeat(items.values[..., None], 3, -1)
    x = bicubic(values, 28, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    with torch.no_grad():
        out = net(pixel_values=x)
    expected = (out.image_embeds if projected else out.pooler_output).numpy()
    assert space.dims == (10 if projected else 24)
    assert np.allclose(space(items.values), expected, atol=1e-5)


def test_the_distance_of_few_items_in_many_dimensions_is_the_definition():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(30, 64)) @ generator.normal(size=(64, 64)), generator.normal(size=(40, 64)) + 0.5
    gap = ((x.mean(0) - y.mean(0)) ** 2).sum()
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    cross = np.sqrt(np.maximum(np.linalg.eigvals(a @ b).real, 0)).sum()
    expected = gap + np.trace(a) + np.trace(b) - 2 * cross
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-8)
    with pytest.raises(UsageError, match="at least 2 items"):
        frechet_distance(x[:1], y)


# sound


def test_mel_bands_cover_the_spectrum_and_a_tone_lights_its_own():
    weights = mel_bands(16000, 512)
    assert weights.shape == (32, 257) and np.allclose(weights.sum(1), 1) and (weights >= 0).all()
    assert (weights[:, 1:-1].sum(0) > 0).all()
    peaks = (weights * np.arange(257)).sum(1)
    assert (np.diff(peaks) > 0).all()
    rate, t = 16000, np.arange(16000) / 16000
    space = LogMel(rate, 1, 1.0)
    tone = lambda f, a=0.5: (a * np.sin(2 * np.pi * f * t)).astype(np.float32)  # noqa: E731
    low, high, quiet = space([tone(300), tone(3000), tone(300, 0.05)])
    assert low[:32].argmax() < high[:32].argmax()
    assert low[:32].max() - quiet[:32].max() == pytest.approx(2, abs=0.05)  # a tenth of the amplitude: 20 decibels
    assert low[32:][low[:32].argmax()] < 0.05  # a steady tone does not vary
    assert np.allclose(space([np.zeros(100, np.float32)])[0, :32], -8)  # shorter than a frame, silent


def test_sound_has_a_logmel_space_by_default():
    clips = [np.random.default_rng(i).normal(size=4000).astype(np.float32) * 0.1 for i in range(12)]
    spaces = fit_spaces(pofx.audio(clips, 8000))
    assert [s.name for s in spaces] == ["pca", "random", "logmel"]
    assert spaces[2](clips).shape == (12, 64)
    assert spaces[2].facts["train_seconds"] == 6.0 and spaces[2].facts["rate"] == 8000
    with pytest.raises(UsageError, match="one of sound"):
        fit_spaces(pictures(), ["logmel"])
