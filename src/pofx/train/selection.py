"""Which averaged weights are the best so far: those of the lowest validation loss, or of the best samples.

Rounds are even in the root of the budget, denser at the start, where small data overfits. In a budget of time they take
at most a tenth of it: the number of validation items follows from what the first few cost. In a budget of steps there
is one round for every 20 of them at most, but there are eight.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pofx.core.model import Batch
from pofx.core.random import seeded
from pofx.train.feed import Feed
from pofx.train.options import Budget, TrainOptions
from pofx.train.state import State

Judge = Callable[[Any], Mapping[str, float]]  # "validation" selects; further numbers are telemetry
SHARE = 0.1  # of a budget of time, the most that validation may take
FEWEST = 200  # validation items, where they fit into that share
PROBE = 8  # items whose cost is measured first
STEPS, ROUNDS = 20, 8  # of a budget of steps to a round at the least, where there are more than so many rounds


class Selection:
    """The best weights of a training; `best` is None until a validation was finite."""

    def __init__(self, validation: Feed | None, judge: Judge | None, options: TrainOptions, budget: Budget) -> None:
        self.validation, self.judge, self.options, self.budget = validation, judge, options, budget
        self.possible = validation is not None or judge is not None  # whether anything selects weights
        self.best: dict[str, Tensor] | None = None
        self.rounds = options.validations
        if budget.steps is not None:
            self.rounds = min(self.rounds, max(budget.steps // STEPS, ROUNDS))
        self.batches: list[Batch] | None = None
        self.telemetry: dict[str, float] = {}  # of the last round

    def due(self, state: State, share: float) -> bool:
        """Whether a round of validation is due at a share of the budget."""
        if not self.possible or int(share**0.5 * self.rounds) <= state.rounds:
            return False
        if self.budget.seconds is None or self.best is None:
            return True
        late = share >= 1.0 and self.cost(state) <= SHARE * self.budget.seconds
        return late or state.validating + self.cost(state) <= SHARE * state.seconds

    def go_on(self, state: State, share: float) -> None:
        """Count the rounds of a resumed training by the share of its budget, which may be larger than before."""
        state.rounds = min(state.rounds, int(share**0.5 * self.rounds))

    def over(self, state: State) -> bool:
        """Whether so many rounds in a row found nothing better that training ends."""
        return self.possible and 0 < self.options.patience <= state.vain

    def cost(self, state: State) -> float:
        """Seconds that a round takes."""
        return state.validating / state.validations if state.validations else 0.0

    def round(self, model: nn.Module, state: State, share: float) -> float | None:
        """Validate averaged weights, and copy them where they are the best so far; None if nothing judges them."""
        began = time.monotonic()
        value = self._loss(model, state)
        if value is None and self.judge is not None:
            numbers = dict(self.judge(model))
            value, self.telemetry = numbers.pop("validation"), numbers
        state.rounds = max(state.rounds, int(share**0.5 * self.rounds))
        state.validations += 1
        state.validating += time.monotonic() - began
        self.possible = value is not None
        state.vain += 1
        if value is not None and abs(value) < float("inf") and (state.best is None or value < state.best):
            state.best, state.best_step, state.vain = value, state.step, 0
            self.best = {k: v.detach().clone() for k, v in model.state_dict().items()}
        return value

    @torch.no_grad()
    def _loss(self, model: nn.Module, state: State) -> float | None:
        """The mean of `validation` over the validation items, with the same noise each time."""
        if self.validation is None:
            return None
        with seeded(0, 0, device=self.validation.device):
            if self.batches is None:
                state.items = state.items or self._items(model, self.validation)
                self.batches = self.validation.validation(state.items, self.options.batch_size)
        with seeded(0, 0, device=self.validation.device):
            total, count = 0.0, 0
            for batch in self.batches:
                value = model.validation(batch)  # type: ignore[operator]
                if value is None:
                    return None
                total, count = total + float(value) * len(batch), count + len(batch)
        return total / count

    def _items(self, model: nn.Module, validation: Feed) -> int:
        """How many items a round may take."""
        limit = min(self.options.validation_items, len(validation))
        whole = self.budget.seconds
        if whole is None or limit <= PROBE:
            return limit
        items = min(PROBE, limit)
        while True:
            (batch,) = validation.validation(items, items)
            began = time.monotonic()
            if model.validation(batch) is None:  # type: ignore[operator]
                return limit
            each = (time.monotonic() - began) / items
            if items >= min(limit, self.options.batch_size) or 4 * items * each > 0.005 * whole:
                break
            items = min(4 * items, limit, self.options.batch_size)
        even = SHARE * whole / max(self.options.validations, 1) / max(each, 1e-9)
        most = SHARE * whole / max(each, 1e-9)
        return int(min(limit, max(PROBE, min(most, max(even, FEWEST)))))
