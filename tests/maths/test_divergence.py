"""The divergence of a vector field: exact, and estimated with random probes."""

import torch

from pofx.maths.divergence import divergence, probed_divergences


def test_hutchinson_is_the_trace_on_average():
    torch.manual_seed(0)
    matrix = torch.randn(6, 6)
    field = lambda x: torch.tanh(x @ matrix)  # noqa: E731
    x = torch.randn(3, 6)
    value, exact = divergence(field, x)
    wanted = torch.stack([torch.autograd.functional.jacobian(field, row).trace() for row in x])
    assert torch.allclose(exact, wanted, atol=1e-5) and torch.equal(value, field(x))
    probes = torch.randint(0, 2, (4000, 3, 6)).float() * 2 - 1
    each = torch.stack([divergence(field, x, probe[None])[1] for probe in probes[:1500]])
    assert ((each.mean(0) - exact).abs() < 3 * each.std(0) / 1500**0.5).all()
    apart = probed_divergences(field, x, probes[:3])[1]
    assert torch.allclose(apart.mean(0), divergence(field, x, probes[:3])[1], atol=1e-5) and apart.shape == (3, 3)
