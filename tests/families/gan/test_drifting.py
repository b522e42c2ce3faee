"""Drifting and MMD GANs: forces that vanish at agreement, kernels that are unbiased, and one short training."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

import pofx
from pofx.core.event import Bounded, Continuous, Discrete
from pofx.core.model import Batch
from pofx.data.densities import truth
from pofx.families.gan.drifting import Drifting
from pofx.families.gan.mmd_gan import MMDGAN
from pofx.maths.drift import drift
from pofx.maths.mmd import kernel, mmd_square, witness


def test_the_drift_vanishes_where_samples_agree_and_points_to_the_data_elsewhere():
    torch.manual_seed(0)
    y = torch.randn(1500, 2)
    agree = drift(torch.randn(1500, 2), y, 0.5)
    apart = drift(torch.randn(1500, 2) + 2, y, 0.5)
    assert agree.mean(0).norm() < 0.05 * apart.mean(0).norm()
    assert cosine_similarity(apart.mean(0), torch.tensor([-1.0, -1.0]), dim=0) > 0.95


def test_the_drift_is_finite_far_away_for_single_items_and_for_classes_of_one():
    assert torch.isfinite(drift(torch.full((3, 2), 1e3), torch.zeros(2, 2), 1e-3)).all()
    assert torch.isfinite(drift(torch.zeros(1, 2), torch.ones(1, 2), 0.1)).all()
    same = torch.eye(3, dtype=torch.bool).repeat(1, 2)
    assert torch.isfinite(drift(torch.randn(3, 2), torch.randn(3, 2), 0.1, same)).all()


def test_classes_do_not_meet():
    torch.manual_seed(0)
    x, y = torch.randn(6, 2), torch.randn(6, 2)
    label = torch.tensor([0, 0, 0, 1, 1, 1])
    equal = label[:, None] == label[None]
    together = drift(x, y, 0.5, torch.cat((equal, equal), 1))
    torch.testing.assert_close(together[:3], drift(x[:3], y[:3], 0.5))


def test_the_temperature_falls_with_the_items_seen():
    model = Drifting(Continuous((2,)), wide=1.0, narrow=0.01, anneal_items=100)
    found = []
    for seen in (0, 50, 100, 1000):
        model.seen.fill_(seen)
        found.append(model.temperature)
    assert np.allclose(found, [1.0, 0.1, 0.01, 0.01])


def test_mmd_is_zero_for_equal_sets_and_its_witness_is_higher_at_data():
    torch.manual_seed(0)
    y = torch.randn(40, 3)
    assert abs(float(mmd_square(y, y.flip(0)))) < 1e-5
    values = [float(mmd_square(y[torch.randint(40, (30,))], y)) for _ in range(50)]
    assert min(values) > 0 and sum(values) / 50 < 0.5
    torch.testing.assert_close(
        mmd_square(y[:9].repeat(3, 1), y.repeat(2, 1)), mmd_square(y[:9], y), rtol=1e-4, atol=1e-5
    )
    real, fake = torch.randn(200, 3), torch.randn(200, 3) + 1
    assert float(mmd_square(real, fake)) > 0.3
    assert witness(real, real, fake).mean() > witness(fake, real, fake).mean()
    k = kernel(real, real)
    assert torch.linalg.eigvalsh(k.double()).min() > -1e-3 and torch.allclose(k, k.T, atol=1e-4)


def test_grids_and_conditions_train():
    for cls in (Drifting, MMDGAN):
        for event in (Bounded((1, 9, 7)), Continuous((2,))):
            torch.manual_seed(0)
            model = cls(event, Discrete((), 3), **cls.small)
            batch = Batch(torch.randn(6, *event.shape).tanh(), torch.arange(6) % 3)
            for phase in model.phases():
                loss = model(phase.name, batch)
                (sum(loss.values()) if isinstance(loss, dict) else loss).backward()
                assert all(p.grad is None or torch.isfinite(p.grad).all() for p in phase.parameters)
            assert model.telemetry()


@pytest.mark.slow
def test_eight_gaussians_are_all_found_by_drifting():
    run = pofx.fit("gaussians8", "drifting", steps=250, progress=False, units=64, anneal_items=30_000, batch_size=256,
                   inversion="optimisation")  # fmt: skip
    x = run.sample(2000)
    nearest = np.linalg.norm(x[:, None] - truth("gaussians8").means, axis=2).argmin(1)
    assert np.bincount(nearest, minlength=8).min() > 2000 / 8 / 4
