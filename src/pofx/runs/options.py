"""Options and their owners: the reading of the data, the constructor of the model, the trainer, the view, or the call.

Options can be given apart (`options=`, `trainer=`, `view=`) or flat, by name alone; a flat name has exactly one owner,
which the tests guarantee for every model.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from pofx.core import config
from pofx.core.errors import UsageError, unknown
from pofx.core.options import BUDGETS
from pofx.data.kind import reading_options
from pofx.represent.choose import BY_NAME
from pofx.train.options import TrainOptions

OWNERS = ("options", "trainer", "view")  # the arguments that take options apart
OF_CALLS = (*BUDGETS, "seed", "out", "progress", "condition", "weight", "device")  # what a wrong option may have meant


@dataclass(frozen=True)
class Sorted:
    """Options by their owner."""

    options: Mapping[str, Any]  # of the model's constructor
    trainer: Mapping[str, Any]
    view: Mapping[str, Any]


def owned(row: config.Entry) -> dict[str, set[str]]:
    """The names of the options of each owner, for one model."""
    return {
        "options": set(config.defaults(row.model)),
        "trainer": {f.name for f in fields(TrainOptions)},
        "view": {key for cls in config.representations().values() for key in cls.options} | {BY_NAME},
    }


def arguments(call: Callable[..., Any]) -> set[str]:
    """The arguments of a call that are no options: its budget, seed, folder …"""
    return {name for name, p in inspect.signature(call).parameters.items() if p.kind is not p.VAR_KEYWORD}


def sort_options(row: config.Entry, flat: Mapping[str, Any], **apart: Mapping[str, Any] | None) -> Sorted:
    """Options by their owner; `apart` are those given as `options`, `trainer` and `view`.

    Raises:
        UsageError: an option that nobody knows (the nearest are named), that its owner does not know, or given twice.
    """
    owners = owned(row)
    found: dict[str, dict[str, Any]] = {}
    for owner in OWNERS:
        found[owner] = dict(apart.get(owner) or {})
        for key in found[owner]:
            if key not in owners[owner]:
                whose = {"options": f"option of {row.name}", "trainer": "trainer option", "view": "option of a view"}
                other = next((name for name in OWNERS if key in owners[name]), None)
                if other is not None:
                    raise UsageError(
                        f"{key} is no {whose[owner]} but a {whose[other]}: pass {key}=… by itself, or in {other}"
                    )
                raise unknown(whose[owner], key, owners[owner])
    for key, value in flat.items():
        possible = [owner for owner in OWNERS if key in owners[owner]]
        if not possible:
            raise unknown(f"option of {row.name}", key, set().union(*owners.values(), reading_options(), OF_CALLS))
        if key in found[possible[0]]:
            raise UsageError(f"{key} is given twice, flat and in {possible[0]}: give it once")
        found[possible[0]][key] = value
    return Sorted(**found)


def split_reading(flat: Mapping[str, Any], model: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Flat options in two: those of reading the data, and all others. A model's own option of that name comes first."""
    names = reading_options()
    own = set(config.defaults(model)) if model is not None and set(flat) & set(names) else set()
    found = {key: value for key, value in flat.items() if key in names and key not in own}
    return found, {key: value for key, value in flat.items() if key not in found}


def refuse_arguments(flat: Mapping[str, Any], call: Callable[..., Any]) -> None:
    """Refuse options of the command line that are arguments of the call.

    Raises:
        UsageError: the option is one; how to give it is in the message.
    """
    for key in flat:
        if key in arguments(call):
            hint = " (steps of a sampler are sampler_steps, those of a flow flow_steps)" if key == "steps" else ""
            raise UsageError(f"{key} is no option of a model: pass it by itself, as --{key} or {key}=…{hint}")
