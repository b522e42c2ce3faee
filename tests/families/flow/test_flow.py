"""Laws of the flow family: splines, bijections, real NVP and neural spline flows, held against autograd and zuko."""

import math
from typing import Any

import pytest
import torch
import zuko
from torch import Tensor

from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Discrete, Event
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.flow.composition import ActNorm, LinearMap, shuffled
from pofx.families.flow.coupling import Affine
from pofx.families.flow.nsf import NSF
from pofx.families.flow.realnvp import RealNVP
from pofx.maths.splines import rational_quadratic_spline, spline_knots

BOUND, BINS = 3.0, 7
FLOWS: dict[str, tuple[type[NSF] | type[RealNVP], dict[str, Any]]] = {
    "nsf autoregressive": (NSF, {"conditioner": "autoregressive"}),
    "nsf coupling": (NSF, {"conditioner": "coupling", "layers": 4}),
    "realnvp": (RealNVP, {}),
}
EVENTS = {"one": (1,), "vector": (5,), "image": (2, 3, 2)}
CONDITIONS: dict[str, Event | None] = {"none": None, "classes": Discrete((), 3), "vector": Continuous((2,))}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def parameters(n: int, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(n, 3 * BINS - 1, dtype=torch.float64)


def slopes_by_autograd(x: Tensor, raw: Tensor, *, inverse: bool = False) -> Tensor:
    x = x.clone().requires_grad_()
    y, _ = rational_quadratic_spline(x, raw, BOUND, inverse=inverse)
    return torch.autograd.grad(y.sum(), x)[0]


# Splines


def test_a_spline_with_free_parameters_zero_is_the_identity() -> None:
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    y, ladj = rational_quadratic_spline(x, torch.zeros(101, 3 * BINS - 1, dtype=torch.float64), BOUND)
    assert torch.allclose(y, x, atol=1e-12)
    assert ladj.abs().max() < 1e-12


@pytest.mark.parametrize("inverse", [False, True])
def test_log_slope_equals_autograd(inverse: bool) -> None:
    x = torch.linspace(-4, 4, 500, dtype=torch.float64)
    raw = parameters(500)
    _, ladj = rational_quadratic_spline(x, raw, BOUND, inverse=inverse)
    assert torch.allclose(slopes_by_autograd(x, raw, inverse=inverse).log(), ladj, atol=1e-8)


def test_inverse_undoes_forward_and_negates_the_log_slope() -> None:
    x = torch.linspace(-4, 4, 500, dtype=torch.float64)
    raw = parameters(500)
    y, ladj = rational_quadratic_spline(x, raw, BOUND)
    back, ladj_back = rational_quadratic_spline(y, raw, BOUND, inverse=True)
    assert torch.allclose(back, x, atol=1e-9)
    assert torch.allclose(ladj_back, -ladj, atol=1e-6)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_knots_are_met_exactly_and_the_map_is_continuous_there(inverse: bool, dtype: torch.dtype) -> None:
    raw = parameters(1).to(dtype)
    knots = spline_knots(raw, BOUND)
    x, expected = (knots[1], knots[0]) if inverse else (knots[0], knots[1])
    y, ladj = rational_quadratic_spline(x[0], raw.expand(BINS + 1, -1), BOUND, inverse=inverse)
    assert torch.allclose(y, expected[0], atol=1e-5 if dtype is torch.float32 else 1e-12)
    sign = -1.0 if inverse else 1.0
    assert torch.allclose(ladj, sign * knots[2][0].log(), atol=1e-3 if dtype is torch.float32 else 1e-9)
    for side in (-1e-9, 1e-9):
        near, _ = rational_quadratic_spline(x[0].double() + side, raw.double().expand(BINS + 1, -1), BOUND)
        at, _ = rational_quadratic_spline(x[0].double(), raw.double().expand(BINS + 1, -1), BOUND)
        assert (near - at).abs().max() < 1e-5


@pytest.mark.parametrize("inverse", [False, True])
def test_the_tails_are_the_identity_with_finite_gradients(inverse: bool) -> None:
    x = torch.tensor([-1e6, -BOUND - 1e-3, -BOUND, BOUND, BOUND + 1e-3, 1e6], requires_grad=True)
    raw = (50 * torch.randn(6, 3 * BINS - 1)).requires_grad_()
    y, ladj = rational_quadratic_spline(x, raw, BOUND, inverse=inverse)
    assert torch.equal(y, x)
    assert torch.equal(ladj, torch.zeros(6))
    gx, graw = torch.autograd.grad(y.sum() + ladj.sum(), (x, raw))
    assert torch.equal(gx, torch.ones(6))
    assert torch.isfinite(graw).all()


@pytest.mark.parametrize("inverse", [False, True])
def test_extreme_parameters_stay_finite(inverse: bool) -> None:
    x = torch.linspace(-BOUND, BOUND, 400, requires_grad=True)
    for scale in (1.0, 30.0, 1e4):
        raw = (scale * torch.randn(400, 3 * BINS - 1)).requires_grad_()
        y, ladj = rational_quadratic_spline(x, raw, BOUND, inverse=inverse)
        gradients = torch.autograd.grad(y.sum() + ladj.sum(), (x, raw))
        assert all(torch.isfinite(t).all() for t in (y, ladj, *gradients))
        assert y.abs().max() <= BOUND + 1e-4


def test_half_precision_parameters_are_computed_in_single() -> None:
    y, ladj = rational_quadratic_spline(torch.randn(9, dtype=torch.bfloat16), parameters(9).bfloat16(), BOUND)
    assert y.dtype == ladj.dtype == torch.float32


def test_gradcheck() -> None:
    x = torch.tensor([-2.7, -0.4, 0.9, 2.9, 5.0], dtype=torch.float64, requires_grad=True)
    raw = parameters(5, 1.0).requires_grad_()
    for inverse in (False, True):
        assert torch.autograd.gradcheck(
            lambda a, b, i=inverse: rational_quadratic_spline(a, b, BOUND, inverse=i), (x, raw)
        )


def test_zuko_is_an_oracle_for_the_spline() -> None:
    x, raw = torch.linspace(-3.5, 3.5, 300, dtype=torch.float64), parameters(300)
    knots_x, knots_y, slopes = spline_knots(raw, BOUND)
    theirs = zuko.transforms.MonotonicRQSTransform(torch.zeros(300, BINS), torch.zeros(300, BINS), torch.zeros(300, 6))
    theirs.horizontal, theirs.vertical, theirs.derivatives = knots_x, knots_y, slopes
    y, ladj = rational_quadratic_spline(x, raw, BOUND)
    assert torch.allclose(theirs(x), y, atol=1e-9)
    assert torch.allclose(theirs.log_abs_det_jacobian(x, y), ladj, atol=1e-7)
    back, _ = rational_quadratic_spline(y, raw, BOUND, inverse=True)
    assert torch.allclose(theirs.inv(y), back, atol=1e-8)


# Bijections


def test_affine_scales_are_bounded() -> None:
    raw = torch.tensor([[[0.0, 1e9]], [[0.0, -1e9]]])
    _, ladj = Affine(2.0)(torch.ones(2, 1), raw)
    assert torch.allclose(ladj, torch.tensor([[2.0], [-2.0]]))


def test_a_linear_map_equals_its_matrix() -> None:
    linear = LinearMap(6, shuffled(6, 1)).double()
    for p in linear.parameters():
        torch.nn.init.normal_(p, std=0.5)
    x = torch.randn(4, 6, dtype=torch.float64)
    y, ladj = linear(x)
    matrix = torch.autograd.functional.jacobian(lambda v: linear(v[None])[0][0], x[0])
    assert torch.allclose(torch.linalg.slogdet(matrix)[1], ladj[0])
    assert torch.allclose(linear.inverse(y), x)


def test_actnorm_starts_at_mean_0_and_std_1_and_survives_one_item_and_constant_columns() -> None:
    norm = ActNorm(3)
    x = torch.randn(200, 3) * torch.tensor([5.0, 0.01, 0.0]) + torch.tensor([1.0, -7.0, 2.0])
    norm.start(x)
    y, ladj = norm(x)
    assert torch.allclose(y.mean(0), torch.zeros(3), atol=1e-3)
    assert torch.allclose(y.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-3)
    norm.start(x[:1])
    assert torch.isfinite(norm(x)[0]).all()
    assert ladj.shape == (200,)


# Models


def build(flow: str, event: str, condition: str) -> tuple[NSF | RealNVP, Tensor, Tensor | None]:
    cls, values = FLOWS[flow]
    shape, given = EVENTS[event], CONDITIONS[condition]
    model = cls(Continuous(shape), given, **{**cls.small, **values}).double().eval()
    c = {"none": None, "classes": torch.arange(6) % 3, "vector": torch.randn(6, 2, dtype=torch.float64)}[condition]
    x = 3 + 2 * torch.randn(6, *shape, dtype=torch.float64)
    model.prepare(lambda n: Batch(x[:n], None if c is None else c[:n]))
    return model, x, c


def descend(model: NSF | RealNVP, x: Tensor, c: Tensor | None, steps: int = 10) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        model.loss(Batch(x, c)).backward()
        optimiser.step()


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("flow", FLOWS)
def test_inverse_and_log_determinant_before_and_after_training(flow: str, event: str, condition: str) -> None:
    model, x, c = build(flow, event, condition)
    first = None if c is None else c[:1]
    for steps in (0, 10):
        descend(model, x, c, steps)
        z, ladj = model.flow(x, c)
        jacobian = torch.autograd.functional.jacobian(lambda v: model.flow(v[None], first)[0].flatten(), x[0])
        d = x[0].numel()
        assert torch.allclose(torch.linalg.slogdet(jacobian.reshape(d, d))[1], ladj[0], atol=1e-8)
        assert torch.allclose(model.decode(z, c), x, atol=1e-8)
        with torch.inference_mode():
            assert torch.allclose(model.decode(z, c), x, atol=1e-8)
            base = -0.5 * (z.flatten(1) ** 2).sum(1) - 0.5 * d * math.log(2 * math.pi)
            assert torch.allclose(model.log_prob(x, c), base + ladj)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_starts_from_standardised_data(flow: str) -> None:
    model, x, c = build(flow, "vector", "none")
    z = model.encode(x, c)
    assert torch.allclose(z.mean(0), torch.zeros(5, dtype=z.dtype), atol=1e-6)
    assert torch.allclose(z.std(0, correction=0), torch.ones(5, dtype=z.dtype), atol=1e-6)


@pytest.mark.parametrize("flow", FLOWS)
def test_units_do_not_matter(flow: str) -> None:
    """log p in the original units is invariant to an affine rescaling of the data."""
    cls, values = FLOWS[flow]
    x = torch.randn(50, 3, dtype=torch.float64)
    logs = []
    for scale in (1.0, 1e3):
        model = cls(Continuous((3,)), **{**cls.small, **values}).double().eval()
        model.prepare(lambda n, s=scale: Batch(x[:n] * s))
        logs.append(model.log_prob(x * scale) + 3 * math.log(scale))
    assert torch.allclose(logs[0], logs[1])


@pytest.mark.parametrize("flow", FLOWS)
def test_far_away_points_and_single_items_have_finite_densities(flow: str) -> None:
    model, x, c = build(flow, "vector", "none")
    descend(model, x, c)
    model.float()
    far = torch.tensor([[1e3] * 5, [-1e3] * 5, [1e3, -1e3, 0, 0, 0]])
    assert torch.isfinite(model.log_prob(far)).all()
    assert torch.allclose(model.log_prob(far[:1]), model.log_prob(far)[:1])
    model.prepare(lambda n: Batch(far[:1]))
    assert torch.isfinite(model.log_prob(far)).all()


@pytest.mark.parametrize("flow", FLOWS)
def test_a_loaded_model_samples_the_same_before_any_forward(flow: str) -> None:
    model, x, c = build(flow, "image", "classes")
    assert c is not None
    descend(model, x, c)
    model.float()
    cls, values = FLOWS[flow]
    other = cls(model.event, model.condition, **{**cls.small, **values}).eval()
    other.load_state_dict(model.state_dict())
    drawn = [m.sample(6, c, generator=Streams(3, 6)) for m in (model, other)]
    assert torch.equal(*drawn)
    assert torch.allclose(model.sample(2, c[2:4], generator=Streams(3, 6)[2:4]), drawn[0][2:4], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("flow", FLOWS)
def test_a_short_fit_finds_a_mixture_and_its_density_integrates_to_one(flow: str) -> None:
    cls, values = FLOWS[flow]
    model = cls(Continuous((2,)), **{**cls.small, "width": 32, "layers": 4, **values})
    means = torch.tensor([[-2.0, 0.0], [2.0, 1.0]])
    x = means[torch.randint(2, (4000,))] + 0.5 * torch.randn(4000, 2)
    model.prepare(lambda n: Batch(x[:n]))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        model.loss(Batch(x[torch.randint(4000, (256,))])).backward()
        optimiser.step()
    model.eval()
    axis = torch.linspace(-9, 9, 300)
    grid = torch.cartesian_prod(axis, axis)
    with torch.inference_mode():
        p = model.log_prob(grid).exp()
        drawn = model.sample(4000, generator=Streams(0, 4000))
        nll = -model.log_prob(drawn)
    assert abs(float(p.sum()) * float(axis[1] - axis[0]) ** 2 - 1) < 0.01
    entropy = -float((p * p.clamp(min=1e-30).log()).sum()) * float(axis[1] - axis[0]) ** 2
    assert abs(float(nll.mean()) - entropy) < 4 * float(nll.std()) / 4000**0.5  # sample and log_prob agree
    truth = math.log(2) + 1 + math.log(2 * math.pi * 0.25)
    assert entropy < truth + 0.3


def test_an_unknown_conditioner_is_refused() -> None:
    with pytest.raises(UsageError, match="conditioner must be"):
        NSF(Continuous((2,)), conditioner="convolution")
