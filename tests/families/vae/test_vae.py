"""Laws of the variational autoencoder and its observation models."""

import math
import warnings

import pytest
import torch
from torch import nn

from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.vae.hierarchical import HVAE
from pofx.families.vae.observation import Bernoulli, Categorical, Gaussian, LogisticMixture, observation_model
from pofx.families.vae.quantised import QuantisedVAE
from pofx.families.vae.vae import VAE
from pofx.maths import discretised_logistic


class Affine(nn.Module):
    """A stand-in for a trunk: x → x A + b."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x, context=None):
        return x @ self.a + self.b


def linear_gaussian(off=0.0):
    """A VAE whose log p(x) is known; `off` moves its posterior away from the true one."""
    torch.manual_seed(0)
    m = VAE(Continuous((3,)), latent=2, width=4, depth=1, prior="normal").eval()
    w, b = torch.randn(2, 3), torch.randn(3)
    free = torch.full((3,), -0.5)
    a = torch.zeros(2, 6)
    a[:, 0::2] = w
    m.networks.decoder = Affine(a, torch.stack((b, free), -1).flatten())
    log_std = m.likelihood.normal(torch.stack((b, free), -1)[None])[1][0]
    noise = (2 * log_std).exp()
    precision = torch.eye(2) + w @ torch.diag(1 / noise) @ w.T
    cov = torch.linalg.inv(precision)
    gain = torch.diag(1 / noise) @ w.T @ cov  # posterior mean (x - b) gain
    std = cov.diagonal().sqrt() * (1 + off)  # a diagonal posterior, unlike the true one
    raw = 4 * torch.atanh(std.log() / 4)
    m.networks.encoder = Affine(torch.cat((gain, torch.zeros(3, 2)), 1), torch.cat((-b @ gain + off, raw)))
    true = torch.distributions.MultivariateNormal(b, w.T @ w + torch.diag(noise))
    return m, true


def test_bound_rises_to_the_exact_value():
    m, true = linear_gaussian(off=0.3)
    x = true.sample((50,))
    exact = true.log_prob(x)
    far, near = m.bound(x, None, 1)[0], m.bound(x, None, 5000)[0]
    assert (near - exact).abs().mean() < 0.02
    assert (exact - far).mean() > 0.2


def test_the_bound_of_any_subset_rises_to_its_exact_density():
    m, true = linear_gaussian(off=0.3)
    m.importance = 4000
    x = true.sample((40,))
    for some in ([0], [0, 2], [1], [0, 1, 2]):
        known = torch.zeros(40, 3, dtype=torch.bool)
        known[:, some] = True
        law = torch.distributions.MultivariateNormal(true.loc[some], true.covariance_matrix[some][:, some])
        with torch.no_grad():
            found = m.log_marginal(torch.where(known, x, 7.0), known)  # what is unknown does not matter
        assert (found - law.log_prob(x[:, some])).abs().mean() < 0.03
        assert float((found - law.log_prob(x[:, some])).mean()) < 0.01


def test_bound_is_monotone_in_the_number_of_samples():
    m, true = linear_gaussian(off=0.5)
    x = true.sample((4000,))
    logs = m.log_weights(x, None, torch.randn(4000, 125, 2)).detach()
    means = [float((logs[:, :k].logsumexp(1) - math.log(k)).mean()) for k in (1, 5, 25, 125)]
    assert means == sorted(means)
    assert means[-1] <= float(true.log_prob(x).mean()) + 0.02


def test_one_sample_is_the_elbo():
    m, true = linear_gaussian(off=0.3)
    x = true.sample((2000,))
    torch.manual_seed(1)
    losses = m.loss(Batch(x))
    logs = m.log_weights(x, None, torch.randn(2000, 50, 2)).mean()
    assert float(sum(losses.values()).detach()) == pytest.approx(-float(logs), abs=0.1)


EXTREME = [(0.0, 0.0), (0.95, -3.0), (0.99, -7.0), (-1.0, -9.0), (1.7, -2.0), (-30.0, -7.0), (3.0, 5.0), (0.5, 30.0)]


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize(("mean", "log_scale"), EXTREME)
def test_levels_sum_to_one(levels, mean, log_scale):
    raw = torch.tensor([0.3, -0.4, mean, 0.1, log_scale, -2.0], requires_grad=True)
    every = torch.arange(levels)
    logs = discretised_logistic.log_mass(raw.expand(levels, -1), every, levels)
    assert float(logs.double().exp().sum()) == pytest.approx(1.0, abs=2e-5)
    logs.sum().backward()
    assert torch.isfinite(raw.grad).all()


@pytest.mark.parametrize("scale", [0.0, 1.0, 80.0])
def test_categorical_sums_to_one(scale):
    event = Discrete((1,), 256)
    raw = scale * torch.randn(1, 1, 256).expand(256, -1, -1)
    total = Categorical(event).log_prob(raw, torch.arange(256)[:, None]).exp().sum()
    assert float(total) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("event", [Continuous((1,)), Bounded((1,))])
def test_gaussian_integrates_to_one(event):
    observe = Gaussian(event)
    observe.start(0.1 * torch.randn(100, 1))
    grid = torch.linspace(-1, 1, 20_001)[:, None]
    for free in (-50.0, -3.0, 0.0):
        raw = torch.tensor([0.4, free]).expand(len(grid), 1, 2)
        total = observe.log_prob(raw, grid).double().exp().sum() * 1e-4
        assert float(total) == pytest.approx(1.0, abs=1e-3)


def test_one_logit_is_a_softmax_of_two_classes():
    """Two classes cost a table of two numbers each, in a general cross-entropy, half of a step of training."""
    event = Discrete((3, 2), 2)
    one, two = Bernoulli(event), Categorical(event)
    raw, x = 4 * torch.randn(5, 3, 2, 1), torch.randint(2, (5, 3, 2))
    both = torch.cat((torch.zeros_like(raw), raw), -1)
    assert torch.allclose(one.log_prob(raw, x), two.log_prob(both, x), atol=1e-5)
    many = [m.draw(v[:1].expand(9000, *v.shape[1:]), Streams(0, 9000)) for m, v in ((one, raw), (two, both))]
    assert (many[0].float().mean(0) - many[1].float().mean(0)).abs().max() < 0.03
    assert torch.equal(one.mode(raw), two.mode(both))
    assert torch.allclose(one.mean(raw), two.mean(both), atol=1e-6)
    start = two.start(x)
    assert torch.allclose(one.start(x)[..., 0], start[..., 1] - start[..., 0], atol=1e-5)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_two_numbers_for_two_classes_are_recognised(network):
    """Runs of "auto" had a softmax of two classes once: they are read as they were."""
    options = {**VAE.small, "network": network}
    former = VAE(Discrete((1, 9, 9), 2), **options, observation="categorical")
    shapes = {key: tuple(value.shape) for key, value in former.state_dict().items()}
    assert VAE.recognised(options, shapes)["observation"] == "categorical"
    today = {key: tuple(value.shape) for key, value in VAE(Discrete((1, 9, 9), 2), **options).state_dict().items()}
    assert "observation" not in VAE.recognised(options, today)


@pytest.mark.parametrize("model", [HVAE, QuantisedVAE])
@pytest.mark.parametrize("shape", [(1, 9, 9), (6,)])
def test_so_are_those_of_other_autoencoders(model, shape):
    former = model(Discrete(shape, 2), **{**model.small, "observation": "categorical"})
    shapes = {key: tuple(value.shape) for key, value in former.state_dict().items()}
    assert model.recognised({}, shapes)["observation"] == "categorical"
    today = {key: tuple(value.shape) for key, value in model(Discrete(shape, 2), **model.small).state_dict().items()}
    assert "observation" not in model.recognised({}, today)
    real = {key: tuple(value.shape) for key, value in model(Continuous(shape), **model.small).state_dict().items()}
    assert "observation" not in model.recognised({}, real)


def test_units_are_dropped_where_items_are_few():
    """Dropping a quarter of them cost 60,000 items of MNIST nats in any time."""
    for items, share in ((9_999, 0.25), (10_000, 0.0)):
        m = VAE(Discrete((2,), 3), width=8, latent=2).eval()
        m.prepare(lambda n, items=items: Batch(torch.randint(3, (min(n, items), 2))))
        assert {part.p for part in m.train().modules() if isinstance(part, torch.nn.Dropout)} == {share}
    stated = VAE(Discrete((2,), 3), width=8, latent=2, dropout=0.1).eval().train()
    assert {part.p for part in stated.modules() if isinstance(part, torch.nn.Dropout)} == {0.1}


def test_level_draws_follow_the_masses():
    raw = torch.tensor([0.3, -0.4, -0.9, 0.4, -2.0, -1.5])
    n, levels = 40_000, 9
    u = Streams(0, n).uniform(2)
    share = torch.bincount(discretised_logistic.draw(raw.expand(n, -1), u, levels), minlength=levels) / n
    mass = discretised_logistic.log_mass(raw.expand(levels, -1), torch.arange(levels), levels).exp()
    assert float((share - mass).abs().sum()) < 0.03


def spread_out(m):
    """Let x depend on z strongly, and let the posterior be a wide normal, under which importance weights are tame."""
    with torch.no_grad():
        m.networks.decoder.last.weight.mul_(20)
        m.networks.encoder.last.weight.zero_()
        m.networks.encoder.last.bias.copy_(torch.tensor([0.0, 0.0, 0.9, 0.9]))


@pytest.mark.parametrize("observation", ["categorical", "logistic"])
def test_bound_sums_to_at_most_one(observation):
    torch.manual_seed(0)
    options = {"latent": 2, "width": 16, "depth": 1, "prior_parts": 3, "importance": 20_000}
    m = VAE(Discrete((2,), 3), observation=observation, **options)
    spread_out(m)
    every = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    total = float(m.eval().log_prob(every).exp().sum())
    assert 0.97 < total < 1.03


def test_samples_follow_the_density():
    torch.manual_seed(0)
    m = VAE(Discrete((2,), 3), latent=2, width=16, depth=1, prior_parts=3, importance=20_000).eval()
    spread_out(m)
    every = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    x = m.sample(20_000, generator=Streams(1, 20_000))
    share = torch.bincount(3 * x[:, 0] + x[:, 1], minlength=9) / len(x)
    assert float((share - m.log_prob(every).exp()).abs().sum()) < 0.04


@pytest.mark.parametrize("options", [{}, {"particles": 4}, {"free_bits": 0.1, "prior": "normal"}])
def test_loss_does_not_change_when_the_batch_is_repeated(options, monkeypatch):
    torch.manual_seed(0)
    m = VAE(Discrete((1, 4, 4), 17), **{**VAE.small, **options})
    x = torch.randint(17, (6, 1, 4, 4))
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    monkeypatch.setattr(torch, "randn", lambda *shape, **_: torch.zeros(*shape))
    one, two = m.loss(Batch(x)), m.loss(Batch(torch.cat((x, x))))
    for key in one:
        assert float(one[key].detach()) == pytest.approx(float(two[key].detach()), rel=1e-5)


def test_warmup_is_a_matter_of_training_alone():
    m = VAE(Continuous((2,)), kl_warmup=10, beta=2.0, **VAE.small).eval()
    batch = Batch(torch.randn(8, 2))
    before, weights = float(m.validation(batch)), []
    for _ in range(20):
        weights.append(m.kl_weight())
        m.advance({})
    assert weights[0] == pytest.approx(0.2)
    assert weights[9:] == [2.0] * 11
    assert float(m.validation(batch)) == before


def test_answers_do_not_depend_on_the_batch():
    torch.manual_seed(0)
    m = VAE(Discrete((1, 8, 8), 17), Discrete((), 10), **VAE.small).eval()
    x, y = torch.randint(17, (5, 1, 8, 8)), torch.arange(5)
    together, alone = m.log_prob(x, y), torch.cat([m.log_prob(x[i : i + 1], y[i : i + 1]) for i in range(5)])
    assert torch.allclose(together, alone, rtol=1e-5)
    assert torch.equal(m.encode(x, y), m.encode(x, y))
    assert m.decode(m.encode(x, y), y).shape == x.shape
    assert not torch.allclose(m.log_prob(x, y), m.log_prob(x, y.flip(0)))


@pytest.mark.parametrize(
    "event",
    [
        Discrete((3, 17, 23), 256),
        Continuous((1, 9, 20)),
        Discrete((2, 16, 16), 2),
        Discrete((1, 9, 17, 11), 2),
        Discrete((2, 3, 4, 5), 3),
    ],
)
def test_convolutions_take_any_size(event):
    m = VAE(event, network="conv", **{**VAE.small, "width": 8}).eval()
    x = m.sample(2, generator=Streams(0, 2))
    assert x.shape == (2, *event.shape)
    assert torch.isfinite(m.log_prob(x)).all()
    assert m.encode(x).shape == (2, 2)


def test_a_collapsed_encoder_has_no_active_units():
    m, true = linear_gaussian()
    x = true.sample((100,))
    assert m.active_units(x) == 2
    m.networks.encoder.a = torch.zeros_like(m.networks.encoder.a)
    assert m.active_units(x) == 0


def test_options_are_checked():
    with pytest.raises(UsageError, match="two classes everywhere"):
        VAE(Discrete((2,), 3), observation="bernoulli")
    with pytest.raises(UsageError, match="observation"):
        VAE(Discrete((2,), 3), observation="poisson")
    with pytest.raises(UsageError, match="free_bits"):
        VAE(Discrete((2,), 3), particles=2, free_bits=0.1)


@pytest.mark.slow
def test_training_approaches_a_known_entropy():
    torch.manual_seed(0)
    p = torch.tensor([[0.4, 0.05], [0.05, 0.5]])
    draw = torch.multinomial(p.flatten(), 4000, replacement=True)
    x = torch.stack((draw // 2, draw % 2), 1)
    m = VAE(Discrete((2,), 2), latent=2, width=16, depth=1, prior_parts=4, dropout=0.0, importance=500)
    m.prepare(lambda n: Batch(x[:n]))
    optimiser = torch.optim.Adam(m.parameters(), 1e-2)
    for _ in range(400):
        optimiser.zero_grad()
        sum(m.loss(Batch(x[torch.randint(4000, (128,))])).values()).backward()
        optimiser.step()
    every = torch.cartesian_prod(torch.arange(2), torch.arange(2))
    found = m.eval().log_prob(every).detach().exp()
    assert float((found - p.flatten()).abs().sum()) < 0.1


def test_levels_are_the_default_for_images_with_many_levels():
    assert isinstance(VAE(Discrete((1, 8, 8), 17), **VAE.small).likelihood, LogisticMixture)
    assert isinstance(VAE(Discrete((1, 8, 8), 2), **VAE.small).likelihood, Bernoulli)
    assert isinstance(VAE(Discrete((5,), 17), **VAE.small).likelihood, Categorical)


def test_defaults_fit_the_size_and_are_stored_resolved():
    """28 x 28 at 256 levels: 7.7 M weights and 20 seconds a step once; a step is at most a tenth of a second now."""
    m = VAE(Discrete((1, 28, 28), 256))
    assert (m.network, m.width) == ("mlp", 256)
    assert sum(p.numel() for p in m.parameters()) < 2.5e6
    large = VAE(Discrete((3, 64, 64), 256))
    assert (large.network, large.width) == ("conv", 32)
    assert VAE.upgraded("vae", {"network": "auto"}, large.state_dict())[1]["network"] == "conv"
    assert VAE.upgraded("vae", {"network": "auto"}, m.state_dict())[1]["network"] == "mlp"
    solid = VAE(Discrete((1, 16, 16, 16), 2))
    assert (solid.network, solid.width) == ("principal", 64)
    convolutions = VAE(Discrete((1, 16, 16, 16), 2), network="conv")
    assert VAE.upgraded("vae", {"network": "auto"}, convolutions.state_dict())[1]["network"] == "conv"
    with pytest.raises(UsageError, match="spatial"):
        VAE(Discrete((1, 16, 16, 16), 2), spatial=1)


def test_solids_see_every_voxel_and_learn():
    torch.manual_seed(0)
    boxes = torch.zeros(16, 1, 12, 12, 12, dtype=torch.int64)
    for i, box in enumerate(boxes):
        box[:, : 2 + i % 8, 2:9, : 3 + i % 5] = 1
    m = VAE(Discrete((1, 12, 12, 12), 2), latent=4, width=8, network="conv", dropout=0.0)
    m.prepare(lambda n: Batch(boxes[:n]))
    seen = torch.randn(1, 1, 12, 12, 12, requires_grad=True)
    m.networks.encode(seen, None)[0].sum().backward()
    assert bool((seen.grad != 0).all())
    optimiser = torch.optim.Adam(m.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        losses.append(sum(m.loss(Batch(boxes)).values()))
        losses[-1].backward()
        optimiser.step()
    assert float(losses[-1].detach()) < 0.8 * float(losses[0].detach())
    back = m.eval().decode(m.encode(boxes))
    assert float((back == boxes).float().mean()) > 0.9


@pytest.mark.parametrize(("steps", "seed"), [(0, 0), (40, 0), pytest.param(150, 2, marks=pytest.mark.slow)])
def test_the_bound_has_at_most_the_mass_one_within_its_error(steps, seed):
    """Each item has its own noise, and some proposals are wider than q: shared noise gave a mass of 5.4."""
    data = torch.randint(3, (300, 1, 1, 3), generator=torch.Generator().manual_seed(0)).repeat(1, 1, 2, 1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        m = VAE(Discrete((1, 2, 3), 3), importance=64)
        m.prepare(lambda n: Batch(data[:n]))
        optimiser = torch.optim.Adam(m.parameters(), 2e-3)
        for _ in range(steps):
            loss = sum(m.loss(Batch(data[torch.randint(300, (128,))])).values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    m.eval()
    every = torch.cartesian_prod(*[torch.arange(3)] * 6).reshape(-1, 1, 2, 3)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        value, error = m.log_prob_estimate(every)
        again, _ = m.log_prob_estimate(every.flip(0))
    p = value.double().exp()
    slack = 4 * float((p * error).square().sum().sqrt())
    assert slack < 0.4
    assert 0.9 - slack < float(p.sum()) < 1.0 + slack
    assert torch.allclose(again.flip(0), value, atol=1e-4)  # the noise is the item's, wherever it is
    assert (error > 0).any() or steps == 0


@pytest.mark.parametrize("kind", ["bernoulli", "categorical", "logistic"])
def test_many_codes_of_an_item_are_weighed_like_one_after_the_other(kind):
    event = Discrete((2, 3), 2 if kind == "bernoulli" else 9)
    likelihood = observation_model(event, kind, 2)
    raw = torch.randn(4, 5, *likelihood.numbers)
    x, known = torch.randint(event.largest, (4, 2, 3)), torch.rand(4, 2, 3) < 0.6
    for mask in (None, known):
        found = likelihood.log_prob_of_many(raw, x, mask)
        single = torch.stack([likelihood.log_prob(raw[:, k], x, mask) for k in range(5)], 1)
        assert torch.allclose(found, single, atol=1e-5)


def test_no_pixel_is_certain():
    """A pixel that training never lit had a logit of thousands, and an item that lit it lost as many nats."""
    likelihood, raw = Bernoulli(Discrete((2,), 2)), torch.tensor([[[-6000.0], [6000.0]]], requires_grad=True)
    for x, least, most in (([[1, 0]], -33, -31), ([[0, 1]], -1e-5, 0.0)):
        for value in (
            likelihood.log_prob(raw, torch.tensor(x)),
            likelihood.log_prob_of_many(raw[None], torch.tensor(x)),
        ):
            assert least <= float(value) <= most
    likelihood.log_prob(raw, torch.tensor([[0, 1]])).backward()
    assert float(raw.grad.abs().sum()) == 0.0  # what is certain enough drifts no further


@pytest.mark.parametrize("model", [VAE, HVAE])
def test_weights_of_pixels_that_training_never_lights_do_not_drift(model):
    """An item that lit one lost thousands of nats, and the best weights were taken for worse ones."""
    torch.manual_seed(0)
    net = model(Discrete((1, 4, 4), 2), **model.small)
    x = (torch.rand(400, 1, 4, 4) < torch.linspace(0.2, 0.8, 16).reshape(4, 4)).long()
    x[:, :, 0] = 0
    net.prepare(lambda n: Batch(x[:n]))
    weights = {name: p for name, p in net.named_parameters() if p.ndim > 1 and name != "marginals"}
    first = next(p for p in weights.values() if p.flatten(1).shape[1] == 16)
    before = first.detach().flatten(1)[:, :4].clone()
    descent = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(12):
        descent.zero_grad()
        sum(net.train().loss(Batch(x[torch.randint(400, (32,))])).values()).backward()
        descent.step()
    assert torch.equal(first.detach().flatten(1)[:, :4], before)
    odd = x[:1].clone()
    odd[:, :, 0, 0] = 1
    assert float(net.eval().log_prob(x[:1]) - net.log_prob(odd)) < 25
