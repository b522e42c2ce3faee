"""Laws of continuous flows: the solver, the field's tangents, closed forms of linear fields, the estimate beyond 64."""

import math

import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch, Density
from pofx.core.random import Streams
from pofx.families.flow.cnf import CNF, Transport
from pofx.maths.ode import dopri5
from pofx.nets.vector.field import Field


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class LinearField(nn.Module):
    """v = A x."""

    def __init__(self, a: Tensor) -> None:
        super().__init__()
        self.a = nn.Parameter(a)

    def forward(self, x, t, context=None, tangents=None):
        return x @ self.a.T, None if tangents is None else tangents @ self.a.T


PLAIN = {"kinetic": 0.0, "jacobian": 0.0}  # the likelihood alone


def linear(a: Tensor, **options) -> CNF:
    model = CNF(Continuous((len(a),)), width=8, **{**PLAIN, **options}).double().eval()
    model.transport.field = LinearField(a)
    return model


def tiny(shape=(3,), condition=None, **options) -> CNF:
    model = CNF(
        Continuous(shape),
        condition,
        **{"width": 12, "depth": 1, "training_steps": 4, "tolerance": 1e-6, **PLAIN, **options},
    )
    for parameter in model.transport.field.last.parameters():  # not at rest
        nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


def descend(model, batch, steps=10):
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        model.loss(batch).backward()
        optimiser.step()


# the solver


def turning(y, t, items):
    return torch.stack((y[:, 1], -(1 + t) * y[:, 0]), 1) * (1 + 0.1 * y[:, :1].sin())


@pytest.mark.parametrize("tolerance", [1e-4, 1e-7, 1e-10])
def test_the_solver_meets_its_tolerance_and_torchdiffeq(tolerance):
    y = torch.randn(7, 2, dtype=torch.float64)
    oracle = torchdiffeq.odeint(
        lambda t, s: turning(s, t.expand(7), None), y, torch.tensor([0.0, 3.0]).double(), rtol=1e-12, atol=1e-12
    )[-1]
    found, evaluations, missed = dopri5(turning, y, 0.0, 3.0, tolerance)
    assert (found - oracle).abs().max() < 50 * tolerance
    assert (evaluations > 6).all() and (missed == 0).all()
    back, _, _ = dopri5(turning, found, 3.0, 0.0, tolerance)
    assert (back - y).abs().max() < 100 * tolerance


def test_every_item_takes_its_own_steps():
    """An item's answer and its cost stay the same beside a neighbour that needs a hundred times the steps."""
    speed = torch.tensor([1.0, 200.0, 3.0]).double()

    def slope(y, t, items):
        return (speed[items] * (speed[items] * t).cos())[:, None]

    y = torch.zeros(3, 1).double()
    whole, cost, _ = dopri5(slope, y, 0.0, 1.0, 1e-8)
    assert (whole[:, 0] - speed.sin()).abs().max() < 1e-6
    assert cost[1] > 10 * cost[0]
    alone, cost_alone, _ = dopri5(lambda y, t, i: slope(y, t, i * 0), y[:1], 0.0, 1.0, 1e-8)
    assert torch.equal(alone[0], whole[0]) and cost_alone[0] == cost[0]


@pytest.mark.slow
def test_a_way_that_cannot_be_resolved_is_reported():
    jump = lambda y, t, i: (1e9 * torch.sin(1e9 * t))[:, None] + 0 * y  # noqa: E731
    _, _, missed = dopri5(jump, torch.zeros(2, 1), 0.0, 1.0, 1e-6)
    assert (missed > 0).all()


def test_no_items_and_no_way():
    empty, evaluations, _ = dopri5(turning, torch.zeros(0, 2), 0.0, 1.0, 1e-4)
    assert empty.shape == (0, 2) and evaluations.shape == (0,)
    assert torch.isfinite(tiny().log_prob(torch.zeros(0, 3).double())).all()


# the field


@pytest.mark.parametrize("octaves", [0, 3])
@pytest.mark.parametrize("context", [0, 4])
def test_tangents_are_those_of_autograd(octaves, context):
    field = Field(3, 16, 2, context=context, octaves=octaves).double()
    for p in field.parameters():
        nn.init.normal_(p, std=0.5)
    x, t = torch.randn(5, 3).double(), torch.rand(5).double()
    given = torch.randn(5, context).double() if context else None
    eye = torch.eye(3).double()[:, None].expand(-1, 5, -1)
    v, turned = field(x, t, given, eye)
    assert torch.equal(v, field(x, t, given)[0])
    for i in range(5):
        one = None if given is None else given[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(
            lambda y, i=i, one=one: field(y[None], t[i : i + 1], one)[0][0], x[i]
        )
        assert torch.allclose(turned[:, i].T, jacobian, atol=1e-10)


# closed forms: v = A x carries N(0, I) to N(0, exp(A) exp(A)ᵀ), and log|det| is tr A


A = torch.tensor([[0.4, -1.1, 0.2], [0.7, 0.3, 0.0], [0.1, 0.5, -0.9]], dtype=torch.float64)


def test_a_linear_field_has_the_log_determinant_of_its_trace_and_carries_normals_to_normals():
    model = linear(A, tolerance=1e-9)
    x = torch.randn(6, 3, dtype=torch.float64)
    z, ladj = model.flow(x)
    assert torch.allclose(ladj, -A.trace().expand(6), atol=1e-7)
    assert torch.allclose(z, x @ torch.matrix_exp(-A).T, atol=1e-7)
    m = torch.matrix_exp(A)
    true = torch.distributions.MultivariateNormal(torch.zeros(3).double(), m @ m.T).log_prob(x)
    assert torch.allclose(model.log_prob(x), true, atol=1e-6)
    assert torch.allclose(model.decode(z), x, atol=1e-7)


def test_the_estimate_of_a_trace_is_unbiased():
    """The mean over 10,000 vectors of signs lies within 3 standard errors of the trace."""
    model = linear(A, tolerance=1e-6, probes=1000)
    x = torch.randn(1, 3, dtype=torch.float64)
    with torch.inference_mode():
        exact = model.log_prob(x)
        mean, error = model.log_prob_estimate(x, exact=False)
    assert 0 < float(error) < 0.05
    assert abs(float(mean - exact)) < 3 * float(error)


def test_draws_and_densities_have_the_gradients_of_the_closed_form():
    """x = exp(A) z: the gradient of any function of draws, and of log p in x, is that of the matrix exponential."""
    model = linear(A, tolerance=1e-9)
    x = model.rsample(5, generator=Streams(0, 5))
    (mine,) = torch.autograd.grad(x.pow(3).sum(), model.transport.field.a)
    a, z = A.clone().requires_grad_(), Streams(0, 5).normal(3).double()
    (true,) = torch.autograd.grad((z @ torch.matrix_exp(a).T).pow(3).sum(), a)
    assert torch.allclose(mine, true, rtol=1e-5)
    at = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(model.log_prob(at).sum(), at)
    m = torch.matrix_exp(A)
    assert torch.allclose(slope, -at @ torch.linalg.inv(m @ m.T), atol=1e-6)


@pytest.mark.parametrize("solver", ["euler", "midpoint", "rk4", "adaptive_heun", "bosh3", "dopri5", "dopri8"])
@pytest.mark.parametrize("gradient", ["direct", "adjoint"])
def test_every_solver_trains_towards_the_same_likelihood(solver, gradient):
    a = A[:2, :2]
    model = linear(
        a, solver=solver, training_steps=300 if solver == "euler" else 20, training_tolerance=1e-5, gradient=gradient
    )
    x = torch.randn(50, 2, dtype=torch.float64)
    loss = model.loss(Batch(x))
    assert float(loss.detach()) == pytest.approx(
        -float(model.log_prob(x).mean().detach()), abs=2e-2 if solver == "euler" else 1e-3
    )
    loss.backward()
    b = a.clone().requires_grad_()
    m = torch.matrix_exp(b)
    (-torch.distributions.MultivariateNormal(torch.zeros(2).double(), m @ m.T).log_prob(x).mean()).backward()
    assert torch.allclose(model.transport.field.a.grad, b.grad, atol=2e-2 if solver == "euler" else 1e-3)


def test_the_penalties_are_the_integrals_they_name():
    model = linear(A[:2, :2], kinetic=1.0, jacobian=1.0, training_steps=50)
    x = torch.randn(20, 2, dtype=torch.float64)
    losses = model.loss(Batch(x))
    assert float(losses["jacobian"]) == pytest.approx(float(A[:2, :2].square().sum()), rel=1e-6)
    times = torch.linspace(0, 1, 201).double()
    ways = torch.stack([x @ torch.matrix_exp(-(1 - t) * A[:2, :2]).T @ A[:2, :2].T for t in times])
    energy = torch.trapezoid(ways.square().sum(2).mean(1), times)
    assert float(losses["kinetic"]) == pytest.approx(float(energy), rel=1e-4)


# the model


@pytest.mark.parametrize(
    ("shape", "condition"),
    [
        ((1,), None),
        pytest.param((3,), None, marks=pytest.mark.slow),
        pytest.param((3,), 3, marks=pytest.mark.slow),
        pytest.param((1, 2, 3), None, marks=pytest.mark.slow),
    ],
)
def test_inverse_and_log_determinant_before_and_after_training(shape, condition):
    model = tiny(shape, None if condition is None else Discrete((), condition))
    x = 3 + 2 * torch.randn(6, *shape, dtype=torch.float64)
    c = None if condition is None else torch.arange(6) % condition
    model.prepare(lambda n: Batch(x[:n], None if c is None else c[:n]))
    for steps in (0, 10):
        descend(model, Batch(x, c), steps)
        z, ladj = model.flow(x, c)
        d, first = x[0].numel(), None if c is None else c[:1]
        jacobian = torch.autograd.functional.jacobian(lambda v, f=first: model.flow(v[None], f)[0].flatten(), x[0])
        assert torch.allclose(torch.linalg.slogdet(jacobian.reshape(d, d))[1], ladj[0], atol=1e-4)
        with torch.inference_mode():
            assert torch.allclose(model.decode(z, c), x, atol=1e-4)
            assert torch.allclose(model.encode(x, c), z, atol=1e-4)
            base = -0.5 * (z.flatten(1) ** 2).sum(1) - 0.5 * d * math.log(2 * math.pi)
            assert torch.allclose(model.log_prob(x, c), base + ladj, atol=1e-5)


@pytest.mark.slow
def test_half_the_tolerance_hardly_changes_the_density_and_costs_more():
    model = tiny(tolerance=1e-5)
    for p in model.transport.field.last.parameters():
        nn.init.normal_(p, std=1.0)
    x = torch.randn(64, 3, dtype=torch.float64)
    values, costs = [], []
    for tolerance in (1e-4, 5e-5, 1e-9):
        model.transport.tolerance = tolerance
        values.append(model.log_prob(x))
        costs.append(model.evaluations)
    bits = 3 * math.log(2)
    assert (values[0] - values[1]).abs().max() / bits < 0.01
    assert (values[0] - values[2]).abs().max() / bits < 0.01
    assert costs[0] <= costs[1] < costs[2]


@pytest.mark.slow
def test_answers_do_not_depend_on_the_batch():
    model = tiny((2,), tolerance=1e-5).float()
    for p in model.transport.field.last.parameters():
        nn.init.normal_(p, std=1.0)
    x = 3 * torch.randn(12, 2)
    with torch.inference_mode():
        whole = model.log_prob(x)
        assert torch.equal(model.log_prob(x), whole)
        alone = torch.cat([model.log_prob(x[i : i + 1]) for i in range(12)])
        assert torch.allclose(alone, whole, atol=1e-4)
        drawn = model.sample(40, generator=Streams(1, 40))
        some = model.sample(5, generator=Streams(1, 40)[20:25])
        assert torch.allclose(some, drawn[20:25], atol=1e-4)


@pytest.mark.slow
def test_large_batches_are_cut_into_parts(monkeypatch):
    model = tiny((3,), Discrete((), 2))
    x, c = torch.randn(11, 3, dtype=torch.float64), torch.arange(11) % 2
    whole = model.log_prob(x, c)
    monkeypatch.setattr("pofx.families.flow.cnf.ROWS", 12)
    assert torch.allclose(model.log_prob(x, c), whole, atol=1e-6)


@pytest.mark.slow
def test_beyond_64_numbers_the_density_is_an_estimate_with_an_error_and_a_function_of_x():
    small, large = tiny((64,)), tiny((65,), probes=16)
    assert small.density is Density.EXACT and large.density is Density.ESTIMATE
    assert CNF.best_density is Density.EXACT
    x = torch.randn(8, 65, dtype=torch.float64)
    with torch.inference_mode():
        mean, error = large.log_prob_estimate(x)
        assert torch.equal(large.log_prob(x), mean)
        assert torch.allclose(large.log_prob(x[3:5]), mean[3:5], atol=1e-5)
        exact, nothing = large.log_prob_estimate(x, exact=True)
        assert (nothing == 0).all() and (error > 0).all()
        assert tiny((65,), probes=1).log_prob_estimate(x)[1].isnan().all(), "one probe shows no error"
        assert ((mean - exact).abs() < 5 * error).all()


def test_hundreds_of_numbers_cost_no_whole_jacobian_but_where_it_is_asked_for(monkeypatch):
    model = CNF(Continuous((300,)), width=8, depth=1, **PLAIN)
    monkeypatch.setattr(Transport, "axes", lambda self, x: pytest.fail("a whole Jacobian of 300 numbers"))
    x = torch.randn(20, 300)
    model.prepare(lambda n: Batch(x[:n]))
    model.loss(Batch(x)).backward()
    with torch.inference_mode():
        assert torch.isfinite(model.log_prob(x)).all()
        assert torch.allclose(model.decode(model.encode(x)), x, atol=1e-2)


def test_training_steps_meet_other_times_each_time_and_keep_the_ends_and_the_order():
    model = CNF(Continuous((2,)), training_steps=8, **PLAIN)
    ends = torch.tensor([1.0, 0.0])
    grids = torch.stack([model._grid(ends) for _ in range(200)])
    assert torch.equal(grids[:, 0], torch.ones(200)) and torch.equal(grids[:, -1], torch.zeros(200))
    assert (grids.diff(dim=1) < 0).all()
    assert (grids.mean(0) - torch.linspace(1, 0, 9)).abs().max() < 0.02
    assert (grids.std(0)[1:-1] > 0.02).all()


@pytest.mark.slow
def test_training_lowers_the_loss_and_evaluations_are_counted():
    model = CNF(Continuous((2,)), **CNF.small, **PLAIN)
    x = torch.randn(512, 2) @ torch.tensor([[1.0, 0.9], [0.0, 0.3]])
    model.prepare(lambda n: Batch(x[:n]))
    before = float(model.validation(Batch(x)).detach())
    assert model.evaluations >= 7
    descend(model, Batch(x), 60)
    assert float(model.validation(Batch(x)).detach()) < before - 0.5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"solver": "rk5"}, "solver"),
        ({"gradient": "magic"}, "gradient"),
        ({"training_steps": 0}, "training_steps must be"),
        ({"tolerance": 0.0}, "tolerance must"),
        ({"kinetic": -1.0}, "kinetic must"),
    ],
)
def test_options_are_checked(options, said):
    with pytest.raises(UsageError, match=said):
        CNF(Continuous((2,)), **options)


def test_the_transport_closes_the_chain():
    assert isinstance(tiny().flow.parts[-1], Transport)
