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
from pofx.core.generative import Smoothed
from pofx.core.model import Density, Explicit, Model
from pofx.core.representation import Representation
from pofx.data.conditions import LABEL, columns_of


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
