"""The one training loop: every family, one player or three, one process or many.

Per step and phase: freeze the other phases' parameters, compute the loss inside the wrapped module's `forward(phase,
batch)` so that gradients synchronise, descend, average. Devices and processes are 🤗 Accelerate's. A run that is
stopped at any moment resumes from its last checkpoint and equals the uninterrupted one.
"""

import atexit
import copy
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast
from torch import Tensor, nn

from pofx.core.errors import TrainingError, UsageError
from pofx.core.model import Model, Phase
from pofx.core.objective import Objective
from pofx.core.random import seed_step
from pofx.train.checkpoint import Checkpoints
from pofx.train.ema import Average
from pofx.train.feed import Feed
from pofx.train.flops import Flops
from pofx.train.interrupt import WholeSteps
from pofx.train.memory import keep_freed_memory
from pofx.train.optim import optimisers, rate
from pofx.train.options import Budget, TrainOptions
from pofx.train.progress import Bar, Log

Judge = Callable[[Any], float]
JUDGING = 0.15  # the largest share of a budget in minutes that judging the weights may take


@dataclass(frozen=True)
class Result:
    """What a training left: the model with its best averaged weights, and how it got there."""

    model: Any
    steps: int
    seconds: float
    images: int
    flops: int
    best_step: int
    best_validation: float | None


def autocast(precision: str, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """The context of a training step: bf16 where asked for, or with "auto" where the device multiplies it faster."""
    fast = device.type == "cuda" or (device.type == "cpu" and _multiplies_bf16())
    if precision == "bf16" or (precision == "auto" and fast):
        return lambda: torch.autocast(device.type, torch.bfloat16)
    return nullcontext


def _multiplies_bf16() -> bool:
    """Whether this CPU has instructions for products of bf16: AMX tiles, or AVX-512's dot product."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def processes() -> Accelerator:
    """The GPUs and processes that 🤗 Accelerate finds: without GPUs the processes of torchrun share the CPU (gloo)."""
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # parameters of other phases than the one
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[unused])
    atexit.register(_leave)
    return accelerator


def _leave() -> None:
    """Let gloo's threads drop their last tensors while Python stands, then end the process group.

    A thread that drops one while the interpreter goes asks for its lock, and the process aborts; the threads outlive
    the group, for DDP keeps hold of it. Sleeping hands them the lock.
    """
    if torch.distributed.is_initialized():
        time.sleep(0.2)
        torch.distributed.destroy_process_group()


@torch.enable_grad()
def train(
    model: Model | Objective,
    feed: Feed,
    *,
    options: TrainOptions,
    budget: Budget,
    seed: int = 0,
    validation: Feed | None = None,
    judge: Judge | None = None,
    folder: Path | None = None,
    resume: bool = False,
    shown: bool = True,
    on_checkpoint: Callable[[Any, dict[str, Any]], None] | None = None,
    accelerator: Accelerator | None = None,
) -> Result:
    """Train a model on a feed, on the feed's device, until the budget is spent.

    Args:
        validation: items whose `model.validation` loss selects the weights; `judge` does so where that is None.
        folder: where log and checkpoints go; None keeps nothing on disk.
        resume: go on from the last checkpoint in `folder`, where there is one.
        on_checkpoint: called with the weights to keep and the state whenever a checkpoint was written.

    Raises:
        TrainingError: a loss or gradient is not finite; the message names phase, part, parameter and batch.
    """
    accelerator = accelerator or processes()
    device, world, rank = feed.device, accelerator.num_processes, accelerator.process_index
    if budget.flops is not None and options.compile:
        raise UsageError("a compiled step hides its FLOPs: give a budget of time or steps, or compile=false")
    if options.batch_size % (world * options.accumulate):
        many = (
            f"the {world} processes"
            if options.accumulate == 1
            else f"accumulate × processes = {world * options.accumulate}"
        )
        raise UsageError(f"batch_size must be a multiple of {many} (got {options.batch_size})")
    main = accelerator.is_main_process
    keep_freed_memory()
    model.to(device)
    checkpoints = Checkpoints(folder / "checkpoints") if folder else None
    start = checkpoints.latest() if checkpoints and resume else None
    prepared = time.monotonic()
    if start is None:
        seed_step(seed, 0, 1 << 20)
        with torch.no_grad():
            model.eval().prepare(feed.take)
    cast = autocast(options.precision, device)
    if cast is not nullcontext:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # fast convolutions read this
    phases = tuple(model.phases())
    average = Average(model, options.ema_images, options.ema_ramp)
    made, owners = optimisers(phases, options, _matrices(model, options))
    state: dict[str, Any] = {
        "step": 0,
        "seconds": time.monotonic() - prepared,
        "images": 0,
        "judged": 0,
        "judging": 0.0,
    }
    state |= {"flops": 0, "flops_of": {}, "best_step": 0, "best": None}
    best: dict[str, Tensor] | None = None
    if start is not None and checkpoints is not None:
        kept, best = checkpoints.load(start, model, average.model, made)
        state |= kept
    compiled = torch.compile(model) if options.compile else model
    wrapped = accelerator.prepare(compiled, device_placement=[False])
    flops = Flops(state["flops_of"])
    state["flops_of"] = flops.known
    log = Log(folder if main else None, after_step=state["step"], track=options.track if main else "")
    judged = _judge_by_validation(validation, options) if validation is not None else None

    def keep() -> None:
        if checkpoints is not None and main:
            checkpoints.save(state, model, average.model, best, made)
            if on_checkpoint is not None:
                on_checkpoint(_with_weights(copy.deepcopy(average.model), best), state)

    def select() -> None:
        nonlocal best
        value = judged(average.model) if judged else None
        if value is None and judge is not None:
            value = judge(average.model)
        if value is None:
            return
        log.write({"step": state["step"], "seconds": round(state["seconds"], 3), "validation": value})
        if value == value and (state["best"] is None or value < state["best"]):
            state["best"], state["best_step"] = value, state["step"]
            best = {k: v.detach().clone() for k, v in average.model.state_dict().items()}

    turns = max((phase.repeats for phase in phases), default=1)  # batches that a step takes
    parts_of = options.accumulate

    def descend(phase: Phase, steppers: list[torch.optim.Optimizer], number: int, factor: float) -> dict[str, Tensor]:
        """One descent of a phase on batch `number`; returns its losses."""
        for optimiser in steppers:
            optimiser.zero_grad(set_to_none=True)
        losses: dict[str, Tensor] = {}
        for part in range(parts_of):
            where = (number * parts_of + part, options.batch_size // parts_of, rank, world)
            batch = feed.batch(*where)
            last = part == parts_of - 1
            with nullcontext() if last else accelerator.no_sync(wrapped):
                with nullcontext() if options.compile else flops.of(phase.name):
                    with cast():
                        loss = wrapped(phase.name, batch)
                    parts = loss if isinstance(loss, dict) else {phase.name: loss}
                    total = torch.stack([v.float() for v in parts.values()]).sum() / parts_of
                    _finite(parts, phase.name, state["step"], feed.indices(*where))
                    accelerator.backward(total)
            state["flops"] += flops.known.get(phase.name, 0) * world
            for name, value in parts.items():
                losses[name] = losses.get(name, 0.0) + value.detach() / parts_of
        norm = torch.nn.utils.clip_grad_norm_(phase.parameters, options.clip or float("inf"))
        if not torch.isfinite(norm):
            _name_gradient(model, phase.name, state["step"])
        for optimiser in steppers:
            for group in optimiser.param_groups:
                group["lr"] = group["full_lr"] * factor
            optimiser.step()
        if phase.after is not None:
            phase.after(losses)
        return losses

    every = list(model.parameters())
    trainable = [p.requires_grad for p in every]
    began = time.monotonic() - state["seconds"]
    saved = logged = time.monotonic()
    logged_step = state["step"]
    rate_seen, losses = 0.0, {}

    def spent() -> float:
        share = budget.progress(state["step"], state["seconds"], state["images"], len(feed), state["flops"])
        return _agree(share, accelerator)

    share = spent()
    with Bar(model.label, shown and main) as bar, WholeSteps() as whole:
        try:
            while share < 1.0 and phases:
                step = state["step"]
                whole.begin()
                seed_step(seed, step, rank)
                model.train()
                factor = rate(step, share, options)
                for phase, own in zip(phases, owners, strict=True):
                    if step % phase.every:
                        continue
                    mine = set(map(id, phase.parameters))
                    for p in every:
                        p.requires_grad_(id(p) in mine)
                    steppers = [made[k] for k in own]
                    for turn in range(phase.repeats):
                        losses.update(descend(phase, steppers, step * turns + turn, factor * phase.rate))
                if budget.flops is not None and not state["flops"]:
                    raise UsageError(f"no FLOPs can be counted of {model.label}: give a budget of time or steps")
                seen = turns * options.batch_size
                state["step"], state["images"] = step + 1, state["images"] + seen
                average.update(model, seen, state["images"])
                now = time.monotonic()
                state["seconds"] = now - began
                whole.end()
                share = spent()
                if now - logged > 0.5 or share >= 1.0:
                    rate_seen = (state["step"] - logged_step) / max(now - logged, 1e-9)
                    logged, logged_step = now, state["step"]
                    numbers = {name: float(v) for name, v in losses.items()}
                    log.write(
                        {"step": state["step"], "seconds": round(state["seconds"], 3), "images": state["images"]}
                        | numbers
                        | {"lr": factor * options.lr, "steps_per_second": round(rate_seen, 2)}
                    )
                    bar.update(share, state["step"], rate_seen, numbers)
                round_now = int(share**0.5 * options.validations)  # denser at the start, where small data overfits
                due = round_now > state["judged"]
                if due and (budget.minutes is None or state["judging"] <= JUDGING * state["seconds"] or share >= 1.0):
                    state["judged"] = round_now
                    asked = time.monotonic()
                    select()
                    state["judging"] += time.monotonic() - asked
                if now - saved > options.checkpoint_seconds and share < 1.0:
                    saved = now
                    keep()
        except (KeyboardInterrupt, TrainingError) as stop:
            if isinstance(stop, TrainingError) or not whole.busy:
                keep()
            raise
        finally:
            for p, before in zip(every, trainable, strict=True):
                p.requires_grad_(before)
            log.close()
    if best is None:
        select()
    keep()
    return Result(
        model=_with_weights(average.model, best),
        steps=state["step"],
        seconds=state["seconds"],
        images=state["images"],
        flops=state["flops"],
        best_step=state["best_step"],
        best_validation=state["best"],
    )


def _agree(share: float, accelerator: Accelerator) -> float:
    """The main process's clock rules, so that all processes stop at the same step."""
    if accelerator.num_processes == 1:
        return share
    return float(broadcast(torch.tensor(share, dtype=torch.float64, device=accelerator.device)))


def _with_weights(model: Any, weights: dict[str, Tensor] | None) -> Any:
    if weights is not None:
        model.load_state_dict(weights)
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as a loaded model has them
    return model.eval()


def _judge_by_validation(validation: Feed, options: TrainOptions) -> Callable[[Any], float | None]:
    batches = validation.validation(options.validation_items, options.batch_size)

    @torch.no_grad()
    def judge(model: Any) -> float | None:
        total, count = 0.0, 0
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for batch in batches:
                value = model.validation(batch)
                if value is None:
                    return None
                total, count = total + float(value) * len(batch), count + len(batch)
        return total / count

    return judge


def _matrices(model: Any, options: TrainOptions) -> tuple[nn.Parameter, ...]:
    """What Muon takes, where it is chosen."""
    if options.optimizer != "muon":
        return ()
    found = tuple(model.matrices())
    if not found:
        raise UsageError(f"{model.label} has no hidden matrices for muon: pass optimizer=adamw")
    return found


def _finite(parts: dict[str, Tensor], phase: str, step: int, indices: Tensor) -> None:
    for name, value in parts.items():
        if not torch.isfinite(value):
            items = indices.tolist()
            raise TrainingError(
                f"the loss '{name}' of phase '{phase}' is {float(value.detach())} at step {step} (training items "
                f"{', '.join(map(str, items[:8]))}, …): the last good weights are kept; lower lr, or clip harder"
            )


def _name_gradient(model: Any, phase: str, step: int) -> None:
    bad = [n for n, p in model.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
    raise TrainingError(
        f"the gradient of {', '.join(bad[:3]) or 'a parameter'} in phase '{phase}' is not finite at step {step}: "
        "the last good weights are kept; lower lr, or clip harder"
    )
