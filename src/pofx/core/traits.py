"""What a model class can do, as tables of models show it: read off its bases and class variables."""

from dataclasses import dataclass

from pofx.core.model import Density, Encoding, Explicit, Model, Recipe


@dataclass(frozen=True)
class Traits:
    """What a model class can do, read off its bases and class variables."""

    name: str
    family: str
    events: tuple[str, ...]
    density: Density
    encodes: bool
    conditional: bool
    source: str
    summary: str
    baseline: bool = False


def traits(model: type[Model], recipe: Recipe | None = None) -> Traits:
    """The traits of a model class, or of a recipe of it under the recipe's name and source."""
    parts = model.__module__.split(".")
    own = model.best_density if issubclass(model, Explicit) else Density.NONE
    return Traits(
        name=recipe.name if recipe else model.name,
        family=parts[-2] if len(parts) > 1 else parts[0],
        events=tuple(e.__name__ for e in model.events),
        density=own if recipe is None or recipe.density is None else recipe.density,
        encodes=issubclass(model, Encoding),
        conditional=bool(model.conditions),
        source=recipe.source if recipe else model.source,
        summary=(recipe.summary if recipe else "") or (model.__doc__ or "").strip().split("\n")[0],
        baseline=recipe is None and vars(model).get("baseline", False),  # not that of a parent class
    )
