"""Messages as the command line spells them: `rate=8000` of Python is `--rate 8000` where the verb has that option."""

import re
import sys
from collections.abc import Sequence
from typing import Any

# a setting of Python: no part of a longer word, an address, a quotation or the value of -o or -p
SETTING = re.compile(r"(?<![\w./:'\"(=-])(?<!-[op] )([a-z]+(?:_[a-z]+)*)=(?![=\s])([^\s,;:)]*|\[[^\]]*\])")
TWICE = re.compile(r"(--[a-z][a-z-]*) or \1(?![\w-])")  # "by --condition or condition="
ADVICE = re.compile(r"\b(pass|give|with|and|or|take|set|raise|lower)\s$", re.IGNORECASE)  # before what is to be passed


def spelled(message: str) -> str:
    """A message to the caller of the verb that runs now, in the spelling of its options."""
    if "=" not in message:
        return message
    from pofx.cli.scan import command, verbs

    name = next((word for word in sys.argv[1:] if word in verbs()), None)
    return message if name is None else as_options(message, command(verbs()[name]).params, sys.argv)


def as_options(message: str, options: Sequence[Any], given: Sequence[str] = ()) -> str:
    """A message whose settings `name=value` are written as options: by their own name, or behind -o as advice.

    Args:
        options: parameters of a command.
        given: words of the call, which stay as they were written.
    """
    named = {opt[2:].replace("-", "_"): (opt, one) for one in options for opt in one.opts if opt.startswith("--")}
    free = any("-o" in one.opts and one.metavar == "KEY=VALUE" for one in options)

    def written(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        if any(found[0] in word for word in given):
            return found[0]
        if name not in named:
            return f"-o {found[0]}" if free and ADVICE.search(message[: found.start()]) else found[0]
        flag, one = named[name]
        end = "." if value.endswith(".") and not value[:-1].endswith(".") else ""
        value = value.removesuffix(".").strip("'\"").rstrip("…")
        if getattr(one, "is_flag", False):
            off = next(iter(one.secondary_opts), None)
            if value.lower() not in ("", "true") and off is None:
                return f"no {flag}{end}"
            return f"{flag if value.lower() in ('', 'true') else off}{end}"
        return f"{flag} {value}".rstrip() + end

    return TWICE.sub(r"\1", SETTING.sub(written, message))
