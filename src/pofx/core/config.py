"""Configuration and discovery: constructor arguments are the configuration, folders and entry points the registry.

Model classes are found by scanning `pofx.families` and the entry-point group `pofx.families` of installed packages;
representations by scanning `pofx.represent`. No list of names exists anywhere.
"""

import importlib
import inspect
import json
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, TypeVar

from pofx.core.errors import UsageError, unknown
from pofx.core.event import Event
from pofx.core.model import Model, Traits, traits
from pofx.core.representation import Representation

GROUP = "pofx.families"
T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A row of `pofx models`: a model class with the constructor values and trainer options of its name."""

    name: str
    model: type[Model]
    values: Mapping[str, Any]
    trains_with: Mapping[str, Any]
    traits: Traits


def modules(package: str) -> Iterator[ModuleType]:
    """Every module below a package, imported, in the order of their names."""
    root = importlib.import_module(package)
    for found in pkgutil.walk_packages(root.__path__, package + "."):
        yield importlib.import_module(found.name)


def classes(module: ModuleType, of: type[T]) -> Iterator[type[T]]:
    """The finished subclasses of `of` that a module defines itself."""
    for value in vars(module).values():
        if inspect.isclass(value) and issubclass(value, of) and value.__module__ == module.__name__:
            if not inspect.isabstract(value):
                yield value


def _rows(model: type[Model]) -> Iterator[Entry]:
    if model.name:
        yield Entry(model.name, model, {}, dict(model.trains_with), traits(model))
    for recipe in model.recipes:
        yield Entry(
            recipe.name,
            model,
            dict(recipe.values),
            {**model.trains_with, **(recipe.trains_with or {})},
            traits(model, name=recipe.name, source=recipe.source),
        )


@cache
def entries() -> dict[str, Entry]:
    """Every model by name: the built-in families and those that installed packages add."""
    found = list(modules("pofx.families"))
    for point in entry_points(group=GROUP):
        loaded = point.load()
        found.append(loaded if isinstance(loaded, ModuleType) else importlib.import_module(loaded.__module__))
    rows: dict[str, Entry] = {}
    for module in found:
        for model in classes(module, Model):
            for row in _rows(model):
                if row.name in rows and rows[row.name].model is not row.model:
                    raise UsageError(f"two models are called '{row.name}': {rows[row.name].model} and {row.model}")
                rows[row.name] = row
    return dict(sorted(rows.items()))


def representations() -> dict[tuple[str, str], type[Representation]]:
    """Every representation by (kind, name)."""
    found: dict[tuple[str, str], type[Representation]] = {}
    for module in modules("pofx.represent"):
        for cls in classes(module, Representation):
            found[cls.kind, cls.name] = cls
    return found


def entry(name: str) -> Entry:
    """The model called `name`.

    Raises:
        UsageError: nobody knows the name; the nearest names are in the message.
    """
    rows = entries()
    if name not in rows:
        raise unknown("model", name, rows)
    return rows[name]


def defaults(cls: type) -> dict[str, Any]:
    """The options of a class: its constructor's arguments that have a default, but for the condition."""
    signature = inspect.signature(cls.__init__).parameters
    return {k: p.default for k, p in signature.items() if p.default is not p.empty and k != "condition"}


def build(name: str, event: Event, condition: Event | None = None, **options: Any) -> Model:
    """A new model by name; `options` override the values of its recipe and its defaults."""
    row = entry(name)
    known = defaults(row.model)
    for key in options:
        if key not in known:
            raise unknown(f"option of {name}", key, known)
    return row.model(event, condition, **{**row.values, **options})


def config(instance: object) -> dict[str, Any]:
    """The constructor values of a model or representation, as plain JSON values."""
    names = [k for k in inspect.signature(type(instance).__init__).parameters if k != "self"]
    return dict(plain({k: getattr(instance, k) for k in names if k not in ("event", "condition")}))


def plain(value: Any) -> Any:
    """A value as JSON gives it back: tuples become lists.

    Raises:
        UsageError: the value is not plain.
    """
    try:
        return json.loads(json.dumps(value))
    except TypeError as error:
        raise UsageError(f"{value!r} is not a plain value ({error}): pass numbers, strings, lists or dicts") from error


def parse(text: str) -> tuple[str, Any]:
    """A `key=value` of the command line; the value is JSON where it reads as such, else a string."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise UsageError(f"an option is written key=value (got '{text}')")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, {"True": True, "False": False, "None": None}.get(value, value)
