"""Laws of the random numbers of a training: those of its seed, in any thread, and the caller's stay as they were."""

import threading

import numpy as np
import pytest
import torch

import pofx
from pofx.core.event import Continuous
from pofx.core.random import Joined, Streams, philox, seed_step, seeded
from pofx.train.feed import Feed
from pofx.train.loop import train
from pofx.train.options import Budget, TrainOptions
from toy import Gaussian, Plain

DATA = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))


def go(seed, steps=40):
    feed = Feed(DATA, None, Plain(2), seed=seed, device=torch.device("cpu"))
    options = TrainOptions(batch_size=8, lr=0.05)
    found = train(Gaussian(Continuous((2,))), feed, options=options, budget=Budget(steps=steps), seed=seed,
                  validation=feed, progress=False)  # fmt: skip
    return found.model.mean.detach().clone()


def test_trainings_in_several_threads_draw_the_numbers_of_their_own_seeds():
    alone = {seed: go(seed) for seed in range(4)}
    together: dict[int, torch.Tensor] = {}
    threads = [threading.Thread(target=lambda s=s: together.update({s: go(s)})) for s in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(together[seed], mean) for seed, mean in alone.items())
    assert not torch.equal(alone[0], alone[1])


def test_a_training_leaves_the_callers_random_numbers_as_they_were():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    go(0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("seed", [0, 3, -5, 1 << 40])
@pytest.mark.parametrize(("step", "rank"), [(0, 0), (7, 1), (123_456, 1 << 20)])
def test_the_seed_of_a_step_is_that_of_the_tensor_arithmetic(seed, step, rank):
    low = 0xFFFFFFFF
    words = philox(*(torch.tensor(v) for v in (step, rank, 0, 1)), seed & low, (seed >> 32) & low)
    with torch.random.fork_rng(devices=[]):
        seed_step(seed, step, rank)
        found = torch.rand(3)
        torch.manual_seed(int(words[0]) | ((int(words[1]) & 0x7FFFFFFF) << 32))
        assert torch.equal(found, torch.rand(3))
    with seeded(seed, step, rank):
        assert torch.equal(found, torch.rand(3))


@pytest.mark.parametrize("name", ["gmm", "nsf", "vae", "gan", "flow-matching"])
def test_a_default_dtype_of_float64_changes_nothing(name):
    x = pofx.points(np.random.default_rng(0).normal(size=(200, 2)))

    def weights():
        state = pofx.fit(x, name, steps=3, progress=False).model.state_dict()
        return {key: value for key, value in state.items()}

    plain = weights()
    torch.set_default_dtype(torch.float64)
    try:
        double = weights()
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(double[k].dtype is v.dtype and torch.equal(double[k], v) for k, v in plain.items())


@pytest.mark.parametrize(("data", "model"), [("digits", "made"), ("moons", "nsf"), ("moons", "vae")])
def test_the_same_seed_draws_the_same_items_in_any_number_of_threads(data, model):
    before = torch.get_num_threads()
    run = pofx.fit(data, model, steps=1, width=16, batch_size=16, progress=False)
    drawn, scores = [], []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            drawn.append(run.sample(40, seed=3))
            scores.append(run.log_prob(drawn[0]))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*drawn) and np.allclose(*scores, rtol=1e-5)


def test_numbers_for_some_places_are_those_for_all():
    for make in (lambda: Streams(5, 6, first=2), lambda: Joined([Streams(1 << 40, 4), Streams(3, 2)])):
        many, few = make(), make()
        for shape in ((7,), (2, 3, 5)):  # the next draw is another one
            needed = torch.rand(6, *shape, generator=torch.Generator().manual_seed(0)) < 0.2
            assert torch.equal(few.uniform_where(needed)[needed], many.uniform(*shape)[needed])
