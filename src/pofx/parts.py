"""The parts of an artifact: a trained model, the representations of its items and conditions, and its card.

What is here follows from the parts alone; `Artifact` draws, scores and encodes with the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from pofx.core.companion import weights
from pofx.core.event import dims, each
from pofx.core.generative import Smoothed
from pofx.core.model import Density, Explicit, Model, X
from pofx.core.representation import Representation
from pofx.data.conditions import LABEL, columns_of

BATCH = 500  # items per call of the model when sampling or scoring
NUMBERS = 100_000  # of their events on a processor: networks hold some 32 features of each


@dataclass(frozen=True)
class Parts:
    """A trained model with the representations of its items and conditions, and the card of how it was trained."""

    representation: Representation
    model: Model
    name: str  # the model's name in `pofx models`
    card: Mapping[str, Any] = field(default_factory=dict)
    conditioning: Representation | None = None  # of the conditions, where the model takes one

    @property
    def density(self) -> Density:
        """The kind of this artifact's log_prob: the lesser of the model's density and the representation's volume."""
        if not isinstance(self.model, Explicit) or (self.representation.half and not isinstance(self.model, Smoothed)):
            return Density.NONE
        return min(self.model.density, self.representation.volume)

    @property
    def device(self) -> torch.device:
        first = next(chain(self.model.parameters(), self.model.buffers()), None)
        return torch.device("cpu") if first is None else first.device

    def placed(self, values: Any) -> X:
        """Items in data space as the raw numbers that `representation.encode` takes, on the model's device."""
        return each(self.representation.tensor(values), lambda part: part.to(self.device))

    def batch(self, stated: int | None = None, stepwise: bool = False) -> int:
        """Items per call of the model: as stated, or fewer of large events on a processor, whose caches they leave.

        `stepwise` calls run the model once per part of an event, where many items share the cost of a call.
        """
        if stated is not None:
            return stated
        if stepwise or self.device.type != "cpu":
            return BATCH
        return min(BATCH, max(8, NUMBERS // max(1, dims(self.model.event))))

    @property
    def condition_source(self) -> str | list[str] | None:
        """Where the condition is found in data like the training data: "label", a column or columns; else None."""
        named = self.card.get("training", {}).get("condition")
        return named if isinstance(named, str | list) else None

    @property
    def condition_columns(self) -> list[str]:
        """The columns of the table from which the condition was taken; none where it was something else."""
        return [] if self.condition_source == LABEL else columns_of(self.condition_source) or []

    def tensors(self) -> dict[str, Tensor]:
        """The weights of all parts, each under the name of its part."""
        found = weights(self.model)
        for part, view in (("representation", self.representation), ("conditioning", self.conditioning)):
            if view is not None:
                found |= {f"{part}.{key}": value for key, value in view.state().items()}
        return found
