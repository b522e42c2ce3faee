"""Every law × every model × every kind of event × conditional or not, on tiny models (see `cases`).

Models come from discovery, their tiny size from `small`; a law that cannot hold is declared in the class's `exempt`
with its reason and is reported as an expected failure, never skipped in silence.
"""

import copy

import pytest
import torch

from families.cases import fitted, guided, is_core, law, started
from pofx.artifact import Artifact
from pofx.core import config
from pofx.core.errors import DataError, Unsupported
from pofx.core.event import Continuous, Discrete, select
from pofx.core.model import Batch, Density, Encoding, Explicit, Stepwise
from pofx.core.random import Streams
from pofx.represent.labels import Labels
from pofx.train.options import TrainOptions
from truth import Identity, Truth, enumerate_states, events_for, grid, lattice

SEEDS = 10  # of losses whose means are compared


def conditions_of(case, n):
    return None if case.condition is None else case.stated(torch.ones(n, dtype=torch.int64))


@law("normalisation", fit=True)
@torch.no_grad()
def test_a_density_is_worth_what_it_says(case):
    model = fitted(case)
    if not isinstance(model, Explicit):
        assert not hasattr(model, "density")
        return
    if hasattr(model, "bound_draws"):  # the exponential of a mean of few draws is too large, by half their variance
        model = copy.deepcopy(model)
        model.bound_draws = 256
    if isinstance(case.event, Discrete):
        x = enumerate_states(case.event)
        total = model.log_prob(x, conditions_of(case, len(x))).double().exp().sum()
    elif case.event.shape == (2,):
        if model.density is Density.ESTIMATE or hasattr(
            model, "bound_draws"
        ):  # dear: few points, whose two halves bound the error of the rule
            x, area, half = lattice()
            p = model.log_prob(x, conditions_of(case, len(x))).double().exp() * area
            total = p.sum()
            if model.density is Density.ESTIMATE:  # a bound has noise of its own
                assert float((2 * p[half].sum() - total).abs()) < 0.05
        else:
            x, area = grid()
            total = model.log_prob(x, conditions_of(case, len(x))).double().exp().sum() * area
    else:
        pytest.skip("sixteen dimensions cannot be integrated; the same code is, in two")
    if model.density is Density.EXACT:
        assert float(total) == pytest.approx(1.0, abs=1e-2)
    elif model.density is Density.BOUND:
        assert 0.2 < float(total) <= 1.1  # its exponential is unbiased, so the sum scatters around at most 1
    elif model.density is Density.ESTIMATE:
        tolerance = 0.05 + 4 * (model.log_prob_error() or 0.0)
        assert float(total) == pytest.approx(1.0, abs=tolerance)


@law("density of the truth", fit=True, conditional=False)
@torch.no_grad()
def test_log_prob_of_true_items_nears_the_negative_entropy(case):
    model, truth = fitted(case), Truth(case.event)
    if not isinstance(model, Explicit) or model.density is Density.RELATIVE or truth.entropy is None:
        pytest.skip("no density in nats, or no entropy to hold it against")
    n = 200 if model.density is Density.ESTIMATE else 2000
    x = truth.draw(n, seed=9)
    gap = -float(model.log_prob(x).mean()) - truth.entropy
    assert -0.15 < gap < (0.25 if model.density is Density.EXACT else 0.5), (
        f"cross-entropy is {gap:.3f} nats above the entropy"
    )


@law("samples", fit=True)
@torch.no_grad()
def test_samples_follow_the_truth(case):
    model, truth = fitted(case), Truth(case.event)
    n = 2000
    labels = case.labels(n, seed=4)
    x = model.sample(n, case.stated(labels), generator=Streams(11, n))
    assert x.shape == (n, *case.event.shape)
    real = truth.draw(n, labels, seed=8)
    if isinstance(case.event, Discrete):
        assert x.dtype == torch.int64 and x.min() >= 0 and x.max() < case.event.largest
        place = case.event.largest ** torch.arange(x[0].numel())
        size = int(case.event.largest ** x[0].numel())
        ours, theirs = (torch.bincount((v.flatten(1) * place).sum(1), minlength=size) / n for v in (x, real))
        assert float((ours - theirs).abs().sum() / 2) < 0.3
        return
    assert torch.isfinite(x).all()
    spread = real.flatten(1).std(0)
    assert ((x.flatten(1).mean(0) - real.flatten(1).mean(0)).abs() < 0.5 * spread).all()
    ratio = x.flatten(1).std(0) / spread
    assert (0.55 < ratio).all() and (ratio < 1.6).all()


@law("sample and log_prob agree", fit=True, conditional=False)
@torch.no_grad()
def test_samples_scored_by_the_model_match_its_own_entropy(case):
    model = fitted(case)
    if not isinstance(model, Explicit) or model.density is not Density.EXACT:
        pytest.skip("no exact density")
    if isinstance(case.event, Discrete):
        log_p = model.log_prob(enumerate_states(case.event)).double()
        entropy = float(-(log_p.exp() * log_p).sum())
    elif case.event.shape == (2,):
        x, area = grid()
        log_p = model.log_prob(x).double()
        entropy = float(-(log_p.exp() * log_p).nan_to_num(0).sum() * area)
    else:
        pytest.skip("sixteen dimensions cannot be integrated; the same code is, in two")
    n = 4000
    scores = -model.log_prob(model.sample(n, generator=Streams(2, n))).double()
    assert abs(float(scores.mean()) - entropy) < 4 * float(scores.std()) / n**0.5 + 0.01


@law("reconstruction", fit=True)
@torch.no_grad()
def test_decode_inverts_encode(case):
    model = fitted(case)
    if not isinstance(model, Encoding):
        pytest.skip("no codes")
    labels = case.labels(32)
    x = Truth(case.event).draw(32, labels, seed=3)
    c = case.stated(labels)
    z = model.encode(x, c)
    assert torch.equal(z, model.encode(x, c)), "encode is deterministic"
    assert tuple(z.shape[1:]) == model.code.shape
    assert torch.allclose(model.decode(z, c).float(), x.float(), atol=2e-2)


@law("condition", fit=True, conditional=True)
@torch.no_grad()
def test_a_condition_changes_the_samples(case):
    model = guided(case)
    zeros, twos = (case.stated(torch.full((64,), c)) for c in (0, 2))
    a, b = (model.sample(64, c, generator=Streams(0, 64)) for c in (zeros, twos))
    assert not torch.equal(a, b)
    if isinstance(case.event, Continuous):
        assert float(b.mean() - a.mean()) > 0.2 * Truth(case.event).draw(64).std()


@law("condition is required")
@torch.no_grad()
def test_a_declared_condition_is_required_and_another_refused(case):
    model = started(case)
    if case.condition is None:
        with pytest.raises(Unsupported):
            model.sample(2, torch.zeros(2, dtype=torch.int64), generator=Streams(0, 2))
        return
    with pytest.raises(Unsupported):
        model.sample(2, generator=Streams(0, 2))
    with pytest.raises(DataError):
        model.sample(3, case.stated(torch.zeros(2, dtype=torch.int64)), generator=Streams(0, 3))


def test_an_undeclared_condition_is_refused_at_construction():
    for row in config.entries().values():
        if not row.model.conditions:
            event = events_for(row.model.events, row.model.ranks)[0]
            with pytest.raises(Unsupported):
                row.model(event, Discrete((), 2), **{**row.values, **row.model.small})
    assert all(issubclass(Discrete, r.model.conditions) for r in config.entries().values() if r.model.conditions)


@law("seeds")
@torch.no_grad()
def test_sample_i_is_the_same_whatever_the_batch(case):
    model = started(case)
    labels = case.stated(case.labels(12))
    streams = Streams(5, 12)
    whole = model.sample(12, labels, generator=streams)
    part = model.sample(5, None if labels is None else select(labels, slice(4, 9)), generator=Streams(5, 12)[4:9])
    assert torch.allclose(part.float(), whole[4:9].float(), atol=1e-3)
    again = model.sample(12, labels, generator=Streams(5, 12))
    assert torch.equal(again, whole)
    other = model.sample(12, labels, generator=Streams(6, 12))
    assert not torch.equal(other, whole)


@law("log_prob is a function of the item")
@torch.no_grad()
def test_log_prob_does_not_depend_on_the_batch_or_the_call(case):
    model = started(case)
    if not isinstance(model, Explicit):
        pytest.skip("no density")
    labels = case.labels(16)
    x = Truth(case.event).draw(16, labels, seed=3)
    labels, before = case.stated(labels), x.clone()
    whole = model.log_prob(x, labels)
    assert torch.equal(x, before), "log_prob must not change its input"
    assert whole.shape == (16,)
    assert torch.equal(model.log_prob(x, labels), whole)
    part = model.log_prob(x[9:12], None if labels is None else select(labels, slice(9, 12)))
    assert torch.allclose(part, whole[9:12], atol=1e-3 if model.density is not Density.ESTIMATE else 1e-2)


@law("save and load")
def test_save_load_sample_is_bit_equal(case, tmp_path, monkeypatch):
    views = {("event", "identity"): lambda: Identity(case.event), ("label", "classes"): Labels}
    monkeypatch.setattr("pofx.core.config.representations", lambda: views)
    model = started(case)
    if case.given:  # the path of such conditions through an artifact is that of their own representation
        again = config.model_from_json(config.model_to_json(case.name, model)).eval()
        again.load_state_dict(model.state_dict())
        c = case.stated(case.labels(7))
        first, second = (m.sample(7, c, generator=Streams(3, 7)) for m in (again, model))
        assert torch.equal(first, second)
        return
    labels = None if case.condition is None else Labels(["a", "b", "c"], [1, 1, 1])
    artifact = Artifact(Identity(case.event), model, case.name, {}, labels)
    monkeypatch.setattr(
        "pofx.core.config.config", lambda o, real=config.config: {} if isinstance(o, Identity) else real(o)
    )
    artifact.save(tmp_path / "run")
    from pofx.artifact import load

    loaded = load(tmp_path / "run")
    assert torch.equal(loaded.sample(7, seed=3), artifact.sample(7, seed=3))
    assert config.config(loaded.model) == config.config(model)


@law("gradients")
def test_every_parameter_gets_its_gradient_in_the_phases_that_own_it(case):
    model = copy.deepcopy(started(case)).train().requires_grad_(True)
    phases = tuple(model.phases())
    labels = case.labels(32)
    batch = Batch(Truth(case.event).draw(32, labels, seed=2), case.stated(labels))
    owned = {id(p) for phase in phases for p in phase.parameters}
    assert owned == {id(p) for p in model.parameters()}, "every parameter belongs to a phase"
    for phase in phases:
        mine = {id(p) for p in phase.parameters}
        for p in model.parameters():
            p.grad = None
            p.requires_grad_(id(p) in mine)
        torch.manual_seed(0)
        loss = model(phase.name, batch)
        total = sum(loss.values()) if isinstance(loss, dict) else loss
        assert total.ndim == 0 and torch.isfinite(total)
        total.backward()
        shares = phase.every > 1  # a regulariser may leave some of its owner's parameters alone
        for name, p in model.named_parameters():
            if id(p) not in mine:
                assert p.grad is None, f"{name} moved in phase {phase.name}"
            elif not shares:
                assert p.grad is not None, f"{name} has no gradient in phase {phase.name}"


@law("mean loss")
def test_a_loss_does_not_change_when_the_batch_is_repeated(case):
    model = copy.deepcopy(started(case)).eval()
    labels = case.labels(16)
    x = Truth(case.event).draw(16, labels, seed=2)
    batches = [
        Batch(x.repeat(k, *[1] * (x.ndim - 1)), None if labels is None else case.stated(labels.repeat(k)))
        for k in (1, 4)
    ]
    for phase in model.phases():
        means = []
        for batch in batches:
            values = []
            for seed in range(SEEDS):
                torch.manual_seed(seed)
                loss = model(phase.name, batch)
                total = sum(loss.values()) if isinstance(loss, dict) else loss
                values.append(float(total.detach()))
                if seed == 2 and values[0] == values[1] == values[2]:
                    break  # a loss without randomness
            means.append((torch.tensor(values).mean(), torch.tensor(values).std() / len(values) ** 0.5))
        (a, ea), (b, eb) = means
        assert abs(float(a - b)) <= 5 * float((ea**2 + eb**2).sqrt()) + 2e-4 * (1 + abs(float(a)))


@law("configuration")
def test_constructor_values_are_kept_under_their_names_and_are_plain(case):
    model = case.build()
    values = config.config(model)
    again = type(model)(case.event, case.condition, **values)
    assert config.config(again) == values
    for key in model.adjustable:
        assert key in values


STEPWISE = [row for row in config.entries().values() if issubclass(row.model, Stepwise) and is_core(row)]


@pytest.mark.parametrize("row", STEPWISE, ids=lambda row: row.name)
def test_the_steps_of_a_sampler_can_be_read_and_set(row):
    model = row.model(events_for(row.model.events, row.model.ranks)[0], **{**row.values, **row.model.small})
    before = config.config(model)
    model.steps = 2
    assert model.steps == 2
    assert sum(before[key] != value for key, value in config.config(model).items()) <= 1


@law("bad input")
def test_wrong_events_are_refused(case):
    if dict not in case.row.model.events:
        with pytest.raises(Unsupported):
            type(case.build())({"a": Continuous((1,))})
    with pytest.raises(Unsupported):
        type(case.build())(
            Continuous((1, 2, 3, 4, 5)) if not isinstance(case.event, Discrete) else Discrete((1, 2, 3, 4, 5), 2)
        )


def test_no_option_has_two_owners():
    from pofx.core.config import representations
    from pofx.runs.fitting import fit
    from pofx.runs.options import arguments
    from pofx.runs.target import fit_density

    trainer = set(TrainOptions.__dataclass_fields__)
    own = arguments(fit) | arguments(fit_density)
    view = {key for cls in representations().values() for key in cls.options}
    for name, row in config.entries().items():
        options = set(config.defaults(row.model))
        assert not options & trainer, f"{name}: {options & trainer} are also trainer options"
        assert not options & view, f"{name}: {options & view} are also options of a representation"
        assert not options & own, f"{name}: {options & own} are also arguments of fit or fit_density"
    assert not trainer & view and not (trainer | view - {"support"}) & own


def test_every_model_is_described():
    for name, row in config.entries().items():
        assert row.traits.source and row.traits.summary and row.traits.events, name


def test_a_recipe_keeps_what_sets_it_apart_at_its_tiniest_size():
    """`small` may shrink the sizes of a recipe, but not the values that make it another model than its core."""
    for row in config.entries().values():
        if row.values and not is_core(row):
            known = config.defaults(row.model)
            assert any(known[k] != v for k, v in row.values.items() if k not in row.model.small), row.name


@pytest.mark.parametrize("name", [name for name, row in config.entries().items() if row.model.former and is_core(row)])
def test_values_under_their_former_names_still_load(name):
    row = config.entry(name)
    event = Discrete((1, 8, 8), 4) if Continuous not in row.model.events else Continuous((1, 8, 8))
    plain = config.model_to_json(name, row.model(event, **{**row.values, **row.model.small}))
    former = {today: before for before, today in row.model.former.items()}
    assert set(former) <= set(plain["options"])  # nothing is renamed to what is gone
    assert set(row.model.unstated) <= set(plain["options"])
    old = {**plain, "options": {former.get(key, key): value for key, value in plain["options"].items()}}
    assert config.model_to_json(name, config.model_from_json(old)) == plain
