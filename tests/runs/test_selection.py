"""Judging by samples: what is near, what is collapsed, and what the log and the card keep of it."""

import json

import numpy as np
import pytest
import torch

import pofx
from pofx.core.event import Continuous
from pofx.core.progress import Progress
from pofx.core.random import Streams
from pofx.families.gan.health import symptoms
from pofx.runs.selection import divergence, judge_by_samples
from pofx.train.feed import Feed
from pofx.train.log import read_log
from truth import Identity


class Drawer:
    def __init__(self, draw):
        self.draw = draw

    def sample(self, n, condition=None, *, generator: Streams):
        return self.draw(n)


@pytest.fixture
def judge():
    torch.manual_seed(0)
    centres = torch.tensor([[-3.0, 0], [3, 0], [0, 3], [0, -3]])
    labels = torch.arange(400) % 4
    feed = Feed(centres[labels] + 0.3 * torch.randn(400, 2), None, Identity(Continuous((2,))), seed=0,
                device=torch.device("cpu"))  # fmt: skip
    return centres, judge_by_samples(feed, labels.numpy()), judge_by_samples(feed)


def test_honest_samples_spread_over_the_classes_and_collapsed_ones_do_not(judge):
    centres, labelled, clustered = judge
    for found in (labelled, clustered):
        good = found(Drawer(lambda n: centres[torch.arange(n) % 4] + 0.3 * torch.randn(n, 2)))
        one = found(Drawer(lambda n: centres[:1] + 1e-4 * torch.randn(n, 2)))
        assert good["validation"] < 1.3 and one["validation"] > 10
        assert good["near-duplicate share"] < 0.1 and one["near-duplicate share"] > 0.9
        assert good["class entropy"] > 0.9 * good["class entropy of data"]
        assert one["class entropy"] < 0.2
    assert labelled(Drawer(lambda n: centres[torch.arange(n) % 4]))["class entropy of data"] == pytest.approx(np.log(4))


def test_few_items_show_no_collapse():
    feed = Feed(torch.randn(3, 2), None, Identity(Continuous((2,))), seed=0, device=torch.device("cpu"))
    found = judge_by_samples(feed)(Drawer(lambda n: torch.zeros(n, 2)))
    assert set(found) == {"validation"}  # three items lie far apart, as three good samples need not


def test_telemetry_and_warnings_are_shown_logged_and_stored(tmp_path):
    seen: list[Progress] = []
    run = pofx.fit("gaussians8", "gan", steps=60, out=tmp_path / "run", progress=seen.append, units=8, lr=1e-6,
                   validations=6)  # fmt: skip
    lines = read_log(tmp_path / "run" / "log.jsonl")
    training = [line for line in lines if "lr" in line]
    judged = [line for line in lines if "validation" in line]
    assert {"D(real)", "D(fake)", "gradient norm of critic"} <= set(training[-1]["telemetry"])
    assert {"class entropy", "near-duplicate share"} <= set(judged[-1]["telemetry"])
    warned = [line["warning"] for line in lines if "warning" in line]
    assert warned and any("collapses" in w for w in warned)  # it has hardly moved from its start
    assert run.card["training"]["warnings"] == warned
    assert any("collapses" in p.note for p in seen)
    assert json.loads((tmp_path / "run" / "artifact.json").read_text())["card"]["training"]["warnings"] == warned


def test_few_dimensions_are_judged_by_their_shape_and_not_by_their_moments(judge):
    centres, labelled, _ = judge
    modes = labelled(Drawer(lambda n: centres[torch.arange(n) % 4] + 0.3 * torch.randn(n, 2)))
    spread = torch.cov((centres[torch.arange(400) % 4] + 0.3 * torch.randn(400, 2)).T)
    blob = torch.distributions.MultivariateNormal(torch.zeros(2), spread)
    assert labelled(Drawer(lambda n: blob.sample((n,))))["validation"] > 1.5 * modes["validation"]


def test_samples_of_other_classes_than_asked_for_are_far_and_named():
    torch.manual_seed(0)
    labels = torch.arange(400) % 4
    centres = 3 * torch.eye(4, 12)
    feed = Feed(centres[labels] + 0.3 * torch.randn(400, 12), labels, Identity(Continuous((12,))), seed=0,
                device=torch.device("cpu"))  # fmt: skip
    found = judge_by_samples(feed)

    class Given:
        def __init__(self, move):
            self.move = move

        def sample(self, n, condition=None, *, generator):
            return centres[(condition + self.move) % 4] + 0.3 * torch.randn(n, 12)

    right, wrong = found(Given(0)), found(Given(1))
    assert right["condition right"] > 0.95 and right["condition right of data"] > 0.95
    assert wrong["condition right"] < 0.05 and wrong["validation"] > 10 * right["validation"]
    assert "little effect" in symptoms(wrong)["condition"]
    assert symptoms(right)["condition"] == ""


def test_the_divergence_is_one_for_equal_laws_and_right_for_gaussians():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2000, 2)), rng.normal(size=(2000, 2))
    assert divergence(x, y) == pytest.approx(1, abs=0.1)
    assert np.log(divergence(x, y + [1.0, 0.0])) == pytest.approx(0.5, abs=0.15)  # |shift|² / 2
    assert divergence(x, np.full_like(y, np.nan)) != 1 and divergence(x[:3], y[:3]) >= 0


def test_a_fault_that_is_over_is_no_longer_stored(tmp_path, monkeypatch):
    from pofx.families.vae.vae import VAE

    def health(self, numbers):
        return {"collapse": "it collapses: wait" if numbers["share"] < 0.6 else ""}

    monkeypatch.setattr(VAE, "health", health)
    run = pofx.fit("moons", "vae", steps=20, validations=5, width=8, latent=2, out=tmp_path / "run", progress=False)
    lines = read_log(tmp_path / "run" / "log.jsonl")
    assert [line["warning"] for line in lines if "warning" in line] == ["it collapses: wait"]
    assert not run.card["training"].get("warnings")


def test_a_fault_that_stays_is_shown_once_and_stored_with_its_last_numbers(tmp_path, monkeypatch):
    from pofx.families.vae.vae import VAE

    def health(self, numbers):
        share = numbers["share"]
        return {"collapse": f"at {share:.0%}: wait" if share > 0.3 else "", "gone": "x" if int(20 * share) % 2 else ""}

    monkeypatch.setattr(VAE, "health", health)
    run = pofx.fit("moons", "vae", steps=20, validations=5, width=8, latent=2, out=tmp_path / "run", progress=False)
    said = [line["warning"] for line in read_log(tmp_path / "run" / "log.jsonl") if "warning" in line]
    assert len([s for s in said if "wait" in s]) == 1 and said.count("x") <= 1
    assert run.card["training"]["warnings"] == ["at 100%: wait"]
