"""What is special to the members that go over a grid or a vector step by step: NADE, PixelRNN and PixelSNAIL."""

import pytest
import torch

from families.rough import rough
from pofx.core import config
from pofx.core.errors import DataError, UsageError
from pofx.core.event import Discrete
from pofx.core.random import Streams
from pofx.nets.causal.attentive_grid import CausalConv, PastAttention
from pofx.nets.causal.line_lstm import DiagonalBiLSTM, RowLSTM, skew, unskew
from pofx.nets.causal.prefix import PrefixHidden


def double(net, seed=0):
    """A net in float64 with weights far from its start."""
    torch.manual_seed(seed)
    net = net.double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return net.eval()


@pytest.mark.parametrize("block", [1, 3, 4, 100])
def test_a_prefix_layer_is_the_running_sum_that_defines_it(block):
    net = double(PrefixHidden(7, 2, 3, 5, block=block, context=2))
    x, context = torch.randn(4, 7, 2).double(), torch.randn(4, 2).double()
    order = torch.tensor([3, 0, 6, 5, 1, 2, 4])
    out = net(x, order.argsort(), context)
    for i in range(7):
        a = net.bias + net.context(context)
        for j in order[:i]:
            a = a + x[:, j] @ net.inward[j, :-1] + net.inward[j, -1]
        expected = (
            torch.nn.functional.silu(a) @ net.outward[order[i]]
            + net.context_last(context).reshape(4, 7, 3)[:, order[i]]
        )
        assert torch.allclose(out[:, order[i]], expected, atol=1e-12)


def test_nade_has_one_weight_per_position_whatever_the_orders():
    count = {
        orderings: sum(p.numel() for p in config.build("nade", Discrete((8,), 2), orderings=orderings).parameters())
        for orderings in (1, 5)
    }
    assert count[1] == count[5] == 500 * (8 * 2 + 1 + 8 * 2) + 8 * 2  # inward with "known", bias, outward; logits' bias


@pytest.mark.parametrize("name", ["made", "nade"])
def test_a_single_random_order_completes_along_that_order_only(name):
    model = rough(name, Discrete((5,), 2, end=0), width=12, ordering="random", ordering_seed=1).eval()
    order = model.order()
    assert not torch.equal(order, torch.arange(5)) and model.end is None
    assert torch.equal(config.build(name, model.event, width=12).order(), torch.arange(5))
    known = torch.full((3, 5), -1)
    known[:, order[:2]] = 1
    drawn = model.sample(3, generator=Streams(0, 3), prefix=known)
    assert torch.all(drawn[:, order[:2]] == 1)
    with pytest.raises(DataError, match="gaps"):
        model.sample(3, generator=Streams(0, 3), prefix=known.index_fill(1, order[:1], -1))
    with pytest.raises(UsageError, match="natural or random"):
        config.build(name, Discrete((5,), 2), ordering="spiral")


def test_skewing_moves_each_row_one_cell_further_and_back():
    x = torch.randn(2, 3, 4, 5)
    skewed = skew(x)
    assert skewed.shape == (2, 3, 4, 8)
    for r in range(4):
        assert torch.equal(skewed[:, :, r, r : r + 5], x[:, :, r])
        assert torch.all(skewed[:, :, r, :r] == 0) and torch.all(skewed[:, :, r, r + 5 :] == 0)
    assert torch.equal(unskew(skewed), x)


def recurrence(lines, way, given, seen):
    """An LSTM over the cells of a grid one by one: seen(r, c) are the cells whose states enter, the last its memory."""
    states, zero = {}, torch.zeros(len(given), lines.width).double()
    rows, columns = range(given.shape[2]), range(given.shape[3])
    for r in rows:
        for c in reversed(columns) if way else columns:
            before = [states.get(cell, (zero, zero)) for cell in seen(r, c)]
            gates = given[:, :, r, c] + torch.cat([h for h, _ in before[: len(lines.offsets)]], 1) @ lines.weight[way]
            enter, forget, leave, new = gates.chunk(4, 1)
            memory = forget.sigmoid() * before[-1][1] + enter.sigmoid() * new.tanh()
            states[r, c] = (leave.sigmoid() * memory.tanh(), memory)
    return torch.stack([torch.stack([states[r, c][0] for c in columns], -1) for r in rows], -2)


def test_lines_equal_the_recurrence_cell_by_cell():
    given = torch.randn(2, 24, 4, 5).double()
    row = double(RowLSTM(6))
    above = recurrence(row.lines, 0, given, lambda r, c: [(r - 1, c - 1), (r - 1, c), (r - 1, c + 1), (r - 1, c)])
    assert torch.allclose(row(given), above, atol=1e-12)
    diagonal, given = double(DiagonalBiLSTM(3)), given.reshape(2, 24, 4, 5)
    left = recurrence(diagonal.lines, 0, given[:, :12], lambda r, c: [(r - 1, c), (r, c - 1), (r, c - 1)])
    right = recurrence(diagonal.lines, 1, given[:, 12:], lambda r, c: [(r - 1, c), (r, c + 1), (r, c + 1)])
    right = torch.cat((torch.zeros_like(right[:, :, :1]), right[:, :, :-1]), 2)  # enters one row further down
    assert torch.allclose(diagonal(given), left + right, atol=1e-12)


def test_the_last_cell_of_a_row_reaches_every_cell_of_the_next():
    """Features leave out their own cell: without its own way in, that cell would be a blind spot of the diagonals."""
    model = rough("pixelrnn", Discrete((1, 3, 9), 2), width=4, layers=1, kernel=3).eval()
    x = torch.randint(2, (1, 1, 3, 9))
    moved = x.clone()
    moved[0, 0, 0, 8] = 1 - moved[0, 0, 0, 8]
    change = (model.logits(moved) - model.logits(x)).abs().amax(-1)[0, 0]
    assert torch.all(change[0] == 0) and torch.all(change[1:] > 0)


def test_attention_is_the_softmax_over_strictly_earlier_cells():
    net = double(PastAttention(6, 2, 2))
    h, x = torch.randn(2, 6, 2, 3).double(), torch.randn(2, 2, 2, 3).double()
    cells, own = h.flatten(2).transpose(1, 2), x.flatten(2).transpose(1, 2)
    q, (k, v) = net.queries(cells), net.past(cells, own)
    for i in range(6):
        scores = torch.cat((torch.zeros(2, 2, 1).double(), (q[:, :, i, None] * k[:, :, :i]).sum(-1) / 3**0.5), 2)
        found = (scores.softmax(2)[..., 1:, None] * v[:, :, :i]).sum(
            2
        )  # the first is the nothing before the first cell
        a, b = net.taken(found[:, :, None])[:, 0].chunk(2, 1)
        assert torch.allclose(net(h, x).flatten(2)[:, :, i], h.flatten(2)[:, :, i] + a * b.sigmoid(), atol=1e-12)


@pytest.mark.parametrize("scale", [1e4, 1e6])
def test_scores_of_any_size_never_reach_the_future(scale):
    net = double(PastAttention(6, 2, 2))
    with torch.no_grad():
        net.query.weight.mul_(scale)
    h, x = torch.randn(1, 6, 2, 3).double(), torch.randn(1, 2, 2, 3).double()
    before = net(h, x).flatten(2)
    for i in range(6):
        moved = x.clone()
        moved[0, :, i // 3, i % 3] += 5 * torch.randn(2).double()
        assert torch.equal(net(h, moved).flatten(2)[:, :, : i + 1], before[:, :, : i + 1])


def test_a_causal_convolution_ends_at_its_cell():
    for strict in (False, True):
        conv = CausalConv(1, 1, 3, strict=strict)
        with torch.no_grad():
            conv.weight.fill_(1.0)
            conv.bias.zero_()
        x = torch.zeros(1, 1, 4, 5)
        x[0, 0, 1, 2] = 1
        expected = torch.zeros(4, 5)
        expected[2, 1:4] = 1
        expected[1, 3] = 1
        expected[1, 2] = 0 if strict else 1
        assert torch.equal(conv(x)[0, 0], expected)


def test_bad_values_are_refused_with_the_mend():
    grid = Discrete((3, 4, 4), 2)
    for name, options, mend in (
        ("pixelrnn", {"width": 16}, "width=48"),
        ("pixelrnn", {"width": 6, "kernel": 4}, "kernel=5"),
        ("pixelrnn", {"width": 6, "lines": "column"}, "lines='diagonal'"),
        ("pixelsnail", {"width": 18, "heads": 4}, "width=64"),
        ("pixelsnail", {"kernel": 1}, "kernel=3"),
        ("nade", {"orderings": 0}, "orderings=1"),
    ):
        with pytest.raises(UsageError, match=mend):
            config.build(name, grid, **options)


def test_the_recipe_is_the_row_lstm():
    model = config.build("row-lstm", Discrete((1, 4, 4), 2), width=4, layers=1)
    assert isinstance(model.net.layers[0].lstm, RowLSTM)
    assert config.build("row-lstm", model.event, lines="diagonal", width=4).lines == "diagonal"
