"""Objectives: what the training loop trains where that is more than a model, and modules that are held but not trained.

A model is its own objective. Distillation, reverse KL or adversarial tuning train a model by losses that need more than
the model: they are an `Objective`, whose `model` is what the artifact keeps.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Self, TypeVar

from jaxtyping import Float
from torch import Tensor, nn

from pofx.core.model import Batch, Model, Phase

M = TypeVar("M", bound=nn.Module)


class Objective(nn.Module, ABC):
    """Losses that train `model`; the other modules it holds are trained with it, but for those in `Frozen`."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    @property
    def label(self) -> str:
        return self.model.label

    @abstractmethod
    def phases(self) -> Iterable[Phase]:
        """As `Model.phases`."""

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """As `Model.prepare`."""
        self.model.prepare(take)

    def matrices(self) -> Iterable[nn.Parameter]:
        """As `Model.matrices`."""
        return self.model.matrices()

    def validation(self, batch: Batch) -> Float[Tensor, ""] | None:
        """As `Model.validation`."""
        return self.model.validation(batch)

    def telemetry(self) -> Mapping[str, Tensor | float]:
        """As `Model.telemetry`."""
        return self.model.telemetry()

    def health(self, numbers: Mapping[str, float]) -> Mapping[str, str]:
        """As `Model.health`."""
        return self.model.health(numbers)

    def forward(self, phase: str, batch: Batch) -> Tensor | dict[str, Tensor]:
        """As `Model.forward`."""
        return next(p for p in self.phases() if p.name == phase).loss(batch)


def trained(objective: Model | Objective) -> Model:
    """The model that training leaves."""
    return objective.model if isinstance(objective, Objective) else objective


class Frozen(nn.Module, Generic[M]):
    """A module that another one holds and uses but does not train: a teacher, a guide, a first stage.

    It follows the device and dtype of its holder. It is no part of the holder's parameters, buffers or state, so it is
    neither trained nor averaged nor saved with it; copies of the holder share it. It is always in eval mode, and takes
    no gradients of its own; gradients with respect to its inputs flow through it.
    """

    def __init__(self, module: M) -> None:
        super().__init__()
        self.__dict__["held"] = module.eval().requires_grad_(False)  # not registered as a submodule

    @property
    def module(self) -> M:
        held: M = self.__dict__["held"]
        return held

    def forward(self, *args: Any, **named: Any) -> Any:
        return self.module(*args, **named)

    def train(self, mode: bool = True) -> Self:
        self.module.eval()
        return super().train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.module._apply(fn)
        return super()._apply(fn, recurse)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
