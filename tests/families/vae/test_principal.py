"""Perceptrons beside principal components: codes begin at those, and no worse than those."""

import numpy as np
import pytest
import torch

import pofx
from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Discrete
from pofx.families.vae.vae import VAE


def bars(n=200, side=6):
    """Squares whose edges lie anywhere."""
    g = np.random.default_rng(0)
    x = np.zeros((n, side, side), np.uint8)
    for one in x:
        a, b = np.sort(g.integers(0, side + 1, 2))
        one[a:b] = 1
    return x


def test_codes_begin_at_principal_components():
    x = bars()
    run = pofx.fit(pofx.images(x, levels=2), "vae", steps=1, latent=4, width=16, network="principal", dropout=0.0,
                   progress=False)  # fmt: skip
    flat = x.reshape(len(x), -1).astype(float)
    mean = flat.mean(0)
    directions = np.linalg.svd(flat - mean, full_matrices=False)[2][:4]
    again = (flat - mean) @ directions.T @ directions + mean > 0.5
    made = np.asarray(run.reconstruct(x)).reshape(len(x), -1) > 0
    assert (made != (flat > 0)).mean() < (again != (flat > 0)).mean() + 0.02
    codes = np.asarray(run.encode(x))
    assert np.abs(codes.std(0) - 1).max() < 0.5


def test_components_are_saved_and_do_not_train(tmp_path):
    x = bars(60)
    run = pofx.fit(pofx.images(x, levels=2), "vae", steps=3, latent=2, width=8, network="principal", progress=False)
    first = run.model.networks.principal.reads.clone()
    assert first.abs().sum() > 0 and not any("reads" in name for name, _ in run.model.named_parameters())
    run.save(tmp_path / "run")
    assert torch.equal(pofx.load(tmp_path / "run").model.networks.principal.reads, first)


@pytest.mark.parametrize("event", [Discrete((1, 4, 4), 5), Bounded((3,))])
def test_more_than_two_classes_have_no_components_of_logits(event):
    with pytest.raises(UsageError, match="network=mlp"):
        VAE(event, network="principal")
