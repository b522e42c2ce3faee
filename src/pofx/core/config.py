"""Configuration and discovery: constructor arguments are the configuration, folders and entry points the registry.

Model classes are found by scanning `pofx.families` and the entry-point group `pofx.families` of installed packages;
representations by scanning `pofx.represent`. No list of names exists anywhere.
"""

import importlib
import importlib.util
import inspect
import json
import numbers
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import psutil

from pofx.core.companion import Companion, companion_arguments
from pofx.core.discovery import classes, finished, modules
from pofx.core.entry import float32
from pofx.core.errors import UsageError, unknown
from pofx.core.event import Event, event_from_json, event_to_json
from pofx.core.limits import limited, spoken_bytes
from pofx.core.model import Default, Model
from pofx.core.options import check_value, short
from pofx.core.representation import Representation
from pofx.core.traits import Traits, traits

AROUND = "pofx.combine.around"  # models around a trained run, which they need
GROUP, VIEWS = "pofx.families", "pofx.kinds"  # entry points of models; of kinds of data and their views
T = TypeVar("T")
COPIES = 5  # of the weights in training: weights, gradients, two moments, averages
MOST_TENSORS = 100_000  # of a model
LONGEST = 1_000_000  # characters of one option on the command line


@dataclass(frozen=True)
class Entry:
    """A row of `pofx models`: a model class with the constructor values and trainer options of its name."""

    name: str
    model: type[Model]
    values: Mapping[str, Any]
    trains_with: Mapping[str, Any]
    traits: Traits
    default_for: tuple[Default, ...] = ()
    view: str = ""


def _rows(model: type[Model]) -> Iterator[Entry]:
    if model.name:
        yield entry_of(model)
    for recipe in model.recipes:
        yield Entry(
            recipe.name,
            model,
            dict(recipe.values),
            {**model.trains_with, **(recipe.trains_with or {})},
            traits(model, recipe),
            recipe.default_for,
            recipe.view,
        )


def entry_of(model: type[Model]) -> Entry:
    """The row of a model class, under its name, or that of the class where it states none."""
    name = model.name or model.__name__
    return Entry(name, model, {}, dict(model.trains_with), traits(model), model.default_for)


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


@cache
def around() -> dict[str, Entry]:
    """The models around a trained run by name: what `fit` trains given `run=`, and what other runs are made of."""
    found = (row for module in modules(AROUND) for model in classes(module, Model) for row in _rows(model))
    return {row.name: row for row in sorted(found, key=lambda row: row.name)}


def representations() -> dict[tuple[str, str], type[Representation]]:
    """Every representation by (kind, name): of `pofx.represent`, of installed packages, of the running program."""
    return {(cls.kind, cls.name): cls for cls in finished(Representation, "pofx.represent", VIEWS)}


def entry(name: str) -> Entry:
    """The model called `name`.

    Raises:
        UsageError: nobody knows the name; the nearest names are in the message.
    """
    rows = entries()
    if name not in rows:
        rows = {**rows, **around()}
    if name in rows:
        return rows[name]
    for model in _alive(Model):
        if (model.name or model.__name__) == name:
            return entry_of(model)
    raise unknown("model", name, rows)


def _alive(model: type[Model]) -> Iterator[type[Model]]:
    """The finished model classes that the running program has defined or imported."""
    for child in model.__subclasses__():
        if not inspect.isabstract(child):
            yield child
        yield from _alive(child)


def class_in_file(path: str | Path, name: str, of: type[T]) -> type[T]:
    """The class of this name, a subclass of `of`, in a Python file, which is run.

    Raises:
        UsageError: no such file, it cannot be run, or it has no such class.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UsageError(f"there is no file {file}: write the {of.__name__.lower()} as file.py:Class")
    found = {c.__name__: c for c in classes(module_of(file), of)}
    if name not in found:
        raise unknown(f"{of.__name__.lower()} class of {file.name}", name, found)
    return found[name]


def module_of(file: Path) -> ModuleType:
    """The module that a Python file is, which is run once; the models in it are then known by their names.

    Raises:
        UsageError: no such file, or it cannot be run.
    """
    if not file.is_file():
        raise UsageError(f"there is no file {file}: check the path")
    module = f"_pofx_{file.stem}_{abs(hash(file.resolve()))}"
    if module not in sys.modules:
        spec = importlib.util.spec_from_file_location(module, file)
        assert spec is not None and spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        sys.modules[module] = made
        try:
            spec.loader.exec_module(made)
        except Exception as error:
            del sys.modules[module]
            raise UsageError(f"{file} cannot be run ({type(error).__name__}: {error}): mend it first") from error
    return sys.modules[module]


def function_in_file(written: str, what: str) -> Callable[..., Any]:
    """The function "file.py:name" of a Python file, which is run; `what` it is, in errors.

    Raises:
        UsageError: no such file, it cannot be run, or it has no such function.
    """
    path, colon, name = written.rpartition(":")
    file = Path(path).expanduser()
    if not colon or not file.is_file():
        raise UsageError(f"{what} must be file.py:function (got {written!r}): check the path")
    values: dict[str, Any] = {"__name__": f"_pofx_{file.stem}", "__file__": str(file)}
    try:  # no module: what it holds is sent to other processes by value
        exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), values)  # the user's own file
    except Exception as error:
        raise UsageError(f"{file} cannot be run ({type(error).__name__}: {error}): mend it first") from error
    if not callable(values.get(name)):
        own = [k for k, v in values.items() if inspect.isfunction(v) and not k.startswith("_")]
        raise unknown(f"function of {file.name}", name, own)
    found: Callable[..., Any] = values[name]
    return found


def defaults(cls: type) -> dict[str, Any]:
    """The options of a class: its constructor's arguments that have a default, but for the condition."""
    signature = inspect.signature(cls.__init__).parameters
    return {k: p.default for k, p in signature.items() if p.default is not p.empty and k != "condition"}


def build(name: str, event: Event, condition: Event | None = None, **options: Any) -> Model:
    """A new model by name, in float32; `options` override the values of its recipe and its defaults.

    Raises:
        UsageError: an option that the model does not have, a value that it cannot have, or values that together make a
            model too large for this machine.
        Unsupported: an event or condition that the model does not take.
    """
    row = entry(name)
    known = defaults(row.model)
    for key in options:
        if key not in known:
            raise unknown(f"option of {name}", key, known)
    for key, kind in companion_arguments(row.model).items():
        if isinstance(options.get(key), Mapping):
            options[key] = companion_from_json(kind, key, options[key])
    room = psutil.virtual_memory().available / COPIES

    def refuse(reason: str) -> UsageError:
        limit = f"training keeps {COPIES} copies of it in {spoken_bytes(COPIES * room)}"
        return UsageError(
            f"{name} with these options is too large: {reason}; {limit}: pass a smaller width or fewer layers"
        )

    with float32(), limited(room, MOST_TENSORS, refuse):
        return row.model(event, condition, **{**row.values, **options})


def model_to_json(name: str, model: Model) -> dict[str, Any]:
    """Plain values from which `model_from_json` builds the model again, but for its weights."""
    return {
        "name": name,
        "options": config(model),
        "event": event_to_json(model.event),
        "condition": event_to_json(model.condition),
    }


def model_from_json(given: Mapping[str, Any]) -> Model:
    """The model that `model_to_json` described, with new weights.

    Raises:
        UsageError: a value of another type or out of its range, or a model that is not installed.
    """
    for key, kind in (("name", str), ("options", dict), ("event", dict)):
        check_value(f"model: {key}", given.get(key), kind)
    event = event_from_json(given["event"])
    assert event is not None
    row = entry(given["name"]).model
    options = {**row.unstated, **{row.former.get(key, key): value for key, value in given["options"].items()}}
    return build(given["name"], event, event_from_json(given.get("condition")), **options)


def companion_from_json(kind: type[Companion], key: str, given: Mapping[str, Any]) -> Companion:
    """The companion that `config` described, with new weights.

    Raises:
        UsageError: as `model_from_json`.
    """
    for part, type_ in (("model", dict), ("path", str), ("hash", str)):
        check_value(f"{key}: {part}", given.get(part), type_)
    return kind(model_from_json(given["model"]), given["model"]["name"], given["path"], given["hash"])


def representation_to_json(view: Representation) -> dict[str, Any]:
    """Plain values from which `representation_from_json` builds the representation again, but for its weights."""
    return {"kind": type(view).kind, "name": type(view).name, "options": config(view)}


def representation_from_json(given: Mapping[str, Any]) -> Representation:
    """The representation that `representation_to_json` described.

    Raises:
        UsageError: a value of another type or out of its range, or a representation that is not installed.
    """
    for key, kind in (("kind", str), ("name", str), ("options", dict)):
        check_value(f"representation: {key}", given.get(key), kind)
    known = representations()
    if (given["kind"], given["name"]) not in known:
        raise unknown("representation", f"{given['kind']}/{given['name']}", ["/".join(key) for key in known])
    cls = known[given["kind"], given["name"]]
    names = inspect.signature(cls).parameters
    for key in given["options"]:
        if key not in names:
            raise unknown(f"value of the representation {given['kind']}/{given['name']}", str(key), names)
    with float32():
        return cls(**given["options"])


def config(instance: object) -> dict[str, Any]:
    """The constructor values of a model or representation, as plain JSON values.

    A companion is described by its model, path and hash where it is saved inside the artifact, else it is None.
    """
    names = [k for k in inspect.signature(type(instance).__init__).parameters if k != "self"]
    values = {k: getattr(instance, k) for k in names if k not in ("event", "condition")}
    return dict(plain({k: _described(v) if isinstance(v, Companion) else v for k, v in values.items()}))


def _described(companion: Companion) -> dict[str, Any] | None:
    if not companion.travels:
        return None
    model = model_to_json(companion.name, companion.module)
    return {"model": model, "path": companion.path, "hash": companion.hash}


def plain(value: Any) -> Any:
    """A value as JSON gives it back: tuples become lists, numbers of numpy become Python's.

    Raises:
        UsageError: the value is not plain.
    """

    def number(value: Any) -> Any:
        if isinstance(value, numbers.Number):
            return value.item()  # type: ignore[attr-defined]
        raise TypeError(f"{type(value).__name__} is no number")

    try:
        return json.loads(json.dumps(value, default=number))
    except (TypeError, ValueError, RecursionError, AttributeError) as error:
        raise UsageError(
            f"options must be plain values (got {short(value)}: {error}): pass numbers, strings, lists or dicts"
        ) from error


def parse(text: str) -> tuple[str, Any]:
    """A `key=value` of the command line; the value is JSON where it reads as such, a list of numbers where it is some
    with commas between them, with or without brackets (`0.1,0.8`), else a string.

    Raises:
        UsageError: there is no key, or the value is longer than `LONGEST` or nested too deeply.
    """
    key, sign, value = text.partition("=")
    key = key.strip()
    if not sign or not key:
        raise UsageError(f"an option must be key=value (got {short(text)}): write width=64")
    if len(value) > LONGEST:
        raise UsageError(f"the value of {short(key)} must have at most {LONGEST} characters (got {len(value)})")
    try:
        return key, json.loads(value)
    except RecursionError as error:
        raise UsageError(f"the value of {short(key)} is nested too deeply (got {short(value)})") from error
    except ValueError:  # not JSON, or a number of more digits than Python reads
        return key, {"True": True, "False": False, "None": None}.get(value, _numbers(value))


def _numbers(text: str) -> Any:
    """A list where `text` is numbers with commas between them, else the text."""
    inner = text[1:-1] if text[:1] + text[-1:] == "()" else text
    try:
        found = json.loads(f"[{inner}]") if "," in inner else None
    except (ValueError, RecursionError):
        return text
    alike = found is not None and all(isinstance(v, int | float) and not isinstance(v, bool) for v in found)
    return found if alike else text
