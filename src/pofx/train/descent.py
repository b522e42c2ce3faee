"""One step of a training: every phase that is due descends its loss on fresh batches.

Per phase: freeze the parameters of the others, compute the loss inside the wrapped module's `forward(phase, batch)`, so
that gradients synchronise between processes, clip, step. Batch number and random stream are functions of the step.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pofx.core.errors import TrainingError, UsageError
from pofx.core.model import Model, Phase
from pofx.core.objective import Objective
from pofx.core.random import seeded
from pofx.train.devices import Cast
from pofx.train.feed import Feed
from pofx.train.flops import Flops
from pofx.train.optim import optimisers, rate
from pofx.train.options import TrainOptions
from pofx.train.private import PrivateGradients
from pofx.train.state import State

MOST_SKIPPED = 20  # descents in a row


class Descent:
    """The phases of an objective with their optimisers."""

    def __init__(
        self, objective: Model | Objective, feed: Feed, options: TrainOptions, seed: int, cast: Cast = nullcontext
    ) -> None:
        self.objective, self.feed, self.options, self.seed, self.cast = objective, feed, options, seed, cast
        self.phases = tuple(objective.phases())
        self.parameters = list(objective.parameters())
        self.optimisers, self.owners = optimisers(self.phases, options, _matrices(objective, options))
        self.turns = max((phase.repeats for phase in self.phases), default=1)  # batches per step
        self.flops = Flops()
        self.private = PrivateGradients(objective, options, len(feed)) if options.item_noise else None
        self.norms: dict[str, Tensor] = {}  # of the gradient, of the last descent of each phase

    @property
    def images(self) -> int:
        """Items per step."""
        return self.turns * self.options.batch_size

    def distribute(self, accelerator: Accelerator, state: State) -> None:
        """Compile and distribute the objective, once its state is complete."""
        compiled = torch.compile(self.objective) if self.options.compile else self.objective
        self.wrapped = accelerator.prepare(compiled, device_placement=[False])
        self.accelerator, self.flops = accelerator, Flops(state.flops_of)
        state.flops_of = self.flops.known

    @contextmanager
    def freezing(self) -> Iterator[None]:
        """While phases freeze each other's parameters; afterwards those are trainable again that were before."""
        before = [p.requires_grad for p in self.parameters]
        try:
            yield
        finally:
            for p, trainable in zip(self.parameters, before, strict=True):
                p.requires_grad_(trainable)

    def step(self, state: State, share: float) -> dict[str, Tensor]:
        """One step of the training, at a share of its budget; returns the losses by name.

        Raises:
            TrainingError: a loss or gradient is not finite.
        """
        step, losses = state.step, dict[str, Tensor]()
        factor = rate(step, share, self.options)
        with seeded(self.seed, step, self.accelerator.process_index, self.feed.device):
            self.objective.train()
            for phase, own in zip(self.phases, self.owners, strict=True):
                if step % phase.every:
                    continue
                mine = set(map(id, phase.parameters))
                for p in self.parameters:
                    p.requires_grad_(id(p) in mine)
                chosen = [self.optimisers[k] for k in own]
                for turn in range(phase.repeats):
                    losses |= self._descend(phase, chosen, state, step * self.turns + turn, factor * phase.rate)
        state.step, state.images = step + 1, state.images + self.images
        return losses

    def _descend(
        self, phase: Phase, chosen: list[torch.optim.Optimizer], state: State, number: int, factor: float
    ) -> dict[str, Tensor]:
        """One descent of a phase on batch `number`, in `accumulate` parts of equal size."""
        for optimiser in chosen:
            optimiser.zero_grad(set_to_none=True)
        if self.private is not None:
            self.private.fill(self.feed)
        parts, processes = 0 if self.private is not None else self.options.accumulate, self.accelerator
        losses: dict[str, Tensor] = {}
        for part in range(parts):
            share = (self.options.batch_size // parts, processes.process_index, processes.num_processes)
            batch = self.feed.batch(number * parts + part, *share)
            with nullcontext() if part == parts - 1 else processes.no_sync(self.wrapped):
                with nullcontext() if self.options.compile else self.flops.of(phase.name):
                    with self.cast():
                        loss = self.wrapped(phase.name, batch)
                    named = loss if isinstance(loss, dict) else {phase.name: loss}
                    if not all(bool(torch.isfinite(value)) for value in named.values()):
                        _raise_loss(named, phase.name, state.step, self.feed.indices(number * parts + part, *share))
                    total = torch.stack([value.float() for value in named.values()]).sum()
                    processes.backward(total / parts)
            state.flops += self.flops.known.get(phase.name, 0) * processes.num_processes
            for name, value in named.items():
                losses[name] = losses.get(name, 0.0) + value.detach() / parts
        if self.options.clip:
            norm = nn.utils.clip_grad_norm_(phase.parameters, self.options.clip)
        else:
            norm = nn.utils.get_total_norm(p.grad for p in phase.parameters if p.grad is not None)
        self.norms[phase.name] = norm.detach()
        if not self._skips(phase.name, norm, state):
            for optimiser in chosen:
                for group in optimiser.param_groups:
                    group["lr"] = group["full_lr"] * factor
                optimiser.step()
        if phase.after is not None:
            phase.after(losses)
        return losses

    def _skips(self, phase: str, norm: Tensor, state: State) -> bool:
        """Whether the gradient is left out, for it is far larger than usual (Child, 2021, arXiv 2011.10650). After
        `MOST_SKIPPED` in a row it is not: then what is usual has changed, and a training that skips for ever learns
        nothing.

        Raises:
            TrainingError: it is not finite, and none is to be skipped, or it is the last of many.
        """
        limit, finite, before = self.options.skip_above, bool(torch.isfinite(norm)), state.skipped.get(phase, 0)
        usual = state.typical.get(phase, math.inf)
        large = not finite or float(norm) > limit * usual
        if limit and large and before < MOST_SKIPPED:
            state.skipped[phase] = before + 1
            return True
        if not finite:
            raise TrainingError(_bad_gradient(self.objective, phase, state.step))
        if limit:
            state.skipped[phase] = 0
            state.typical[phase] = float(norm) if before or usual == math.inf else 0.98 * usual + 0.02 * float(norm)
        return False


def _matrices(objective: Model | Objective, options: TrainOptions) -> tuple[nn.Parameter, ...]:
    """What Muon takes, where it is chosen."""
    if options.optimizer != "muon":
        return ()
    found = tuple(objective.matrices())
    if not found:
        raise UsageError(f"{objective.label} has no hidden matrices for muon: pass optimizer=adamw")
    return found


def _raise_loss(parts: dict[str, Tensor], phase: str, step: int, indices: Tensor) -> None:
    for name, value in parts.items():
        if not torch.isfinite(value):
            items = ", ".join(map(str, indices[:8].tolist()))
            raise TrainingError(
                f"the loss '{name}' of phase '{phase}' is {float(value.detach())} at step {step} (training items "
                f"{items}{', …' if len(indices) > 8 else ''})"
            )


def _bad_gradient(objective: nn.Module, phase: str, step: int) -> str:
    bad = [n for n, p in objective.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
    names = ", ".join(bad[:3]) or "a parameter"
    return f"the gradient of {names} in phase '{phase}' is not finite at step {step}"
