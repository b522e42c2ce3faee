"""Laws of trainings that diverge: nothing broken is ever left as good, and the error states what is stored."""

import json

import numpy as np
import pytest
import torch

import pofx
from pofx.core.errors import PofxError, TrainingError
from pofx.core.event import Continuous, Discrete
from pofx.core.finite import broken
from pofx.core.model import Batch, Density, Explicit, OnePhase
from pofx.train.feed import Feed
from pofx.train.loop import train
from pofx.train.options import Budget, TrainOptions
from pofx.train.soundness import fault
from toy import Gaussian, Plain

DATA = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
WILD = {"lr": 10.0, "clip": 0.0, "warmup": 0, "schedule": "constant", "weight_decay": 0.0}


class Faulty(Gaussian):
    """A Gaussian that goes wrong at step `at` in one of several places."""

    name = ""

    def __init__(self, fault, at):
        super().__init__(Continuous((3,)))
        self.fault, self.at = fault, at

    @property
    def now(self):
        return int(self.seen) >= self.at

    def loss(self, batch):
        loss = super().loss(batch)
        if self.fault == "loss" and self.training and self.now:
            return loss * float("inf")
        if self.fault == "gradient" and self.training and self.now:
            return loss + (self.mean * 0).abs().sqrt().sum()  # 0 · inf in its gradient
        return loss

    def phases(self):
        (phase,) = super().phases()
        after = (lambda losses: self._break()) if self.fault == "weights" else None
        return (type(phase)(phase.name, phase.parameters, phase.loss, after=after),)

    @torch.no_grad()
    def _break(self):
        if self.now:
            self.mean.fill_(float("inf"))

    def validation(self, batch):
        return super().validation(batch) * (float("nan") if self.fault == "validation" else 1.0)

    def sample(self, n, condition=None, *, generator):
        x = super().sample(n, condition, generator=generator)
        return {"samples": x * float("nan"), "far": x * 1e26}.get(self.fault, x)


def go(model, steps=12, validated=True, stored=None, folder=None, **options):
    feed = Feed(DATA, None, Plain(3), seed=5, device=torch.device("cpu"))
    options = {"batch_size": 16, "lr": 0.05, "warmup": 0, **options}

    def store(objective, state):
        stored.append((objective, state.failed))

    return train(
        model,
        feed,
        options=TrainOptions.of(options),
        budget=Budget(steps=steps),
        validation=feed if validated else None,
        folder=folder,
        progress=False,
        on_checkpoint=store if stored is not None else None,
    )


@pytest.mark.parametrize("kind", ["loss", "gradient", "weights"])
@pytest.mark.parametrize("validated", [True, False])
def test_the_last_good_weights_are_stored(tmp_path, kind, validated):
    stored = []
    with pytest.raises(TrainingError, match=r"; the weights of step \d+.* are stored\. Lower lr, or set clip=1"):
        go(Faulty(kind, 9), validated=validated, stored=stored, folder=tmp_path)
    good, failed = stored[-1]
    assert good is not None and broken(good) is None and "step" in failed
    assert torch.isfinite(good.validation(Batch(DATA))) and float(good.mean.abs().max()) < 1


@pytest.mark.parametrize("kind", ["loss", "gradient", "weights"])
def test_without_good_weights_nothing_is_stored(tmp_path, kind):
    stored = []
    with pytest.raises(TrainingError, match="there are no good weights, and nothing is stored"):
        go(Faulty(kind, 1), stored=stored, folder=tmp_path)
    assert all(objective is None for objective, _ in stored)


@pytest.mark.parametrize(
    ("kind", "reason"), [("samples", "8 of 8 samples are not finite"), ("far", "a sample reaches")]
)
def test_impossible_samples_are_no_result(tmp_path, kind, reason):
    stored = []
    with pytest.raises(TrainingError, match=reason):
        go(Faulty(kind, 0), stored=stored, folder=tmp_path)
    assert stored[-1][0] is None and reason in stored[-1][1]


def test_a_validation_that_is_never_finite_is_reported():
    with pytest.warns(UserWarning, match="was never finite"):
        found = go(Faulty("validation", 0))
    assert found.state.best is None and broken(found.model) is None


def test_infinite_validations_select_nothing():
    class Rises(Gaussian):
        name = ""

        def validation(self, batch):
            value = super().validation(batch)
            return value if int(self.seen) > 5 else value - float("inf")

    found = go(Rises(Continuous((3,))))
    assert np.isfinite(found.state.best) and found.state.best_step > 5


class Mass(OnePhase, Explicit):
    """An estimate of a density on classes that exceeds 1."""

    name, events, best_density = "", (Discrete,), Density.ESTIMATE

    def __init__(self, log_p, error):
        super().__init__(Discrete((2,), 3))
        self.log_p, self.error = log_p, error

    def log_prob(self, x, condition=None):
        return torch.full((len(x),), self.log_p)

    def log_prob_error(self):
        return self.error

    def loss(self, batch):
        return torch.zeros(())

    def sample(self, n, condition=None, *, generator):
        return torch.zeros(n, 2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("log_p", "error", "sound"), [(726.0, 1.0, False), (0.3, 0.2, True), (float("nan"), 0.1, False)]
)
def test_a_probability_above_one_is_a_fault_beyond_its_error(log_p, error, sound):
    found = fault(Mass(log_p, error), Batch(torch.zeros(20, 2, dtype=torch.int64)))
    assert (found is None) is sound


def test_unused_places_of_buffers_may_be_minus_infinity_but_nothing_else():
    model = Gaussian(Continuous((2,)))
    model.register_buffer("unused", torch.full((3,), -torch.inf))
    assert broken(model) is None
    model.unused.fill_(torch.nan)
    assert "buffer unused" in broken(model)
    model.unused.zero_()
    model.log_std.data[0] = -torch.inf
    assert "1 of 2 numbers of the parameter log_std" in broken(model)


@pytest.mark.parametrize(
    "name",
    [
        "realnvp",
        "nsf",
        "flow-matching",
        "vae",
        "gan",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("maf", "planar")),
    ],
)
def test_a_wild_training_of_points_leaves_finite_samples_or_an_error(tmp_path, name):
    x = np.random.default_rng(0).normal(size=(300, 2))
    try:
        run = pofx.fit(pofx.points(x), name, steps=40, out=tmp_path, progress=False, **WILD)
    except PofxError as error:
        assert "stored" in str(error)
        if not (tmp_path / "artifact.json").exists():
            assert json.loads((tmp_path / "failed.json").read_text())["error"]
            return
        assert json.loads((tmp_path / "artifact.json").read_text())["card"]["training"]["failed"]
        run = pofx.load(tmp_path)
    samples = run.sample(50)
    assert np.isfinite(samples).all() and np.abs(samples).max() < 1e6


def test_a_good_training_has_no_failure_in_its_card(tmp_path):
    run = pofx.fit(pofx.points(np.random.default_rng(0).normal(size=(200, 2))), "nsf", steps=3, progress=False)
    assert run.card["training"]["failed"] is None


@pytest.mark.slow
def test_a_boltzmann_machine_that_learned_less_than_chance_is_not_stored(tmp_path):
    """Its loss and pseudo-likelihood stay finite, and improve, while its chains are far from its distribution."""
    with pytest.raises(TrainingError, match="evenly distributed"):
        pofx.fit("digits", "rbm", steps=150, lr=10, hidden=32, progress=False, out=tmp_path / "run")
    assert not (tmp_path / "run" / "artifact.json").exists()
