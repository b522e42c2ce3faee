"""Laws of the trainer: exact resume, averages in closed form, no item dropped, clear stops, many processes as one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pofx.core.errors import TrainingError, UsageError
from pofx.core.event import Continuous
from pofx.core.model import OnePhase, Phase
from pofx.maths.products import linear
from pofx.represent.image import Unit
from pofx.train.checkpoint import Checkpoints
from pofx.train.ema import Average
from pofx.train.feed import Feed
from pofx.train.flops import Flops
from pofx.train.log import read_log
from pofx.train.loop import train
from pofx.train.optim import optimisers, rate
from pofx.train.options import Budget, TrainOptions
from toy import Gaussian, Plain

DATA = torch.randn(101, 3, generator=torch.Generator().manual_seed(0)) * 2 + 1


def feed() -> Feed:
    return Feed(DATA, None, Plain(3), seed=5, device=torch.device("cpu"))


def test_what_a_start_takes_is_bounded_and_the_same_in_blocks(monkeypatch):
    raw = torch.randint(0, 256, (40, 1, 5, 4), dtype=torch.uint8)
    given = Feed(raw, torch.arange(40), Unit((1, 5, 4), 256, True), seed=5, device=torch.device("cpu"))
    whole = given.take(25)
    monkeypatch.setattr("pofx.train.feed.ENCODED", 20 * 7)
    parts = given.take(25)
    assert torch.equal(whole.x, parts.x) and torch.equal(whole.condition, parts.condition) and len(parts) == 25
    monkeypatch.setattr("pofx.train.feed.TAKEN", 20 * 11)
    assert torch.equal(given.take(25).x, whole.x[:11])


class Turned(Gaussian):
    """With a matrix that descends as well, and may be orthogonalised."""

    name = ""

    def __init__(self, event):
        super().__init__(event)
        self.turn = torch.nn.Parameter(torch.eye(3))

    def matrices(self):
        return [self.turn]

    def loss(self, batch):
        return super().loss(batch) + (batch.x @ self.turn).square().mean()


def run(steps=60, folder=None, resume=False, poison=-1, model=None, **options):
    torch.manual_seed(0)
    options = TrainOptions.of({"batch_size": 16, "lr": 0.05, "checkpoint_seconds": 0.0, **options})
    model = model or Gaussian(Continuous((3,)), poison=poison)
    return train(
        model,
        feed(),
        options=options,
        budget=Budget(steps=steps),
        seed=3,
        validation=feed(),
        folder=folder,
        resume=resume,
        progress=False,
    )


def weights(result):
    return torch.cat([p.flatten() for p in result.model.state_dict().values()])


def test_training_finds_mean_and_scale():
    model = run(steps=400).model
    assert torch.allclose(model.mean, DATA.mean(0), atol=0.2)
    assert torch.allclose(model.log_std.exp(), DATA.std(0), atol=0.2)


class Killed(Exception):
    pass


@pytest.mark.parametrize("optimizer", [pytest.param("adamw", marks=pytest.mark.slow), "muon"])  # which has both
def test_a_killed_and_resumed_run_equals_the_uninterrupted_one(tmp_path, monkeypatch, optimizer):
    def go(folder, resume=False):
        return run(folder=folder, resume=resume, model=Turned(Continuous((3,))), optimizer=optimizer)

    whole = go(tmp_path / "whole")
    calls = []
    original = Average.update

    def dies(self, *args):
        calls.append(1)
        if len(calls) == 33:
            raise Killed
        original(self, *args)

    monkeypatch.setattr(Average, "update", dies)
    with pytest.raises(Killed):
        go(tmp_path / "cut")
    monkeypatch.undo()
    resumed = go(tmp_path / "cut", resume=True)
    assert resumed.state.step == whole.state.step == 60
    assert torch.equal(weights(resumed), weights(whole))
    steps = [line["step"] for line in read_log(tmp_path / "cut" / "log.jsonl") if "validation" in line]
    assert steps == sorted(set(steps)), "a resumed log must not repeat steps"
    assert len(list((tmp_path / "cut" / "checkpoints").iterdir())) == 2


def test_a_run_that_goes_on_within_a_larger_budget_is_validated_to_its_end(tmp_path):
    run(steps=20, folder=tmp_path / "a")
    longer = run(steps=120, folder=tmp_path / "a", resume=True)
    rounds = [line["step"] for line in read_log(tmp_path / "a" / "log.jsonl") if "validation" in line]
    assert longer.state.step == 120 == rounds[-1] and len([step for step in rounds if step > 20]) >= 3
    assert longer.state.best_step > 20  # or all that was learned since would be lost


def test_restored_moments_lie_in_memory_as_their_weights_do(tmp_path):
    def made():
        torch.manual_seed(0)
        net = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return net, optimisers((Phase("all", tuple(net.parameters()), lambda batch: batch),), TrainOptions(lr=0.1))[0]

    def step(net, optimiser):
        torch.manual_seed(7)
        optimiser.zero_grad()
        net(torch.randn(2, 3, 8, 8)).square().mean().backward()
        optimiser.step()

    net, (optimiser,) = made()
    step(net, optimiser)
    Checkpoints(tmp_path).save({"step": 1}, net, net, None, [optimiser])
    again, (restored,) = made()
    Checkpoints(tmp_path).load(Checkpoints(tmp_path).latest(), again, again, [restored])
    step(net, optimiser)
    step(again, restored)
    assert torch.equal(net.weight, again.weight)


def test_an_interrupt_amid_a_step_waits_for_its_end(tmp_path, monkeypatch):
    whole = run()
    original = Average.update

    def interrupts(self, batch, seen):
        if seen == 20 * 16:
            os.kill(os.getpid(), signal.SIGINT)
        original(self, batch, seen)

    monkeypatch.setattr(Average, "update", interrupts)
    with pytest.raises(KeyboardInterrupt):
        run(folder=tmp_path, checkpoint_seconds=1e6)
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    state = json.loads(next((tmp_path / "checkpoints").glob("step-*/state.json")).read_text())
    assert state["step"] == 20
    assert torch.equal(weights(run(folder=tmp_path, resume=True)), weights(whole))


def test_a_second_interrupt_strikes_at_once_and_saves_no_half_step(tmp_path, monkeypatch):
    def interrupts(self, batch, seen):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Average, "update", interrupts)
    with pytest.raises(KeyboardInterrupt):
        run(folder=tmp_path)
    assert not list((tmp_path / "checkpoints").glob("*"))


def test_nan_stops_naming_phase_and_items_and_keeps_the_last_good_weights(tmp_path):
    with pytest.raises(TrainingError, match=r"phase 'fit' is nan at step 19 \(training items \d+"):
        run(folder=tmp_path, poison=20)
    state = json.loads(next((tmp_path / "checkpoints").glob("step-*/state.json")).read_text())
    assert state["step"] == 19
    again = run(folder=tmp_path, resume=True)
    assert torch.isfinite(weights(again)).all() and again.state.step == 60


def test_positions_cover_every_item_once_per_epoch_for_any_number_of_processes():
    f = feed()
    single = torch.cat([f.indices(s, 20) for s in range(101)])
    shared = torch.cat([torch.cat([f.indices(s, 20, r, 4) for r in range(4)]) for s in range(101)])
    assert torch.equal(single, shared)
    assert torch.equal(single.bincount(minlength=101), torch.full((101,), 20))
    assert not torch.equal(single[:101], single[101:202]), "epochs are shuffled anew"


def test_noise_belongs_to_the_position_not_to_the_process():
    f = feed()
    whole = f.batch(7, 16).x
    halves = torch.cat([f.batch(7, 16, r, 2).x for r in range(2)])
    assert torch.equal(whole, halves)


def test_average_equals_its_closed_form_and_ignores_the_split_into_batches():
    def averaged(batch, half_life=100.0, ramp=0.0):
        model = Gaussian(Continuous((1,)))
        average = Average(model, half_life, ramp)
        for seen in range(batch, 401, batch):
            with torch.no_grad():
                model.mean.fill_(1.0)
            average.update(batch, seen)
        return float(average.model.mean)

    assert averaged(1) == pytest.approx(1 - 0.5**4, abs=1e-5)
    assert averaged(1) == pytest.approx(averaged(40), abs=1e-5)
    assert averaged(40, half_life=1e9, ramp=0.05) > 0.99, "the ramp forgets the start"


def test_average_copies_buffers():
    model = Gaussian(Continuous((1,)))
    average = Average(model, 100.0, 0.0)
    model.seen.fill_(7)
    average.update(1, 1)
    assert int(average.model.seen) == 7


def test_rate_warms_up_then_follows_the_cosine():
    options = TrainOptions(warmup=10)
    assert rate(0, 0.0, options) == pytest.approx(0.1)
    assert rate(10, 0.0, options) == pytest.approx(1.0)
    assert rate(100, 0.5, options) == pytest.approx(0.5)
    assert rate(100, 1.0, options) == pytest.approx(0.0)


def test_lazy_phases_share_an_optimiser_with_scaled_rate():
    p, q = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    loss = p.sum
    phases = (Phase("g", (q,), loss), Phase("d", (p,), loss), Phase("d-reg", (p,), loss, every=4))
    made, owners = optimisers(phases, TrainOptions(lr=1.0))
    assert owners == [(0,), (1,), (1,)] and len(made) == 2
    assert made[1].param_groups[0]["lr"] == pytest.approx(4 / 5)
    assert made[0].param_groups[0]["lr"] == pytest.approx(1.0)


def test_muon_takes_the_named_matrices_and_adamw_the_rest():
    matrix, table, bias = (torch.nn.Parameter(torch.randn(*shape)) for shape in ((6, 4), (9, 4), (4,)))
    phase = Phase("fit", (table, matrix, bias), matrix.sum)
    (adamw, muon), owners = optimisers((phase,), TrainOptions(lr=0.1, optimizer="muon"), [matrix])
    assert owners == [(0, 1)]
    assert [id(p) for p in adamw.param_groups[0]["params"]] == [id(table), id(bias)]
    before, gradient = matrix.detach().clone(), torch.randn(6, 4)
    matrix.grad = gradient.clone()
    muon.step()
    u, _, vh = torch.linalg.svd(gradient, full_matrices=False)  # its step: the nearest orthogonal matrix, about
    step = (before - matrix.detach()) / (0.1 * 0.2 * 6**0.5)
    assert torch.linalg.svdvals(step) == pytest.approx([1.0] * 4, abs=0.35)
    assert float((step * (u @ vh)).sum() / step.norm() / 2) > 0.97
    (one,), _ = optimisers((phase,), TrainOptions(), [matrix])  # unless it is chosen
    assert len(one.param_groups[0]["params"]) == 3


def test_a_batch_that_no_data_can_fill_is_refused():
    with pytest.raises(UsageError, match=r"batch_size must be at most 1024 for 101 items \(got 1000000\)"):
        run(steps=1, batch_size=1_000_000)


def test_a_model_without_hidden_matrices_refuses_muon():
    with pytest.raises(UsageError, match="optimizer=adamw"):
        run(steps=2, optimizer="muon")


@pytest.mark.parametrize(
    "values, message",
    [
        ({"lerning": 1}, "unknown trainer option"),
        ({"lr": "fast"}, "must be a number"),
        ({"lr": -1}, "must be a number from 0 to 10"),
        ({"batch_size": 2.5}, "whole number"),
        ({"precision": "fp8"}, "must be fp32, bf16 or auto"),
        ({"betas": [1.5, 2]}, "betas"),
        ({"compile": 1}, "true or false"),
        ({"warmup": float("nan")}, "must be a whole number"),
        ({"ema_images": float("nan")}, "must be a number"),
        ({"accumulate": 0}, "must be a whole number from 1"),
        ({"optimizer": ["adamw"]}, "must be adamw or muon"),
    ],
)
def test_bad_options_are_refused_with_the_mend(values, message):
    with pytest.raises(UsageError, match=message):
        TrainOptions.of(values)


def test_budget_is_exactly_one():
    for values in (
        {},
        {"steps": 1, "minutes": 1.0},
        {"steps": 0},
        {"minutes": -1.0},
        {"steps": 2.5},
        {"steps": "5"},
        {"epochs": True},
    ):
        with pytest.raises(UsageError):
            Budget(**values)


@pytest.mark.parametrize(
    ("text", "budget", "spoken"),
    [
        ("30s", Budget(minutes=0.5), "30 s"),
        ("2m", Budget(minutes=2), "2 min"),
        ("1.5 min", Budget(minutes=1.5), "90 s"),
        ("1h", Budget(minutes=60), "1 h"),
        (7, Budget(minutes=7 / 60), "7 s"),
        (".5s", Budget(minutes=0.5 / 60), "0.5 s"),
        ("500 steps", Budget(steps=500), "500 steps"),
        ("1step", Budget(steps=1), "1 step"),
        ("2.5epochs", Budget(epochs=2.5), "2.5 epochs"),
        ("2e12flops", Budget(flops=2e12), "2e+12 flops"),
        ("3 TFLOPs", Budget(flops=3e12), "3e+12 flops"),
        ("4kflop", Budget(flops=4e3), "4000 flops"),
    ],
)
def test_budgets_are_read_and_spoken(text, budget, spoken):
    assert Budget.of(text) == budget and str(budget) == spoken
    again = Budget.of(str(budget))
    assert again.request.keys() == budget.request.keys()
    assert next(iter(again.request.values())) == pytest.approx(next(iter(budget.request.values())))


@pytest.mark.parametrize(
    "text", ["", "30x", "s", "-3s", "0s", "1:30", "nan", "inf", "1e999s", None, "3s 4s", "2.5 steps", "3 Xflops"]
)
def test_a_budget_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="budget must be a time such as 30s"):
        Budget.of(text)


class Products(OnePhase):
    """A model whose step multiplies 16 × 3 by 3 × 5: 2 · 240 FLOPs forward, as many for the weight's gradient."""

    name, family, source, events = "products", "test", "a test", (Continuous,)

    def __init__(self):
        super().__init__(Continuous((3,)), None)
        self.weight = torch.nn.Parameter(torch.zeros(3, 5))

    def loss(self, batch):
        return (batch.x @ self.weight - 1).square().mean()

    def sample(self, n, condition=None, *, generator):
        return torch.zeros(n, 3)


def test_flops_are_those_of_the_products_and_end_a_budget():
    options = TrainOptions(batch_size=16)
    made = train(Products(), feed(), options=options, budget=Budget(steps=7), progress=False)
    assert made.state.flops == 7 * 4 * 240
    made = train(Products(), feed(), options=options, budget=Budget(flops=9 * 960 + 1), progress=False)
    assert made.state.step == 10
    with pytest.raises(UsageError, match="hides its FLOPs"):
        train(Products(), feed(), options=TrainOptions(compile=True), budget=Budget(flops=1e6), progress=False)
    with pytest.raises(UsageError, match="no FLOPs can be counted"):
        train(Gaussian(Continuous((3,))), feed(), options=options, budget=Budget(flops=1e6), progress=False)


def test_products_have_their_flops_whichever_library_makes_them():
    x, weight, onto = (torch.randn(*s, requires_grad=True) for s in ((512, 64), (96, 64), (512, 96)))
    watch = Flops()
    for phase, more in {"plain": {}, "rectified": {"relu": True}, "added": {"onto": onto}}.items():
        with watch.of(phase):
            linear(x, weight, **more).sum().backward()
    assert set(watch.known.values()) == {3 * 2 * 512 * 64 * 96}


def test_attention_has_its_flops_on_the_cpu():
    q, k, v = (torch.randn(2, 3, n, 4, requires_grad=True) for n in (5, 7, 7))
    watch = Flops()
    with watch.of("both"):
        torch.nn.functional.scaled_dot_product_attention(q, k, v).sum().backward()
    product = 2 * 2 * 3 * 5 * 7 * 4
    assert watch.known == {"both": 7 * product}


@pytest.mark.slow
def test_two_processes_equal_one_with_the_double_batch(tmp_path):
    script = Path(__file__).parents[1] / "two_processes.py"
    paths = os.pathsep.join((str(script.parent), str(script.parents[1] / "src")))
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    run_one = [sys.executable, str(script), str(tmp_path / "one.pt")]
    run_two = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(script), str(tmp_path / "two.pt")),
    ]
    for command in (run_one, run_two):
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr[:4000]
    one, two = (json.loads((tmp_path / f"{name}.pt").read_text()) for name in ("one", "two"))
    assert one["world"] == 1 and two["world"] == 2
    assert torch.allclose(torch.tensor(one["weights"]), torch.tensor(two["weights"]), atol=1e-6)


@pytest.mark.slow
def test_the_command_line_trains_one_model_in_two_processes(tmp_path):
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "pofx", "train", "digits"),
        *("--model", "made", "--steps", "2", "-o", "width=16", "-o", "batch_size=15", "--out", str(tmp_path / "run")),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode != 0 and "must be a multiple of the 2 processes" in done.stderr
    command[command.index("batch_size=15")] = "batch_size=16"
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    assert (tmp_path / "run" / "artifact.json").exists()


def test_muon_moves_as_that_of_torch():
    from pofx.train.muon import Muon

    torch.manual_seed(0)
    starts = [torch.randn(6, 9), torch.randn(6, 9), torch.randn(9, 6)]
    ours, theirs = ([torch.nn.Parameter(s.clone()) for s in starts] for _ in range(2))
    a = Muon(ours, lr=0.05, weight_decay=0.1)
    b = torch.optim.Muon(theirs, lr=0.05, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for k in range(4):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(k))
            q.grad = p.grad.clone()
        a.step()
        b.step()
    for p, q in zip(ours, theirs, strict=True):
        assert torch.allclose(p, q, atol=5e-3), (p - q).abs().max()  # bf16 of theirs


def test_muon_takes_the_kernels_of_a_convolution_as_one_matrix():
    from pofx.train.muon import Muon

    kernels = torch.randn(6, 4, 3, 3).to(memory_format=torch.channels_last)
    ours, flat = torch.nn.Parameter(kernels.clone()), torch.nn.Parameter(kernels.flatten(1).clone())
    ours.grad, flat.grad = torch.cos(kernels), torch.cos(kernels).flatten(1)
    for p in (ours, flat):
        Muon([p], lr=0.05).step()
    assert torch.allclose(ours.flatten(1), flat, atol=1e-6) and not torch.allclose(ours, kernels)
