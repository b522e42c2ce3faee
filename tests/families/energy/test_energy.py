"""Laws of the restricted Boltzmann machine, against enumeration."""

import itertools
import math

import pytest
import torch
from sklearn.datasets import load_digits

import pofx
from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.data.sources import load
from pofx.families.energy.rbm import RBM
from pofx.families.energy.visible import class_functions
from pofx.maths.distributions import class_counts


def random_rbm(size, classes, hidden, *, condition=None, scale=0.5, **options):
    torch.manual_seed(0)
    m = RBM(Discrete((size,), classes), condition, hidden=hidden, **options).eval()
    with torch.no_grad():
        for p in m.parameters():
            p.copy_(scale * torch.randn_like(p))
    return m


def every(size, classes):
    return torch.tensor(list(itertools.product(range(classes), repeat=size)))


@torch.no_grad()
def exact_log_z(m, group=0):
    """log Z by a sum over all hidden states."""
    h = every(m.hidden, 2).to(m.weight.dtype)
    return float(
        ((h @ m.hidden_bias[group]) + m.visible_logits(h, torch.full((len(h),), group)).logsumexp(-1).sum(-1))
        .double()
        .logsumexp(0)
    )


def energy(m, v, h):
    """The energy, term by term."""
    table = m.weight.reshape(len(v), -1, m.hidden)
    total = -float(h @ m.hidden_bias[0].detach())
    for i, k in enumerate(v.tolist()):
        total -= float((m.visible_bias[0, i, k] + m.phi[k] @ table[i] @ h).detach())
    return total


@pytest.mark.parametrize(("classes", "features"), [(2, 0), (3, 0), (5, 2)])
def test_free_energy_is_the_sum_over_hidden_states(classes, features):
    m = random_rbm(3, classes, 3, features=features)
    v = every(3, classes)[::4]
    hidden = every(3, 2).float()
    brute = [-math.log(sum(math.exp(-energy(m, one, h)) for h in hidden)) for one in v]
    assert torch.allclose(m.free_energy(v, torch.zeros(len(v), dtype=torch.int64)), torch.tensor(brute), atol=1e-4)


@pytest.mark.parametrize(
    ("size", "classes", "hidden"),
    [(4, 5, 4), *(pytest.param(*s, marks=pytest.mark.slow) for s in ((8, 2, 6), (3, 17, 12)))],
)
def test_annealing_finds_the_enumerated_normaliser(size, classes, hidden):
    m = random_rbm(size, classes, hidden, temperatures=1000, runs=128)
    assert exact_log_z(m) == pytest.approx(
        float((-m.free_energy(every(size, classes), torch.zeros(classes**size, dtype=torch.int64))).logsumexp(0)),
        abs=1e-3,
    )
    low, error = m.annealed(0, 1000, 128)
    assert low == pytest.approx(exact_log_z(m), abs=max(0.02, 4 * error))
    assert error < 0.05
    back, off = m.annealed(0, 1000, 128, back=True)
    assert back == pytest.approx(exact_log_z(m), abs=max(0.02, 4 * off))
    assert m.enumerated(0) == pytest.approx(exact_log_z(m), abs=1e-3)
    assert m.log_prob_error() == 0.0


def test_the_density_sums_to_one_for_each_class_of_the_condition():
    m = random_rbm(4, 3, 4, condition=Discrete((), 2), temperatures=500, runs=128)
    x = every(4, 3)
    totals = [float(m.log_prob(x, torch.full((len(x),), k)).exp().sum()) for k in range(2)]
    assert totals == pytest.approx([1.0, 1.0], abs=0.05)
    assert float(m.log_z[0]) == pytest.approx(exact_log_z(m, 0), abs=0.05)
    assert float(m.log_z[1]) == pytest.approx(exact_log_z(m, 1), abs=0.05)
    assert exact_log_z(m, 0) != pytest.approx(exact_log_z(m, 1), abs=0.05)


@pytest.mark.slow
def test_annealing_after_training_on_digits():
    digits = torch.tensor(load_digits().data).long().reshape(-1, 1, 8, 8)
    torch.manual_seed(0)
    m = RBM(Discrete((1, 8, 8), 17), hidden=12, chains=64, temperatures=500, runs=64)
    m.prepare(lambda n: Batch(digits[:1000]))
    optimiser = torch.optim.Adam(m.parameters(), 5e-3)
    for _ in range(300):
        optimiser.zero_grad()
        sum(m.loss(Batch(digits[torch.randint(1000, (64,))])).values()).backward()
        optimiser.step()
    m.eval()
    with torch.no_grad():
        assert m.annealed(0, 500, 64)[0] == pytest.approx(exact_log_z(m), abs=0.2)
        start = RBM(Discrete((1, 8, 8), 17), hidden=12, temperatures=100, runs=32)
        start.prepare(lambda n: Batch(digits[:1000]))
        gain = m.log_prob(digits[1000:]).mean() - start.eval().log_prob(digits[1000:]).mean()
    assert float(gain) > 1.0


def test_long_chains_give_the_exact_gradient():
    m = random_rbm(6, 2, 4, chains=8192, moves=60, decay=0.0)
    x = torch.randint(2, (32, 6))
    g = torch.zeros(64, dtype=torch.int64)
    exact = m.free_energy(x, g[:32]).mean() + (-m.free_energy(every(6, 2), g)).logsumexp(0)
    wanted = torch.autograd.grad(exact, list(m.parameters()))
    m.train()
    found = torch.autograd.grad(m.loss(Batch(x))["contrast"], list(m.parameters()))
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, atol=4 * 0.5 / math.sqrt(8192))
    assert max(float(b.abs().max()) for b in wanted) > 0.1


@pytest.mark.parametrize("begin", ["items", "tempered"])
def test_other_chains_have_the_same_gradient_after_long_walks(begin):
    m = random_rbm(6, 2, 4, begin=begin, chains=2048 * (4 if begin == "tempered" else 1), rungs=4, moves=25, decay=0.0)
    x = torch.randint(2, (2048 if begin == "items" else 32, 6))
    g = torch.zeros(64, dtype=torch.int64)
    exact = m.free_energy(x, g[:1].expand(len(x))).mean() + (-m.free_energy(every(6, 2), g)).logsumexp(0)
    wanted = torch.autograd.grad(exact, list(m.parameters()))
    before = m.particles.clone()
    found = torch.autograd.grad(m.train().loss(Batch(x))["contrast"], list(m.parameters()))
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, atol=5 * 0.5 / math.sqrt(2048))
    assert torch.equal(before, m.particles) == (begin == "items")


def test_small_visible_spaces_are_summed_where_there_are_many_hidden_units():
    m = random_rbm(5, 3, 20)
    v = every(5, 3)
    total = float((-m.free_energy(v, torch.zeros(len(v), dtype=torch.int64))).double().logsumexp(0))
    assert m.enumerated(0) == pytest.approx(total, abs=1e-3)
    assert random_rbm(30, 3, 20).enumerated(0) is None


def test_annealing_back_shows_how_far_annealing_is_off():
    m = random_rbm(30, 3, 20, scale=1.0, temperatures=4, runs=64, sweeps=200)
    low, high = m.annealed(0, 4, 64)[0], m.annealed(0, 4, 64, back=True)[0]
    assert high > low + 1
    assert m.log_prob_error() > 0.25 * (high - low)


def gaussian_rbm(condition=None, **options):
    torch.manual_seed(0)
    m = RBM(Continuous((2,)), condition, hidden=3, **options).eval()
    with torch.no_grad():
        for p in m.parameters():
            p.copy_(torch.randn_like(p) * (0.3 if p.ndim == 1 else 1.0))
    return m


def plane(side=8.0, count=401):
    at = torch.linspace(-side, side, count)
    return torch.cartesian_prod(at, at), float(at[1] - at[0]) ** 2


def test_gaussian_units_have_the_density_that_is_enumerated_and_drawn():
    m = gaussian_rbm(Discrete((), 2))
    x, area = plane(14.0, 201)
    for k in range(2):
        density = m.log_prob(x, torch.full((len(x),), k)).double().exp() * area
        assert float(density.sum()) == pytest.approx(1.0, abs=1e-3)
        drawn = m.sample(4_000, torch.full((4_000,), k), generator=Streams(0, 4_000))
        assert torch.allclose(drawn.double().mean(0), (density[:, None] * x).sum(0), atol=0.15)
        assert torch.allclose(drawn.double().square().mean(0), (density[:, None] * x**2).sum(0), rtol=0.08)
        for back in (False, True):
            assert m.annealed(k, 200, 256, back=back)[0] == pytest.approx(m.enumerated(k), abs=0.05)
    assert float(m.log_prob(torch.tensor([[1e30, 0.0]]), torch.zeros(1, dtype=torch.int64))) == -math.inf


def test_gaussian_units_hear_the_exact_gradient():
    m = gaussian_rbm(chains=8_000, moves=20, decay=0.0)
    x, g = torch.randn(64, 2), torch.zeros(64, dtype=torch.int64)
    grid, area = plane(14.0)
    exact = m.free_energy(x, g).mean() + (-m.free_energy(grid, g[:1].expand(len(grid)))).logsumexp(0) + math.log(area)
    wanted = torch.autograd.grad(exact, list(m.parameters()))
    found = torch.autograd.grad(m.train().loss(Batch(x))["contrast"], list(m.parameters()))
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, atol=0.1), (a, b)


@pytest.mark.slow
def test_gaussian_units_learn_clusters():
    run = pofx.fit("gaussians8", "rbm", steps=1500, hidden=24, chains=1024, progress=False)
    held = load("gaussians8").test.values[:2000]
    normal = pofx.fit("gaussians8", "gmm", steps=1, components=1, progress=False)
    assert run.log_prob(held).mean() > normal.log_prob(held).mean() + 0.2


def test_chains_persist_in_training_and_rest_otherwise():
    m = random_rbm(5, 3, 4, chains=32)
    x, before = torch.randint(3, (8, 5)), m.particles.clone()
    m.loss(Batch(x))
    assert torch.equal(m.particles, before)
    m.train().loss(Batch(x))
    assert not torch.equal(m.particles, before)


def test_pseudo_likelihood_is_the_product_of_the_conditionals():
    m = random_rbm(3, 4, 5)
    x = every(3, 4)[::7]
    g = torch.zeros(4, dtype=torch.int64)
    found = []
    for v in x:
        total = 0.0
        for i in range(3):
            others = v.repeat(4, 1)
            others[:, i] = torch.arange(4)
            total += float((-m.free_energy(others, g)).log_softmax(0)[v[i]])
        found.append(total)
    assert torch.allclose(m.pseudo(x, torch.zeros(len(x), dtype=torch.int64)), torch.tensor(found), atol=1e-4)


def test_samples_follow_the_density():
    m = random_rbm(3, 3, 4, sweeps=60)
    x = every(3, 3)
    samples = m.sample(8000, generator=Streams(0, 8000))
    share = torch.bincount((samples * torch.tensor([9, 3, 1])).sum(1), minlength=27) / 8000
    exact = (-m.free_energy(x, torch.zeros(27, dtype=torch.int64))).softmax(0)
    assert float((share - exact).abs().sum()) < 0.07
    assert torch.equal(m.sample(3, generator=Streams(0, 8000)[5:8]), samples[5:8])


def test_known_units_are_held_and_the_others_follow_the_conditional():
    m = random_rbm(4, 2, 3, scale=1.5, sweeps=30)
    v = every(4, 2)
    p = (-m.free_energy(v, torch.zeros(16, dtype=torch.int64))).detach().softmax(0)
    alike = (v[:, 0] == 1) & (v[:, 2] == 0)
    x, known = torch.tensor([[1, 0, 0, 0]]).expand(3000, -1), torch.tensor([[True, False, True, False]])
    with torch.no_grad():
        drawn = m.complete(x, known.expand(3000, -1), generator=Streams(0, 3000))
    assert bool((drawn[:, 0] == 1).all()) and bool((drawn[:, 2] == 0).all())
    often = torch.bincount(2 * drawn[:, 1] + drawn[:, 3], minlength=4) / 3000
    exact = torch.zeros(4).index_add_(0, 2 * v[alike, 1] + v[alike, 3], p[alike] / p[alike].sum())
    assert float((often - exact).abs().sum()) / 2 < 0.04


@pytest.mark.slow
def test_the_normaliser_follows_the_weights_and_is_saved():
    m = random_rbm(4, 2, 3, temperatures=300, runs=64)
    x = every(4, 2)
    before = m.log_prob(x)
    again = random_rbm(4, 2, 3, temperatures=300, runs=64)
    again.load_state_dict(m.state_dict())
    assert int(again.fingerprint) == int(m.fingerprint) == again.mark()
    assert torch.equal(again.log_prob(x), before)
    with torch.no_grad(), torch.inference_mode():
        m.weight.mul_(3.0)
        after = m.log_prob(x)
    assert float(after.exp().sum()) == pytest.approx(1.0, abs=0.1)
    assert not torch.allclose(before, after)


def test_cosines_span_the_classes():
    phi = class_functions(9, 8, ordered=True)
    assert torch.allclose(phi.sum(0), torch.zeros(8), atol=1e-5)
    assert int(torch.linalg.matrix_rank(phi)) == 8


def test_what_it_cannot_do_is_said():
    with pytest.raises(Unsupported, match="one class number"):
        RBM(Discrete((4,), 2), Discrete((2,), 3))
    with pytest.raises(UsageError, match="features"):
        RBM(Discrete((4,), 2), features=3)
    with pytest.raises(UsageError, match="multiple of rungs"):
        RBM(Discrete((4,), 2), begin="tempered", chains=100)


def test_classes_are_counted_without_indicators():
    x = torch.randint(7, (50, 2, 3), generator=torch.Generator().manual_seed(0))
    assert torch.equal(class_counts(x, 7), torch.nn.functional.one_hot(x, 7).sum(0))


@pytest.mark.parametrize("event", [Discrete((9,), 2), Discrete((9,), 3), Continuous((9,))])
@pytest.mark.parametrize("labelled", [False, True])
def test_codes_are_the_probabilities_of_the_hidden_units_and_lead_back_to_the_item(event, labelled):
    torch.manual_seed(0)
    real = isinstance(event, Continuous)
    kinds = torch.randn(4, 9) if real else torch.randint(event.largest, (4, 9))
    y = torch.randint(2, (400,)) if labelled else None
    x = kinds[torch.randint(4, (400,))] + (0.05 * torch.randn(400, 9) if real else 0)
    m = RBM(event, Discrete((), 2) if labelled else None, hidden=16, begin="items", chains=64)
    m.prepare(lambda n: Batch(x[:n], None if y is None else y[:n]))
    descent = torch.optim.Adam(m.parameters(), 0.02)
    for _ in range(150):
        descent.zero_grad()
        sum(m.loss(Batch(x, y)).values()).backward()
        descent.step()
    with torch.no_grad():
        z = m.encode(x, y)
        back = m.decode(z, y)
    assert z.shape == (400, *m.code.shape) and bool(((z >= 0) & (z <= 1)).all())
    assert back.dtype == x.dtype and back.shape == x.shape
    if real:
        assert float((back - x).square().mean()) < 0.2 * float(x.var(0).mean())
    else:
        assert float((back == x).float().mean()) > 0.95
