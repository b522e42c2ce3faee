"""The Haar cascade: the wavelet is a rotation, log p a sum of the parts' that integrates to one, samples go back."""

import math

import pytest
import torch

from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Continuous, Discrete
from pofx.core.model import Batch, Density
from pofx.core.random import Streams
from pofx.families.flow.haar_cascade import HaarCascade
from pofx.maths.haar import haar, unhaar


def moved(model, x, condition=None):
    """A model that has begun, with no parameter at its first value."""
    torch.manual_seed(0)
    model.prepare(lambda n: Batch(x[:n], None if condition is None else condition[:n]))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model.eval().requires_grad_(False)


def cascade(event, condition=None, **options):
    small = {"width": 32, "layers": 1, "components": 3}
    return HaarCascade(event, condition, width=8, **{"coarse_options": small, "details_options": small, **options})


def test_the_wavelet_is_a_rotation_and_its_inverse_undoes_it():
    x = torch.randn(3, 2, 4, 6, dtype=torch.float64)
    coarse, details = haar(x)
    assert coarse.shape == (3, 2, 2, 3) and details.shape == (3, 6, 2, 3)
    assert torch.allclose(unhaar(coarse, details), x)
    jacobian = torch.autograd.functional.jacobian(
        lambda v: torch.cat([p.flatten() for p in haar(v)]), torch.randn(1, 1, 2, 4, dtype=torch.float64)
    ).reshape(8, 8)
    assert torch.allclose(jacobian @ jacobian.T, torch.eye(8, dtype=torch.float64))
    assert torch.equal(haar(torch.ones(1, 1, 2, 2))[0], torch.full((1, 1, 1, 1), 2.0))


def test_log_p_is_the_sum_of_the_parts_less_the_spreads():
    x = torch.randn(5, 1, 4, 4)
    model = moved(cascade(Continuous((1, 4, 4)), scales=2), x)
    (fine, rough), rest = model.split(x)
    middle, _ = haar(x)
    total = model.part("coarse").log_prob(rest)
    for k, coarse, details in ((0, middle, fine), (1, rest, rough)):
        mean, log_std = model.predictors[k](coarse)
        total = total + model.part(f"details{k}").log_prob((details - mean) / log_std.exp(), coarse)
        total = total - log_std.flatten(1).sum(1)
    assert torch.allclose(model.log_prob(x), total, atol=1e-4) and model.density is Density.EXACT


PARTS = [{}, {"details": "flow-matching", "details_options": {"width": 16, "depth": 1}}]


@pytest.mark.parametrize(
    "options", [PARTS[0], pytest.param(PARTS[1], marks=pytest.mark.slow)], ids=["exact", "estimate"]
)
def test_it_integrates_to_one(options):
    """Over four numbers, by importance sampling from a wide normal."""
    event = Continuous((1, 2, 2))
    model = moved(cascade(event, **options), torch.randn(500, 1, 2, 2))
    n = 20_000 if model.density is Density.EXACT else 600
    torch.manual_seed(1)
    wide = torch.distributions.Normal(0.0, 1.6)
    x = wide.sample((n, 1, 2, 2))
    ratio = (model.log_prob(x).detach() - wide.log_prob(x).flatten(1).sum(1)).double().exp()
    assert float(ratio.mean()) == pytest.approx(1.0, abs=4 * float(ratio.std()) / n**0.5 + 0.02)


def test_samples_go_back_through_the_wavelet_and_follow_the_data():
    torch.manual_seed(0)
    x = (torch.randn(400, 1, 1, 1) + 0.2 * torch.randn(400, 1, 2, 2)).clamp(-2, 2) / 2
    model = cascade(Bounded((1, 2, 2)))
    model.prepare(lambda n: Batch(x[:n]))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        sum(phase.loss(Batch(x)) for phase in model.phases()).backward()
        optimiser.step()
    drawn = model.eval().requires_grad_(False).sample(400, generator=Streams(0, 400))
    within = drawn.flatten(1).std(1).mean() / x.flatten(1).std(1).mean()
    assert 0.6 < float(within) < 1.5 and 0.7 < float(drawn.std() / x.std()) < 1.4
    assert torch.allclose(drawn[:7], model.sample(7, generator=Streams(0, 7)), atol=1e-5)


def test_any_model_of_grids_with_a_density_is_a_part_and_others_are_refused():
    x, labels = torch.rand(6, 1, 4, 4) * 2 - 1, torch.arange(6) % 3
    options = {"details": "flow-matching", "details_options": {"width": 16, "depth": 1}}
    model = moved(cascade(Bounded((1, 4, 4)), Discrete((), 3), **options), x, labels)
    assert model.density is Density.ESTIMATE
    assert set(model.part("details0").condition) == {"coarse", "given"}
    value, error = model.log_prob_estimate(x, labels)
    assert value.shape == (6,) and bool((error >= 0).all()) and math.isfinite(float(value.sum()))
    assert model.sample(6, labels, generator=Streams(0, 6)).shape == x.shape
    with pytest.raises(UsageError, match="model of real grids with a density"):
        cascade(Bounded((1, 4, 4)), details="wgan", details_options={})
    with pytest.raises(UsageError, match="divisible by 4"):
        cascade(Bounded((1, 6, 6)), scales=2)
