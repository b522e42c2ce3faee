"""The one training loop: every family, one player or three, one process or many.

A training is a `State` of plain numbers, the weights and their average; `Descent.step` advances it. The best averaged
weights are what it leaves. A run that is stopped at any moment resumes from its last checkpoint and equals the
uninterrupted one; a run that diverges leaves the last good weights, or none.
"""

import copy
import math
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pofx.core.entry import float32
from pofx.core.errors import TrainingError, UsageError
from pofx.core.finite import broken
from pofx.core.model import Model
from pofx.core.objective import Objective, trained
from pofx.core.progress import Progress, Sink, reporting
from pofx.core.random import seeded
from pofx.train.checkpoint import Checkpoints
from pofx.train.descent import Descent
from pofx.train.devices import agreed, autocast, channels_last, layout, multiplies_bf16, processes
from pofx.train.ema import Average
from pofx.train.feed import Feed
from pofx.train.flops import mean_product
from pofx.train.interrupt import WholeSteps
from pofx.train.log import Log
from pofx.train.memory import reuse_freed_memory
from pofx.train.optim import rate
from pofx.train.options import Budget, TrainOptions
from pofx.train.pace import Pace
from pofx.train.private import prepare_publicly
from pofx.train.selection import Judge, Selection
from pofx.train.soundness import fault
from pofx.train.state import State

Store = Callable[[Model | Objective | None, State], None]
M = TypeVar("M", bound=nn.Module)
LARGE = 1_024  # items of a batch that may be larger than the training data
TRIED = 16  # items whose losses show how large the products are
LOOKED_AT = 1_000  # training items with which samples are compared at the end


@dataclass(frozen=True)
class Result:
    """What a training leaves: the model with its best averaged weights, and how it came to them."""

    model: Model
    state: State


@float32()
@torch.enable_grad()
def train(
    objective: Model | Objective,
    feed: Feed,
    *,
    options: TrainOptions,
    budget: Budget,
    seed: int = 0,
    validation: Feed | None = None,
    judge: Judge | None = None,
    folder: Path | None = None,
    resume: bool = False,
    progress: bool | Sink = True,
    title: str = "",
    on_checkpoint: Store | None = None,
    accelerator: Accelerator | None = None,
) -> Result:
    """Train an objective on a feed, on the feed's device, until the budget is spent.

    Args:
        validation: items whose `validation` loss selects the weights; `judge` does so where that is None.
        folder: where log and checkpoints go; None writes nothing to disk.
        resume: continue from the last checkpoint in `folder`, where there is one.
        title: the name of the model as users write it, for the progress.
        on_checkpoint: called with the good weights and the state whenever a checkpoint was written; with None instead
            of weights where a training failed before there were any.

    Raises:
        UsageError: options that exclude each other.
        TrainingError: a loss, gradient, weight or sample is not finite, or impossible; the message states where, and
            what is stored.
    """
    accelerator = accelerator or processes()
    _check(options, budget, len(feed), accelerator)
    reuse_freed_memory()
    name = title or objective.label
    selection = Selection(validation, judge, options, budget)
    run = _Training(objective, feed, options, budget, seed, name, folder, accelerator, selection, on_checkpoint)
    with reporting(progress if run.main else False, name) as report, WholeSteps() as whole:
        try:
            run.start(report, resume)
            with run.descent.freezing():
                share = run.share()
                if run.state.step:
                    selection.go_on(run.state, share)
                    if selection.due(run.state, share):  # an interruption left it out
                        run.validate(share)
                while share < 1.0 and run.descent.phases:
                    share = run.advance(share, whole)
            return run.finish()
        except TrainingError as error:
            raise run.failure(str(error)) from error
        except KeyboardInterrupt:
            if not whole.busy:
                run.interrupted()
            raise
        finally:
            run.close()


def _check(options: TrainOptions, budget: Budget, items: int, accelerator: Accelerator) -> None:
    most = max(items, LARGE)
    if options.batch_size > most:
        raise UsageError(f"batch_size must be at most {most} for {items} items (got {options.batch_size})")
    if budget.flops is not None and options.compile:
        raise UsageError("a compiled step hides its FLOPs: give a budget of time or steps, or compile=false")
    if options.item_noise and (accelerator.num_processes > 1 or budget.flops is not None):
        raise UsageError("item_noise is for one process and a budget of steps, epochs or time")
    parts = accelerator.num_processes * options.accumulate
    if options.batch_size % parts:
        many = f"the {parts} processes" if options.accumulate == 1 else f"accumulate × processes = {parts}"
        raise UsageError(f"batch_size must be a multiple of {many} (got {options.batch_size})")


@dataclass
class _Training:
    """One call of `train`: its settings, its state, and the parts that share them."""

    objective: Model | Objective
    feed: Feed
    options: TrainOptions
    budget: Budget
    seed: int
    name: str
    folder: Path | None
    accelerator: Accelerator
    selection: Selection
    on_checkpoint: Store | None
    state: State = field(default_factory=State)
    losses: dict[str, Tensor] = field(default_factory=dict)
    log: Log | None = None
    rate: float = 0.0
    said: set[str] = field(default_factory=set)  # names of warnings that were shown

    @property
    def main(self) -> bool:
        return self.accelerator.is_main_process

    def start(self, report: Sink, resume: bool) -> None:
        """Start from the data, or from the last checkpoint."""
        objective, options, device, began = self.objective, self.options, self.feed.device, time.monotonic()
        self.report = report
        report(Progress("preparing" if tuple(objective.phases()) else "fitting"))
        objective.to(device)
        self.checkpoints = Checkpoints(self.folder / "checkpoints") if self.folder else None
        found = self.checkpoints.latest() if self.checkpoints and resume else None
        if found is None:
            with torch.no_grad(), seeded(self.seed, 0, 1 << 20, device):
                if options.item_noise:
                    prepare_publicly(objective.eval(), device)
                else:
                    objective.eval().prepare(self.feed.take)
        cast = autocast(options.precision, device, self._product())
        self.layouts = [layout(p) for p in objective.parameters()]
        if cast is not nullcontext:  # fast convolutions read this
            channels_last(objective)
        self.descent = Descent(objective, self.feed, options, self.seed, cast)
        self.average: Average[Model | Objective] = Average(objective, options.ema_images, options.ema_ramp)
        if found is not None and self.checkpoints is not None:
            plain, self.selection.best = self.checkpoints.load(
                found, objective, self.average.model, self.descent.optimisers
            )
            self.state = State.from_json(plain)
        self.said = {*self.state.warnings}
        self.descent.distribute(self.accelerator, self.state)
        track = options.track if self.main else ""
        self.log = Log(self.folder if self.main else None, after_step=self.state.step, track=track)
        self.pace = Pace(self.name, self.budget, self.state.seconds)
        if found is None and self.accelerator.num_processes == options.accumulate == 1 and not options.item_noise:
            self.state.batch_size = self.pace.batch(self.average.model, self.descent.phases, self.feed, options, cast)
        if self.state.batch_size:
            self.options = self.descent.options = replace(options, batch_size=self.state.batch_size)
        self.average.copy_buffers()
        now = time.monotonic()
        self.began = began - self.state.seconds  # as if all had been trained without a break
        self.state.seconds, self.stored, self.logged, self.logged_step = now - self.began, now, now, self.state.step

    def _product(self) -> float:
        """Multiplications of a product on average, where the precision depends on it."""
        wanted = self.options.precision == "bf16" or (self.options.precision == "auto" and multiplies_bf16())
        if not wanted or self.feed.device.type != "cpu":
            return math.inf
        items = min(TRIED, self.options.batch_size)
        with seeded(self.seed, 0, 1 << 20, self.feed.device):
            copied = copy.deepcopy(self.objective).eval()
            product = mean_product(copied, copied.phases(), self.feed.batch(0, items))
        return product * self.options.batch_size / items

    def share(self) -> float:
        """The share of the budget that is spent; 1 where no other step fits in."""
        state = self.state
        share = self.budget.progress(state.step, state.seconds, state.images, len(self.feed), state.flops)
        closing = self.selection.cost(state) if self.selection.possible else 0.0
        ended = self.selection.over(state) or not self.pace.fits(state, closing)
        return agreed(1.0 if ended else share, self.accelerator)

    def advance(self, share: float, whole: WholeSteps) -> float:
        """One step and what is due after it; returns the share of the budget that is spent."""
        state, began = self.state, time.monotonic()
        whole.begin()
        self.losses |= self.descent.step(state, share)
        if self.budget.flops is not None and not state.flops:
            raise UsageError(f"no FLOPs can be counted of {self.name}: give a budget of time or steps")
        found = None if self.selection.possible else broken(self.objective)  # else validation finds it
        if found is not None:
            raise TrainingError(f"the weights after step {state.step} are broken: {found}")
        self.average.update(self.descent.images, state.images)
        now = time.monotonic()
        state.seconds = now - self.began
        self.pace.record(now - began)
        whole.end()
        factor, share = rate(state.step - 1, share, self.options), self.share()
        note = self.pace.note(state, share) if self.main else ""
        if now - self.logged > 0.5 or share >= 1.0 or note:
            self._report(share, factor, note)
        if self.selection.due(state, share):
            self.validate(share)
            share = agreed(1.0 if self.selection.over(state) else share, self.accelerator)
        if now - self.stored > self.options.checkpoint_seconds and share < 1.0:
            self.store(self.good())
            self.stored = time.monotonic()
        return share

    def _report(self, share: float, factor: float, note: str) -> None:
        """One line of the log, and the progress."""
        state, now, numbers = self.state, time.monotonic(), {name: float(v) for name, v in self.losses.items()}
        if state.step > self.logged_step:
            self.rate = (state.step - self.logged_step) / max(now - self.logged, 1e-9)
        self.logged, self.logged_step = now, state.step
        line = {"step": state.step, "seconds": round(state.seconds, 3), "images": state.images, **numbers}
        line |= {"lr": factor * self.options.lr, "steps_per_second": round(self.rate, 2)}
        telemetry = {name: float(v) for name, v in self.objective.telemetry().items()}
        norms = {f"gradient norm of {name}": float(v) for name, v in self.descent.norms.items()}
        self._write(line | {"telemetry": telemetry | norms})
        left = self.pace.remaining(state, share)
        self.report(Progress("training", state.step, share, numbers, self.rate, left, note, telemetry))
        self._warn(telemetry | norms, share)

    def _warn(self, numbers: Mapping[str, float], share: float) -> None:
        """Show once, and store with its latest numbers, what the objective finds wrong, as long as it is."""
        state = self.state
        for name, sentence in self.objective.health({**numbers, "share": share}).items():
            if not sentence:  # what was wrong is over
                state.warnings.pop(name, None)
                continue
            state.warnings[name] = sentence
            if name not in self.said:
                self.said.add(name)
                self._write({"step": state.step, "seconds": round(state.seconds, 3), "warning": sentence})
                self.report(Progress("training", state.step, share, note=f"{self.name}: {sentence}"))

    def validate(self, share: float) -> None:
        """A round of validation."""
        state, left = self.state, self.pace.remaining(self.state, share)
        self.report(Progress("validation", state.step, share, rate=self.rate, remaining=left))
        value = self.selection.round(self.average.model, state, share)
        if value is not None:
            line = {"step": state.step, "seconds": round(state.seconds, 3), "validation": value}
            telemetry = self.selection.telemetry
            self._write(line | {"telemetry": telemetry} if telemetry else line)
            loss = {"loss": float(value)}
            self.report(Progress("validation", state.step, share, loss, self.rate, left, telemetry=telemetry))
            best = {} if state.best is None else {"best validation": state.best}
            self._warn({**telemetry, "validation": value, **best}, share)

    def _write(self, line: dict[str, Any]) -> None:
        if self.log is not None:
            self.log.write(line)

    def good(self) -> Model | Objective | None:
        """A copy with the best weights; without validation, the averaged ones where they are finite."""
        if self.selection.best is None and (self.selection.possible or broken(self.average.model)):
            return None
        return self._with_weights(copy.deepcopy(self.average.model), self.selection.best)

    def store(self, good: Model | Objective | None) -> None:
        """Write a checkpoint, and hand the good weights on."""
        if self.checkpoints is None or not self.main:
            return
        if broken(self.objective) is None:
            optimisers, plain = self.descent.optimisers, self.state.to_json()
            self.checkpoints.save(plain, self.objective, self.average.model, self.selection.best, optimisers)
        if self.on_checkpoint is not None and (good is not None or self.state.failed is not None):
            self.on_checkpoint(good, self.state)

    def finish(self) -> Result:
        """The best weights, once they have been looked at.

        Raises:
            TrainingError: they cannot be right.
        """
        selection, state = self.selection, self.state
        if selection.possible and selection.best is None:
            self.validate(1.0)
        final = self._with_weights(self.average.model, selection.best)
        found = fault(trained(final), self.feed.take(LOOKED_AT))
        if found is not None:
            selection.best, selection.possible = None, True  # they are not good
            raise TrainingError(f"the weights after {state.step} steps cannot be right: {found}")
        if selection.possible and selection.best is None:
            warnings.warn(
                f"the validation of {self.name} was never finite: the last weights are stored; are there held-out "
                "items far outside the training data?",
                UserWarning,
                stacklevel=3,
            )
            selection.possible = False
        self.store(copy.deepcopy(final))
        phase = "training" if self.descent.phases else f"fitted in {state.seconds:.2g} s"
        numbers = {name: float(v) for name, v in self.losses.items()}
        self.report(Progress(phase, state.step, 1.0, numbers, self.rate, 0.0))
        return Result(trained(final), state)

    def failure(self, reason: str) -> TrainingError:
        """Store the last good weights, or nothing, after a divergence; the error states which."""
        state = self.state
        state.failed = reason
        good = self.good() if state.step else None
        if good is not None and fault(trained(good), self.feed.take(LOOKED_AT)) is not None:
            good = None
        self.store(good)
        if self.folder is None:
            left = "nothing is stored"
        elif good is None:
            left = "there are no good weights, and nothing is stored"
        else:
            at = f"step {state.best_step}, the best validated ones," if self.selection.best else f"step {state.step}"
            left = f"the weights of {at} are stored"
        return TrainingError(f"{reason}; {left}. Lower lr, or set clip=1")

    def interrupted(self) -> None:
        """Store what there is after an interruption between steps."""
        if self.log is None:
            return
        if self.selection.possible and self.selection.best is None and self.state.step:
            self.validate(self.share())
        self.store(self.good())

    def close(self) -> None:
        if self.log is not None:
            self.log.close()

    def _with_weights(self, module: M, weights: dict[str, Tensor] | None) -> M:
        if weights is not None:
            module.load_state_dict(weights)
        for p, held in zip(module.parameters(), self.layouts, strict=True):
            p.data = p.data.contiguous(memory_format=held)  # as loaded models have them
        return module.eval()
