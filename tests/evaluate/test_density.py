"""Errors of a mean log p: what all items share is not divided by the number of items."""

from types import SimpleNamespace

import numpy as np

from pofx.artifact import Score
from pofx.core.model import Density, Explicit
from pofx.core.representation import Items
from pofx.evaluate.density import likelihood


class Unnormalised(Explicit):
    density = Density.ESTIMATE

    def __init__(self, shared):
        self.shared, self.condition = shared, None

    def log_prob_error(self):
        return self.shared

    log_prob = phases = sample = None


Unnormalised.__abstractmethods__ = frozenset()


def read(shared, own, n=400):
    def score(values, condition=None):
        value = np.asarray(values.values)[:, 0]
        return Score(value, Density.ESTIMATE, "nats", "Lebesgue", np.full(len(value), np.hypot(shared, own)), 1)

    model = object.__new__(Unnormalised)
    object.__setattr__(model, "__dict__", {"shared": shared, "condition": None})
    artifact = SimpleNamespace(
        model=model, score=score, card={}, conditioning=None, representation=SimpleNamespace(dims=2)
    )
    items = [Items("points", np.random.default_rng(s).normal(size=(n, 2))) for s in (0, 1)]
    return {m.metric: m for m in likelihood(artifact, *items)}


def test_a_shared_error_is_part_of_the_error_of_the_mean_and_does_not_shrink_with_n():
    for n in (100, 1600):
        found = read(0.157, 0.02, n)
        assert 0.157 < found["nats"].stderr < 0.157 + 1.2 / n**0.5
        assert abs(found["nats"].extra["noise"] - np.hypot(0.157, 0.02 / n**0.5)) < 1e-9
        assert found["likelihood_gap"].stderr < 2 / n**0.5  # it cancels in a difference
    assert read(0.0, 0.02)["nats"].stderr < 0.06
