"""What a run takes over from other runs: the first stage whose codes it models (`on=RUN`), and its companions.

The view of the data follows from them: codes of the first stage, or the view of the companions. Conditions that a first
stage or a companion was trained with are seen as it sees them.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pofx import storage
from pofx.companions import Given, agree, given, given_companions, made
from pofx.core.companion import Companion, companion_arguments
from pofx.core.config import Entry
from pofx.core.errors import PofxError, Unsupported, UsageError
from pofx.core.event import Event, each, select
from pofx.core.items import Items
from pofx.core.random import Still, Streams
from pofx.core.representation import Representation
from pofx.represent.choose import NoView, choose, choose_conditioning
from pofx.represent.learned import Learned
from pofx.runs.models import default_model
from pofx.runs.options import Sorted

CODES = 10_000  # items from which the spread of codes is taken


@dataclass(frozen=True)
class Held:
    """The first stage and the companions of a run, loaded."""

    origin: Mapping[str, Any] | None = None  # of the first stage
    learned: Learned | None = None
    fitted: bool = False  # whether the spread of its codes is known, as in a run that is resumed
    first_condition: Any = None  # in words: of the first stage
    conditioning: Representation | None = None
    companions: Mapping[str, Given] = field(default_factory=dict)

    @property
    def card(self) -> dict[str, Any]:
        """Paths and hashes, for the card."""
        found: dict[str, Any] = {}
        if self.origin is not None:
            found["on"] = dict(self.origin)
        if self.companions:
            found["companions"] = {name: run.origin for name, run in self.companions.items()}
        return found

    @property
    def request(self) -> dict[str, Any]:
        """Hashes, in which a resumed run must agree; paths may change."""
        found: dict[str, Any] = {}
        if self.origin is not None:
            found = {"on": self.origin["hash"], "on_path": self.origin["path"]}
        if self.companions:
            found["companions"] = {name: run.hash for name, run in self.companions.items()}
            found["companion_paths"] = {name: run.path for name, run in self.companions.items()}
        return found

    def views(
        self, row: Entry, items: Items, view: Mapping[str, Any], device: torch.device
    ) -> tuple[Representation, Representation | None]:
        """The representations of the items and of their conditions.

        Raises:
            Unsupported: the model does not take codes of this kind, or companions see other events.
            UsageError: options of a view that is given by another run.
        """
        if self.learned is not None or self.companions:
            if view:
                other = "the first stage" if self.learned is not None else "the companion"
                raise UsageError(f"the view of the data is that of {other}: omit {', '.join(view)}")
        representation, conditioning = self._view(row, items), self._conditioning(row, items)
        kinds = companion_arguments(row.model)
        for name, run in self.companions.items():
            agree(name, run.parts, representation, conditioning, kinds[name].bound)
        if self.learned is not None and not self.fitted:
            self._standardise(self.learned, items, conditioning, device)
        return representation, conditioning

    def _view(self, row: Entry, items: Items) -> Representation:
        if self.learned is None:
            for run in self.companions.values():
                _same_kind(run.parts.representation, items, "companion")
                return run.parts.representation
            raise AssertionError("views are taken over from runs")
        _same_kind(self.learned, items, "first stage")
        event = self.learned.event
        if not issubclass(type(event), row.model.events):
            wanted = " or ".join(e.__name__ for e in row.model.events)
            raise Unsupported(
                f"{row.name} takes {wanted} events, and the codes of {self.learned.model['name']} are "
                f"{type(event).__name__}: choose another model for the codes"
            )
        return self.learned

    def _conditioning(self, row: Entry, items: Items) -> Representation | None:
        kinds = companion_arguments(row.model)
        known = [
            r.parts.conditioning
            for name, r in self.companions.items()
            if r.parts.conditioning is not None
            and (
                kinds[name].bound or (items.condition is not None and items.condition.kind == r.parts.conditioning.kind)
            )
        ]
        known += [self.conditioning] if self.conditioning is not None else []
        if items.condition is None:
            if known:
                raise Unsupported("the run that this one builds on was trained with a condition: pass the same one")
            return None
        if not known:
            return choose_conditioning(items.condition, row.model)
        if not issubclass(type(known[0].event), row.model.conditions or ()):
            raise Unsupported(
                f"{row.name} does not take the condition of the run that it builds on: choose another model"
            )
        return known[0]

    def _standardise(
        self, learned: Learned, items: Items, conditioning: Representation | None, device: torch.device
    ) -> None:
        raw = learned.training(items.values)[:CODES]
        condition = None
        if conditioning is not None and items.condition is not None and learned.conditioned:
            given = select(conditioning.to("cpu").tensor(items.condition.values), slice(0, CODES))
            condition, _ = conditioning.encode(given, Still(0, len(raw)))
        learned.to(device)
        condition = None if condition is None else each(condition, lambda v: v.to(device))
        learned.standardise(raw.to(device), condition, Streams(0, len(raw), device=device))

    def made(self, row: Entry) -> dict[str, Companion]:
        """The companions as the constructor takes them."""
        return made(row.model, self.companions)


def held(row: Entry, on: Any, options: Mapping[str, Any], folder: Path | None, resume: bool) -> Held:
    """The first stage and the companions that a user names.

    A resumed run whose first stage is gone goes on with the one that its own folder holds.

    Raises:
        UsageError: there is no such run, or it has no codes.
    """
    companions = given_companions(row.model, options)
    if on is None:
        return Held(companions=companions)
    before = _stored(folder) if resume and folder is not None else None
    if before is not None and (origin := before.card.get("on")):
        try:
            same = given(on, "on").hash == origin["hash"]
        except UsageError:
            same = True  # it is gone
        if same and isinstance(before.representation, Learned):
            condition = before.card.get("training", {}).get("condition")
            return Held(origin, before.representation, True, condition, _of_first(before), companions)
    run = given(on, "on")
    learned = Learned.of(run.parts.representation, run.parts.model, run.parts.name)
    condition = run.parts.card.get("training", {}).get("condition")
    return Held(run.origin, learned, False, condition, run.parts.conditioning, companions)


@dataclass(frozen=True)
class FirstStage:
    """A run on whose codes others are trained: its folder, its hash, and the event of the codes."""

    path: str
    hash: str
    event: Event


def first_stage(on: Any) -> FirstStage:
    """The first stage of several runs.

    Raises:
        UsageError: there is no such folder, it has no codes, or it was trained with a condition.
    """
    run = given(on, "on")
    if not run.path:
        raise UsageError("on must be the folder of a run, which every job reads: save the run and pass its folder")
    if run.parts.model.condition is not None:
        raise UsageError(
            f"on must be a run without a condition ({run.path} has one): train it without, or use pofx.fit"
        )
    learned = Learned.of(run.parts.representation, run.parts.model, run.parts.name)
    return FirstStage(run.path, run.hash, learned.event)


def condition_of_run(run: Any, folder: Path | None) -> Any:
    """The condition that a first stage was trained with, where it is part of the data: labels or columns.

    `folder` is that of a run that is resumed, which states its condition itself.
    """
    before = None if folder is None else _stored(folder)
    return given(run, "on").parts.condition_source if before is None else before.condition_source


def views(
    row: Entry, on: Held, items: Items, view: Mapping[str, Any], device: torch.device
) -> tuple[Representation, Representation | None]:
    """The representations of items and conditions: taken over from other runs, or chosen for the model."""
    if on.learned is not None or on.companions:
        return on.views(row, items, view, device)
    condition = items.condition
    try:
        own = choose(items, row.model, view, row.view)
    except NoView as error:
        try:
            other = default_model(items)
        except UsageError:
            raise error from None
        raise UsageError(f"{error}; {other} takes them") from error
    return own, None if condition is None else choose_conditioning(condition, row.model)


def plain_options(row: Entry, given: Sorted, on: Held) -> dict[str, Any]:
    """Options of the model with companions by the path of their run, for a request."""
    paths = {name: on.companions[name].path for name in companion_arguments(row.model) if name in on.companions}
    return {**given.options, **paths}


def _stored(folder: Path) -> Any:
    """The artifact in the folder of a run that is resumed, where there is one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that the run is unfinished
            return storage.load(folder)
    except PofxError:
        return None


def _of_first(before: Any) -> Representation | None:
    conditioned = isinstance(before.representation, Learned) and before.representation.conditioned
    return before.conditioning if conditioned else None


def _same_kind(view: Representation, items: Items, what: str) -> None:
    if view.kind != items.kind:
        raise UsageError(
            f"the {what} was trained on {view.kind} items (got {items.kind} items): pass data of its own kind"
        )
