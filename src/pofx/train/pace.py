"""The pace of a training: what a step costs, how many the budget buys, and whether another one fits into it.

A budget of time is met to within half a step, plus what is left to do at its end. Where it buys too few steps to learn
from, batches become smaller; where it still buys too few, or not even one, a warning states so at the start.
"""

import time
import warnings
from collections import deque
from contextlib import AbstractContextManager
from typing import Any

from torch import nn

from pofx.core.model import Phase
from pofx.core.progress import clock
from pofx.train.feed import Feed
from pofx.train.options import Budget, TrainOptions, spoken
from pofx.train.state import State

FEW = 100  # steps, below which a training can hardly learn anything
CHEAPER = 0.8  # the cost of half a batch over that of a whole one, above which batches are not halved
PROBE = 8  # items of the first trial
TRIES = 3  # passes of a trial while they are cheap, the quickest of which counts
TRIAL = 0.02  # share of a budget of time that ends the trials
BACKWARD = 3.0  # a forward and backward pass, in units of a forward pass


class Pace:
    """Seconds per step, foreseen and measured."""

    def __init__(self, title: str, budget: Budget, start: float) -> None:
        self.title, self.budget = title, budget
        self.first: float | None = None
        self.recent: deque[float] = deque(maxlen=16)
        self.began, self.noted = start, False

    def record(self, seconds: float) -> None:
        """Seconds that a step took."""
        if self.first is None:
            self.first = seconds  # with all that is made once
        else:
            self.recent.append(seconds)

    @property
    def step(self) -> float:
        """Seconds per step at present; 0 before the first."""
        return sum(self.recent) / len(self.recent) if self.recent else self.first or 0.0

    def fits(self, state: State, closing: float) -> bool:
        """Whether more than half of another step fits into a budget of time, with what is left to do at its end."""
        seconds = self.budget.seconds
        return seconds is None or not state.step or state.seconds + 0.5 * self.step + closing <= seconds

    def remaining(self, state: State, share: float) -> float | None:
        """Seconds until the budget is spent."""
        if self.budget.seconds is not None:
            return max(self.budget.seconds - state.seconds, 0.0)
        return self.step * state.step * (1 - share) / share if share > 0 else None

    def note(self, state: State, share: float) -> str:
        """Once, after the first steps: what the budget buys; empty at other times.

        Warns:
            UserWarning: the budget of time buys fewer than `FEW` steps.
        """
        elapsed = state.seconds - self.began
        limit = self.budget.seconds
        enough = (len(self.recent) >= 2 and elapsed > 1.0) or (limit is not None and elapsed > 0.03 * limit)
        if self.noted or not enough or not self.step:
            return ""
        self.noted = True
        pace = f"{1 / self.step:.3g} steps/s" if self.step < 1 else f"one step takes {self.step:.3g} s"
        if limit is None:
            left = self.remaining(state, share) or 0.0
            return f"{self.title}: {pace}, about {clock(left)} for {self.budget}" if left > 30 else ""
        steps = state.step + max(0, round((limit - state.seconds) / self.step))
        steps = int(float(f"{steps:.2g}"))
        if steps < FEW:
            warnings.warn(self._too_few(steps), UserWarning, stacklevel=2)
        many = f"{steps:,} step{'' if steps == 1 else 's'}"
        many += f" of {state.batch_size} items" if state.batch_size else ""
        return f"{self.title}: {pace}, about {many} in {self.budget}"

    def _too_few(self, steps: int) -> str:
        needed = spoken(float(f"{10 * FEW * self.step:.1g}"))
        if self.step > (self.budget.seconds or 0.0):
            first = f"one step of {self.title} takes {self.step:.3g} s, longer than the budget of {self.budget}"
        else:
            many = "1 step" if steps == 1 else f"{steps} steps"
            first = f"the budget of {self.budget} buys about {many} of {self.title}, too few to learn much"
        return f"{first}: raise it ({10 * FEW:,} steps take about {needed}), or choose a smaller network or batch_size"

    def batch(self, copy: nn.Module, phases: tuple[Phase, ...], feed: Feed, options: TrainOptions, cast: Any) -> int:
        """The items of a step, from the time of forward passes of `copy` over ever more items: `batch_size`, halved
        while a budget of time buys fewer than `enough_steps` and smaller ones are cheaper; 0 without need.

        Warns:
            UserWarning: a step takes longer than the budget of time.
        """
        limit = self.budget.seconds
        if limit is None or not phases or options.compile:
            return 0
        items, costs = min(PROBE, options.batch_size), list[tuple[int, float]]()
        self._forward(copy, phases, feed, items, cast)  # with all that is made once
        while True:
            costs.append((items, self._forward(copy, phases, feed, items, cast)))
            if items >= options.batch_size or costs[-1][1] > TRIAL * limit:
                break
            items = min(4 * items, options.batch_size)
        (n, second), (m, first) = costs[-1], costs[-2] if len(costs) > 1 else (0, 0.0)
        slope = max(second - first, 0.0) / (n - m)

        def cost(size: int) -> float:
            return BACKWARD * max(second + slope * (size - n), 1e-9)

        size = options.batch_size
        while (
            size // 2 >= options.least_batch
            and limit / cost(size) < options.enough_steps
            and cost(size // 2) <= CHEAPER * cost(size)
        ):
            size //= 2
        if cost(size) > limit:
            warnings.warn(
                f"one step of {self.title} takes about {cost(size):.2g} s here, longer than the budget of "
                f"{self.budget}: raise it, or choose a smaller network or batch_size",
                UserWarning,
                stacklevel=2,
            )
        return size if size < options.batch_size else 0

    def _forward(self, copy: nn.Module, phases: tuple[Phase, ...], feed: Feed, items: int, cast: Any) -> float:
        """Seconds of a forward pass of all phases: the least of several, as one that was interrupted would decide."""
        batch, taken = feed.batch(0, items), list[float]()
        while len(taken) < TRIES and sum(taken) < TRIAL / 4 * (self.budget.seconds or 0.0):
            began = time.monotonic()
            context: AbstractContextManager[Any] = cast()
            with context:
                for phase in phases:
                    for _ in range(phase.repeats):
                        copy(phase.name, batch)
            taken.append(time.monotonic() - began)
        return min(taken)
