"""Options: the arguments of constructors and public functions, checked in one place, from their annotations.

An annotation states the type, and with `Range` or `OneOf` which values of it: `width: Annotated[int, Range(1, 8192)]`.
`Checked` checks them before a constructor runs, `checked` before a function does; both raise a UsageError that gives
the value, the limit and what to pass instead.
"""

import functools
import inspect
import json
import math
import numbers
import re
import reprlib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin

from pofx.core.elsewhere import VALUES
from pofx.core.errors import UsageError, unknown

F = TypeVar("F", bound=Callable[..., Any])
DEEPEST = 8  # lists within lists of a plain value
LONGEST = 1_000_000  # entries of a list or dict
BUDGETS = ("minutes", "steps", "epochs", "flops")  # of a training


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; "above" and "below" exclude the ends."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        low = self.low < value if self.above else self.low <= value
        return low and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        if not (self.above or self.below):
            return f"from {_number(self.low)} to {_number(self.high)}"
        low, high = _number(self.low), _number(self.high)
        return f"{'above' if self.above else 'of at least'} {low} and {'below' if self.below else 'at most'} {high}"


class OneOf:
    """One of these names."""

    def __init__(self, *names: str) -> None:
        self.names = names

    @classmethod
    def keys(cls, known: Iterable[str]) -> Self:
        """One of the keys of a table."""
        return cls(*known)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and value in self.names

    def __str__(self) -> str:
        names = [name or "''" for name in self.names]
        return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


Real = float | int  # JSON and users write 1 for 1.0
Width = Annotated[int, Range(1, 8192)]  # units, channels or features of a layer
Depth = Annotated[int, Range(1, 1024)]  # layers, blocks or steps that are executed one after the other
Count = Annotated[int, Range(1, 1_000_000)]  # draws, items, particles
Dropout = Annotated[Real, Range(0, 1, below=True)]
Unit = Annotated[Real, Range(0, 1)]
OpenUnit = Annotated[Real, Range(0, 1, above=True, below=True)]
Positive = Annotated[Real, Range(0, 1e9, above=True)]
NonNegative = Annotated[Real, Range(0, 1e9)]
Size = Annotated[int, Range(1, 1 << 24)]  # an axis of an event
Seed = Annotated[int, Range(-(1 << 62), 1 << 62)]
Many = Annotated[int, Range(1, 1 << 32)]  # items of one call
Stops = Annotated[int, Range(2, 1_000_000)]  # of a path in code space
Temperature = Annotated[Real, Range(0, 1e6)]
TopK = Annotated[int, Range(0, 1 << 24)]
TopP = Annotated[Real, Range(0, 1, above=True)]


class Checked:
    """A class whose constructor's arguments are checked against their annotations before it runs."""

    def __new__(cls, *args: Any, **options: Any) -> Self:
        if args or options:  # copying makes an instance without any
            check_arguments(cls.__init__, (None, *args), options, ("self", "event", "condition"))
        return super().__new__(cls)


def checked(function: F) -> F:
    """A function whose arguments are checked against their annotations before it runs."""

    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> Any:
        check_call(function, args, options)
        return function(*map(own_number, args), **{name: own_number(value) for name, value in options.items()})

    return typing.cast(F, wrapper)


def own_number(value: Any) -> Any:
    """A number of numpy as Python's own: sums of uint8 overflow, and whole numbers of 8 bits are no seeds."""
    if type(value) in (int, float, bool) or not isinstance(value, numbers.Real):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def named_values(text: str, option: str) -> dict[str, str]:
    """Values by name, written name=value with commas between them; commas within values belong to these.

    Raises:
        UsageError: written otherwise, or a name twice.
    """
    parts = re.sub(r",(?=[^,=]*=)", "\0", text).split("\0")  # a comma before a name
    pairs = [part.partition("=") for part in parts]
    if not all(sign and name.strip() for name, sign, _ in pairs):
        raise UsageError(f"{option} must be COLUMN=VALUE,… or a file (got '{text}'): write country=Norway,age=30")
    return once(((name.strip(), value.strip()) for name, _, value in pairs), option)


def once(pairs: Iterable[tuple[str, Any]], what: str) -> dict[str, Any]:
    """Values by name, each name once: of two values the last would win without a word.

    Raises:
        UsageError: a name with two values.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found and found[name] != value:
            raise UsageError(f"{what} {name} has two values (got {short(found[name])} and {short(value)}): give one")
        found[name] = value
    return found


def check_call(function: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Refuse arguments of a call that do not fit the annotations; what is annotated Any is data, and checked there.

    Raises:
        UsageError: a value of another type or out of its range, or an argument that the function does not have.
    """
    parameters = _annotations(function)[1].parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for name in options:
            if name not in parameters:
                raise unknown(
                    f"option of {function.__name__}", name, (n for n in parameters if n not in ("self", "cls"))
                )
    data = (name for name, hint in annotated(function).items() if hint is Any)
    check_arguments(function, args, options, ("self", "cls", *data))


def check_arguments(
    function: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any], without: Sequence[str] = ()
) -> None:
    """Refuse arguments that do not fit the annotations of a function.

    Raises:
        UsageError: a value of another type or out of its range.
    """
    hints, signature = _annotations(function)
    names = [name for name, p in signature.parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for name, value in [*zip(names, args, strict=False), *options.items()]:
        if name in hints and name not in without:
            check_value(name, value, hints[name], signature.parameters[name].default)


def check_options(cls: type, values: Mapping[str, Any]) -> None:
    """Refuse values of some of a class's constructor arguments, given by name, before anything is computed from them.

    Raises:
        UsageError: a value of another type or out of its range.
    """
    check_arguments(cls.__init__, (), values)


def check_value(name: str, value: Any, hint: Any, default: Any = inspect.Parameter.empty) -> None:
    """Refuse a value that does not fit a type hint.

    Raises:
        UsageError: with the value, the limit and a value that fits.
    """
    if fits(value, hint):
        return
    names = [name for part in _parts(hint) for m in get_args(part)[1:] if isinstance(m, OneOf) for name in m.names]
    plain = value.lower().replace("_", "-").replace(" ", "-") if isinstance(value, str) else ""
    ours = next((one for one in VALUES.get(plain, ()) if one in names), None)
    near = get_close_matches(plain, names, n=1, cutoff=0.5) if plain else []
    instead = _instead(value, hint, default)
    mend = f"pass {name}={instead}" if instead else "leave it out" if default is None else ""
    mend = f"did you mean {' or '.join(near)}?" if near else mend
    mend = f"pass {name}={ours}, as it is called here" if ours else mend
    raise UsageError(f"{name} must be {wanted(hint)} (got {short(value)}){mend and ': '}{mend}")


def annotated(function: Callable[..., Any]) -> dict[str, Any]:
    """The type hints of a function's arguments, with their ranges."""
    return _annotations(function)[0]


@functools.lru_cache(maxsize=1024)
def _annotations(function: Callable[..., Any]) -> tuple[dict[str, Any], inspect.Signature]:
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # of a plugin, with names that only its type checker knows
        hints = {k: v for k, v in getattr(function, "__annotations__", {}).items() if not isinstance(v, str)}
    signature = inspect.signature(function)
    variadic = {name for name, p in signature.parameters.items() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    return {k: v for k, v in hints.items() if k != "return" and k not in variadic}, signature


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type and in its range; floats are finite, and True is no number."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return fits(value, args[0]) and all(value in limit for limit in args[1:] if isinstance(limit, Range | OneOf))
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, arg) for arg in args)
    if origin is Literal:
        return any(type(value) is type(arg) and value == arg for arg in args)
    if hint is Any:
        return _plain(value)
    if hint is None or hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if hint is float:
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return whole or (isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value))
    if origin is Callable:
        return callable(value)
    if origin is type:
        return isinstance(value, type) and issubclass(value, args[0])
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return False
        if len(args) == 2 and args[1] is Ellipsis:
            return len(value) <= LONGEST and all(fits(v, args[0]) for v in value)
        return len(value) == len(args) and all(fits(v, arg) for v, arg in zip(value, args, strict=True))
    if origin is not None and inspect.isclass(origin) and issubclass(origin, Mapping):
        return (
            isinstance(value, Mapping)
            and len(value) <= LONGEST
            and all(fits(k, args[0]) and fits(v, args[1]) for k, v in value.items())
        )
    if origin is not None and inspect.isclass(origin) and issubclass(origin, Iterable) and args:
        return isinstance(value, list | tuple) and len(value) <= LONGEST and all(fits(v, args[0]) for v in value)
    if inspect.isclass(hint) and origin is None:
        return _is_a(value, hint)
    return True


def _is_a(value: Any, cls: type) -> bool:
    try:
        return isinstance(value, cls)
    except TypeError:  # a protocol, or a type that only a type checker understands
        return True


def _plain(value: Any, depth: int = 0) -> bool:
    """Whether containers are not nested too deeply; what is no container is taken as it is."""
    if isinstance(value, list | tuple | dict):
        inner = value.values() if isinstance(value, dict) else value
        return depth < DEEPEST and len(value) <= LONGEST and all(_plain(v, depth + 1) for v in inner)
    return True


def wanted(hint: Any) -> str:
    """A type hint in words: "a whole number from 1 to 8192"."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = [limit for limit in args[1:] if isinstance(limit, Range | OneOf)]
        if limits and isinstance(limits[0], OneOf):
            return str(limits[0])
        return " ".join([wanted(args[0]), *map(str, limits)])
    if origin in (typing.Union, types.UnionType):
        if set(args) == {float, int}:
            return "a number"
        return " or ".join(dict.fromkeys(wanted(arg) for arg in args))
    if origin is Literal:
        return " or ".join(str(arg) for arg in args)
    if origin is tuple and args and args[-1] is not Ellipsis:
        return f"a list of {len(args)}: {', '.join(wanted(arg) for arg in args)}"
    if origin is not None and inspect.isclass(origin) and issubclass(origin, Mapping):
        return "a mapping of names to values" if args[1] is Any else f"names with {wanted(args[1])} each"
    if origin is not None and inspect.isclass(origin) and issubclass(origin, Iterable) and args:
        return f"a list with {wanted(args[0])} each"
    if origin is type:
        return f"a subclass of {args[0].__name__}"
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
        Path: "a path",
        Any: "plain",
    }
    if hint is None or hint is type(None):
        return "none"
    spoken = getattr(hint, "in_words", None) if inspect.isclass(hint) else None
    if isinstance(spoken, str):
        return spoken
    return words.get(hint) or (f"a {hint.__name__}" if inspect.isclass(hint) else "a function" if origin else str(hint))


def _instead(value: Any, hint: Any, default: Any) -> str | None:
    """A value that fits: the nearest end of the range, the same value in the right type, the default, or any."""
    limits = [(part, m) for part in _parts(hint) for m in get_args(part)[1:] if isinstance(m, Range)]
    for part, limit in limits:
        if fits(value, get_args(part)[0]) and not isinstance(value, bool):
            end, open_end = (limit.low, limit.above) if value < limit.high else (limit.high, limit.below)
            if not open_end:
                return _number(end)
    for other in _alike(value):
        if fits(other, hint):
            return short(other)
    if default is not inspect.Parameter.empty and default is not None and fits(default, hint):
        return short(default)
    if isinstance(value, float) and math.isfinite(value) and fits(round(value), hint):
        return str(round(value))
    return next((_number(limit.low) for _, limit in limits if not limit.above and default is not None), None)


def _alike(value: Any) -> Iterator[Any]:
    """The same value in other types: the number that a text spells, a list of it."""
    if isinstance(value, str) and len(value) < 100:
        try:
            yield json.loads(value)
        except (ValueError, RecursionError):
            pass
    yield [value]


def _parts(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def short(value: Any) -> str:
    """A value in at most 60 characters or so, however deep and long it is."""
    brief = reprlib.Repr()
    brief.maxlevel, brief.maxstring, brief.maxother, brief.maxlong = 3, 40, 60, 30
    try:
        text = brief.repr(value)
    except Exception:  # a value whose own repr fails
        text = type(value).__name__
    text = " ".join(text.split()) if "\n" in text else text  # arrays
    return text if len(text) <= 80 else text[:77] + "..."


def _number(value: float) -> str:
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e16):
        whole = int(value)
        power, sign = abs(whole).bit_length() - 1, "-" if whole < 0 else ""
        return f"{sign}2^{power}" if abs(whole) > 99_999_999 and abs(whole) == 1 << power else str(whole)
    return f"{value:g}"
