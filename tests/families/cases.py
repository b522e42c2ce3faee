"""The cases of the conformance suite: every model × every kind of event × conditional or not, at its tiniest size.

Two kinds of law: a *fit law* needs a model that has learned (`fitted`), a *structural law* one that has merely begun
(`started`). `make test` fits each model class once per kind of event, and under a condition one class of each family; a
recipe is the same class under other constructor values, and like further ranks and conditional twins it is held to the
structural laws alone, a recipe to those of its first event. `make test-slow` has the full matrix, and fits models
without a density that do not represent their family.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch

from pofx.core import config
from pofx.core.event import Continuous, Discrete, Event
from pofx.core.model import Density, Explicit, Model, Stepwise
from pofx.train.feed import Feed
from pofx.train.loop import train
from pofx.train.options import Budget, TrainOptions
from truth import CLASSES, Identity, Truth, events_for

STEPS, ITEMS, FEW = 150, 2000, 300
BEGUN, GUIDED = 6, 80  # steps of a model that has merely begun, and until a condition shows
FEW_STEPS = 10  # of the sampler of a model that has merely begun
SECOND = {  # classes that fit what another class of their family fits already, only slower
    *("dequantised-tarflow", "dequantised-glow", "tarflow", "nice", "cnf", "pixelcnn++", "pixelrnn"),
    *("hvae", "ebm", "gan", "discrete-flow-matching", "flow-matching", "haar-cascade", "planar", "pixelsnail"),
    *("masked-real", "noise-classifier", "dbm", "dbn", "aim", "wavenet", "context-mlp"),  # own tests enumerate them
}
KIN = {  # recipes whose structural laws are those of their class; their families' own tests hold what differs
    *("score-sde", "ot-flow-matching", "iddpm", "edm", "d3pm-uniform", "energy-matching", "iaf"),
}
PLAIN = ("mean loss", "bad input")  # laws that a condition hardly touches
LONG = {  # laws that take some seconds to half a minute
    "log_prob is a function of the item": ("jit", "ebm"),
    "seeds": ("ebm",),
}
SLOW_DENSITY = (  # estimates and bounds of many evaluations: their law is tried on one event, without a condition
    *("flow-matching", "discrete-flow-matching", "masked-diffusion", "dequantised-tarflow", "dequantised-glow"),
    *("masked-real", "cnf", "noise-classifier", "d3pm", "vdm"),
)


@dataclass(frozen=True)
class Case:
    """One model under one event; `core` names the class's own row, of which the recipes are variations."""

    name: str
    event: Event
    condition: Event | None = field(hash=False)  # a product has no hash
    core: bool = True
    first: bool = True  # of the events of its kind
    further: bool = False  # another event or the conditional twin of a recipe
    given: str = ""  # the kind of a condition that is more than a label

    def __str__(self) -> str:
        kind = type(self.event).__name__.lower()
        given = "" if self.condition is None else f"-{self.given or 'conditional'}"
        return f"{self.name}-{kind}{len(self.event.shape)}{given}"

    @property
    def row(self) -> config.Entry:
        return config.entry(self.name)

    @property
    def plain(self) -> bool:
        """The first event of its kind, without a condition."""
        return self.first and self.condition is None

    @property
    def quick(self) -> bool:
        """Whether `make test` fits it."""
        return self.learns_fast and self.plain

    @property
    def learns_fast(self) -> bool:
        """A class with a density, or the one that represents its family: players need three times the steps."""
        return self.core and self.name not in SECOND and (issubclass(self.row.model, Explicit) or self.represents)

    @property
    def represents(self) -> bool:
        """Whether it is the class that stands for its family."""
        return any(row.default_for for row in config.entries().values() if row.model is self.row.model)

    def build(self) -> Model:
        torch.manual_seed(0)
        return self.row.model(self.event, self.condition, **{**self.row.values, **self.row.model.small})

    def labels(self, n: int, seed: int = 1) -> torch.Tensor | None:
        if self.condition is None:
            return None
        return torch.randint(CLASSES, (n,), generator=torch.Generator().manual_seed(seed))

    def stated(self, labels: torch.Tensor | None) -> Any:
        """The conditions of these labels, in the event of the condition."""
        return labels if labels is None or not self.given else GIVEN[self.given][1](labels)


GIVEN: dict[
    str, tuple[Event, Callable[[torch.Tensor], Any]]
] = {  # conditions that are more than a label, as label → value
    "image": (Continuous((1, 4, 4)), lambda c: (c.float() - 1).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()),
    "text": (
        Discrete((5,), 4, end=3),
        lambda c: torch.stack((c, c, c, torch.full_like(c, 3), torch.full_like(c, 3)), 1),
    ),
    "row": (
        {"numbers": Continuous((2,)), "categories": Discrete((2,), (2, 3))},
        lambda c: {
            "numbers": torch.stack((c.float() - 1, torch.zeros(len(c))), 1),
            "categories": torch.stack((c % 2, c), 1),
        },
    ),
}
GIVEN["parts"] = (  # several at once: a label, a picture, a text
    {"label": Discrete((), CLASSES), "image": GIVEN["image"][0], "text": GIVEN["text"][0]},
    lambda c: {"label": c, "image": GIVEN["image"][1](c), "text": GIVEN["text"][1](c)},
)
GIVEN["grid"] = GIVEN["image"]  # of an event that is a grid as well, place by place
STATED = {  # the models that are tried on them
    "cvae": ("image", "row", "text", "parts"),
    **dict.fromkeys(("jit", "r3gan", "nsf", "glow", "gpt"), ("parts",)),
    **dict.fromkeys(("split-mean-flow", "ddgan", "haar-cascade"), ("grid",)),
    "flow-matching": ("parts", "grid"),
}
# structural laws alone: in so few steps r3gan does not reach the truth under three parts (under a label it does), and
# under them the density of jit is narrower than the lattice on which an estimate is integrated
STRUCTURAL = {("r3gan", "parts"), ("jit", "parts")}
QUICKLY = {("cvae", "row"), ("cvae", "parts")}  # by `make test`


def is_core(row: config.Entry) -> bool:
    """The row of the class itself, or its first recipe where only recipes have names."""
    return row.name == (row.model.name or row.model.recipes[0].name)


@cache
def cases() -> list[Case]:
    found = []
    for name, row in config.entries().items():
        seen: set[bool] = set()
        events = events_for(row.model.events, row.model.ranks)
        for event in events:
            discrete = isinstance(event, Discrete)
            further = not is_core(row) and bool(seen)
            found.append(Case(name, event, None, is_core(row), discrete not in seen, further))
            seen.add(discrete)
        if any(issubclass(Discrete, kind) for kind in row.model.conditions):
            found.append(Case(name, events[0], Discrete((), CLASSES), is_core(row), further=not is_core(row)))
        for given in STATED.get(name, ()):
            at = next(event for event in events if len(event.shape) == 3) if given == "grid" else events[0]
            found.append(
                Case(name, at, GIVEN[given][0], is_core(row), further=(name, given) not in QUICKLY, given=given)
            )
    return found


def _trained(case: Case, steps: int, items: int = ITEMS) -> Model:
    truth, labels = Truth(case.event), case.labels(items)
    feed = Feed(
        truth.draw(items, labels), case.stated(labels), Identity(case.event), seed=0, device=torch.device("cpu")
    )
    options = {**case.row.trains_with, "precision": "fp32", "warmup": 20, "validations": 1, "compile": False}
    options["lr"] = max(options.get("lr", 1e-3), 3e-3)
    model = case.build()
    with torch.random.fork_rng():
        return train(
            model,
            feed,
            options=TrainOptions.of(options),
            budget=Budget(steps=steps),
            seed=0,
            progress=False,
        ).model


@cache
def fitted(case: Case) -> Model:
    """The model of a case after a short training on its truth."""
    model = case.build()
    likelihood = isinstance(model, Explicit) and model.density >= Density.BOUND
    return _trained(case, STEPS if likelihood else 3 * STEPS)  # a player or a chain has farther to go


@cache
def started(case: Case) -> Model:
    """The model of a case after its first steps: prepared by the data, no parameter at its initial value."""
    model = _trained(case, BEGUN, FEW)
    if isinstance(model, Stepwise):
        model.steps = min(model.steps, FEW_STEPS)
    return model


@cache
def guided(case: Case) -> Model:
    """A conditional model trained long enough for its condition to show."""
    return _trained(case, GUIDED)


def law(name: str, *, fit: bool = False, conditional: bool | None = None):
    """Parametrise a law over the cases; exemptions are expected failures with their reason.

    fit: the law needs fitted models; those beyond the quick ones are marked slow.
    conditional: only cases with (True) or without (False) a condition.
    """

    def params():
        for case in cases():
            if conditional is not None and conditional != (case.condition is not None):
                continue
            if fit and (case.name, case.given) in STRUCTURAL:
                continue
            marks = []
            kind = type(case.event).__name__.lower()
            exempt = case.row.model.exempt  # of the class, of a kind of event, or of a case
            reason = exempt.get(name) or exempt.get(f"{name} of {kind} events") or exempt.get(f"{name} of {case}")
            if reason:
                marks.append(pytest.mark.xfail(reason=reason, strict=True))
            if (
                case.further
                or case.name in KIN
                or case.name in LONG.get(name, ())
                or (name == "log_prob is a function of the item" and case.name in SLOW_DENSITY and not case.plain)
                or (name in PLAIN and case.condition is not None)
                or (fit and not (case.quick or (conditional and case.learns_fast and case.represents)))
            ):
                marks.append(pytest.mark.slow)
            yield pytest.param(case, id=str(case), marks=marks)

    return pytest.mark.parametrize("case", list(params()))
