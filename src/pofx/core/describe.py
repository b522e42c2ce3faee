"""Options in words, for help and documentation: name, values, default and meaning of each constructor argument.

Types and ranges come from annotations (`pofx.core.options`), meanings from the "Args:" of docstrings, or for the fields
of a dataclass from the comments beside them: the text is written once, next to the code that it is about.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pofx.core.model import Model, Tempered
from pofx.core.options import annotated, wanted


@dataclass(frozen=True)
class Option:
    """One option: `values` is its type and range in words, `default` as it is written on the command line."""

    name: str
    values: str
    default: str
    meaning: str


def options(cls: type, values: Mapping[str, Any] | None = None, only: tuple[str, ...] | None = None) -> list[Option]:
    """The options of a class: constructor arguments with a default, the `values` of a recipe in place of theirs.

    Args:
        cls: a model, a representation or a dataclass.
        values: defaults that replace those of the class.
        only: names to describe; by default all but the condition.
    """
    hints, meanings = annotated(cls.__init__), _meanings(cls)
    arguments = {
        name: parameter.default
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if parameter.default is not parameter.empty and name != "condition"
    } | dict(values or {})
    return [
        Option(name, wanted(hints.get(name, Any)), written(default), meanings.get(name, ""))
        for name, default in arguments.items()
        if only is None or name in only
    ]


def sampling(cls: type[Model]) -> list[str]:
    """The options of `sample` on the command line: what is adjustable after training, and temperatures."""
    numbers = [a.name for a in inspect.signature(cls.sample).parameters.values() if type(a.default) in (int, float)]
    return sorted({*cls.adjustable, *(numbers if issubclass(cls, Tempered) else ())})


def written(value: Any) -> str:
    """A value as it is written after `-o key=`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(written(v) for v in value) + "]"
    return str(value) if value != "" else "''"


def _meanings(cls: type) -> dict[str, str]:
    """What each argument means, from the docstrings of a class and of its bases."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith(("builtins", "torch", "abc", "typing")):
            continue
        if dataclasses.is_dataclass(base):
            found |= dict(_comments(base))
        for text in (base.__doc__, vars(base).get("__init__", base).__doc__):
            found |= dict(_arguments(text or ""))
    return found


def _arguments(docstring: str) -> Iterator[tuple[str, str]]:
    """The entries of the "Args:" of a docstring; `a, b: …` describes both."""
    block = re.search(r"^Args:\n((?:[ ]{4,}.*\n?|\n)+)", inspect.cleandoc(docstring), re.MULTILINE)
    for entry in re.split(r"\n(?=[ ]{4}\S)", "\n" + block[1] if block else ""):
        names, colon, text = entry.strip().partition(":")
        if colon:
            for name in names.split(","):
                yield name.strip(), " ".join(text.split())


def _comments(cls: type) -> Iterator[tuple[str, str]]:
    """The comments beside the fields of a dataclass."""
    try:
        source = inspect.getsource(cls)
    except OSError:
        return
    yield from re.findall(r"^    (\w+): [^#\n]*#\s*(.*)$", source, re.MULTILINE)
