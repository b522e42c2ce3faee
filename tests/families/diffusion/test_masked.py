"""Masked diffusion: the bound is the mean over orders, infilling keeps what is known, draws follow the model."""

import itertools

import pytest
import torch

from pofx.core.config import config
from pofx.core.errors import DataError, UsageError
from pofx.core.event import Discrete
from pofx.core.model import Batch, Density
from pofx.core.random import Streams
from pofx.families.diffusion.masked import MaskedDiffusion
from pofx.families.diffusion.places import fewest
from pofx.nets.image.masked_unet import MaskedUNet, halved, patch_of
from truth import enumerate_states


def rough(event, condition=None, **values):
    torch.manual_seed(0)
    model = MaskedDiffusion(event, condition, width=32, layers=1, **values)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model.eval()


@torch.no_grad()
def test_the_bound_is_the_mean_over_orders_and_each_order_sums_to_one():
    model = rough(Discrete((3,), 3), bound_draws=600)
    x = enumerate_states(model.event)
    orders = [torch.tensor(o) for o in itertools.permutations(range(3))]
    each = torch.stack([model.log_prob_in_order(x, order) for order in orders])
    assert torch.allclose(each.double().exp().sum(1), torch.ones(6).double(), atol=1e-5)
    value, error = model.log_prob_estimate(x)
    assert ((value - each.mean(0)).abs() < 5 * error + 1e-3).all()
    assert float(value.double().exp().sum()) <= 1.01


@torch.no_grad()
def test_draws_follow_the_mixture_over_orders():
    model, n = rough(Discrete((3,), 2)), 20_000
    x = enumerate_states(model.event)
    orders = [torch.tensor(o) for o in itertools.permutations(range(3))]
    wanted = torch.stack([model.log_prob_in_order(x, order).double().exp() for order in orders]).mean(0)
    drawn = model.sample(n, generator=Streams(0, n))
    found = torch.bincount((drawn * torch.tensor([4, 2, 1])).sum(1), minlength=8).double() / n
    assert ((found - wanted).abs() < 4.5 * (wanted * (1 - wanted) / n).sqrt()).all()


def shares(drawn):
    return torch.bincount((drawn * torch.tensor([4, 2, 1])).sum(1), minlength=8).double() / len(drawn)


@torch.no_grad()
def test_blocks_of_one_place_are_drawn_from_the_first_to_the_last():
    model, n = rough(Discrete((3,), 2), block=1), 20_000
    x = enumerate_states(model.event)
    wanted = model.log_prob_in_order(x, torch.arange(3)).double().exp()
    found = shares(model.sample(n, generator=Streams(0, n)))
    assert ((found - wanted).abs() < 4.5 * (wanted * (1 - wanted) / n).sqrt()).all()
    other = model.log_prob_in_order(x, torch.tensor([2, 1, 0])).double().exp()
    assert float((wanted - other).abs().sum()) > 0.02


@torch.no_grad()
def test_places_that_are_drawn_again_follow_their_conditionals():
    model, n = rough(Discrete((3,), 2), remasking=2), 20_000
    x = enumerate_states(model.event)
    orders = [torch.tensor(o) for o in itertools.permutations(range(3))]
    before = torch.stack([model.log_prob_in_order(x, order).double().exp() for order in orders]).mean(0)
    move = torch.zeros(8, 8, dtype=torch.float64)  # from a state to a state: a place at random, given the others
    for i in range(3):
        hidden = torch.zeros(8, 3, dtype=torch.bool)
        hidden[:, i] = True
        own = model.log_each(x, hidden, None, hidden, Streams(0, len(x))).double().exp()
        same = (x[:, None] == x[None]) | hidden[:1]
        move += torch.where(same.all(2), own[None], 0.0) / 3
    assert torch.allclose(move.sum(1), torch.ones(8).double(), atol=1e-5)
    wanted = before @ move @ move
    found = shares(model.sample(n, generator=Streams(0, n)))
    assert ((found - wanted).abs() < 4.5 * (wanted * (1 - wanted) / n).sqrt()).all()
    known = torch.tensor([[1, -1, 0]]).expand(50, -1)
    drawn = model.sample(50, generator=Streams(0, 50), prefix=known)
    assert (drawn[:, 0] == 1).all() and (drawn[:, 2] == 0).all()
    assert torch.equal(model.sample(4, generator=Streams(0, 4), prefix=x[:4]), x[:4])


@torch.no_grad()
def test_infilling_keeps_what_is_known_wherever_it_is():
    model = rough(Discrete((1, 3, 4), 5))
    x = torch.randint(5, (6, 1, 3, 4))
    known = torch.rand(6, 1, 3, 4) < 0.5
    drawn = model.sample(6, generator=Streams(0, 6), prefix=torch.where(known, x, -1))
    assert torch.equal(drawn[known], x[known]) and drawn.min() >= 0 and drawn.max() < 5
    assert torch.equal(model.sample(6, generator=Streams(0, 6), prefix=x), x)
    assert torch.equal(model.complete(x, known, generator=Streams(0, 6)), drawn)
    free = model.sample(6, generator=Streams(0, 6))
    assert torch.equal(model.sample(6, generator=Streams(0, 6), prefix=torch.full_like(x, -1)), free)
    for wrong in (torch.full((6, 1, 3, 4), 5), torch.zeros(6, 12, dtype=torch.int64)):
        with pytest.raises(DataError):
            model.sample(6, generator=Streams(0, 6), prefix=wrong)


@torch.no_grad()
def test_columns_may_differ_in_their_classes():
    model = rough(Discrete((3,), (2, 4, 3)))
    x = torch.tensor(list(itertools.product(range(2), range(4), range(3))))
    total = model.log_prob_in_order(x, torch.tensor([2, 0, 1])).double().exp().sum()
    assert float(total) == pytest.approx(1.0, abs=1e-5)
    drawn = model.sample(500, generator=Streams(0, 500))
    assert (drawn < torch.tensor([2, 4, 3])).all() and (drawn.amax(0) == torch.tensor([1, 3, 2])).all()


def test_hidden_sets_have_every_size_equally_often():
    u = (torch.arange(1000) + 0.5) / 1000
    counts = fewest(u, torch.rand(1000, 5)).sum(1)
    assert torch.equal(torch.bincount(counts, minlength=6), torch.tensor([0, 200, 200, 200, 200, 200]))


def test_noise_has_more_digits_than_single_precision():
    u = Streams(0, 4000).uniform64(8)
    assert u.dtype == torch.float64 and 0 < u.min() and u.max() < 1
    assert (u * 2**23 % 1 != 0.5).any() and float(u.mean()) == pytest.approx(0.5, abs=0.01)


@torch.no_grad()
def test_fewer_steps_evaluate_the_network_less_often():
    model, calls = rough(Discrete((12,), 3)), []
    model.net.register_forward_hook(lambda *a: calls.append(1))
    assert model.steps == 12
    model.sample(5, generator=Streams(0, 5))
    assert len(calls) == 12
    model.steps = 4
    calls.clear()
    model.sample(5, generator=Streams(0, 5))
    assert len(calls) == 4
    with pytest.raises(UsageError):
        MaskedDiffusion(Discrete((3,), 2), width=40)


@torch.no_grad()
@pytest.mark.parametrize("block", [1, 2, 3])
def test_the_bound_follows_the_order_of_the_draws_block_after_block(block):
    """Exact of places drawn one by one where each is evaluated; of blocks the mean over orders within each."""
    model = rough(Discrete((3,), 3), block=block, bound_draws=200)
    x = enumerate_states(model.event)
    orders = [o for o in itertools.permutations(range(3)) if [p // block for p in o] == sorted(p // block for p in o)]
    each = torch.stack([model.log_prob_in_order(x, torch.tensor(o)) for o in orders])
    value, error = model.log_prob_estimate(x)
    assert (model.density is Density.EXACT) == (error is None) == (block == 1)
    assert ((value - each.mean(0)).abs() < (5 * error + 1e-3 if block > 1 else 1e-5)).all()
    model.bound_draws = 2  # fewer than there are places
    assert model.density is Density.BOUND and model.log_prob_estimate(x)[1] is not None


@torch.no_grad()
@pytest.mark.parametrize("block", [0, 2])
def test_orders_averaged_inside_the_logarithm_tighten_the_bound_towards_the_density_of_the_draws(block):
    model = rough(Discrete((3,), 2), block=block)
    x = enumerate_states(model.event)
    orders = [o for o in itertools.permutations(range(3)) if not block or 2 not in o[:2]]
    each = torch.stack([model.log_prob_in_order(x, torch.tensor(o)) for o in orders])
    true = each.exp().mean(0).log()
    model.bound_orders = 150
    value, error = model.log_prob_estimate(x)
    assert ((value - true).abs() < 5 * error + 1e-4).all() and (true > each.mean(0) - 1e-6).all()
    model.bound_orders = 1
    assert torch.isclose(model.log_prob(x), each, atol=1e-5).any(0).all()  # one of the orders


@pytest.mark.parametrize(
    "event", [Discrete((1, 5, 7), 6), Discrete((3, 4, 4), 3), Discrete((5, 6), 4), Discrete((9,), 4)]
)
def test_unets_give_the_hidden_places_from_the_known_ones_alone(event):
    torch.manual_seed(0)
    model = MaskedDiffusion(event, width=32, layers=1, network="unet").eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
        n = model.length
        x, hidden = torch.randint(event.largest, (4, n)), torch.rand(4, n) < 0.5
        out = model.net(x, hidden, None, hidden)
        other = torch.where(hidden, (x + 1) % event.largest, x)
        torch.testing.assert_close(model.net(other, hidden, None, hidden), out)
        one = hidden & (torch.arange(n) == int(hidden[0].nonzero()[0]))
        torch.testing.assert_close(model.net(x, hidden, None, one), out[one[hidden]], atol=1e-4, rtol=1e-4)
        changed = model.net(torch.where(hidden, x, (x + 1) % event.largest), hidden, None, hidden)
    assert (changed - out).abs().max() > 1e-3


def test_the_network_is_chosen_by_the_event_and_stored():
    near, rows = (Discrete((1, 8, 8), 3), Discrete((9,), 3)), (Discrete((3,), (3, 3, 3)), Discrete((2,), (2, 3)))
    for event in (*near, *rows):
        wanted = "unet" if event in near else "transformer"
        model = MaskedDiffusion(event)
        assert config(model)["network"] == model.network == wanted
    with pytest.raises(UsageError, match="transformer"):
        MaskedDiffusion(Discrete((2,), (2, 3)), network="unet")


def test_sizes_of_hidden_sets_are_weighted_so_that_the_loss_is_the_bound():
    """Against the bound by even sizes, on the mean of many sets of one item."""
    model = rough(Discrete((6,), 3))
    x = torch.randint(3, (1, 6)).expand(1500, -1)
    with torch.no_grad():
        loss = torch.stack([model.loss(Batch(x)) for _ in range(3)]).mean()
        model.bound_draws = 64
        bound = -model.log_prob(x[:1]) / 6
        orders = [torch.randperm(6) for _ in range(60)]
        exact = torch.stack([model.log_prob_in_order(x[:1], order) for order in orders])[:, 0] / 6
    assert float((loss + exact.mean()).abs()) < 5 * float(exact.std()) / 60**0.5
    assert float((loss - bound).abs()) < 0.2


@torch.no_grad()
def test_a_sequence_does_not_end_before_what_is_known_of_it():
    model = rough(Discrete((8,), 4, end=0))
    with torch.no_grad():
        (model.net.logits.bias if model.network == "unet" else model.net.bias)[..., 0] = 9.0  # nearly always an end
    known = torch.tensor([[2, -1, -1, -1, 3, -1, -1, -1]]).expand(200, -1)
    drawn = model.sample(200, generator=Streams(0, 200), prefix=known)
    assert (drawn[:, 1:4] > 0).all() and (drawn[:, 5:] == 0).float().mean() > 0.5


def test_unets_see_pairs_of_places_where_events_are_large_and_halve_what_is_larger():
    sides = {(1, 8, 8): (1, False), (1, 28, 28): (2, False), (3, 64, 64): (2, True), (10, 10): (1, False),
             (16,): (1, False), (128,): (2, False), (600,): (2, True)}  # fmt: skip
    for shape, wanted in sides.items():
        assert (patch_of(shape), halved(shape)) == wanted
    for shape in ((1, 28, 28), (16,), (128,)):
        net = MaskedUNet(Discrete(shape, 3), 32, 1, context=False)
        assert net.net.patch == patch_of(shape) and len(net.net.down) == 1
