"""The weights of models as artifacts hold them, so that artifacts of earlier versions load.

`python tests/saved_layouts.py` adds models that are not yet in `saved_layouts.json`, each of a small size: the options
that an artifact holds, and a hash of the names and shapes of its weights, or these where a model reads them
(`recognised`). What is there changes only where saved runs of that model may be lost.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pofx.core.config import build, config, entries, model_from_json
from pofx.core.errors import PofxError
from pofx.core.event import Bounded, Continuous, Discrete, Event, event_to_json
from pofx.core.model import Model

FILE = Path(__file__).with_suffix(".json")
EVENTS: dict[str, Event] = {
    "grid": Bounded((1, 8, 8)),
    "levels": Discrete((1, 8, 8), 4),
    "two": Discrete((1, 8, 8), 2),
    "rows": Discrete((18,), (3,) * 17 + (5,)),
    "text": Discrete((12,), 9, end=1),
    "vector": Continuous((3,)),
}
LABEL = Discrete((), 3)


def described(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The first event that a model takes, alone and with a label, binary levels and rows: a case and what is stored."""
    row, first = entries()[name], ""
    for of, event in EVENTS.items():
        for condition in (None, LABEL):
            if first and of not in (first, "two", "rows") or condition is not None and of != first:
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    model = build(name, event, condition, **row.model.small)
            except (PofxError, AssertionError, TypeError, KeyError):
                continue  # not such an event, or a model around a run
            first = first or of
            case = f"{name} {of}{'' if condition is None else ' label'}"
            found = {"layout": layout(model), "options": config(model)}
            if type(model).recognised.__func__ is not Model.recognised.__func__:  # type: ignore[attr-defined]
                found["shapes"] = {key: tuple(value.shape) for key, value in model.state_dict().items()}
            yield case, found


def again(case: str, saved: dict[str, Any]) -> Model:
    """The model of a case, as an artifact's is built."""
    name, of, *label = case.split()
    shapes = {key: tuple(shape) for key, shape in saved.get("shapes", {}).items()}
    options = dict(entries()[name].model.recognised(saved["options"], shapes))
    event, condition = event_to_json(EVENTS[of]), event_to_json(LABEL if label else None)
    return model_from_json({"name": name, "options": options, "event": event, "condition": condition})


def layout(model: Model) -> str:
    """The names and shapes of all that an artifact stores."""
    lines = [f"{key} {tuple(value.shape)}" for key, value in sorted(model.state_dict().items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def main() -> None:
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name in entries():
        for case, found in described(name):
            known.setdefault(case, found)
    lines = [f"{json.dumps(case)}: {json.dumps(known[case])}" for case in sorted(known)]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
