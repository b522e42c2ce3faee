"""Laws of the autoregressive models: mass 1, causality, no blind spot, masked gradients, cached sampling, orders."""

import math

import pytest
import torch

from families.rough import rough
from pofx.core import config
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.maths.distributions import categorical_draw
from pofx.maths.sharpening import sharpen
from pofx.nets.causal.masked import MaskedResidual
from pofx.nets.vector.level_embedding import LevelEmbedding, cosine_basis

LABEL = Discrete((), 3)
GRID = {"width": 12, "layers": 2, "kernel": 3}
SHIFTED = {"width": 4, "blocks": 1, "mixtures": 3}
CASES = [
    ("made", Discrete((6,), 2), {"width": 24, "blocks": 2}),
    ("made", Discrete((6,), 2), {"width": 4, "blocks": 1}),  # fewer units than dimensions
    ("made", Discrete((2, 1, 3), 3), {"width": 20, "blocks": 1, "terms": 1}),
    ("made", Discrete((5,), 3), {"width": 20, "blocks": 2, "orderings": 3}),
    ("made", Discrete((4,), 1), {"width": 8, "blocks": 1}),  # a single class is certain
    ("made", Discrete((5,), 3), {"width": 20, "blocks": 1, "ordering": "random"}),
    ("nade", Discrete((6,), 2), {"width": 9}),
    ("nade", Discrete((2, 1, 3), 3), {"width": 9, "terms": 1}),
    ("nade", Discrete((5,), 3), {"width": 9, "orderings": 3}),
    ("nade", Discrete((5,), 3), {"width": 9, "ordering": "random", "ordering_seed": 4}),
    ("nade", Discrete((4,), 1), {"width": 5}),
    ("pixelcnn", Discrete((1, 3, 3), 2), GRID),
    ("pixelcnn", Discrete((2, 2, 2), 2), GRID),
    ("pixelcnn", Discrete((3, 2, 1), 3), {"width": 12, "layers": 1, "kernel": 5, "terms": 1}),
    ("pixelcnn++", Discrete((1, 3, 3), 2), SHIFTED),
    ("pixelcnn++", Discrete((2, 2, 2), 2), {**SHIFTED, "scales": 2}),
    ("pixelcnn++", Discrete((3, 2, 1), 3), {**SHIFTED, "scales": 3, "mixtures": 2, "terms": 1}),
    ("pixelrnn", Discrete((1, 3, 3), 2), {"width": 5, "layers": 2, "kernel": 3}),
    ("pixelrnn", Discrete((2, 2, 2), 2), {"width": 4, "layers": 2, "kernel": 3}),
    ("pixelrnn", Discrete((3, 1, 2), 2), {"width": 6, "layers": 1, "kernel": 5, "terms": 1}),
    ("pixelsnail", Discrete((1, 3, 3), 2), {"width": 6, "blocks": 2, "depth": 1, "heads": 2}),
    ("pixelsnail", Discrete((2, 2, 2), 2), {"width": 4, "blocks": 1, "depth": 1, "heads": 1}),
    ("pixelsnail", Discrete((3, 2, 1), 3), {"width": 4, "blocks": 1, "depth": 2, "kernel": 5, "terms": 1}),
    ("row-lstm", Discrete((1, 3, 3), 2), {"width": 5, "layers": 2, "kernel": 3}),
    ("row-lstm", Discrete((2, 2, 2), 2), {"width": 4, "layers": 1, "kernel": 5}),
    ("gpt", Discrete((6,), 2), {"width": 16, "layers": 2, "heads": 2}),
    ("gpt", Discrete((2, 1, 3), 3), {"width": 16, "layers": 1, "heads": 2}),
    ("gpt", Discrete((2, 3), 2), {"width": 12, "layers": 1, "heads": 3, "activation": "gelu", "positions": "learned"}),
    ("gpt", Discrete((4,), 1), {"width": 8, "layers": 1, "heads": 2}),
    ("wavenet", Discrete((6,), 2), {"width": 6, "skip": 5, "layers": 3, "cycle": 2, "taps": 1}),
    ("wavenet", Discrete((5,), 3), {"width": 6, "skip": 5, "layers": 1, "taps": 2, "terms": 2}),
    ("wavenet", Discrete((4,), 1), {"width": 6, "skip": 5, "layers": 1}),
]
MEMBERS = [  # deep enough to see everything
    ("made", {"width": 60}),
    ("made", {"width": 60, "orderings": 3}),
    ("nade", {"width": 24}),
    ("nade", {"width": 24, "orderings": 3}),
    ("pixelcnn", {"width": 12, "layers": 4, "kernel": 3}),
    ("pixelcnn++", {"width": 6, "blocks": 1, "scales": 2}),
    ("pixelrnn", {"width": 8, "layers": 1, "kernel": 3}),
    ("pixelsnail", {"width": 6, "blocks": 1, "depth": 1, "heads": 2}),
    ("row-lstm", {"width": 8, "layers": 4, "kernel": 3}),
    ("gpt", {"width": 16, "layers": 2, "heads": 2}),
    ("wavenet", {"width": 8, "skip": 8, "layers": 5, "taps": 9}),
]
IDS = [f"{name}{'-orderings' if 'orderings' in options else ''}" for name, options in MEMBERS]
BLIND = {"row-lstm": lambda down, right: right > down}  # by design: cells so far above and to the right, kernel 3
NAMES = [f"{name}-{event.shape}-{event.largest}-{options.get('orderings', 1)}" for name, event, options in CASES]


def shaped(name, shape, classes):
    """A grid, or as many places in a row for models of sequences alone."""
    fits = len(shape) in config.entry(name).model.ranks
    return Discrete(shape if fits else (math.prod(shape),), classes)


def everything(event):
    """Every value of a small discrete event."""
    values = torch.cartesian_prod(*[torch.arange(event.largest)] * math.prod(event.shape))
    return values.reshape(-1, *event.shape)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(("name", "event", "options"), CASES, ids=NAMES)
def test_mass_is_one(name, event, options, conditional):
    model = rough(name, event, LABEL if conditional else None, **options).eval()
    x = everything(event)
    for label in range(3 if conditional else 1):
        condition = torch.full((len(x),), label) if conditional else None
        assert model.log_prob(x, condition).exp().sum().item() == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize(("name", "event", "options"), CASES, ids=NAMES)
def test_samples_have_the_probabilities_of_the_model(name, event, options):
    model = rough(name, event, **options).eval()
    x, n = everything(event), 4000
    drawn = model.sample(n, generator=Streams(1, n))
    powers = event.largest ** torch.arange(math.prod(event.shape))
    counts = torch.bincount((drawn.flatten(1) * powers).sum(1), minlength=len(x)).double()
    expected = torch.zeros(len(x), dtype=torch.float64)
    expected[(x.flatten(1) * powers).sum(1)] = model.log_prob(x).exp() * n
    often = expected > 5
    freedom = max(int(often.sum()) - 1, 1)
    chi2 = ((counts - expected)[often] ** 2 / expected[often]).sum().item()
    assert chi2 < freedom + 5 * math.sqrt(2 * freedom) + 5


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(("name", "event", "options"), CASES, ids=NAMES)
def test_cached_sampling_equals_plain_sampling(name, event, options, conditional):
    model = rough(name, event, LABEL if conditional else None, **options).eval()
    condition = torch.arange(20) % 3 if conditional else None
    cached = model.sample(20, condition, generator=Streams(3, 20))
    plain = model.sample(20, condition, generator=Streams(3, 20), cached=False)
    assert torch.equal(cached, plain)
    some = model.sample(5, None if condition is None else condition[7:12], generator=Streams(3, 20)[7:12])
    assert torch.equal(some, cached[7:12])


@pytest.mark.parametrize(("name", "options"), MEMBERS, ids=IDS)
def test_cached_logits_equal_plain_logits(name, options):
    event = shaped(name, (2, 4, 5), 4)
    model = rough(name, event, Continuous((3,)), **options).eval()
    x, condition = torch.randint(4, (3, *event.shape)), torch.randn(3, 3, dtype=torch.float64)
    for ordering in range(model.orderings):
        plain = model.logits(x, condition, ordering).reshape(3, 40, 4)
        cursor = model.cursor(3, condition, ordering)
        for place in model.order(ordering).tolist():
            assert torch.allclose(cursor.logits(), plain[:, place], atol=1e-10)
            cursor.put(x.flatten(1)[:, place])


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(("name", "options"), MEMBERS, ids=IDS)
def test_every_conditional_sees_all_before_it_and_nothing_else(name, options, train, scale):
    event = shaped(name, (2, 3, 4), 5)
    model = rough(name, event, dropout=0.3, **options).train(train)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(scale)
    x = torch.randint(5, (3, *event.shape))

    def logits(x, ordering):
        torch.manual_seed(7)  # the same dropout
        return model.logits(x, None, ordering).reshape(3, 24, 5)

    for ordering in range(model.orderings):
        before = logits(x, ordering)
        place = model.order(ordering).argsort()
        for d in range(24):
            moved = x.clone()
            moved[1].view(-1)[d] = (moved[1].view(-1)[d] + 2) % 5
            change = (logits(moved, ordering) - before).abs().amax(-1)
            later = place > place[d]
            assert torch.all(change[1, ~later] == 0)  # nothing at or before d moves, not by one bit
            assert torch.all(change[[0, 2]] == 0)  # nor any other item
            if scale == 1 and not train:
                cells = torch.stack((torch.arange(24) // 4 % 3, torch.arange(24) % 4), 1)
                down, right = (cells - cells[d]).T * torch.tensor([[1], [-1]])
                seen = later & ~BLIND[name](down, right) if name in BLIND else later
                assert torch.equal(change[1] > 0, seen)  # there is no blind spot but that by design


def test_completions_keep_what_is_known_and_follow_the_rest_of_the_chain():
    event, n = Discrete((1, 2, 3), 2), 4000
    for name, options in (
        ("made", {"width": 24}),
        ("nade", {"width": 9}),
        ("pixelcnn", GRID),
        ("pixelrnn", {"width": 5, "layers": 1}),
        ("pixelsnail", {"width": 8, "blocks": 1}),
    ):
        model = rough(name, event, **options).eval()
        known = torch.full((n, 1, 2, 3), -1)
        known[:, 0, 0] = torch.tensor([1, 0, 1])
        known[::2, 0, 1, 0] = 1  # half of the items know one place more
        drawn = model.sample(n, generator=Streams(1, n), prefix=known)
        assert torch.all(drawn[known >= 0] == known[known >= 0])
        x = everything(event)
        mass = model.log_prob(x).exp() * (x[:, 0, 0] == torch.tensor([1, 0, 1])).all(1)
        for rows, given in ((drawn[1::2], mass), (drawn[::2], mass * (x[:, 0, 1, 0] == 1))):
            expected = (given / given.sum() * x[:, 0, 1, 2]).sum().item()
            assert rows[:, 0, 1, 2].double().mean().item() == pytest.approx(expected, abs=5 * 0.5 / len(rows) ** 0.5)


def test_wrong_prefixes_are_refused():
    model = rough("made", Discrete((4,), 3), width=8).eval()
    gap = torch.tensor([[0, -1, 2, -1]])
    for prefix, said in ((gap, "gaps"), (gap[:, :3], "shape"), (gap + 4, "lie in -1 to 2")):
        with pytest.raises(DataError, match=said):
            model.sample(1, generator=Streams(0, 1), prefix=prefix)
    with pytest.raises(Unsupported, match="orderings=1"):
        rough("made", Discrete((4,), 3), width=8, orderings=2).sample(
            1, generator=Streams(0, 1), prefix=torch.full((1, 4), -1)
        )


@pytest.mark.parametrize("classes", [2, 3])
def test_a_draw_is_the_class_at_which_the_cumulated_probability_passes(classes):
    logits = 4 * torch.randn(5000, classes, generator=torch.Generator().manual_seed(0))
    logits[:500, 0], logits[500:1000, -1] = -torch.inf, -torch.inf
    u = (torch.arange(5000) + 0.5) / 5000
    u = u[torch.randperm(5000, generator=torch.Generator().manual_seed(1))]
    drawn = categorical_draw(logits, u)[:, None]
    p = logits.double().softmax(-1)
    upto = p.cumsum(-1).gather(1, drawn)[:, 0]
    of = p.gather(1, drawn)[:, 0]
    assert (of > 0).all() and (u <= upto + 1e-12).all() and (u >= upto - of - 1e-12).all()


def test_sharpened_draws_follow_the_sharpened_chain():
    model, n = rough("made", Discrete((3,), 4), width=12).eval(), 6000
    first = model.logits(torch.zeros(1, 3, dtype=torch.int64))[0, 0]
    for how, expected in (
        ({"temperature": 0.5}, (2 * first).softmax(-1)),
        ({"top_k": 2}, torch.where(first >= first.sort().values[-2], first, -torch.inf).softmax(-1)),
        ({"temperature": 0.0}, (first == first.max()).double()),
    ):
        x = model.sample(n, generator=Streams(0, n), **how)[:, 0]
        shares = torch.bincount(x, minlength=4) / n
        assert torch.allclose(shares.double(), expected, atol=5 * 0.5 / n**0.5)
    p = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    assert torch.isfinite(sharpen(p, top_p=0.79)).tolist() == [True, True, False, False]
    assert torch.isfinite(sharpen(p, top_p=0.81)).tolist() == [True, True, True, False]
    assert torch.equal(sharpen(p), p)
    share = (p.softmax(-1) / p.softmax(-1).max()).tolist()
    for low in (0.0, 0.3, 0.9, 1.0):
        assert torch.isfinite(sharpen(p, min_p=low)).tolist() == [s >= low - 1e-6 for s in share]
    bad = {"temperature": (-1, math.nan, math.inf), "top_k": (-1, 2.5), "top_p": (0.0, 1.1)}
    for key, values in bad.items():
        for value in values:
            with pytest.raises(UsageError, match=key):
                sharpen(p, **{key: value})


@pytest.mark.parametrize("name", ["made", "nade", "wavenet", "gpt"])
def test_texts_that_end_are_one_distribution(name):
    event = Discrete((4,), 3, end=0)
    model = rough(name, event, width=24, **({"layers": 3} if name == "wavenet" else {})).eval()
    x = everything(event)
    log_p = model.log_prob(x)
    valid = torch.tensor([0 not in (row := v.tolist()) or not any(row[row.index(0) :]) for v in x])
    assert torch.all(log_p[~valid] == -torch.inf) and torch.isfinite(log_p[valid]).all()
    assert log_p.exp().sum().item() == pytest.approx(1.0, abs=1e-10)
    n = 3000
    drawn = model.sample(n, generator=Streams(0, n))
    assert torch.isfinite(model.log_prob(drawn)).all()
    assert torch.equal(drawn, model.sample(n, generator=Streams(0, n), cached=False))
    counts = (drawn[:, None] == x).all(-1).sum(0).double()
    often = log_p.exp() * n > 5
    chi2 = ((counts - n * log_p.exp())[often] ** 2 / (n * log_p.exp()[often])).sum().item()
    assert chi2 < int(often.sum()) + 5 * math.sqrt(2 * int(often.sum())) + 5


def test_masked_weights_get_no_gradient_and_all_others_do():
    made = rough("made", Discrete((6,), 3), width=12, blocks=1).eval()
    made.loss(Batch(everything(made.event))).backward()
    net, place = made.net, made.places[0]
    masks = {net.first: net.first_mask(place).repeat_interleave(2, 1), net.inner[0]: net.hidden_mask}
    masks |= {net.outer[0]: net.hidden_mask, net.last: net.last_mask(place).repeat_interleave(3, 0)}
    for layer, mask in masks.items():
        assert torch.all(layer.weight.grad[mask == 0] == 0) and torch.any(mask == 0)
        assert torch.all(layer.weight.grad[mask == 1] != 0)
    grid = rough("pixelcnn", Discrete((3, 2, 2), 2), **GRID)
    grid.loss(Batch(torch.randint(2, (8, 3, 2, 2)))).backward()
    for layer in (grid.net.h_first, grid.net.layers[0].horizontal, grid.net.last):
        assert torch.any(layer.mask == 0)
        assert torch.all(layer.weight.grad[layer.mask == 0] == 0)


@pytest.mark.parametrize(("name", "event", "options"), CASES, ids=NAMES)
def test_terms_sum_to_log_prob_or_are_refused(name, event, options):
    model = rough(name, event, **options).eval()
    x = everything(event)[:50]
    if options.get("orderings", 1) > 1:
        with pytest.raises(Unsupported, match="orderings=1"):
            model.log_prob_terms(x)
        return
    terms = model.log_prob_terms(x)
    assert terms.shape == x.shape
    assert torch.allclose(terms.flatten(1).sum(1), model.log_prob(x))


def test_a_mixture_of_orders_averages_joint_probabilities():
    model = rough("made", Discrete((4,), 2), width=16, orderings=5).eval()
    x = everything(model.event)
    joint = torch.stack([model.ordering_log_prob(x, None, o).sum(1).exp() for o in range(5)])
    assert torch.allclose(joint.sum(1), torch.ones(5, dtype=torch.float64))
    assert torch.allclose(model.log_prob(x).exp(), joint.mean(0))
    assert len({tuple(p.tolist()) for p in model.places}) > 1
    again = config.build("made", model.event, width=16, orderings=5)
    assert torch.equal(again.places, model.places)  # the orders belong to the configuration


def test_a_wide_net_can_express_any_function_of_the_past():
    torch.manual_seed(0)
    model = config.build("made", Discrete((3,), 2), width=32, blocks=1, dropout=0.0)
    x = everything(model.event)
    x = x[(x.sum(1) % 2) == 0]  # the third is the parity of the others
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(150):
        optimiser.zero_grad()
        loss = model.loss(Batch(x))
        loss.backward()
        optimiser.step()
    assert loss.item() * 3 == pytest.approx(math.log(4), abs=0.01)


def test_repeating_the_batch_keeps_the_loss_and_bf16_keeps_the_density():
    for name, options in (
        ("made", {"width": 64}),
        ("nade", {"width": 64}),
        ("pixelcnn", GRID),
        ("pixelrnn", {"width": 8, "layers": 2}),
        ("pixelsnail", {"width": 8, "blocks": 2}),
    ):
        model = rough(name, Discrete((1, 4, 4), 5), dtype=torch.float32, scale=0.05, **options).eval()
        x = torch.randint(5, (8, 1, 4, 4))
        assert torch.allclose(model.loss(Batch(x)), model.loss(Batch(torch.cat((x, x)))), atol=1e-6)
        with torch.autocast("cpu", torch.bfloat16):
            low = model.log_prob(x)
        assert low.dtype == torch.float32
        assert torch.allclose(low, model.log_prob(x), atol=0.01 * 16)


def test_levels_are_orthogonal_and_complete():
    basis = torch.cat((torch.ones(7, 1), cosine_basis(7, 6)), 1)
    assert torch.allclose(basis.T @ basis, 7 * torch.eye(7), atol=1e-5)
    assert LevelEmbedding(7, 16).terms == 6 and not list(LevelEmbedding(7, 16).parameters())
    assert len(list(LevelEmbedding(7, 3).parameters())) == 1


def test_bad_values_are_refused_with_the_mend():
    with pytest.raises(UsageError, match="width=48"):
        config.build("pixelcnn", Discrete((3, 4, 4), 2), width=16)
    with pytest.raises(UsageError, match="kernel=5"):
        config.build("pixelcnn", Discrete((1, 4, 4), 2), kernel=4)
    with pytest.raises(UsageError, match="orderings=1"):
        config.build("made", Discrete((4,), 2), orderings=0)
    with pytest.raises(Unsupported, match="3 axes"):
        config.build("pixelcnn", Discrete((4,), 2))


def test_more_units_never_change_the_order():
    net = MaskedResidual(5, 1, 1, 13, 1)
    assert torch.all(net.degree[1:] >= net.degree[:-1]) and net.degree.max() == 4
