"""Laws of adversarial losses and penalties: signs, gradients at extreme logits, closed forms on linear critics."""

import math

import pytest
import torch
from torch.nn.functional import softplus

from pofx.maths.adversarial import (
    LOSSES,
    finite_difference_penalty,
    gradient_penalty,
    logit_centring,
    normalised_gradient,
    path_length,
    squared_gradient,
    transport_cost,
)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [0.0, 3.0, 50.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_and_their_slopes_are_finite_at_any_logit(name, size, dtype):
    for sign in (-1, 1):
        real, fake = (torch.full((4,), s * size, dtype=dtype, requires_grad=True) for s in (sign, -sign))
        for player in (LOSSES[name].critic, LOSSES[name].generator):
            loss = player(real, fake)
            slopes = torch.autograd.grad(loss, (real, fake), allow_unused=True)
            assert torch.isfinite(loss) and all(g is None or torch.isfinite(g).all() for g in slopes)


@pytest.mark.parametrize("name", LOSSES)
def test_the_critic_raises_real_logits_and_the_generator_its_own(name):
    real, fake = torch.tensor([0.1], requires_grad=True), torch.tensor([0.2], requires_grad=True)
    up, down = torch.autograd.grad(LOSSES[name].critic(real, fake), (real, fake))
    assert up < 0 < down
    (slope,) = torch.autograd.grad(LOSSES[name].generator(real.detach(), fake), fake)
    assert slope < 0


def test_the_non_saturating_loss_pulls_where_the_critic_wins_and_minimax_does_not():
    fake = torch.tensor([-50.0], requires_grad=True)
    real = torch.zeros(1)
    slope = {n: float(torch.autograd.grad(LOSSES[n].generator(real, fake), fake)[0]) for n in LOSSES}
    assert slope["non-saturating"] == pytest.approx(-1, abs=1e-6)
    assert slope["minimax"] == pytest.approx(0, abs=1e-6)


def test_minimax_meets_the_jensen_shannon_divergence_at_the_best_critic():
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    best = (p / q).log()
    value = -(p * softplus(-best) + q * softplus(best)).sum()
    m = (p + q) / 2
    js = 0.5 * ((p * (p / m).log()).sum() + (q * (q / m).log()).sum())
    assert float(value) == pytest.approx(float(2 * js - 2 * math.log(2)), abs=1e-6)


def linear(w):
    return lambda x: x.flatten(1) @ w


@pytest.mark.parametrize("n", [3, 64])
def test_penalties_of_a_linear_critic_are_closed_forms_whatever_the_batch(n):
    w = torch.randn(12, generator=torch.Generator().manual_seed(0)).double()
    x, y = torch.randn(n, 3, 2, 2).double(), torch.randn(n, 3, 2, 2).double()
    square = float(w @ w)
    assert float(squared_gradient(linear(w), x)) == pytest.approx(square, rel=1e-6)
    assert float(gradient_penalty(linear(w), x, y)) == pytest.approx((square**0.5 - 1) ** 2, rel=1e-5)


class FirstOnly(torch.autograd.Function):
    """sin, which has no second derivative here."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return slope * ctx.saved_tensors[0].cos()


def test_finite_differences_are_the_exact_penalty_item_by_item():
    torch.manual_seed(0)
    w, x = torch.randn(12).double(), torch.randn(7, 12).double()
    assert float(finite_difference_penalty(linear(w), x)) == pytest.approx(float(w @ w), rel=1e-6)
    net = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.SiLU(), torch.nn.Linear(16, 3)).double()
    exact = squared_gradient(net, x)  # of three patches of an item
    errors = [abs(float(finite_difference_penalty(net, x, e) - exact)) for e in (0.06, 0.03)]
    assert errors[1] < 0.3 * errors[0] < 0.03 * float(exact)  # O(ε²)
    for one in range(len(x)):
        each = [float(penalty(net, x[one : one + 1])) for penalty in (finite_difference_penalty, squared_gradient)]
        assert each[0] == pytest.approx(each[1], rel=0.02)
    weights = tuple(p for p in net.parameters() if p is not net[2].bias)
    penalties = (lambda *a: finite_difference_penalty(*a, 3e-4), squared_gradient)
    slopes = [torch.autograd.grad(penalty(net, x), weights) for penalty in penalties]
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(*slopes, strict=True))


def test_finite_differences_need_no_second_derivatives_and_bear_a_flat_critic():
    net = torch.nn.Linear(5, 4)
    finite_difference_penalty(lambda x: FirstOnly.apply(net(x)), torch.randn(8, 5)).backward()
    assert net.weight.grad.abs().sum() > 0
    flat = finite_difference_penalty(lambda x: (0 * net(x)).sum(1), torch.randn(8, 5))
    flat.backward()
    assert float(flat) == 0 and torch.isfinite(net.weight.grad).all()


@pytest.mark.parametrize("penalty", [squared_gradient, finite_difference_penalty])
def test_a_penalty_moves_the_critic(penalty):
    net = torch.nn.Linear(5, 1)
    loss = penalty(lambda x: net(x)[:, 0], torch.randn(8, 5))
    loss.backward()
    assert net.weight.grad.abs().sum() > 0


def test_a_normalised_gradient_has_length_one_over_the_root_of_its_size():
    square = torch.zeros(())
    for scale in (1e-3, 1e3):
        square.zero_()
        x = torch.randn(16, 9, requires_grad=True)
        (slope,) = torch.autograd.grad((scale * normalised_gradient(x, square)).sum(), x)
        assert float(slope.norm()) == pytest.approx(1 / math.sqrt(16 * 9), rel=1e-4)


def test_small_terms():
    assert float(logit_centring(torch.tensor([2.0, 1.0]), torch.tensor([-1.0, -1.0]))) == pytest.approx(0.5)
    assert float(transport_cost(torch.ones(3, 4), torch.zeros(3, 4))) == 1.0


def test_path_length_of_a_linear_map_whose_columns_are_alike_vanishes_once_its_mean_is_known():
    torch.manual_seed(0)
    mean = torch.zeros(())
    q = torch.linalg.qr(torch.randn(16, 4))[0] * 3
    values = []
    for _ in range(1500):
        w = torch.randn(64, 4, requires_grad=True)
        x = (w @ q.T).reshape(-1, 1, 4, 4)
        values.append(float(path_length(x, w, mean, decay=0.99).detach()))
    lengths = 3 * torch.randn(100_000, 4).norm(dim=1) / 4  # |Jᵀ y| with y ~ N(0, I) / √16
    assert float(mean) == pytest.approx(float(lengths.mean()), rel=0.02)
    assert sum(values[-300:]) / 300 == pytest.approx(float(lengths.var()), rel=0.1)
