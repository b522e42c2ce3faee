"""What more steps buy: a sampler that comes nearer by a known law is read by it, and its curve is drawn."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import pofx
from pofx.core.model import Stepwise
from pofx.data.dataset import dataset, take
from pofx.data.sources import load
from pofx.evaluate.metrics.sampler_steps import SHARES, Effort
from pofx.report.figures.sampler_steps import efforts


class Steps(Stepwise):
    def __init__(self, steps):
        self.__dict__["sampler_steps"] = steps

    def phases(self):
        return ()

    def sample(self, n, condition=None, *, generator):
        raise NotImplementedError


@dataclasses.dataclass
class Slow:
    """Normal points, narrower than the data by a factor of 1 - 2^-steps: distance d 4^-steps, 0 from 6 on."""

    model: Any = dataclasses.field(default_factory=lambda: Steps(4))

    conditioning = None

    def draw(self, n, condition=None, *, seed=0):
        x = np.random.default_rng(seed).normal(size=(n, 3)) * (1 - 2.0**-self.model.steps)
        return pofx.points(x)


def points():
    rng = np.random.default_rng(5)
    return dataset(*(pofx.points(rng.normal(size=(n, 3))) for n in (1500, 400, 400)), "p", source="", licence="")


def test_the_curve_of_a_sampler_whose_law_is_known():
    read = Effort().read(Slow(), points())
    curve = read.extra["enough_steps"]["curve"]
    assert [steps for steps, *_ in curve] == sorted({max(round(4 * share), 1) for share in SHARES})
    for steps, distance, error, seconds in curve:
        assert abs(distance - 3 * 4.0**-steps) < 3 * error + 0.06 and seconds > 0  # the floor of 500 items is 0.03
    assert 2 <= read.values["enough_steps"] <= 4


def test_no_steps_no_number_and_too_little_time_neither():
    one = Slow(SimpleNamespace())
    assert not Effort().read(one, points()).values
    assert not Effort().read(Slow(), points(), seconds=0).values


@pytest.mark.parametrize(
    ("name", "steps"), [pytest.param(*m, marks=pytest.mark.slow) for m in (("ddpm", 8), ("rbm", 16))]
)
def test_models_with_steps_are_read(name, steps):
    data = load("digits")
    data = dataclasses.replace(data, test=take(data.test, range(60)), validation=take(data.validation, range(20)))
    run = pofx.fit(data, name, steps=1, progress=False)
    run.model.steps = steps
    facts = Effort().read(run, data, seconds=300).extra["enough_steps"]
    assert facts["own"] == run.model.steps and len(facts["curve"]) == len(SHARES)
    assert "<svg" in efforts({name: facts}, {name: "#336699"})
