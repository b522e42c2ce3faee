"""The transformer: attention by blocks, turned places, caches, texts of any length, tables that are never held."""

import math

import pytest
import torch

from families.rough import rough
from pofx.core import config
from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.autoregressive import gpt
from pofx.maths.distributions import categorical_log_prob
from pofx.nets.attention.self_attention import AttentionCache, CausalAttention, causal, turn, turns
from pofx.nets.attention.transformer import Transformer

SMALL = {"width": 16, "layers": 2, "heads": 2}


@pytest.mark.parametrize("length", [1, 5, 128, 129, 300])
def test_attention_by_blocks_is_attention(length):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, length, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    plain = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    blocks = causal(q, k, v)
    assert torch.allclose(blocks, plain, atol=1e-12)
    g = torch.randn_like(plain)
    for a, b in zip(torch.autograd.grad(blocks, (q, k, v), g), torch.autograd.grad(plain, (q, k, v), g), strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_huge_scores_ahead_have_no_weight():
    q = torch.full((1, 1, 200, 2), -1e6)
    k = torch.full((1, 1, 200, 2), 1e6)  # all that may be seen scores -1e12, far below any "large negative number"
    v = torch.arange(200.0).reshape(1, 1, 200, 1).expand(1, 1, 200, 2)
    means = torch.arange(200.0) / 2
    assert torch.allclose(causal(q, k, v)[0, 0, :, 0], means, atol=1e-3)


def test_turned_products_know_distances_alone():
    table = turns(40, 6).double()
    q, k = (torch.randn(1, 1, 1, 6, dtype=torch.float64).expand(1, 40, 1, 6) for _ in range(2))
    scores = (turn(q, table)[0, :, 0] @ turn(k, table)[0, :, 0].T).detach()
    for d in (0, 3, 17):
        along = scores.diagonal(-d)
        assert torch.allclose(along, along[:1].expand_as(along), atol=1e-6)  # the table is in float32
    assert not torch.allclose(scores[3], scores[17])
    low = turn(q.bfloat16(), table)
    assert low.dtype == torch.bfloat16 and torch.allclose(low.double(), turn(q, table), atol=0.05)


def test_long_caches_equal_whole_passes():
    torch.manual_seed(0)
    net = CausalAttention(12, 3, 150).double()
    h = torch.randn(2, 150, 12, dtype=torch.float64)
    cache = AttentionCache(net, 2)
    one_by_one = torch.cat([cache.advance(h[:, t : t + 1]) for t in range(150)], 1)
    assert torch.allclose(one_by_one, net(h), atol=1e-12)
    whole = Transformer(8, 3, 2, 20, activation="gelu").double()
    h = torch.randn(2, 20, 8, dtype=torch.float64)
    running = whole.begin(2)
    assert torch.allclose(torch.cat([running.advance(h[:, t : t + 1]) for t in range(20)], 1), whole(h), atol=1e-12)


def texts(n, length, classes=5, seed=0):
    """Sequences that end with class 0 at random places, some at once, some never."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(1, classes, (n, length), generator=generator)
    ends = torch.randint(0, length + 1, (n,), generator=generator)
    ends[:2] = torch.tensor([0, length])
    return x.masked_fill(torch.arange(length) >= ends[:, None], 0), ends


@pytest.mark.parametrize("condition", [None, Continuous((3,))])
def test_what_is_not_computed_changes_nothing(condition, monkeypatch):
    model = rough("gpt", Discrete((24,), 5, end=0), condition, **SMALL).eval()
    x, ends = texts(40, 24)
    given = None if condition is None else torch.randn(40, 3, dtype=torch.float64)
    plain = categorical_log_prob(model.logits(x, given), x)
    plain = plain.masked_fill(torch.arange(24) > ends[:, None], 0.0)
    seen = []
    features = gpt.GPT.features
    monkeypatch.setattr(gpt.GPT, "features", lambda m, d, c: seen.append(d.numel()) or features(m, d, c))
    terms = model.log_prob_terms(x, given)
    assert torch.allclose(terms, plain, atol=1e-10)
    assert sum(seen) < 0.8 * x.numel()  # groups of like length
    assert torch.allclose(model.log_prob(x, given), plain.sum(1), atol=1e-10)


def test_longer_rows_of_the_same_texts_change_nothing():
    short = rough("gpt", Discrete((9,), 5, end=0), **SMALL).eval()
    long = config.build("gpt", Discrete((30,), 5, end=0), **SMALL).double().eval()
    long.load_state_dict(short.state_dict())
    x, ends = texts(30, 9)
    x = x[ends < 9]
    padded = torch.nn.functional.pad(x, (0, 21))
    assert torch.allclose(short.log_prob(x), long.log_prob(padded), atol=1e-10)
    assert torch.allclose(short.loss(Batch(x)), long.loss(Batch(padded)), atol=1e-10)
    made = rough("made", Discrete((9,), 5, end=0), width=20).eval()
    expected = -made.log_prob(x).sum() / (ends[ends < 9] + 1).sum()
    assert torch.allclose(made.loss(Batch(x)), expected)


@pytest.mark.parametrize("event", [Discrete((12,), 7), Discrete((12,), 7, end=0), Discrete((2, 2, 3), 7)])
def test_terms_in_pieces_equal_those_of_the_whole_table(event, monkeypatch):
    x, _ = texts(20, 12, 7)
    x = x.reshape(20, *event.shape)
    values = []
    for table in (1 << 22, 50):
        monkeypatch.setattr(gpt, "TABLE", table)
        model = rough("gpt", event, **SMALL)
        loss = model.loss(Batch(x))
        loss.backward()
        values.append([loss.detach(), *(p.grad for p in model.parameters())])
    for a, b in zip(*values, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_no_table_of_all_logits_is_held(monkeypatch):
    model = config.build("gpt", Discrete((16,), 3000), **SMALL).eval()
    sizes = []
    read = gpt.GPT.read
    monkeypatch.setattr(gpt, "TABLE", 3000 * 8)
    monkeypatch.setattr(gpt.GPT, "read", lambda m, h, first=0: sizes.append(h[..., 0].numel()) or read(m, h, first))
    model.loss(Batch(torch.randint(3000, (5, 16))))
    assert max(sizes) <= 8 and sum(sizes) == 5 * 16


def test_draws_in_parts_equal_those_at_once():
    model = rough("gpt", Discrete((6,), 4), **SMALL).eval()
    whole = model.sample(10, generator=Streams(0, 10))
    model.at_once = 3
    assert torch.equal(model.sample(10, generator=Streams(0, 10)), whole)
    big = config.build("gpt", Discrete((1, 28, 28), 16))
    assert big.at_once * 2 * big.layers * big.width * 784 <= gpt.CACHE


def test_it_starts_at_the_frequencies_of_what_is_real():
    x = torch.tensor([[1, 2, 0, 0, 0, 0], [1, 1, 1, 2, 0, 0]])
    for event, expected in (
        (Discrete((6,), 3, end=0), torch.tensor([2, 4, 2]) / 8),
        (Discrete((6,), 3), torch.tensor([6, 4, 2]) / 12),
    ):
        model = config.build("gpt", event, **SMALL)
        with torch.no_grad():
            model.prepare(lambda n: Batch(x))
        assert torch.allclose(model.bias.exp()[0], expected, atol=0.1)
    grid = config.build("gpt", Discrete((2, 1, 3), 3), **SMALL)
    with torch.no_grad():
        grid.prepare(lambda n: Batch(x.reshape(2, 2, 1, 3).repeat(500, 1, 1, 1)))
    drawn = torch.tensor([[1, 0, 2, 0, 0, 0], [1, 2, 1, 0, 1, 0]])  # cell by cell, channel after channel
    shares = torch.stack([(drawn == c).float().mean(0) for c in range(3)], -1)
    assert torch.allclose(grid.bias.exp(), shares, atol=0.01)


@pytest.mark.slow
def test_what_came_long_before_is_found_again():
    torch.manual_seed(0)
    model = config.build("gpt", Discrete((24,), 4), width=32, layers=2, heads=2)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(250):
        x = torch.randint(4, (32, 12)).repeat(1, 2)
        loss = model.loss(Batch(x))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    terms = model.eval().log_prob_terms(torch.randint(4, (64, 12)).repeat(1, 2)).detach()
    assert -terms[:, 12:].mean() < 0.4
    assert -terms[:, :12].mean() == pytest.approx(math.log(4), abs=0.1)


def test_learned_places_tell_equal_pasts_apart():
    x = torch.ones(1, 6, dtype=torch.int64)
    for positions, differ in (("learned", True), ("both", True)):
        model = rough("gpt", Discrete((6,), 3), positions=positions, **SMALL).eval()
        assert len(model.axes) == 1
        logits = model.logits(x)[0]
        assert (not torch.allclose(logits[3], logits[4])) == differ
    assert not config.build("gpt", Discrete((6,), 3), **SMALL).axes
    assert len(config.build("gpt", Discrete((1, 4, 4), 3), **SMALL).axes) == 3


def test_bad_values_are_refused_with_the_mend():
    event = Discrete((4,), 3)
    with pytest.raises(UsageError, match="width=96"):
        config.build("gpt", event, width=32, heads=3)
    with pytest.raises(UsageError, match="width=96"):
        config.build("gpt", event, width=9, heads=3)
    config.build("gpt", event, width=9, heads=3, positions="learned")  # odd heads are turned nowhere
    with pytest.raises(UsageError, match="gelu"):
        config.build("gpt", event, activation="gelou")
    with pytest.raises(UsageError, match="rotary"):
        config.build("gpt", event, positions="rotatory")
