"""Laws of the flows of vectors: fused splines, circles, masked autoregressive flows both ways, NICE."""

import math
from typing import Any

import nflows.transforms.splines.rational_quadratic as nflows_spline
import numpy as np
import pytest
import torch
import zuko
from torch import Tensor

import pofx
from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.flow.autoregressive import Autoregressive, Inverted
from pofx.families.flow.circle import Circle
from pofx.families.flow.coupling import Additive, Affine, Couplings, Spline
from pofx.families.flow.maf import MAF
from pofx.families.flow.nice import NICE
from pofx.families.flow.nsf import NSF
from pofx.maths.splines import _spline, rational_quadratic_spline, spline_knots
from pofx.nets.causal.masked import MaskedResidual

BOUND, BINS = 3.0, 6
CIRCLES = {"circular": [0, 2], "period": [2 * math.pi, 5.0]}
MODELS: dict[str, tuple[type, dict[str, Any]]] = {
    "maf": (MAF, {}),
    "maf reversed": (MAF, {"mixing": "reversed"}),
    "iaf": (MAF, {"direction": "sampling"}),
    "nice": (NICE, {}),
    "nsf": (NSF, {}),
    "nsf coupling": (NSF, {"conditioner": "coupling", "layers": 4}),
    "nsf circles": (NSF, CIRCLES),
    "nsf coupling circles": (NSF, {"conditioner": "coupling", "layers": 4, **CIRCLES}),
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def built(name: str, d: int = 4, condition: Any = None, **values: Any) -> Any:
    cls, fixed = MODELS[name]
    return cls(Continuous((d,)), condition, **{**cls.small, **fixed, **values})


def roughen(model: torch.nn.Module, scale: float = 0.3) -> Any:
    for p in model.parameters():
        torch.nn.init.normal_(p, std=scale / max(p.shape[-1], 1) ** 0.5 if p.ndim > 1 else 0.2)
    return model


def data(n: int, d: int = 4) -> Tensor:
    x = torch.randn(n, d, dtype=torch.float64)
    x[:, 1:] += 0.7 * x[:, :-1].sin()
    return 2 * x + 1


# Splines


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("unit_by_unit", [False, True])
def test_the_closed_backward_of_splines_equals_autograd(inverse: bool, circular: bool, unit_by_unit: bool) -> None:
    x = torch.linspace(-3.6, 3.6, 60, dtype=torch.float64).reshape(15, 4)
    raw = 1.5 * torch.randn(15, 4, 3 * BINS - (not circular), dtype=torch.float64)
    if unit_by_unit:
        raw = raw.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    where = torch.tensor([[True, False, True, False]]) if circular else None
    if circular:
        x = x.clamp(-2.99, 2.99)
    found = []
    for plain in (False, True):
        a, b = x.clone().requires_grad_(), raw.detach().requires_grad_()
        if plain:
            y, ladj, _ = _spline(a, b, BOUND, inverse, where)
        else:
            y, ladj = rational_quadratic_spline(a, b, BOUND, inverse=inverse, circular=where)
        weights = torch.arange(60, dtype=x.dtype).reshape(15, 4)
        loss = (y * weights.cos()).sum() + (ladj * weights.sin()).sum()
        found.append((y.detach(), ladj.detach(), *torch.autograd.grad(loss, (a, b))))
    for fast, plain_one in zip(*found, strict=True):
        assert torch.allclose(fast, plain_one, atol=1e-9)


def test_splines_can_be_differentiated_twice() -> None:
    x = torch.tensor([[-2.0, 0.3, 1.7]], dtype=torch.float64, requires_grad=True)
    raw = torch.randn(1, 3, 3 * BINS - 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda a, b: rational_quadratic_spline(a, b, BOUND), (x, raw))


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_splines_are_finite_everywhere_with_their_gradients(inverse: bool, dtype: torch.dtype) -> None:
    raw = (4 * torch.randn(1, 1, 3 * BINS)).expand(40, 1, -1)
    knots = [k[0, 0].tolist() for k in (spline_knots(raw[..., :-1], BOUND)[:2])]
    places = [-1e6, -BOUND - 1e-6, -BOUND, BOUND, BOUND + 1e-6, 1e6, 0.0, *knots[0], *knots[1]]
    places = [*places, *np.nextafter(np.float32(knots[0]), 9), *np.nextafter(np.float32(knots[1]), -9)]
    x = torch.tensor((places + [0.1] * 40)[:40]).reshape(-1, 1).to(dtype).requires_grad_()
    for where in (None, torch.tensor([[True]])):
        for scale in (0.0, 1.0, 1e4):
            free = (scale * raw[..., : 3 * BINS - (where is None)]).to(dtype).detach().requires_grad_()
            y, ladj = rational_quadratic_spline(x, free, BOUND, inverse=inverse, circular=where)
            gradients = torch.autograd.grad(y.sum() + ladj.sum(), (x, free))
            assert all(torch.isfinite(t).all() for t in (y, ladj, *gradients))


def test_nflows_and_zuko_are_oracles_on_the_same_raw_parameters() -> None:
    x = torch.linspace(-3.5, 3.5, 200, dtype=torch.float64)
    raw = 2 * torch.randn(200, 3 * BINS - 1, dtype=torch.float64)
    y, ladj = rational_quadratic_spline(x, raw, BOUND)
    widths, heights, _ = raw.split((BINS, BINS, BINS - 1), -1)
    slopes = (spline_knots(raw, BOUND)[2][:, 1:-1] - 1e-3).expm1().log()  # theirs are softplus + 1e-3
    theirs, their_ladj = nflows_spline.unconstrained_rational_quadratic_spline(
        x, widths.clone(), heights.clone(), slopes, tails="linear", tail_bound=BOUND
    )
    assert torch.allclose(y, theirs, atol=1e-9)
    assert torch.allclose(ladj, their_ladj, atol=1e-7)
    back, _ = rational_quadratic_spline(y, raw, BOUND, inverse=True)
    again, _ = nflows_spline.unconstrained_rational_quadratic_spline(
        y, widths.clone(), heights.clone(), slopes, inverse=True, tails="linear", tail_bound=BOUND
    )
    assert torch.allclose(back, again, atol=1e-8)
    # zuko bends its raw numbers by r / (1 + |c r|) and takes exp of slopes: find the raw numbers of our shares
    log_least = math.log(1e-3)
    x_knots, y_knots, d = spline_knots(raw, BOUND)
    target = [(k.diff() / (2 * BOUND)).log() for k in (x_knots, y_knots)]
    target = [t - t.mean(-1, keepdim=True) for t in target]
    unbent = [t / (1 - (2 * t / log_least).abs()) for t in target]
    log_d = d[:, 1:-1].log()
    fits = (torch.stack([(2 * t / log_least).abs().amax(-1) for t in target]).amax(0) < 0.95) & (
        (log_d / log_least).abs().amax(-1) < 0.95
    )
    zuko_map = zuko.transforms.MonotonicRQSTransform(
        unbent[0], unbent[1], log_d / (1 - (log_d / log_least).abs()), bound=BOUND
    )
    assert fits.sum() > 20
    assert torch.allclose(zuko_map(x)[fits], y[fits], atol=1e-8)
    assert torch.allclose(zuko_map.log_abs_det_jacobian(x, y)[fits], ladj[fits], atol=1e-6)


def test_a_circular_spline_is_smooth_where_its_ends_meet() -> None:
    spline = Spline(BINS, BOUND, Circle(torch.tensor([True]), BOUND))
    raw = torch.randn(1, 1, spline.size, dtype=torch.float64)
    turn = -float(raw[0, 0, -1])  # before the phase, the ends lie here
    x = torch.tensor([[turn + BOUND - 1e-7], [turn + BOUND + 1e-7]], dtype=torch.float64)
    x = torch.remainder(x + BOUND, 2 * BOUND) - BOUND
    y, ladj = spline(x, raw.expand(2, 1, -1))
    assert abs(abs(float(y[0] - y[1])) - 2 * BOUND) < 1e-5
    assert torch.allclose(ladj[0], ladj[1], atol=1e-4)
    assert float(ladj.abs().max()) > 1e-3


# Masked networks


def test_skipped_zeros_change_nothing() -> None:
    for positions, width in ((1, 40), (5, 7), (8, 128), (20, 300), (50, 64)):
        net = MaskedResidual(positions, 3, 4, width, 2, context=3).double()
        roughen(net, 1.0)
        x, c = torch.randn(6, positions, 3, dtype=torch.float64, requires_grad=True), torch.randn(6, 3).double()
        weights = torch.randn(6, positions, 4, dtype=torch.float64)
        both = []
        for place in (None, torch.arange(positions)):
            out = net(x, place, c)
            both.append((out, *torch.autograd.grad((out * weights).sum(), [x, *net.parameters()])))
        assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(*both, strict=True))


def test_a_single_item_leaves_the_weights_as_they_are() -> None:
    net = roughen(MaskedResidual(4, 1, 2, 64, 1), 1.0)
    before = [p.clone() for p in net.parameters()]
    with torch.no_grad():
        net(torch.randn(1, 4, 1))
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_masked_products_can_be_differentiated_twice() -> None:
    net = roughen(MaskedResidual(3, 1, 2, 64, 1), 1.0).double()
    x = torch.randn(2, 3, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda v: net(v), (x,))


# Bijections


@pytest.mark.parametrize("transformer", [Affine(2.0), Spline(BINS, BOUND), Additive()], ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("reverse", [False, True])
def test_sweeps_equal_the_inverse_one_by_one(transformer: Any, reverse: bool) -> None:
    d, n = 20, 30
    layer = Autoregressive(d, torch.arange(d).flip(0) if reverse else None, transformer, 64, 2, context=3).double()
    roughen(layer, 0.5)
    x, c = 1.5 * torch.randn(n, d, dtype=torch.float64), torch.randn(n, 3).double()
    with torch.no_grad():
        y, _ = layer(x, c)
        inside = layer._ordered(y)
        swept, single = layer.by_sweeps(inside, c), layer.one_by_one(inside, c)
        assert torch.allclose(swept, single, atol=1e-8)
        assert torch.allclose(layer._restored(swept), x, atol=1e-8)
        assert torch.allclose(layer.by_sweeps(inside[4:7], c[4:7]), swept[4:7], atol=1e-9)  # whatever the batch


def test_the_inverse_has_the_gradient_of_the_implicit_function() -> None:
    layer = roughen(Autoregressive(4, None, Affine(2.0), 24, 1, context=2), 1.0).double()
    y = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    c = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: layer.inverse(a, b), (y, c))
    found = torch.autograd.grad(layer.inverse(y, c).cos().sum(), list(layer.parameters()))
    by_passes = torch.zeros_like(y)
    for i in range(4):  # the graph of d passes
        value, _ = layer.transformer(y[:, i : i + 1], layer._raw(by_passes, c)[:, i : i + 1], inverse=True)
        by_passes = torch.cat((by_passes[:, :i], value, by_passes[:, i + 1 :]), -1)
    expected = torch.autograd.grad(by_passes.cos().sum(), list(layer.parameters()))
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(found, expected, strict=True))


def test_an_inverted_bijection_swaps_its_directions() -> None:
    layer = roughen(Autoregressive(3, None, Affine(2.0), 12, 1), 1.0).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    y, ladj = layer(x)
    z, inverted = Inverted(layer)(y)
    assert torch.allclose(z, x, atol=1e-9)
    assert torch.allclose(inverted, -ladj, atol=1e-8)
    assert torch.equal(Inverted(layer).inverse(x), y)


# Models


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_inverse_and_log_determinant_before_and_after_training(name: str, conditional: bool) -> None:
    model = built(name, condition=Discrete((), 3) if conditional else None).double().eval()
    circles = list(getattr(model, "circular", ()))
    x = data(64)
    if circles:
        x[:, 0], x[:, 2] = 3.1 * x[:, 0].sin(), 2.4 * x[:, 2].sin()  # within half a period
    c = torch.arange(64) % 3 if conditional else None
    model.prepare(lambda n: Batch(x[:n], None if c is None else c[:n]))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = None if c is None else c[:1]
    for steps in (0, 8):
        for _ in range(steps):
            optimiser.zero_grad()
            model.loss(Batch(x, c)).backward()
            optimiser.step()
        with torch.no_grad():
            z, ladj = model.flow(x, c)
            assert torch.allclose(model.decode(z, c), x, atol=1e-7)
        jacobian = torch.autograd.functional.jacobian(lambda v: model.flow(v[None], first)[0][0], x[0])
        assert torch.allclose(torch.linalg.slogdet(jacobian)[1], ladj[0], atol=1e-7)
        drawn = model.sample(5, None if c is None else c[:5], generator=Streams(0, 5))
        assert torch.isfinite(drawn).all()


@pytest.mark.parametrize("name", MODELS)
def test_generated_items_score_as_their_codes_say(name: str) -> None:
    model = roughen(built(name), 0.5).double().eval()
    with torch.no_grad():
        x = model.sample(50, generator=Streams(4, 50)).double()
        z, ladj = model.flow(x)
        assert torch.allclose(model.decode(z), x, atol=1e-6)
        assert torch.allclose(model.log_prob(x), model.flow.base.log_prob(z).sum(-1) + ladj)
        assert torch.allclose(model.sample(9, generator=Streams(4, 50)[20:29]).double(), x[20:29], atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_far_away_points_and_half_precision_are_finite(name: str) -> None:
    model = roughen(built(name), 0.5).eval()
    far = torch.tensor([[1e3] * 4, [-1e3, 0, 1e3, 0], [1e6, -1e6, 0, 0], [0.0] * 4])
    x = data(40).float()
    with torch.no_grad():
        assert torch.isfinite(model.log_prob(far)).all()
        exact = model.log_prob(x)
        drawn = model.sample(40, generator=Streams(0, 40))
        half = model.bfloat16()
        near = half.log_prob(x.bfloat16())
        rough = half.sample(40, generator=Streams(0, 40))
    assert torch.isfinite(near).all() and torch.isfinite(rough).all()
    assert float((near.float() - exact).abs().median()) < 0.5
    if not getattr(model, "circular", ()):
        assert float((rough.float() - drawn).abs().median()) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("conditioner", ["autoregressive", "coupling"])
def test_the_density_on_a_torus_integrates_to_one_and_is_periodic(conditioner: str) -> None:
    model = NSF(
        Continuous((2,)), layers=3, bins=6, width=24, blocks=1, conditioner=conditioner, circular=[0, 1], period=[4, 7]
    )
    angle = torch.rand(3000) * 4 - 2
    x = torch.stack((angle, 1.5 * torch.sin(angle * math.pi / 2) + 0.4 * torch.randn(3000)), 1)
    model.prepare(lambda n: Batch(x[:n]))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(120):
        optimiser.zero_grad()
        loss = model.loss(Batch(x[torch.randint(3000, (256,))]))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    model.double().eval()
    a, b = (torch.arange(160, dtype=torch.float64) / 160 * p - p / 2 for p in (4, 7))
    grid = torch.cartesian_prod(a, b)
    with torch.no_grad():
        p = model.log_prob(grid).exp()
        assert abs(float(p.mean()) * 28 - 1) < 5e-3
        shifted = model.log_prob(grid[:100] + torch.tensor([4.0, -14.0], dtype=torch.float64))
        assert torch.allclose(shifted, model.log_prob(grid[:100]), atol=1e-6)
        edge = torch.tensor([[-2.0, 1.0], [2.0 - 1e-9, 1.0]], dtype=torch.float64)
        assert abs(float(model.log_prob(edge).diff())) < 1e-4  # nothing happens where the circle is cut
        drawn = model.sample(4000, generator=Streams(1, 4000))
        nll = -model.log_prob(drawn.double())
    entropy = -float((p * p.log()).mean()) * 28
    assert (drawn.abs() <= torch.tensor([2.0, 3.5]) + 1e-6).all()
    assert abs(float(nll.mean()) - entropy) < 4 * float(nll.std()) / 4000**0.5 + 5e-3
    truth = math.log(4) + 0.5 + math.log(0.4 * math.sqrt(2 * math.pi))
    assert np.mean(losses[-20:]) < truth + 0.15  # uniform would be log 28, 1.5 nats above


def test_points_on_a_torus_are_fitted_in_their_own_units() -> None:
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, (400, 2))
    angles[:, 1] = angles[:, 0] + 0.2 * np.random.default_rng(1).normal(size=400)
    run = pofx.fit(
        pofx.points(angles), "nsf", steps=60, circular=[0, 1], represent="unscaled", layers=2, bins=6, width=32,
        progress=False,
    )  # fmt: skip
    drawn = run.sample(200, seed=0)
    assert np.abs(drawn).max() <= np.pi + 1e-5
    around = run.log_prob(angles[:20] + 2 * np.pi)
    assert np.allclose(around, run.log_prob(angles[:20]), atol=1e-2)


def test_nice_keeps_volumes_but_for_one_scale() -> None:
    model = roughen(built("nice", 6), 1.0)
    _, ladj = model.flow(torch.randn(10, 6))
    assert torch.allclose(ladj, ladj[0].expand(10))
    scales = model.flow.parts[0].log_scale.sum() + model.flow.parts[-1].log_scale.sum()
    assert torch.allclose(ladj[0], scales)


@pytest.mark.parametrize("name", ["maf", "nsf", "nsf coupling"])
def test_one_far_value_moves_the_other_dimensions_no_farther(name: str) -> None:
    part = next(p for p in roughen(built(name, 6), 1.0).flow.parts if isinstance(p, Autoregressive | Couplings))
    x = torch.randn(20, 6)
    far, farther = (x.clone().index_fill_(1, torch.tensor([0]), v) for v in (1e3, 1e6))
    with torch.no_grad():
        a, b = (part(v)[0][:, 1:] for v in (far, farther))
    assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)


def test_iaf_samples_and_maf_scores_in_one_pass() -> None:
    for name, fast in (("iaf", "sample"), ("maf", "log_prob")):
        model = built(name, 6).eval()
        calls = []
        for module in model.modules():
            if isinstance(module, MaskedResidual):
                module.register_forward_hook(lambda *_, calls=calls: calls.append(1))
                module.begin = lambda *_: pytest.fail("goes one by one")
        with torch.no_grad():
            model.sample(3, generator=Streams(0, 3)) if fast == "sample" else model.log_prob(torch.randn(3, 6))
        assert len(calls) == model.layers


@pytest.mark.parametrize(
    "values",
    [
        {"circular": [0, 0]},
        {"circular": [4]},
        {"circular": [0], "period": -1.0},
        {"circular": [0, 1], "period": [1.0]},
        {"conditioner": "recurrent"},
    ],
)
def test_what_nsf_cannot_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"must be"):
        NSF(Continuous((4,)), **values)


def test_what_maf_cannot_be_is_refused() -> None:
    for values in ({"direction": "both"}, {"mixing": "shuffled"}):
        with pytest.raises(UsageError, match=r"must be"):
            MAF(Continuous((4,)), **values)  # type: ignore[arg-type]
