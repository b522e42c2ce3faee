"""Which view of the items a model gets: the first that is of the kind of event it prefers.

Views are found by scanning this folder. A user who sets an option of a view, or names it (`represent="unit"`), gets it.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pofx.core.config import defaults, representations
from pofx.core.errors import Unsupported, UsageError, unknown
from pofx.core.event import Bounded, Discrete
from pofx.core.model import Model
from pofx.core.representation import Items, Representation
from pofx.data.kind import kind_of, named

BY_NAME = "represent"  # the option that names a view


class NoView(UsageError):
    """No view of the items is an event that the model takes."""


def views(kind: str) -> tuple[type[Representation], ...]:
    """The representations of a kind of items, its own first, in the order their modules define them."""
    names = named(kind).names
    found = [view for view in representations().values() if view.kind in names]
    return tuple(sorted(found, key=lambda view: names.index(view.kind)))


def options(kind: str) -> dict[str, Any]:
    """Every option of the views of a kind, with its default."""
    known: dict[str, Any] = {BY_NAME: None}
    for view in views(kind):
        known |= {key: value for key, value in defaults(view).items() if key in view.options}
    return known


def choose(
    items: Items, model: type[Model], options: Mapping[str, Any] | None = None, view: str = ""
) -> Representation:
    """The representation of these training items for a class of models; `view` is preferred where they have it.

    Raises:
        UsageError: no view of the items is an event that the model takes, or an option that no view knows.
    """
    available = tuple(view for view in views(items.kind) if not view.conditional)
    name, wanted = model.name or model.__name__, dict(options or {})
    if view in [each.name for each in available]:
        wanted.setdefault(BY_NAME, view)
    return _choose(items, available, model.events, wanted, f"{name} takes", "another model or view", model.unequal)


def choose_conditioning(items: Items, model: type[Model]) -> Representation:
    """The representation of these conditions, of the training items, for a class of models.

    Raises:
        Unsupported: the model takes no condition.
        UsageError: no view of the conditions is an event that the model takes.
    """
    name = model.name or model.__name__
    if not model.conditions:
        raise Unsupported(f"{name} takes no condition: train it without one, or choose another model")
    return view_of_condition(items, model.conditions, f"as its condition {name} takes")


def view_of_condition(items: Items, events: Sequence[type], who: str) -> Representation:
    """The representation of conditions as the first possible of these kinds of event; `who` takes them, in errors.

    Raises:
        UsageError: no view of the conditions is such an event.
    """
    every = views(items.kind)
    available = tuple(view for view in every if view.conditional) or every
    if kind_of(items).photographic and any(issubclass(Bounded, event) for event in events):
        events = (Bounded, *events)  # pixels are numbers, which networks can read place by place
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "columns? .* no density")  # nor does a condition need any
        return _choose(items, available, events, {}, who, "another model")


def view_of_part(items: Items, events: Sequence[type], who: str) -> Representation:
    """The representation of one part of an event as the first possible of these kinds of event.

    Raises:
        UsageError: no view of the part is such an event.
    """
    available = tuple(view for view in views(items.kind) if not view.conditional)
    return _choose(items, available, events, {}, who, "another view, or leave the part out")


def _choose(
    items: Items,
    available: Sequence[type[Representation]],
    events: Sequence[type],
    wanted: dict[str, Any],
    who: str,
    mend: str,
    unequal: bool = True,
) -> Representation:
    """The first of the available views that is of the first possible kind of event."""
    named = wanted.pop(BY_NAME, None)
    if not available:
        raise UsageError(f"nothing represents items of kind '{items.kind}': add a file to pofx/represent")
    if named is not None:
        if named not in [view.name for view in available]:
            raise unknown(f"view of {items.kind} items", str(named), [view.name for view in available])
        available = tuple(view for view in available if view.name == named)
    known = {key for view in available for key in view.options}
    for key in wanted:
        if key not in known:
            raise unknown(f"option of the views of {items.kind} items", key, known | {BY_NAME})
    able = [view for view in available if set(wanted) <= set(view.options)]
    if named is None:
        able = [view for view in able if not view.on_request] or able
    if not able:
        raise UsageError(f"no one view of {items.kind} items has all of the options {', '.join(wanted)}: set fewer")
    fitted: dict[type[Representation], Representation] = {}
    for event in events:
        for fits in (_is, issubclass):
            for view in able:
                if view not in fitted:
                    fitted[view] = view.fit(items, **wanted)
                found = fitted[view].event
                if isinstance(found, Discrete) and found.by_dimension and not unequal:
                    continue
                if fits(type(found), event):
                    return fitted[view]
    stated = f"{who} {' or '.join(e.__name__ for e in events)} events; "
    stated += f"{items.kind} items offer {', '.join(_offers(fitted.values()))}"
    rest = [view for view in available if view.on_request and view not in fitted and set(wanted) <= set(view.options)]
    for view in rest if named is None else ():
        if isinstance(view.fit(items, **wanted).event, tuple(events)):
            raise NoView(f"{stated}, and on request {view.name}: pass {BY_NAME}={view.name}, or choose {mend}")
    raise NoView(f"{stated}: choose {mend}")


def _is(kind: type, event: type) -> bool:
    return kind is event


def _offers(fitted: Any) -> Iterator[str]:
    for view in fitted:
        yield f"{view.name} ({type(view.event).__name__})"
