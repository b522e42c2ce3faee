"""Denoising diffusion GAN: steps have the marginals of the path, an exact generator draws the data in any number."""

import pytest
import torch

from pofx.core.event import Bounded, Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.diffusion.ddgan import DenoisingGAN

MEAN, STD = 0.5, 0.6


class Exact(DenoisingGAN):
    """Draws from p(data | x_t) of N(MEAN, STD²) data, with the code as noise."""

    def guessed(self, far, k, z, context):
        alpha, sigma = (v[:, None] for v in self.levels(k))
        precision = 1 / STD**2 + (alpha / sigma) ** 2
        mean = (MEAN / STD**2 + alpha * far / sigma**2) / precision
        return mean + z[:, : far.shape[1]] / precision.sqrt()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_an_exact_generator_draws_the_data_in_any_number_of_steps(steps):
    model, n = DenoisingGAN(Continuous((2,)), denoising_steps=steps, width=8), 20_000
    model.__class__ = Exact
    x = model.sample(n, generator=Streams(0, n))
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.02) and float(x.std()) == pytest.approx(STD, rel=0.02)


def test_noised_pairs_and_drawn_ones_have_one_distribution():
    """(x_s, x_t) of the data, and x_s drawn from q(x_s | x_t, data) with the data itself, agree in their moments."""
    torch.manual_seed(0)
    model, n = DenoisingGAN(Continuous((1,)), denoising_steps=3, width=8), 150_000
    model.__class__ = Exact
    batch = Batch(MEAN + STD * torch.randn(n, 1))
    near, far, k = model._real(batch)
    drawn = model._drawn(batch, far, k)
    for step in (1, 2, 3):
        rows = k == step
        assert int(rows.sum()) == pytest.approx(n / 3, abs=2.0)
        real, fake = (torch.cov(torch.cat((v[rows], far[rows]), 1).T) for v in (near, drawn))
        assert torch.allclose(real, fake, atol=0.03)
        assert float(near[rows].mean()) == pytest.approx(float(drawn[rows].mean()), abs=0.03)


def test_r1_is_the_squared_slope_in_x_s_alone():
    torch.manual_seed(0)
    model = DenoisingGAN(Continuous((3,)), width=8, penalty="r1", gamma=2.0, every=1)
    weight = torch.tensor([1.0, 2.0, 3.0])
    model._logits = lambda near, far, k, c: near @ weight + 7 * far.sum(1)
    assert float(model.regulariser_loss(Batch(torch.randn(9, 3)))["r1"]) == pytest.approx(14.0)


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 5, 16, 16), (3, 20)])
def test_grids_of_one_to_three_axes_with_classes(shape):
    torch.manual_seed(0)
    model = DenoisingGAN(Bounded(shape), Discrete((), 3), network="unet", width=16, depth=1, denoising_steps=2)
    batch = Batch(torch.rand(4, *shape) * 2 - 1, torch.tensor([0, 1, 2, 0]))
    model.prepare(lambda n: batch)
    for phase in model.phases():
        loss = sum(phase.loss(batch).values())
        slopes = torch.autograd.grad(loss, phase.parameters, allow_unused=True)
        assert torch.isfinite(loss) and any(s is not None and s.abs().sum() > 0 for s in slopes)
    x = model.sample(3, torch.tensor([0, 1, 2]), generator=Streams(0, 3))
    assert x.shape == (3, *shape) and float(x.abs().max()) <= 1
