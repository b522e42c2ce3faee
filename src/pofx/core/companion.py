"""Companions: trained models that another model holds and uses, given by a user as the folders of their runs.

A model states one by annotating a constructor argument: `teacher: Teacher | None = None` (used by losses alone, so that
the artifact is without it) or `guide: Guide | None = None` (used in sampling too, so that it is saved inside the
artifact). Users give the folder of a run; path and hash are in the card. A companion is `Frozen`: never trained,
averaged or saved with the weights of its holder. It models the same event as its holder.
"""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, TypeVar, get_args

from torch import Tensor

from pofx.core.errors import Unsupported
from pofx.core.model import Model
from pofx.core.objective import Frozen
from pofx.core.options import annotated

M = TypeVar("M", bound=Model)


class Companion(Frozen[Model]):
    """A trained model, its name in `pofx models`, the path of its run and the hash of its weights."""

    travels: ClassVar[bool]  # whether it is saved inside the artifact
    in_words: ClassVar[str] = "the folder of a run"  # what a user gives
    bound: ClassVar[bool] = True  # whether its holder must have the condition that it was trained with

    def __init__(self, model: Model, name: str, path: str = "", hash: str = "") -> None:
        super().__init__(model)
        self.name, self.path, self.hash = name, path, hash

    def having(self, capability: type[M]) -> M:
        """The model, which must have a capability such as `Denoising`.

        Raises:
            Unsupported: it has not.
        """
        module = self.module
        if not isinstance(module, capability):
            raise Unsupported(
                f"{self.name} at {self.path or 'this run'} is no {capability.__name__} model: give a run of one"
            )
        return module

    def weights(self) -> dict[str, Tensor]:
        """The tensors of the model and of its own companions, each under its name."""
        return weights(self.module)

    def extra_repr(self) -> str:
        return f"{self.name}, {self.path}"


class Teacher(Companion):
    """A companion that only losses use: not part of the artifact, in which the argument is None."""

    travels = False


class Guide(Companion):
    """A companion that sampling or scoring uses: saved inside the artifact."""

    travels = True


class Foundation(Guide):
    """The run that a model is built around, which is used without its condition where the holder has another one."""

    bound = False


@cache
def companion_arguments(model: type) -> dict[str, type[Companion]]:
    """The constructor arguments of a model that are companions, with their types."""
    found = {}
    for name, hint in annotated(model.__init__).items():  # type: ignore[misc]
        for part in (hint, *get_args(hint)):
            if inspect.isclass(part) and issubclass(part, Companion):
                found[name] = part
    return found


def companions(model: Model) -> dict[str, Companion]:
    """The companions of a model that are saved with it, by argument."""
    held = {name: getattr(model, name) for name in companion_arguments(type(model))}
    return {name: one for name, one in held.items() if isinstance(one, Companion) and one.travels}


def weights(model: Model) -> dict[str, Tensor]:
    """The tensors of a model under "model." and those of its companions under "companions.NAME."."""
    found = {f"model.{key}": value for key, value in model.state_dict().items()}
    for name, companion in companions(model).items():
        found |= {f"companions.{name}.{key}": value for key, value in companion.weights().items()}
    return found


def load_weights(model: Model, tensors: Mapping[str, Tensor]) -> None:
    """Give a model and its companions what `weights` gave."""
    model.load_state_dict(beneath(tensors, "model"))
    for name, companion in companions(model).items():
        load_weights(companion.module, beneath(tensors, f"companions.{name}"))


def beneath(tensors: Mapping[str, Any], part: str) -> dict[str, Any]:
    """The entries whose names begin with "part.", without that beginning."""
    return {key[len(part) + 1 :]: value for key, value in tensors.items() if key.startswith(part + ".")}
