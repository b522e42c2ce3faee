"""Embeddings of times and of coordinates."""

import torch

from pofx.nets.vector.fourier import waves
from pofx.nets.vector.time import sinusoids


def test_times_far_apart_have_different_embeddings():
    a, b = sinusoids(torch.tensor([0.1, 0.9]), 128)
    assert float(torch.cosine_similarity(a, b, dim=0)) < 0.5


def test_few_coordinates_are_seen_as_waves_and_more_as_they_are():
    x = torch.tensor([[0.0, 1.0]])
    seen = waves(x, 2)
    assert seen.shape == (1, 2, 5) and torch.allclose(seen[0, 0], torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0]))
    assert torch.allclose(seen[0, 1], torch.tensor([1.0, 0.5**0.5, 1.0, 0.5**0.5, 0.0]), atol=1e-6)
    assert torch.equal(waves(x, 0)[..., 0], x)
