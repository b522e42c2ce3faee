"""Discovery: finished classes are found by scanning folders and entry points; there is no registry. No torch here."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


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


@cache
def _scanned(of: type[T], package: str, group: str) -> tuple[type[T], ...]:
    found = list(modules(package))
    for point in entry_points(group=group):
        loaded = point.load()
        found.append(loaded if isinstance(loaded, ModuleType) else importlib.import_module(loaded.__module__))
    return tuple(dict.fromkeys(one for module in found for one in classes(module, of)))


def finished(of: type[T], package: str, group: str) -> tuple[type[T], ...]:
    """The finished subclasses of `of`: of a package, of an entry-point group, then those that a program defines itself.

    The last ones are found among the subclasses alive, so that a class of a notebook or a test needs no installation.
    """
    found = dict.fromkeys(_scanned(of, package, group))  # type: ignore[arg-type]
    waiting = [of]
    while waiting:
        for child in waiting.pop(0).__subclasses__():
            waiting.append(child)
            if not inspect.isabstract(child):
                found.setdefault(child)
    return tuple(found)
