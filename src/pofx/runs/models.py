"""Models by what a user gives: a name, a class, a class in a file, or nothing but data.

A class needs no installation: one that a program defines is found by its name while the program runs.
"""

from typing import Any

from pofx.core import config
from pofx.core.errors import UsageError
from pofx.core.items import Items
from pofx.core.model import Model
from pofx.represent.choose import views


def model_entry(model: Any) -> config.Entry:
    """The row of a model: of its name, of a subclass of Model, or of "file.py:Class".

    Raises:
        UsageError: nobody knows the name (the nearest are named), or it is no model.
    """
    if isinstance(model, type) and issubclass(model, Model):
        return config.entry_of(model)
    if not isinstance(model, str):
        raise UsageError(f"model must be a name, a subclass of Model or 'file.py:Class' (got {model!r})")
    path, colon, name = model.rpartition(":")
    if colon and path.endswith(".py"):
        return config.entry_of(config.class_in_file(path, name, Model))
    return config.entry(model)


def default_model(items: Items) -> str:
    """The name of the model that is the default for items: that of the first view for which there is one.

    Raises:
        UsageError: no model is a default for any view.
    """
    for view in sorted(views(items.kind), key=lambda view: view.conditional):  # those of conditions last
        if view.on_request:
            continue
        fitted = view.fit(items)
        fitting = [
            (default.mixed, default.least, name)
            for name, row in config.entries().items()
            for default in row.default_for
            if default.fits(fitted.event) and not default.family and (fitted.mixed or not default.mixed)
        ]
        if fitting:
            return max(fitting)[-1]
    raise UsageError(f"no model is the default for {items.kind} items: name one, see `pofx models`")
