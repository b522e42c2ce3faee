"""Laws of elementary steps, of the flows made of them, and of posteriors that such steps bend."""

import math

import pytest
import torch
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.flow.elementary import ElementaryFlow
from pofx.families.vae.vae import VAE
from pofx.maths.elementary import STEPS, Planar, Radial, Sylvester, step_of
from pofx.maths.roots import rising_root
from pofx.nets.vector.posterior import KINDS, PosteriorFlow


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def log_det(function, x: Tensor) -> Tensor:
    jacobian = torch.autograd.functional.jacobian(function, x)
    return torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel()))[1]


# steps

MADE = {
    "planar": lambda d: Planar(d),
    "radial": lambda d: Radial(d),
    "sylvester": lambda d: Sylvester(d, d, d),
    "sylvester of low rank": lambda d: Sylvester(d, max(1, d // 2), d),
}


@pytest.mark.parametrize("scale", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("kind", MADE)
def test_a_step_inverts_and_its_log_determinant_is_that_of_autograd(kind, d, scale):
    step = MADE[kind](d)
    x, raw = 3 * torch.randn(60, d).double(), scale * torch.randn(60, step.size).double()
    y, ladj = step(x, raw)
    for i in range(5):
        assert torch.allclose(log_det(lambda v, i=i: step(v[None], raw[i : i + 1])[0][0], x[i]), ladj[i], atol=1e-9)
    assert torch.allclose(step.inverse(y, raw), x, atol=1e-9 if scale < 4 else 1e-7)
    if scale == 0:
        assert torch.allclose(y, x, atol=1e-12) and ladj.abs().max() < 1e-12


@pytest.mark.parametrize("kind", MADE)
def test_extreme_parameters_stay_invertible_in_float32(kind):
    step = MADE[kind](3)
    for scale in (10.0, 100.0):
        raw = scale * torch.randn(500, step.size)
        x = torch.randn(500, 3)
        x.requires_grad_()
        y, ladj = step(x, raw)
        (slope,) = torch.autograd.grad(y.sum() + ladj.sum(), x)
        assert torch.isfinite(y).all() and torch.isfinite(ladj).all() and torch.isfinite(slope).all()
        with torch.no_grad():
            again = step(step.inverse(y, raw), raw)[0]
        assert ((again - y).abs() <= 1e-4 * y.abs().clamp(min=scale**2)).all()


@pytest.mark.parametrize("kind", MADE)
def test_one_vector_of_parameters_for_all_items_is_the_same_as_a_copy_for_each(kind):
    step = MADE[kind](4)
    x, raw = torch.randn(6, 7, 4).double(), torch.randn(6, 1, step.size).double()
    y, ladj = step(x, raw)
    each, ladj_each = step(x, raw.expand(-1, 7, -1))
    assert torch.allclose(y, each) and torch.allclose(ladj, ladj_each)
    one, _ = step(x[0], raw[0])
    assert torch.allclose(one, y[0])
    assert torch.allclose(step.inverse(y, raw), x, atol=1e-9)


def test_a_radial_step_is_finite_at_its_centre():
    step, raw = Radial(2), torch.tensor([[1.0, -2.0, 0.3, 2.0]])
    x = raw[:, :2].clone().requires_grad_()
    y, ladj = step(x, raw)
    y.sum().backward(inputs=[x])
    assert torch.isfinite(ladj).all() and torch.isfinite(x.grad).all()
    assert torch.equal(step.inverse(y.detach(), raw), x.detach())


def test_the_columns_of_a_sylvester_step_are_orthonormal():
    step = Sylvester(6, 4, 3)
    q, a, b, _ = step._parts(torch.randn(5, step.size).double())
    assert torch.allclose(q.mT @ q, torch.eye(4).double().expand(5, -1, -1), atol=1e-12)
    assert torch.equal(a, a.triu()) and torch.equal(b, b.triu())
    with pytest.raises(UsageError, match="rank must be at most"):
        step_of("sylvester", 3, rank=4)


def test_rising_roots_are_found_where_newtons_method_circles():
    """A nearly level stretch between two steep ones sends Newton's steps from one side to the other."""
    y = torch.linspace(-80, 80, 4001).double()

    def function(z: Tensor) -> tuple[Tensor, Tensor]:
        h = z.tanh()
        return z - 0.999 * h - y, 1.0 - 0.999 * (1.0 - h * h)

    root = rising_root(function, y - 1, y + 1)
    assert (function(root)[0].abs() <= 1e-15 * y.abs().clamp(min=1)).all()


def test_rising_roots_reach_the_precision_of_their_type_and_have_gradients():
    c = torch.linspace(-3, 3, 50).double().requires_grad_()

    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        return x - 0.999 * (20 * x).tanh() / 20 - c, 1 - 0.999 / (20 * x).cosh() ** 2

    root = rising_root(function, c.detach() - 1, c.detach() + 1)
    assert function(root)[0].abs().max() < 1e-14
    (slope,) = torch.autograd.grad(root.sum(), c)
    assert torch.allclose(slope, 1 / function(root.detach())[1], rtol=1e-9)


# flows of steps


@pytest.mark.parametrize("shape", [(1,), (2,), (1, 2, 3)])
@pytest.mark.parametrize("condition", [None, 3])
@pytest.mark.parametrize("kind", STEPS)
def test_inverse_and_log_determinant_before_and_after_training(kind, shape, condition):
    given = None if condition is None else Discrete((), condition)
    model = ElementaryFlow(Continuous(shape), given, step=kind, layers=3).double().eval()
    x = 3 + 2 * torch.randn(6, *shape, dtype=torch.float64)
    c = None if condition is None else torch.arange(6) % condition
    model.prepare(lambda n: Batch(x[:n], None if c is None else c[:n]))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for steps in (0, 10):
        for _ in range(steps):
            optimiser.zero_grad()
            model.loss(Batch(x, c)).backward()
            optimiser.step()
        z, ladj = model.flow(x, c)
        first = None if c is None else c[:1]
        assert torch.allclose(log_det(lambda v, f=first: model.flow(v[None], f)[0][0], x[0]), ladj[0], atol=1e-8)
        with torch.inference_mode():
            assert torch.allclose(model.decode(z, c), x, atol=1e-7)


@pytest.mark.parametrize("kind", STEPS)
def test_samples_do_not_depend_on_the_batch(kind):
    model = ElementaryFlow(Continuous((2,)), step=kind, layers=8).eval()
    with torch.inference_mode():
        whole = model.sample(40, generator=Streams(1, 40))
        assert torch.allclose(model.sample(3, generator=Streams(1, 40)[7:10]), whole[7:10], atol=1e-4)


def test_options_are_checked():
    with pytest.raises(UsageError, match="step"):
        ElementaryFlow(Continuous((2,)), step="circular")
    with pytest.raises(UsageError, match="layers must"):
        ElementaryFlow(Continuous((2,)), layers=0)
    with pytest.raises(UsageError, match="posterior"):
        VAE(Continuous((2,)), posterior="student")
    with pytest.raises(UsageError, match="posterior_steps"):
        VAE(Continuous((2,)), posterior="planar", posterior_steps=0)


# posteriors


@pytest.mark.parametrize("kind", KINDS)
def test_a_posterior_flow_counts_its_volume(kind):
    flow = PosteriorFlow(kind, 3, 2).double().eval()
    z, given = torch.randn(4, 5, 3).double(), torch.randn(4, flow.size).double()
    bent, ladj = flow(z, given)
    for i, k in ((0, 0), (3, 2)):
        own = log_det(lambda v, i=i: flow(v[None, None], given[i : i + 1])[0][0, 0], z[i, k])
        assert torch.allclose(own, ladj[i, k], atol=1e-9)
    assert not torch.allclose(bent, flow(z, given.flip(0))[0]), "the encoder moves it"
    assert torch.allclose(flow(z[1:2, 3:4], given[1:2])[0], bent[1:2, 3:4])


class Affine(nn.Module):
    """A stand-in for a trunk: x → x A + b."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x, context=None):
        return x @ self.a + self.b


def linear_gaussian(kind: str):
    """A VAE whose log p(x) is known, under a posterior that a flow of random steps bends away from the true one."""
    m = VAE(Continuous((3,)), latent=2, width=4, depth=1, prior="normal", posterior=kind, posterior_steps=2).eval()
    w, b = torch.randn(2, 3), torch.randn(3)
    free = torch.full((3,), -0.5)
    a = torch.zeros(2, 6)
    a[:, 0::2] = w
    m.networks.decoder = Affine(a, torch.stack((b, free), -1).flatten())
    noise = (2 * m.likelihood.normal(torch.stack((b, free), -1)[None])[1][0]).exp()
    precision = torch.eye(2) + w @ torch.diag(1 / noise) @ w.T
    cov = torch.linalg.inv(precision)
    gain = torch.diag(1 / noise) @ w.T @ cov
    raw = 4 * torch.atanh((1.5 * cov.diagonal().sqrt()).log() / 4)
    size = m.bend.size
    into, start = 0.1 * torch.randn(3, size), torch.zeros(size)
    m.networks.encoder = Affine(torch.cat((gain, torch.zeros(3, 2), into), 1), torch.cat((-b @ gain, raw, start)))
    return m, torch.distributions.MultivariateNormal(b, w.T @ w + torch.diag(noise))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_bound_rises_with_its_samples_to_the_exact_value_and_never_beats_it(kind):
    m, true = linear_gaussian(kind)
    x = true.sample((1500,))
    exact = float(true.log_prob(x).mean())
    logs = m.log_weights(x, None, torch.randn(1500, 125, 2))
    means = [float((logs[:, :k].logsumexp(1) - math.log(k)).mean()) for k in (1, 5, 25, 125)]
    assert means == sorted(means)
    assert means[0] < exact - 0.02 and means[-1] <= exact + 0.03
    few = x[:30]
    assert float((m.bound(few, None, 6_000)[0] - true.log_prob(few)).abs().mean()) < 0.05
    losses = [float(sum(m.loss(Batch(x)).values())) for _ in range(10)]
    assert sum(losses) / 10 == pytest.approx(-float(logs.mean()), abs=0.15)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bent_posterior_trains_and_has_deterministic_codes(kind):
    torch.manual_seed(0)
    m = VAE(Discrete((3,), 3), Discrete((), 2), posterior=kind, **VAE.small)
    x, c = torch.randint(3, (64, 3)), torch.arange(64) % 2
    for free in ({}, {"particles": 3}, {"free_bits": 0.1, "prior": "normal"}):
        other = VAE(Discrete((3,), 3), Discrete((), 2), posterior=kind, **{**VAE.small, **free})
        assert torch.isfinite(sum(other.loss(Batch(x, c)).values()))
    sum(m.loss(Batch(x, c)).values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in m.parameters())
    m.eval()
    with torch.inference_mode():
        assert torch.equal(m.encode(x, c), m.encode(x, c))
        assert m.encode(x, c).shape == (64, 2)
        alone = torch.cat([m.log_prob(x[i : i + 1], c[i : i + 1]) for i in range(5)])
        assert torch.allclose(alone, m.log_prob(x, c)[:5], atol=1e-4)
        assert torch.isfinite(m.sample(4, c[:4], generator=Streams(0, 4)).float()).all()


@torch.no_grad()
def test_an_item_whose_posterior_is_missed_does_not_lose_all():
    """One digit of 600 had a bound of minus thousands of nats, whatever the number of draws: q lay where no code is."""
    torch.manual_seed(0)
    m = VAE(Discrete((4,), 2), latent=2, width=8, depth=1, prior="normal", posterior="planar").eval()
    m.networks.encoder.last.bias[:2] = 60.0
    x = torch.randint(2, (6, 4))
    assert float(m.bound(x, None, 63)[0].max()) < -500
    assert float(m.bound(x, None, 256)[0].min()) > -20
