"""DP-SGD: every item's gradient is clipped, noise has its scale, ε is that of published accountants and holds."""

import math

import numpy as np
import pytest
import torch

from pofx.core import config
from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.maths.privacy import audited_epsilon, multiplier_of, spent
from pofx.represent.tokens import Tokens
from pofx.train.descent import Descent
from pofx.train.feed import Feed
from pofx.train.loop import train
from pofx.train.options import Budget, TrainOptions
from pofx.train.private import PrivateGradients, public_items

COUNTS = (3, 4, 2)


def model(name="made", **options):
    torch.manual_seed(0)
    small = {**config.entry(name).model.small, **options}
    return config.build(name, Discrete((3,), COUNTS), **small)


def rows(n=40):
    g = np.random.default_rng(0)
    return torch.from_numpy(np.stack([g.integers(0, k, n) for k in COUNTS], 1))


def feed(x):
    return Feed(x, None, Tokens(list(COUNTS), 3), seed=0, device=torch.device("cpu"))


def private(m, n=40, **options):
    given = {"batch_size": 8, "item_clip": 1.0, "item_noise": 1.0, **options}
    found = PrivateGradients(m, TrainOptions.of(given), n)
    found.vectorised = False  # loading what that needs takes longer than all of these tests
    return found


@pytest.mark.parametrize(("sigma", "epochs", "published"), [(1.3, 15, 1.19), (1.1, 60, 3.0), (0.7, 45, 7.10)])
def test_epsilon_is_the_published_one(sigma, epochs, published):
    """MNIST in the tutorial of TensorFlow Privacy: 60,000 items, batches of 256, δ = 1e-5, conversion of 2017."""
    steps = epochs * 60_000 // 256
    assert spent(256 / 60_000, sigma, steps, 1e-5, simple=True) == pytest.approx(published, abs=0.03)
    assert spent(256 / 60_000, sigma, steps, 1e-5) < published


def test_abadi_et_al_is_reproduced():
    assert spent(0.01, 4.0, 10_000, 1e-5, simple=True) == pytest.approx(1.26, abs=0.01)


def test_the_accountant_is_that_of_the_gaussian_mechanism_and_grows():
    from pofx.maths.privacy import epsilon_of

    assert spent(1.0, 10.0, 50, 1e-5) == pytest.approx(epsilon_of(0.25, 1e-5), rel=0.01)  # 50 / (2 σ²)-zCDP
    values = [spent(q, 1.0, 100, 1e-5) for q in (0.001, 0.01, 0.1, 1.0)]
    assert values == sorted(values) and spent(0.01, 0.0, 1, 1e-5) == math.inf
    noise = multiplier_of(2.0, 1e-5, 0.02, 300)
    assert 1.95 < spent(0.02, noise, 300, 1e-5) <= 2.0


@pytest.mark.parametrize("name", ["made", pytest.param("nade", marks=pytest.mark.slow)])
def test_gradients_of_items_are_those_of_each_alone(name):
    m = model(name).eval()
    batch, found = Batch(rows(5)), private(m)
    named = dict(m.named_parameters())
    phase = next(iter(m.phases())).name
    found.vectorised = True
    together = found._each(batch, named)
    assert found.vectorised
    one_by_one = private(m)
    for key, value in one_by_one._each(batch, named).items():
        torch.testing.assert_close(together[key], value, atol=1e-5, rtol=1e-3)
    total = m(phase, batch)
    gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    for value, g in zip(together.values(), gradients, strict=True):
        torch.testing.assert_close(value.mean(0), torch.zeros_like(value[0]) if g is None else g, atol=1e-5, rtol=1e-3)


def test_no_item_moves_the_sum_by_more_than_the_clip():
    m = model().eval()
    named = dict(m.named_parameters())
    for clip in (0.05, 1.0):
        found = private(m, item_clip=clip)
        x = rows(6)
        sums = [found.clipped(Batch(part), named) for part in (x, x[:-1])]
        moved = math.sqrt(sum(float((sums[0][k] - sums[1][k]).square().sum()) for k in named))
        assert moved <= clip * (1 + 1e-5)


def test_noise_has_its_scale_and_no_seed_repeats_it():
    m = model().eval()
    found = [private(m, item_noise=50.0, item_clip=0.5) for _ in range(2)]
    gradients = []
    for one in found:
        one.fill(feed(rows()))
        gradients.append(torch.cat([p.grad.flatten() for p in m.parameters()]))
    assert float(gradients[0].std()) == pytest.approx(50.0 * 0.5 / 8, rel=0.1)
    assert not torch.equal(*gradients)


def test_a_private_training_reads_nothing_beside_its_gradients():
    """Two trainings without gradients of their items differ by the noise alone: preparation sees no data."""
    begun = []
    for x in (rows(), torch.zeros(40, 3, dtype=torch.int64)):
        m = model()
        options = TrainOptions.of({"item_clip": 1e-9, "item_noise": 1e-6, "lr": 0.0, "validations": 0, "batch_size": 8})
        begun.append(train(m, feed(x), options=options, budget=Budget(steps=1), progress=False).model.state_dict())
    for key, value in begun[0].items():
        torch.testing.assert_close(value, begun[1][key])


def test_what_has_no_loss_per_item_is_refused():
    torch.manual_seed(0)
    gan = config.build("gan", Continuous((2,)))
    with pytest.raises(UsageError, match="one phase"):
        Descent(gan, feed(rows()), TrainOptions.of({"item_noise": 1.0, "item_clip": 1.0}), 0)
    with pytest.raises(UsageError, match="item_clip"):
        private(model(), item_clip=0.0)
    with pytest.raises(UsageError, match="accumulate"):
        private(model(), accumulate=2)


def test_public_items_are_of_the_event():
    from pofx.core.event import check
    from pofx.core.random import Streams

    event = {"a": Discrete((2,), (3, 5)), "b": Continuous((2,))}
    check(event, public_items(event, 50, Streams(0, 50)))


def released(runs: int, noise: float, q: float, steps: int = 2) -> list[np.ndarray]:
    """What an attacker sees who knows all gradients: the sum along the gradient of one item, without and with it."""
    m = model().eval()
    named = dict(m.named_parameters())
    x = torch.zeros(20, 3, dtype=torch.int64)
    odd = torch.tensor([[2, 3, 1]])
    direction = private(m, item_clip=0.5).clipped(Batch(odd), named)
    found = []
    for items in (x, torch.cat((x, odd))):
        size = max(1, round(q * len(items)))
        one = private(m, len(items), item_noise=noise, item_clip=0.5, batch_size=size)
        seen = []
        for _ in range(runs):
            value = 0.0
            for _ in range(steps):
                one.fill(feed(items))
                value += sum(float((named[k].grad * direction[k]).sum()) for k in named)
            seen.append(value)
        found.append(np.array(seen))
    return found


@pytest.mark.slow
def test_a_missing_noise_is_found_by_the_attack():
    """Noise of 1/800 of what it should be: 40 releases show more than the claim."""
    assert audited_epsilon(*released(40, 0.01, 1.0, steps=1), delta=1e-3) > spent(1.0, 8.0, 1, 1e-3)


@pytest.mark.slow
def test_an_attack_measures_less_than_the_claimed_epsilon_of_gradients():
    claimed = spent(1.0, 2.0, 2, 1e-3)
    measured = audited_epsilon(*released(400, 2.0, 1.0), delta=1e-3)
    assert 0 < measured <= claimed
