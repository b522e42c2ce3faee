"""Guided runs: exact on Gaussian mixtures, plain at the neutral weight, one formula for every kind of guide."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import pofx
from pofx.cli.main import app
from pofx.core.errors import Unsupported, UsageError
from pofx.core.model import Denoising

RNG = np.random.default_rng(0)
LABELS = (RNG.random(800) < 0.5).astype(int)
POINTS = (0.4 * RNG.normal(size=(800, 2)) + np.where(LABELS[:, None] == 1, [1.5, 0.0], [-1.5, 0.0])).astype(np.float32)
FEW = {"progress": False, "width": 16, "depth": 1}


@pytest.fixture(scope="module")
def runs():
    """Exact denoisers of a mixture of two, with and without the label, and a wide single Gaussian."""
    return {
        "both": pofx.fit(POINTS, "gmm", components=2, steps=1, progress=False),
        "given": pofx.fit(POINTS, "gmm", components=1, steps=1, progress=False, condition=LABELS),
        "wide": pofx.fit(POINTS, "gmm", components=1, steps=1, progress=False),
    }


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    good = pofx.fit(POINTS, "flow-matching", steps=60, out=folder / "good", **FEW)
    weak = pofx.fit(POINTS, "ddpm", steps=10, out=folder / "weak", **FEW)
    given = pofx.fit(POINTS, "flow-matching", steps=60, condition=LABELS, out=folder / "given", **FEW)
    return {"good": good, "weak": weak, "given": given, "folder": folder}


def x_and_t():
    torch.manual_seed(0)
    return torch.randn(40, 2), torch.tensor(0.4)


def test_a_run_that_knows_the_label_is_an_exact_classifier(runs):
    """The mixture and the difference of the conditional to the free estimate add up to the conditional."""
    run = pofx.guided(runs["both"], runs["given"])
    assert run.model.guidance == 1.0 and isinstance(run.model, Denoising)
    x, t = x_and_t()
    label = torch.arange(40) % 2
    wanted = runs["given"].model.denoise(x, t, label)
    free = runs["given"].model.denoise(x, t) - runs["both"].model.denoise(x, t)
    assert torch.allclose(run.model.denoise(x, t, label) + free, wanted, atol=1e-5)
    drawn = run.using(sampler="dpm++2m", sampler_steps=16).sample(400, condition=[0, 1] * 200)
    assert np.allclose(drawn[0::2].mean(0), [-1.5, 0], atol=0.15) and np.allclose(
        drawn[1::2].mean(0), [1.5, 0], atol=0.15
    )


@pytest.mark.slow
def test_a_density_given_the_label_classifies_by_bayes_rule(runs):
    flow = pofx.fit(POINTS, "maf", steps=40, condition=LABELS, progress=False, width=16)
    run = pofx.guided(runs["both"], flow).using(sampler="dpm++2m", sampler_steps=12)
    drawn = run.sample(100, condition=1)
    assert (drawn[:, 0] > 0).mean() > 0.85


def test_weights_are_those_of_the_formula(runs):
    x, t = x_and_t()
    strong, weak = (runs[k].model.denoise(x, t) for k in ("both", "wide"))
    run = pofx.guided(runs["both"], runs["wide"], guidance=2.5)
    assert torch.allclose(run.model.denoise(x, t), weak + 2.5 * (strong - weak), atol=1e-6)
    assert torch.allclose(run.using(guidance=1).model.denoise(x, t), strong, atol=1e-6)
    off = run.using(guidance_interval=(0.5, 1.0)).model
    assert torch.equal(off.denoise(x, t), strong) and not torch.allclose(off.denoise(x, torch.tensor(0.6)), strong)
    times = torch.linspace(0.1, 0.9, 40)
    mixed = off.denoise(x, times)
    assert torch.allclose(mixed[:10], runs["both"].model.denoise(x, times)[:10])
    spread = run.using(guidance_rescale=1.0).model.denoise(x, t)
    assert torch.allclose(spread.std(1, correction=0), strong.std(1, correction=0), rtol=1e-4)


@pytest.mark.slow
def test_without_a_guide_the_run_guides_itself(learned):
    run = pofx.guided(learned["given"], guidance=1.0)
    same = learned["given"].sample(8, condition=1, seed=3)
    assert np.allclose(run.sample(8, condition=1, seed=3), same, atol=1e-4)
    same = learned["given"].using(guidance=3).sample(8, condition=1, seed=3)
    assert np.allclose(run.using(guidance=3).sample(8, condition=1, seed=3), same, atol=1e-4)


@pytest.mark.parametrize("name", ["given", *(pytest.param(name, marks=pytest.mark.slow) for name in ("good", "weak"))])
@pytest.mark.slow
def test_a_walk_around_a_run_is_its_own_walk(learned, name):
    """At the neutral weight and the run's own sampler the draws are those of the run, on every path."""
    run = learned[name]
    condition = 1 if name == "given" else None
    around = pofx.guided(run, lambda x: 0 * x.sum(1))
    assert around.model.sampler == run.model.sampler and around.model.spacing == run.model.spacing
    assert np.allclose(around.sample(6, condition, seed=1), run.sample(6, condition, seed=1), atol=2e-3)


@pytest.mark.parametrize("name", ["good", "weak", "given"])
def test_the_adaptive_solver_walks_around_a_run_too(learned, name):
    run, condition = learned[name], 1 if name == "given" else None
    around = pofx.guided(run, lambda x: 0 * x.sum(1)).using(sampler="adaptive", tolerance=1e-4)
    own = run.using(sampler="adaptive", tolerance=1e-4)
    assert np.allclose(around.sample(4, condition, seed=1), own.sample(4, condition, seed=1), atol=2e-3)


def test_estimates_of_guided_pictures_are_cut_off_or_scaled():
    run = pofx.fit("digits", "flow-matching", steps=5, width=16, depth=1, progress=False)
    bright = pofx.guided(run, lambda x: 50 * x.mean((1, 2, 3)), guidance=20)
    drawn = {how: bright.using(threshold=how, sampler_steps=4).sample(4, seed=0) for how in ("static", "dynamic")}
    assert not np.array_equal(drawn["static"], drawn["dynamic"])
    assert max(values.max() for values in drawn.values()) <= 16


def test_a_guide_on_another_path_is_met_at_the_same_noise(learned):
    """The weak run is the strong one by another path: nothing changes."""
    good = learned["good"]
    values = {**pofx.core.config.config(good.model), "path": "vp-linear"}
    other = pofx.core.config.build("flow-matching", good.model.event, **values)
    other.load_state_dict(good.model.state_dict())
    twin = pofx.Artifact(good.representation, other.eval(), "flow-matching", good.card)
    run = pofx.guided(good, twin, guidance=5)
    x, t = x_and_t()
    assert torch.allclose(run.model.denoise(x, t), good.model.denoise(x, t), atol=2e-3)


def test_a_function_pulls_where_it_is_greater(learned):
    run = pofx.guided(learned["good"], lambda x: 4 * x[:, 0])
    more, plain = run.sample(200), learned["good"].sample(200)
    assert more[:, 0].mean() > plain[:, 0].mean() + 0.3
    assert run.using(guidance=0).sample(20) == pytest.approx(learned["good"].sample(20), abs=1e-3)
    with pytest.raises(Unsupported, match="function"):
        run.save("nowhere")


@pytest.mark.slow
def test_a_guided_run_is_a_run(learned, tmp_path):
    run = pofx.guided(learned["folder"] / "good", learned["folder"] / "weak", guidance=1.5)
    assert np.array_equal(run.sample(7, seed=2, batch_size=3), run.sample(7, seed=2)) or np.allclose(
        run.sample(7, seed=2, batch_size=3), run.sample(7, seed=2), atol=1e-4
    )
    run.save(tmp_path / "guided")
    again = pofx.load(tmp_path / "guided", guidance=2)
    assert again.model.guidance == 2 and np.array_equal(again.using(guidance=1.5).sample(5), run.sample(5))
    assert again.card["companions"]["guide"]["hash"] == run.card["companions"]["guide"]["hash"]
    edited = pofx.edit(again, POINTS[:4], strength=0.3, steps=4)
    assert edited.shape == (4, 2)
    twice = pofx.guided(run, learned["weak"])  # guides around guides
    assert twice.sample(3).shape == (3, 2)


def test_what_cannot_guide_is_refused(learned, runs):
    with pytest.raises(Unsupported, match="condition"):
        pofx.guided(learned["good"])
    with pytest.raises(Unsupported, match="denoise"):
        pofx.guided(pofx.fit(POINTS, "kde", steps=1, progress=False))
    with pytest.raises(Unsupported, match="guides nothing"):
        pofx.guided(learned["good"], pofx.fit(POINTS, "kde", steps=1, progress=False))
    with pytest.raises(Unsupported, match="see the data"):
        pofx.guided(learned["good"], pofx.fit(POINTS[:, :1] * 3, "flow-matching", steps=1, **FEW))
    with pytest.raises(UsageError, match="guidance"):
        pofx.guided(learned["good"], learned["weak"], guidance=float("nan"))
    with pytest.raises(Unsupported, match="nothing to train"):
        pofx.fit(POINTS, "guided", steps=1, run=learned["folder"] / "good", progress=False)


def test_commands_guide(learned, tmp_path):
    folder, out = learned["folder"], tmp_path / "guided"
    called = ["guide", str(folder / "good"), "--by", str(folder / "weak"), "--guidance", "2", "--out", str(out)]
    found = CliRunner().invoke(app, called)
    assert found.exit_code == 0, found.output
    called = ["sample", str(folder / "good"), "--guide", str(folder / "weak"), "-o", "guidance=2", "-n", "5"]
    found = CliRunner().invoke(app, [*called, "--out", str(tmp_path / "drawn.csv")])
    assert found.exit_code == 0, found.output
    drawn = np.loadtxt(tmp_path / "drawn.csv", delimiter=",", skiprows=1)
    assert np.allclose(drawn, pofx.load(out).sample(5), atol=1e-3)


@pytest.fixture
def guides(tmp_path):
    path = tmp_path / "guides.py"
    path.write_text(
        "import torch\n\n"
        "def right(x):\n    return 6 * x[:, 0]\n\n"
        "def whole(x):\n    return x.sum()\n\n"
        "def plain(x):\n    return torch.ones(len(x))\n\n"
        "def broken(x):\n    return x @ torch.zeros(7)\n\n"
        "def numbers(x):\n    return x.detach().numpy().sum(1)\n\n"
        "def undefined(x):\n    return (x * float('nan')).sum(1)\n\n"
        "def steep(x):\n    return 1e30 * (x**2).sum(1)\n"
    )
    return path


def test_any_differentiable_function_guides_on_the_command_line(learned, guides, tmp_path):
    run, out = learned["folder"] / "good", tmp_path / "x.csv"
    called = ["sample", str(run), "-n", "50", "--out", str(out), "--guide"]
    found = CliRunner().invoke(app, [*called, f"{guides}:right", "-o", "guidance=2"])
    assert found.exit_code == 0, found.output
    drawn = np.loadtxt(out, delimiter=",", skiprows=1)
    assert drawn[:, 0].mean() > learned["good"].sample(50)[:, 0].mean() + 0.5
    wanted = pofx.guided(learned["good"], f"{guides}:right", guidance=2).sample(50)
    assert np.allclose(drawn, wanted, atol=1e-4)
    for name, reason in {
        "whole": "one number for each event", "plain": "no gradient", "broken": "cannot be called",
        "numbers": "one number for each event", "absent": "unknown function",
        "undefined": "undefined or its gradient is not finite", "steep": "too steep",
    }.items():  # fmt: skip
        wrong = CliRunner().invoke(app, [*called, f"{guides}:{name}"])
        assert isinstance(wrong.exception, UsageError) and reason in str(wrong.exception), name
    unnamed = CliRunner().invoke(app, [*called, str(guides)])
    assert isinstance(unnamed.exception, UsageError) and "file.py:function" in str(unnamed.exception)
    missing = CliRunner().invoke(app, [*called, "nowhere.py:f"])
    assert isinstance(missing.exception, UsageError) and "check the path" in str(missing.exception)
    guides.write_text("def right(x:\n")
    unreadable = CliRunner().invoke(app, [*called, f"{guides}:right"])
    assert isinstance(unreadable.exception, UsageError) and "mend it" in str(unreadable.exception)
    saved = CliRunner().invoke(app, ["guide", str(run), "--by", "nowhere.py:f", "--out", str(tmp_path / "g")])
    assert isinstance(saved.exception, UsageError)
