"""Laws of residual flows: the Lipschitz constant, the series against the determinant, the fixed-point inverse."""

import math
import warnings

import pytest
import torch
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Discrete, Event
from pofx.core.model import Batch, Density
from pofx.core.random import Streams
from pofx.families.flow.residual import ResidualBlock, ResidualFlow
from pofx.nets.vector.lipschitz import LipschitzLinear, LipschitzMLP


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def steep(module: nn.Module) -> None:
    """Weights far beyond the coefficient, so that it binds."""
    for part in module.modules():
        if isinstance(part, LipschitzLinear):
            nn.init.normal_(part.linear.weight, std=3.0)


def build(shape=(3,), condition: Event | None = None, **options) -> ResidualFlow:
    model = ResidualFlow(Continuous(shape), condition, **{**ResidualFlow.small, **options}).double().eval()
    steep(model)
    return model


def descend(model: ResidualFlow, batch: Batch, steps: int = 10) -> None:
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        model.loss(batch).backward()
        optimiser.step()
    model.eval()


@pytest.mark.parametrize("coefficient", [0.5, 0.97])
@pytest.mark.parametrize("size", [(4, 30), (64, 64), (1, 1)])
def test_the_largest_singular_value_stays_below_the_coefficient(coefficient, size):
    layer = LipschitzLinear(*size, coefficient)
    for scale in (1e-3, 1.0, 50.0):
        nn.init.normal_(layer.linear.weight, std=scale)
        sigma = float(torch.linalg.matrix_norm(layer.weight().detach(), 2))
        own = float(torch.linalg.matrix_norm(layer.linear.weight.detach(), 2))
        assert sigma <= coefficient
        assert sigma >= 0.97 * min(own, coefficient), "it binds no harder than it must"


def test_power_iteration_goes_on_where_it_stopped_in_training_and_changes_nothing_in_eval():
    layer = LipschitzLinear(20, 20, 0.9)
    nn.init.normal_(layer.linear.weight)
    before = layer.u.clone()
    layer.eval().weight()
    assert torch.equal(layer.u, before)
    layer.train().weight()
    assert not torch.equal(layer.u, before)


def test_the_perceptron_contracts_and_its_tangents_are_those_of_autograd():
    net = LipschitzMLP(3, 20, 2, 0.9, context=2).double().eval()
    steep(net)
    net.sharpness.data.fill_(3.0)
    x, c = torch.randn(50, 3).double(), torch.randn(50, 2).double()
    eye = torch.eye(3).double()[:, None].expand(-1, 50, -1)
    _, turned = net(x, c, eye)
    jacobian = torch.autograd.functional.jacobian(lambda y: net(y[None], c[:1])[0][0], x[0])
    assert torch.allclose(turned[:, 0].T, jacobian, atol=1e-10)
    assert float(torch.linalg.matrix_norm(turned.detach().permute(1, 2, 0), 2).max()) < 0.9


@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (1, 2, 3)])
@pytest.mark.parametrize("condition", [None, 3])
def test_inverse_and_log_determinant_before_and_after_training(shape, condition):
    model = build(shape, None if condition is None else Discrete((), condition))
    x = 3 + 2 * torch.randn(6, *shape, dtype=torch.float64)
    c = None if condition is None else torch.arange(6) % condition
    model.prepare(lambda n: Batch(x[:n], None if c is None else c[:n]))
    for steps in (0, 10):
        descend(model, Batch(x, c), steps)
        z, ladj = model.flow(x, c)
        d, first = x[0].numel(), None if c is None else c[:1]
        jacobian = torch.autograd.functional.jacobian(lambda v, f=first: model.flow(v[None], f)[0].flatten(), x[0])
        assert torch.allclose(torch.linalg.slogdet(jacobian.reshape(d, d))[1], ladj[0], atol=1e-8)
        with torch.inference_mode():
            assert torch.allclose(model.encode(x, c), z)
            assert torch.allclose(model.decode(z, c), x, atol=1e-10)
            base = -0.5 * (z.flatten(1) ** 2).sum(1) - 0.5 * d * math.log(2 * math.pi)
            assert torch.allclose(model.log_prob(x, c), base + ladj)


def noise(k: int, n: int, d: int) -> tuple[Tensor, Tensor]:
    return 2.0 * torch.randint(0, 2, (k, n, d)).double() - 1.0, torch.rand(k, n).double()


@pytest.mark.parametrize("terms", [1, 4])
def test_the_series_is_an_unbiased_estimate_of_the_determinant_and_of_its_gradient(terms):
    """In two dimensions, against the determinant itself; 40,000 draws, 4 standard errors."""
    block = ResidualBlock(2, 8, 1, 0.8).double().eval()
    steep(block)
    x = torch.randn(1, 2).double()
    _, exact = block(x)
    k = 40_000
    _, each = block.estimate(x, None, *noise(k, 1, 2), terms)
    error = float(each.detach().std()) / k**0.5
    assert error > 0
    assert abs(float(each.mean().detach() - exact.detach())) < 4 * error
    parameter = block.net.layers[0].linear.bias
    (true,) = torch.autograd.grad(exact.sum(), parameter)
    drawn = []
    for _ in range(20):
        _, each = block.estimate(x, None, *noise(2000, 1, 2), terms)
        drawn.append(torch.autograd.grad(each.mean(), parameter)[0])
    mean, spread = torch.stack(drawn).mean(0), torch.stack(drawn).std(0) / 20**0.5
    assert ((mean - true).abs() < 4.5 * spread + 1e-4).all()


def test_beyond_16_numbers_the_density_is_an_estimate_with_an_error_that_is_a_function_of_x():
    model = build((20,), coefficient=0.9, probes=32)
    assert model.density is Density.ESTIMATE and ResidualFlow.best_density is Density.EXACT
    x = torch.randn(16, 20, dtype=torch.float64)
    model.prepare(lambda n: Batch(x[:n]))
    with torch.inference_mode():
        mean, error = model.log_prob_estimate(x)
        exact = model.flow.log_prob(x)
        assert torch.equal(model.log_prob(x), mean)
        assert torch.allclose(model.log_prob(x[5:9]), mean[5:9])
        assert (error > 0).all()
        assert ((mean - exact) / error).abs().max() < 6
        assert abs(float(((mean - exact) / error).mean())) < 1.0
    descend(model, Batch(x), 3)
    with torch.inference_mode():
        assert torch.isfinite(model.sample(3, generator=Streams(0, 3))).all()


def test_the_training_loss_beyond_16_numbers_agrees_with_the_density():
    model = build((20,), coefficient=0.7, probes=64)
    x = torch.randn(500, 20, dtype=torch.float64)
    model.prepare(lambda n: Batch(x[:n]))
    with torch.no_grad():
        losses = torch.stack([model.loss(Batch(x)) for _ in range(10)])
        assert float(losses.mean()) == pytest.approx(-float(model.flow.log_prob(x).mean()), abs=0.15)


def test_the_inverse_of_an_item_does_not_depend_on_its_neighbours():
    model = build((2,)).float()
    z = 3 * torch.randn(40, 2)
    with torch.inference_mode():
        whole = model.decode(z)
        assert torch.allclose(torch.cat([model.decode(z[i : i + 1]) for i in range(40)]), whole, atol=1e-5)
        assert torch.allclose(model.encode(whole), z, atol=1e-4)
        assert model.decode(z[:0]).shape == (0, 2)


def test_a_map_that_does_not_contract_is_reported_not_returned_in_silence():
    block = ResidualBlock(2, 8, 1, 0.9).double().eval()
    y = torch.randn(4, 2).double()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        block.inverse(y)
    block.net.weights = lambda: [3.0 * torch.eye(8, 2).double(), 3.0 * torch.eye(2, 8).double()]
    with pytest.warns(RuntimeWarning, match="is known to"):
        block.inverse(5 * y)


def test_gradients_flow_through_the_inverse():
    block = ResidualBlock(2, 8, 2, 0.6).double().eval()
    steep(block)
    y = torch.randn(2).double()
    back = torch.autograd.functional.jacobian(lambda v: block.inverse(v[None])[0], y)
    there = torch.autograd.functional.jacobian(lambda v: block(v[None])[0][0], block.inverse(y[None])[0].detach())
    assert torch.allclose(back @ there, torch.eye(2).double(), atol=1e-8)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"coefficient": 1.0}, "coefficient must"), ({"terms": 0}, "terms must"), ({"probes": 0}, "probes must")],
)
def test_options_are_checked(options, said):
    with pytest.raises(UsageError, match=said):
        ResidualFlow(Continuous((2,)), **options)
