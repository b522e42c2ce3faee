"""Integrators: order of convergence, errors item by item, values of any size."""

import math
import time

import torch

from pofx.maths.solvers import converged, rk4


def test_rk4_is_of_order_four_and_convergence_is_per_item():
    def solve(items, steps):
        start = torch.tensor([1.0, 2.0], dtype=torch.float64)[items]
        rate = torch.tensor([0.5, 1.0], dtype=torch.float64)[items]
        return rk4(lambda s, t: (rate * torch.cos(5 * t) * s[0],), (start,), 0.0, 1.0, steps)[0]

    wanted = torch.tensor([1.0, 2.0]) * (torch.tensor([0.5, 1.0]).double() * math.sin(5) / 5).exp()
    everyone = torch.arange(2)
    errors = [(solve(everyone, n) - wanted).abs() for n in (40, 80)]
    assert torch.allclose((errors[0] / errors[1]).log2(), torch.full((2,), 4.0).double(), atol=0.4)
    values, shown, steps = converged(solve, 2, 1e-6)
    assert torch.allclose(values, wanted, atol=1e-5) and (shown <= 1e-5 * wanted).all() and steps >= 12
    alone, _, _ = converged(lambda i, n: solve(i + 1, n), 1, 1e-6)
    assert alone[0] == values[1]


def test_large_and_infinite_values_converge_too():
    calls = []

    def solve(items, steps):
        calls.append(steps)
        value = torch.tensor([-1e12, math.inf, math.nan, 1.0])[items]
        return value + torch.tensor([1e3, 0.0, 0.0, 1.0])[items] / steps**4

    start = time.monotonic()
    values, _, _ = converged(solve, 4, 1e-3)
    assert max(calls) <= 16 and time.monotonic() - start < 1
    assert values[0] == -1e12 and values[1] == math.inf and values[2].isnan() and abs(values[3] - 1) < 1e-3


def test_the_stated_error_holds_before_the_method_has_reached_its_order():
    values, errors, _ = converged(lambda items, steps: 5 + (1.0 + items) / steps**2, 3, 1e-3)
    assert (errors <= 1e-3).all() and ((values - 5).abs() <= errors).all()
