"""Draws of two classes by few random bits."""

import math

import torch

from pofx.core.random import Still, Streams
from pofx.maths.distributions import bernoulli_draw


def test_draws_of_two_classes_have_their_probabilities_and_belong_to_their_sample():
    n, p = 200_000, torch.tensor([0.5, 0.3, 1 / 256, 3 / 256 + 1e-3, 1e-4, 0.999, 100 / 256])
    logits = torch.logit(p).expand(n, -1)
    drawn = bernoulli_draw(logits, Streams(3, n)).double().mean(0)
    assert (drawn - p).abs().le(4.5 * (p * (1 - p) / n).sqrt()).all()
    few = logits[:6]
    assert torch.equal(bernoulli_draw(few[2:5], Streams(3, 6)[2:5]), bernoulli_draw(few, Streams(3, 6))[2:5])
    assert bernoulli_draw(torch.tensor([[math.inf, -math.inf]]), Streams(0, 1)).tolist() == [[1, 0]]
    assert bernoulli_draw(torch.tensor([[0.1, -0.1]]), Still(0, 1)).tolist() == [[1, 0]]
    streams = Streams(0, 4)
    assert streams.bytes(5).shape == (4, 5) and streams.draws == 1
