"""Laws of transformer autoregressive flows: both inverses, Jacobians, order, noise and its removal, guidance."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from pofx.core.event import Bounded, Continuous, Discrete, Event
from pofx.core.model import Batch, Density
from pofx.core.random import Streams
from pofx.families.flow.attentive import Attentive
from pofx.families.flow.coupling import Affine
from pofx.families.flow.dequantised import DequantisedTarFlow
from pofx.families.flow.tarflow import TarFlow
from pofx.nets.attention.token_transformer import tokens

SMALL: dict[str, Any] = {"blocks": 2, "layers": 1, "width": 32}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def rough(event: Event, condition: Event | None = None, by: float = 0.15, **options: Any) -> TarFlow:
    """A flow in float64 whose parameters are far from their start, all by as much."""
    model = TarFlow(event, condition, **{**SMALL, **options}).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(by * torch.randn_like(p))
    return model


@pytest.mark.parametrize(
    "shape, maps",
    [((1,), "spline"), ((5,), "spline"), ((1, 3, 5), "affine"), ((2, 7), "affine-spline"), ((1, 2, 3, 2), None)],
)
def test_the_map_inverts_by_both_methods_and_knows_its_jacobian(shape: Any, maps: str | None) -> None:
    model = rough(Continuous(shape), Discrete((), 3), by=0.08, patch=2, maps=maps, deep_layers=2)
    x, c = torch.randn(4, *shape, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    with torch.no_grad():
        z, ladj = model.flow(x, c)
        cached = model.flow.inverse(z, c)
        for part in model.flow.bijections:
            if isinstance(part, Attentive):
                part.jacobi = True
        swept = model.flow.inverse(z, c)
    assert torch.allclose(cached, x, atol=1e-6) and torch.allclose(swept, cached, atol=1e-6)
    jacobian = torch.autograd.functional.jacobian(lambda v: model.flow(v[None], c[:1])[0].flatten(), x[0])
    assert float(torch.linalg.slogdet(jacobian.reshape(len(x[0].flatten()), -1))[1]) == pytest.approx(float(ladj[0]))


def test_both_inverses_agree_in_single_precision() -> None:
    model = rough(Continuous((1, 8, 8))).float()
    z = torch.randn(8, 1, 8, 8)
    swept = TarFlow(model.event, None, **SMALL, inverse="jacobi").eval()
    swept.load_state_dict(model.state_dict())
    with torch.no_grad():
        a, b = model.decode(z), swept.decode(z)
    assert float((a - b).abs().max()) <= 1e-5 * (1 + float(a.abs().max()))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_token_sees_those_before_it_alone(reverse: bool) -> None:
    layer = Attentive((1, 4, 4), 2, reverse, Affine(2.0), 32, 1).double()
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.3 * torch.randn_like(p))
    jacobian = torch.autograd.functional.jacobian(lambda v: layer(v[None])[0][0], torch.randn(16).double())
    table, _ = tokens((1, 4, 4), 2)
    place = torch.empty(16, dtype=torch.int64)
    for t, row in enumerate(table.flip(0) if reverse else table):
        place[row] = t
    seen = place[:, None] > place[None]
    within = torch.eye(16, dtype=torch.bool)
    assert not jacobian[~(seen | within)].any() and bool((jacobian[seen | within] != 0).all())


def test_patches_that_reach_over_an_edge_hold_what_is_there() -> None:
    table, counts = tokens((2, 3, 5), 2)
    assert counts == (2, 3) and table.shape == (6, 8)
    assert sorted(table[table >= 0].tolist()) == list(range(30))
    assert tokens((5,), 2)[0].tolist() == [[0, 1], [2, 3], [4, -1]]


def test_noise_is_removed_by_one_gradient_of_the_flow() -> None:
    """Of a normal of variance s² with noise of variance v, E[x | y] is y s² / (s² + v)."""
    model = TarFlow(Continuous((3,)), **SMALL, noise=0.5, maps="affine").double().eval()
    spread = math.sqrt(2.0**2 + 0.5**2)
    with torch.no_grad():
        model.flow.bijections[0].log_scale.fill_(-math.log(spread))  # the exact density of noisy items
    y = torch.randn(20, 3, dtype=torch.float64)
    assert torch.allclose(model.cleaned(y), y * (4 / spread**2))
    with torch.inference_mode():
        clean, noisy = model.sample(4, generator=Streams(0, 4)), model.rsample(4, generator=Streams(0, 4))
    assert torch.allclose(clean, noisy * (4 / spread**2))


def test_guidance_leads_away_from_the_unconditional_maps() -> None:
    model, n = rough(Continuous((4,)), Discrete((), 2), maps="affine"), 64
    c = torch.arange(n) % 2
    plain = model.sample(n, c, generator=Streams(1, n))

    def guided(w: float) -> Tensor:
        model.guidance = w
        return model.sample(n, c, generator=Streams(1, n))

    assert torch.allclose(model.flow.guided(c, Streams(1, n), 1.0, 1.0), plain)
    assert not torch.allclose(guided(3.0), plain)
    model.guidance = 0.0  # the condition is not seen at all
    a = model.sample(n, c, generator=Streams(1, n))
    assert torch.allclose(a, model.sample(n, 1 - c, generator=Streams(1, n)))


def test_dropped_conditions_train_the_density_without_them() -> None:
    model = rough(Continuous((4,)), Discrete((), 2))
    x, c = torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 2
    free = model.flow.log_prob(x, c, torch.ones(6, dtype=torch.bool))
    assert torch.allclose(free, model.flow.log_prob(x, 1 - c, torch.ones(6, dtype=torch.bool)))
    assert not torch.allclose(free, model.log_prob(x, c))


def test_a_bound_on_discrete_grids_and_an_exact_density_of_real_ones() -> None:
    discrete = DequantisedTarFlow(Discrete((1, 4, 4), 5), **{**SMALL, "noise_width": 8}).eval()
    real = TarFlow(Bounded((1, 4, 4)), **SMALL).eval()
    assert discrete.density is Density.BOUND and real.density is Density.EXACT
    x = torch.randint(5, (7, 1, 4, 4))
    with torch.no_grad():
        value, error = discrete.log_prob_estimate(x)
        assert value.shape == error.shape == (7,) and bool((value < 0).all())
        assert torch.equal(discrete.decode(discrete.encode(x)), x)


def test_every_number_of_a_flow_in_training_is_finite() -> None:
    model = TarFlow(Continuous((6,)), **SMALL)
    x = torch.randn(32, 6).cumsum(1)
    model.prepare(lambda n: Batch(x[:n]))
    first = float(model.loss(Batch(x)).detach())
    descent = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(12):
        descent.zero_grad()
        loss = model.loss(Batch(x))
        loss.backward()
        descent.step()
    assert float(loss.detach()) < first - 0.5


def test_draws_under_a_condition_are_denoised_in_inference_mode() -> None:
    """A condition made in inference mode has no gradients, and the flow's slope asked for them."""
    model = TarFlow(Continuous((1, 4, 4)), Discrete((), 3), **SMALL, noise=0.2).eval()
    with torch.inference_mode():
        drawn = model.sample(2, torch.tensor([0, 2]), generator=Streams(0, 2))
    assert drawn.shape == (2, 1, 4, 4) and bool(drawn.isfinite().all())
