"""Laws of the wavenet: its field of view, windows with their pasts, ends, global and local conditions, the rings."""

import itertools

import pytest
import torch

from pofx.core import config
from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.autoregressive.conditionals import ended
from pofx.nets.causal.frames import Frames

TINY = {"width": 6, "skip": 5, "layers": 3, "cycle": 2, "taps": 2, "terms": 3}
CONDITIONS = {"none": None, "class": Discrete((), 3), "vector": Continuous((4,)), "signal": Continuous((2, 3))}


def rough(event, condition=None, *, seed=0, **options):
    """A model in float64 with weights far from its start."""
    torch.manual_seed(seed)
    model = config.build("wavenet", event, condition, **{**TINY, **options}).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.4 * torch.randn_like(p))
    return model


def given(condition, n, seed=5):
    generator = torch.Generator().manual_seed(seed)
    if condition is None:
        return None
    if isinstance(condition, Discrete):
        return torch.randint(condition.largest, (n,), generator=generator)
    return torch.randn(n, *condition.shape, generator=generator, dtype=torch.float64)


def sequences(n, event, seed=1):
    """Random sequences; of an event with an end, filled up with it."""
    x = torch.randint(event.largest, (n, *event.shape), generator=torch.Generator().manual_seed(seed))
    return x if event.end is None else x.masked_fill(ended(x, event.end), event.end)


@pytest.mark.parametrize("kind", CONDITIONS)
@pytest.mark.parametrize("end", [None, 2])
def test_mass_is_one_under_every_condition(kind, end):
    event, condition = Discrete((5,), 3, end=end), CONDITIONS[kind]
    model = rough(event, condition)
    x = torch.tensor(list(itertools.product(range(3), repeat=5)))
    for seed in range(2):
        one = given(condition, 1, seed)
        total = model.log_prob(x, None if one is None else one.expand(len(x), *one.shape[1:])).exp().sum()
        assert total.item() == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize("kind", CONDITIONS)
def test_the_cursor_gives_the_logits_of_the_whole_pass_beyond_its_field(kind):
    event, condition = Discrete((40,), 5), CONDITIONS[kind]
    model = rough(event, condition, layers=4, cycle=4, taps=3)
    x, c = sequences(3, event), given(condition, 3)
    assert model.receptive_field < 40
    whole, cursor = model.logits(x, c), model.cursor(3, c)
    for step in range(40):
        assert torch.allclose(cursor.logits(), whole[:, step], atol=1e-12)
        cursor.put(x[:, step])


@pytest.mark.parametrize("kind", CONDITIONS)
def test_cached_draws_are_plain_draws_and_do_not_depend_on_the_batch(kind):
    event, condition = Discrete((9,), 4, end=3), CONDITIONS[kind]
    model, c = rough(event, condition), given(CONDITIONS[kind], 30)
    cached = model.sample(30, c, generator=Streams(3, 30))
    assert torch.equal(cached, model.sample(30, c, generator=Streams(3, 30), cached=False))
    some = model.sample(4, None if c is None else c[7:11], generator=Streams(3, 30)[7:11])
    assert torch.equal(some, cached[7:11])
    prefix = cached.clone()
    prefix[:, 2:] = -1
    again = model.sample(30, c, generator=Streams(3, 30), prefix=prefix)
    assert torch.equal(again, cached)  # the same noise completes what it began


def test_a_conditional_sees_exactly_the_field_that_the_model_states():
    model = rough(Discrete((30,), 4), layers=4, cycle=3, taps=2)
    assert model.receptive_field == 2 + 1 + 2 + 4 + 1
    x = sequences(2, model.event)
    before = model.logits(x)
    for step in range(30):
        moved = x.clone()
        moved[1, step] = (moved[1, step] + 1) % 4
        change = (model.logits(moved) - before).abs().amax(-1)
        seen = (torch.arange(30) > step) & (torch.arange(30) <= step + model.receptive_field)
        assert torch.all(change[1, ~seen] == 0) and torch.all(change[0] == 0)
        assert torch.all(change[1, seen] > 0)  # there is no blind spot


def test_windows_with_their_pasts_are_cut_out_of_the_whole_pass():
    model = rough(Discrete((25,), 4), Continuous((2, 5)))
    x, c = sequences(3, model.event), given(model.condition, 3)
    whole, context = model.logits(x, c), model._context(c)
    rows, starts = torch.tensor([0, 2, 1, 1]), torch.tensor([0, 7, 19, 20])
    part = model._window(x, context, rows, starts, 5)
    for i, (row, start) in enumerate(zip(rows, starts, strict=True)):
        assert torch.allclose(part[i], whole[row, start : start + 5], atol=1e-12)


@pytest.mark.parametrize("end", [None, 3])
def test_the_loss_of_windows_is_that_of_every_real_step_on_average(end):
    event = Discrete((20,), 4, end=end)
    model, x = rough(event, crop=4), sequences(6, event)
    real = torch.ones_like(x, dtype=torch.bool) if end is None else ~ended(x, end)
    exact = -model.log_prob_terms(x).sum() / real.sum()
    assert model.loss(Batch(x)).item() == pytest.approx(exact.item(), rel=1e-12)
    model.train()
    with torch.no_grad():
        drawn = torch.stack([model.loss(Batch(x.repeat(8, 1))) for _ in range(400)])
    assert abs((drawn.mean() - exact).item()) < 5 * drawn.std().item() / 20 + 2e-3
    whole = rough(event, crop=20).train()
    assert whole.loss(Batch(x)).item() == pytest.approx(exact.item(), rel=1e-12)  # short rows are taken whole


def test_what_stands_behind_an_end_costs_nothing_and_the_limit_changes_no_mass():
    short, long = Discrete((12,), 4, end=3), Discrete((40,), 4, end=3)
    a, b = rough(short), rough(long)
    x = sequences(20, short)
    x[:, -1] = 3
    y = torch.nn.functional.pad(x, (0, 28), value=3)
    assert torch.allclose(a.log_prob(x), b.log_prob(y), atol=1e-12)
    assert torch.all(b.log_prob_terms(y)[ended(y, 3)] == 0)
    wrong = y.clone()
    wrong[:, -1] = 0
    assert torch.all(b.log_prob(wrong) == -torch.inf)
    alone = torch.cat([b.log_prob(row[None]) for row in y])
    assert torch.allclose(alone, b.log_prob(y), atol=1e-12)  # groups of like length are invisible


def test_the_start_is_learned_and_is_no_class():
    event = Discrete((6,), 3)
    model = rough(event)
    model.loss(Batch(sequences(4, event))).backward()
    # A table with as many terms as classes stays as it is; a smaller one is learned, its last row is the start.
    small = rough(event, terms=2)
    small.loss(Batch(sequences(4, event))).backward()
    assert torch.all(small.levels.table.grad[3] != 0)
    first = model.cursor(1).logits()
    for value in range(3):
        cursor = model.cursor(1)
        for _ in range(model.receptive_field):
            cursor.put(torch.tensor([value]))
        assert not torch.allclose(cursor.logits(), first)


def test_a_frame_moves_only_the_steps_that_it_spans_and_those_behind_them():
    event, condition = Discrete((60,), 4), Continuous((1, 6))
    model = rough(event, condition)
    x, c = sequences(1, event), given(condition, 1)
    before = model.logits(x, c)
    moved = c.clone()
    moved[0, 0, 3] += 1.0
    change = (model.logits(x, moved) - before).abs().amax(-1)[0] > 0
    first, last = 15, 55 + model.receptive_field  # the middles of frames 1 and 5, where its neighbours' reach ends
    assert not change[:first].any() and not change[last:].any() and change[30:40].all()


def test_frames_are_interpolated_between_their_middles():
    torch.manual_seed(0)
    frames = Frames(2, 12, 4).double()
    features = frames(torch.randn(3, 2, 4, dtype=torch.float64))
    steps = torch.arange(12).expand(3, 12)
    at = frames.at(features, steps)
    assert torch.allclose(at[:, 1::3], features)  # the middle of three steps is the frame itself
    assert torch.allclose(at[:, 2], (2 * features[:, 0] + features[:, 1]) / 3)
    assert torch.equal(at[:, 0], features[:, 0]) and torch.equal(at[:, 11], features[:, 3])
    assert torch.equal(frames.at(features, steps - 20)[:, 0], features[:, 0])


def test_a_step_keeps_one_stream_per_dilation_and_no_more():
    model = rough(Discrete((50,), 4), layers=4, cycle=4)
    cursor = model.cursor(3)
    assert [len(ring) for ring in cursor.rings.rings] == [8, 4, 2, 1]
    assert all(slot.shape == (3, 6) for ring in cursor.rings.rings for slot in ring)


def test_sharpened_draws_and_low_precision_stay_close():
    event = Discrete((30,), 16)
    model = config.build("wavenet", event, **{**TINY, "width": 16, "skip": 16}).eval()
    x = sequences(8, event)
    with torch.autocast("cpu", torch.bfloat16):
        low = model.log_prob(x)
    assert low.dtype == torch.float32
    assert torch.allclose(low, model.log_prob(x), atol=0.01 * 30)
    sharp = model.sample(5, generator=Streams(0, 5), temperature=0.0)
    assert torch.equal(sharp, model.sample(5, generator=Streams(9, 5), temperature=0.0))


def test_it_learns_a_wave_with_a_period_longer_than_its_taps():
    torch.manual_seed(0)
    event, n = Discrete((48,), 8), 64
    phase = torch.randint(12, (n, 1))
    x = ((torch.arange(48) + phase) % 12 < 6).long() * 5 + 1
    options = {**TINY, "width": 16, "skip": 16, "layers": 4, "cycle": 4, "crop": 16}
    model = config.build("wavenet", event, **options)
    model.prepare(lambda count: Batch(x[:count]))
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(150):
        optimiser.zero_grad()
        model.loss(Batch(x)).backward()
        optimiser.step()
    model.eval()
    assert model.log_prob_terms(x)[:, 16:].mean().item() > -0.05
    drawn = model.sample(20, generator=Streams(0, 20))[:, 16:]
    assert ((drawn[:, 12:] == drawn[:, :-12]).float().mean() > 0.95) and drawn.unique().tolist() == [1, 6]


def test_it_starts_at_the_frequencies_of_what_is_real():
    event = Discrete((8,), 3, end=2)
    x = torch.tensor([[0, 0, 0, 2, 2, 2, 2, 2], [0, 1, 2, 2, 2, 2, 2, 2]])
    model = config.build("wavenet", event, **TINY)
    model.prepare(lambda count: Batch(x[:count]))
    shares = model.output.bias.softmax(0)
    assert torch.allclose(shares, torch.tensor([4.0, 1.0, 2.0]) / 7, atol=0.05)
    assert model.output.kernel[2].tolist() == [0.0, 0.0, 1.0]  # the end lies near no level


def test_bad_values_are_refused_with_the_mend():
    event = Discrete((8,), 3)
    for options, said in (({"cycle": 22, "layers": 30}, "cycle=21"), ({"width": 0}, "width=1"), ({"taps": 0}, "taps")):
        with pytest.raises(UsageError, match=said):
            config.build("wavenet", event, **options)
    with pytest.raises(UsageError, match="average its frames"):
        config.build("wavenet", event, Continuous((2, 9)))
    assert config.build("wavenet", event).receptive_field == 16 + 1023
    with torch.no_grad():
        one = config.build("wavenet", Discrete((4,), 1)).eval().log_prob(torch.zeros(2, 4).long())
    assert torch.all(one == 0)  # a single class is certain
