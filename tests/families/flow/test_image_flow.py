"""Laws of flows of grids: squeezes, 1×1 convolutions, couplings, the multi-scale stack, Glow and its dequantiser."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pofx.core.errors import PofxError, UsageError
from pofx.core.event import Continuous, Discrete, Event, dims
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.flow.composition import ActNorm, LinearMap, shuffled
from pofx.families.flow.coupling import Affine
from pofx.families.flow.dequantised import DequantisedGlow
from pofx.families.flow.dequantiser import Dequantiser
from pofx.families.flow.flow import Flow
from pofx.families.flow.glow import Glow
from pofx.families.flow.grid import (
    CheckerboardCoupling,
    EveryPlace,
    GridBijection,
    GridCoupling,
    squeeze,
    unsqueeze,
)
from pofx.families.flow.multiscale import MultiScale
from pofx.families.flow.realnvp import RealNVP
from truth import enumerate_states

SHAPES = [(2, 4, 4), (1, 5, 5), (1, 3, 6), (3, 5, 7), (1, 9, 9), (4, 2, 1), (1, 1, 1), (1, 1, 5), (1, 16, 16)]
SMALL = {"flow_steps": 2, "width": 8}
FLOWS: dict[str, Callable[..., Flow]] = {
    "glow": lambda *a, **k: Glow(*a, **SMALL, **k),
    "realnvp": lambda *a, **k: RealNVP(*a, layers=2, width=8, form="multiscale", **k),
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def roughened(module: Any) -> Any:
    """The module in float64 with parameters far from their start, as training leaves them."""
    module = module.double()
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return module


def dense_ladj(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """log|det| of a map of single items, each from its whole Jacobian."""
    size = x[0].numel()
    found = [torch.autograd.functional.jacobian(f, item[None]).reshape(size, size) for item in x]
    return torch.stack([torch.linalg.slogdet(j)[1] for j in found])


def few_steps(model: Any, x: Tensor, condition: Tensor | None = None, steps: int = 15) -> None:
    descent = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        descent.zero_grad()
        model.loss(Batch(x, condition)).backward()
        descent.step()


# Parts


@pytest.mark.parametrize("shape, factors", [((2, 4, 6), (2, 2)), ((1, 9, 4), (3, 2)), ((3, 5, 4), (1, 2))])
def test_a_squeeze_gathers_blocks_and_comes_back(shape: Any, factors: Any) -> None:
    x = torch.arange(2.0 * math.prod(shape)).reshape(2, *shape)
    y = squeeze(x, factors)
    f, g = factors
    assert y.shape == (2, shape[0] * f * g, shape[1] // f, shape[2] // g)
    assert torch.equal(y[:, : f * g, 0, 0], x[:, 0, :f, :g].flatten(1)), "the first place holds the first block"
    assert torch.equal(unsqueeze(y, factors), x)


@pytest.mark.parametrize("shape", [(2, 4, 4), (3, 5, 3)])
def test_a_1x1_convolution_has_h_w_times_the_log_determinant_of_its_matrix(shape: Any) -> None:
    c, h, w = shape
    part = roughened(EveryPlace(LinearMap(c, shuffled(c, 1))))
    x = torch.randn(3, *shape, dtype=torch.float64)
    y, ladj = part(x)
    matrix = torch.autograd.functional.jacobian(lambda v: part.part(v[None])[0][0], x[0, :, 0, 0])
    assert torch.allclose(ladj, (h * w * torch.linalg.slogdet(matrix)[1]).expand(3), atol=1e-10)
    assert torch.allclose(ladj, dense_ladj(lambda v: part(v)[0], x), atol=1e-9)
    assert torch.allclose(part.inverse(y), x, atol=1e-10)


@pytest.mark.parametrize("beside", [0, 2])
@pytest.mark.parametrize("context", [0, 3])
def test_couplings_invert_and_know_their_jacobian(context: int, beside: int) -> None:
    shape, affine = (3, 3, 4), Affine(2.0)
    more: dict[str, Any] = {"context": context, "beside": beside}
    parts: list[GridBijection] = [GridCoupling(shape, moved, affine, 8, 1, **more) for moved in (1, 2, 3)]
    parts += [CheckerboardCoupling(shape, odd, affine, 8, 1, **more) for odd in (0, 1)]
    x = torch.randn(2, *shape, dtype=torch.float64)
    given = torch.randn(1, context, dtype=torch.float64) if context else None
    seen = torch.randn(1, beside, 3, 4, dtype=torch.float64) if beside else None
    for part in parts:
        part = part.double()
        same, zero = part(x, *(None if v is None else v.expand(2, *v.shape[1:]) for v in (given, seen)))
        assert torch.allclose(same, x) and not zero.any(), "the identity at the start"
        part = roughened(part)
        pair = [None if v is None else v.expand(2, *v.shape[1:]) for v in (given, seen)]
        y, ladj = part(x, *pair)
        assert torch.allclose(ladj, dense_ladj(lambda v, part=part: part(v, given, seen)[0], x), atol=1e-9)
        assert torch.allclose(part.inverse(y, *pair), x, atol=1e-9)


def test_actnorm_at_every_place_makes_channels_standard_and_is_not_started_by_a_forward_pass() -> None:
    part = EveryPlace(ActNorm(2))
    x = 3 * torch.randn(16, 2, 4, 4) + torch.tensor([5.0, -2.0])[:, None, None]
    part(x)
    assert not part.part.shift.any(), "a forward pass changes nothing"
    part.start(x)
    y, _ = part(x)
    assert torch.allclose(y.mean((0, 2, 3)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(y.std((0, 2, 3), correction=0), torch.ones(2), atol=1e-5)
    part.start(torch.ones(1, 2, 1, 1))
    assert torch.isfinite(part(x)[0]).all(), "one item without any spread"


# The stack


def stack_of(model: Flow) -> MultiScale:
    return next(part for part in model.flow.parts if isinstance(part, MultiScale))


@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_codes_have_every_dimension_once_and_come_back(shape: Any, kind: str) -> None:
    model = roughened(FLOWS[kind](Continuous(shape)))
    assert sum(scale.left for scale in stack_of(model)._scales()) == math.prod(shape)
    x = torch.randn(3, *shape, dtype=torch.float64)
    z = model.encode(x)
    assert z.shape == x.shape
    assert torch.allclose(model.decode(z), x, atol=1e-8)


@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize("shape", [(2, 4, 4), (1, 5, 3), (3, 3, 2)], ids=str)
@pytest.mark.parametrize("trained", [False, True])
def test_log_det_equals_the_dense_jacobian(shape: Any, kind: str, trained: bool) -> None:
    model = FLOWS[kind](Continuous(shape)).double()
    x = torch.randn(64, *shape, dtype=torch.float64) ** 3
    model.prepare(lambda n: Batch(x[:n]))
    if trained:
        few_steps(model, x)
    z, ladj = model.flow(x[:4])
    assert torch.allclose(ladj, dense_ladj(lambda v: model.flow(v)[0], x[:4]), atol=1e-9)
    assert torch.allclose(model.decode(z), x[:4], atol=1e-9)


@pytest.mark.parametrize(
    "shape, scales",
    [((1, 28, 28), 2), ((3, 32, 32), 3), ((1, 8, 8), 1), ((1, 16, 16), 2), ((1, 5, 5), 1), ((1, 27, 27), 1)],
)
def test_small_grids_have_fewer_scales(shape: Any, scales: int) -> None:
    assert len(stack_of(FLOWS["glow"](Continuous(shape))).scales) == scales
    assert len(stack_of(FLOWS["glow"](Continuous(shape), scales=1)).scales) == 1


@pytest.mark.parametrize("kind", FLOWS)
def test_a_loaded_model_samples_before_any_other_pass(kind: str) -> None:
    event = Continuous((1, 6, 6))
    x = 5 + 2 * torch.randn(50, 1, 6, 6)
    model = FLOWS[kind](event)
    model.prepare(lambda n: Batch(x[:n]))
    few_steps(model, x, steps=3)
    again = FLOWS[kind](event)
    again.load_state_dict(model.state_dict())
    model.eval(), again.eval()
    assert torch.equal(again.sample(4, generator=Streams(0, 4)), model.sample(4, generator=Streams(0, 4)))
    one = FLOWS[kind](event)
    one.prepare(lambda n: Batch(x[:1]))
    assert torch.isfinite(one.log_prob(x)).all(), "prepared on a batch of one"


@pytest.mark.parametrize("kind", FLOWS)
def test_far_away_items_have_a_finite_density(kind: str) -> None:
    model = FLOWS[kind](Continuous((1, 8, 8)))
    x = torch.randn(64, 1, 8, 8)
    few_steps(model, x)
    for far in (1e3, -1e3):
        assert torch.isfinite(model.log_prob(torch.full((2, 1, 8, 8), far))).all()


@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize("condition", [Discrete((), 3), Continuous((2,))], ids=["classes", "vector"])
def test_a_condition_changes_density_and_samples(kind: str, condition: Event) -> None:
    model = roughened(FLOWS[kind](Continuous((1, 4, 4)), condition)).float()
    x = torch.randn(3, 1, 4, 4)
    low, high = (
        (torch.zeros(3, dtype=torch.int64), torch.full((3,), 2))
        if isinstance(condition, Discrete)
        else (torch.zeros(3, 2), torch.ones(3, 2))
    )
    assert not torch.allclose(model.log_prob(x, low), model.log_prob(x, high))
    draws = [model.sample(3, c, generator=Streams(0, 3)) for c in (low, high)]
    assert not torch.allclose(*draws)
    assert torch.allclose(model.decode(model.encode(x, high), high), x, atol=1e-3)


def test_autocast_reaches_the_networks_and_leaves_sums_alone() -> None:
    model = Glow(Continuous((1, 8, 8)), flow_steps=2, width=16).double()
    x = torch.randn(32, 1, 8, 8, dtype=torch.float64) ** 3
    few_steps(model, x)
    model.requires_grad_(False)
    seen: list[torch.dtype] = []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    exact = model.log_prob(x)
    model = model.float()
    seen.clear()
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.log_prob(x.float())
    assert set(seen) == {torch.bfloat16} and rough.dtype is torch.float32
    assert float((rough - exact).abs().mean()) / 64 < 1e-2, "bf16 networks, sums in float32"


def test_temperature_draws_nearer_to_the_mode() -> None:
    model = roughened(Glow(Continuous((1, 4, 4)), **SMALL)).float()
    cold = model.sample(5, generator=Streams(0, 5), temperature=0.0)
    assert torch.allclose(cold, cold[:1].expand_as(cold), atol=1e-5)


# Real NVP chooses its form


def test_real_nvp_is_multiscale_on_large_grids_and_a_vector_flow_on_small_ones() -> None:
    large, small = RealNVP(Continuous((3, 32, 32))), RealNVP(Continuous((1, 8, 8)))
    assert isinstance(large.flow.bijections[0], MultiScale)
    assert sum(p.numel() for p in large.parameters()) < 10_000_000
    assert not any(isinstance(part, MultiScale) for part in small.flow.bijections)
    with pytest.raises(PofxError, match="multiscale"):
        RealNVP(Continuous((5,)), form="multiscale")


# Discrete levels


def trained_on_levels(event: Discrete, dequantisation: str, steps: int = 200) -> tuple[DequantisedGlow, Tensor]:
    generator = torch.Generator().manual_seed(0)
    states = enumerate_states(event)
    chances = (torch.randn(len(states), generator=generator)).softmax(0)
    model = DequantisedGlow(event, dequantisation=dequantisation, importance=4, flow_steps=2, width=16)
    x = states[torch.multinomial(chances, 512, True, generator=generator)]
    model.prepare(lambda n: Batch(x[:n]))
    few_steps(model, x, steps=steps)
    return model.eval(), states


def test_the_noise_starts_uniform_and_its_density_is_that_of_its_draws() -> None:
    event = Discrete((1, 2, 2), 4)
    fresh = Dequantiser(event, steps=3, width=8, blocks=1, margin=0.01, scale_bound=2.0).double()
    noise = torch.randn(5, 1, 2, 2, dtype=torch.float64)
    x = torch.randint(4, (5, 1, 2, 2))
    y, log_weight = fresh(x, noise)
    u = 4 * (y.sigmoid() - 0.01) / 0.98 - x  # the noise in another order, so just as uniform
    assert torch.allclose(u.flatten(1).sort(1).values, torch.special.ndtr(noise).flatten(1).sort(1).values)
    assert torch.allclose(log_weight, fresh.line(x, u)[1], atol=1e-10), "q = 1 at the start"
    rough = roughened(fresh)
    y, log_weight = rough(x, noise)
    normal = (-0.5 * noise**2 - 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)
    for i in range(5):
        stretch = dense_ladj(lambda e, i=i: rough(x[i : i + 1], e)[0], noise[i : i + 1])  # log|dy/dnoise|
        assert (stretch[0] - normal[i]).item() == pytest.approx(log_weight[i].item(), abs=1e-8)
    assert torch.equal(rough.inverse(y), x), "noise never leaves its level"


def test_levels_come_back_from_the_line_wherever_they_are() -> None:
    part = Dequantiser(Discrete((1, 1, 256), 256), steps=0, width=8, blocks=1, margin=0.001, scale_bound=2.0)
    x = torch.arange(256).reshape(1, 1, 1, 256)
    for u in (0.0, 1e-3, 0.5, 0.999, 1.0):
        assert int((part.inverse(part.line(x, torch.full(x.shape, u))[0]) - x).abs().max()) <= int(u in (0.0, 1.0))
    assert torch.equal(part.inverse(torch.tensor([-1e3, 1e3]).reshape(1, 1, 1, 2)).flatten(), torch.tensor([0, 255]))


@pytest.mark.slow
@pytest.mark.parametrize("dequantisation", ["uniform", "variational"])
def test_the_bound_stays_below_the_enumerated_mass_and_rises_with_the_draws(dequantisation: str) -> None:
    """The mass of a state is that of its cell of the line, by a fine grid of the cell: exact to about 1e-3."""
    event = Discrete((1, 1, 2), 3)
    model, states = trained_on_levels(event, dequantisation)
    points = 64
    u = (torch.arange(points) + 0.5) / points
    pairs = torch.stack(torch.meshgrid(u, u, indexing="ij"), -1).reshape(-1, 1, 1, 2)
    with torch.no_grad():
        exact = []
        for state in states:
            y, volume = model.dequantiser.line(state.expand(len(pairs), 1, 1, 2), pairs)
            exact.append((model.flow.log_prob(y) + volume).logsumexp(0) - math.log(len(pairs)))
        mass = torch.stack(exact)
        assert float(mass.exp().sum()) < 1 + 1e-2, "what is left lies beyond the ends of the levels"
        repeated = states.repeat_interleave(400, 0)
        noise = torch.randn(len(repeated), 64, 1, 1, 2, generator=torch.Generator().manual_seed(1))
        logs = torch.stack([model.log_weights(repeated, None, noise[:, k]) for k in range(64)], 1)
        means = []
        for k in (1, 4, 64):
            bounds = logs[:, :k].logsumexp(1) - math.log(k)
            means.append(bounds.reshape(len(states), 400).mean(1))
    error = 4 * logs.std() / 400**0.5
    assert (means[0] < mass + error).all() and (means[1] < mass + error / 2).all()
    assert float(means[0].mean()) < float(means[1].mean()) < float(means[2].mean())
    assert torch.allclose(means[2], mass, atol=5e-2), "many draws reach the mass"


@pytest.mark.slow
def test_learned_noise_makes_a_tighter_bound_than_uniform_noise_under_the_same_flow() -> None:
    event = Discrete((1, 2, 2), 3)
    plain, states = trained_on_levels(event, "uniform")
    learned = DequantisedGlow(event, flow_steps=2, width=16)
    learned.flow.load_state_dict(plain.flow.state_dict())
    learned.flow.requires_grad_(False)
    few_steps(learned, states.repeat(4, 1, 1, 1), steps=200)
    many, noise = states.repeat(50, 1, 1, 1), torch.randn(50 * len(states), 1, 2, 2)
    with torch.no_grad():
        gain = learned.log_weights(many, None, noise) - plain.log_weights(many, None, noise)
    assert float(gain.mean()) > 4 * float(gain.std()) / len(many) ** 0.5


def test_log_prob_is_a_function_of_the_item_and_codes_bring_levels_back() -> None:
    event = Discrete((2, 4, 6), 256)
    model = DequantisedGlow(event, **SMALL).eval()
    x = torch.randint(256, (6, 2, 4, 6))
    with torch.no_grad():
        whole = model.log_prob(x)
        assert torch.equal(model.log_prob(x), whole)
        assert torch.allclose(model.log_prob(x[3:4]), whole[3:4], atol=1e-3)
        assert torch.equal(model.decode(model.encode(x)), x)
        draws = model.sample(5, generator=Streams(0, 5))
    assert draws.dtype is torch.int64 and draws.min() >= 0 and draws.max() < 256
    assert dims(model.code) == 48


def test_a_flow_at_its_start_scores_its_own_base_exactly() -> None:
    """A logistic at every place makes the levels nearly uniform: 8 bits at 8 bits, 5 at 5, were the flow that base."""
    for levels in (32, 256):
        part = Dequantiser(Discrete((1, 4, 4), levels), steps=0, width=8, blocks=1, margin=1e-6, scale_bound=2.0)
        y, log_weight = part.double()(torch.randint(levels, (500, 1, 4, 4)), torch.randn(500, 1, 4, 4).double())
        logistic = (torch.nn.functional.logsigmoid(y) + torch.nn.functional.logsigmoid(-y)).flatten(1).sum(1)
        bits = -(logistic + log_weight) / (16 * math.log(2))
        assert torch.allclose(bits, torch.full_like(bits, math.log2(levels)), atol=1e-4)


def test_values_that_cannot_be_are_refused() -> None:
    event = Discrete((1, 4, 4), 4)
    for wrong in ({"dequantisation": "learned"}, {"margin": 0.5}, {"importance": 0}):
        with pytest.raises(UsageError):
            DequantisedGlow(event, **wrong)
    for wrong in ({"flow_steps": 0}, {"width": 0}, {"scales": -1}, {"scale_bound": 0.0}):
        with pytest.raises(UsageError):
            Glow(Continuous((1, 4, 4)), **wrong)
