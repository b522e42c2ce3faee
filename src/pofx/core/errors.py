"""Errors that a person can act on: each message names the value, the limit and the mend."""

from collections.abc import Iterable
from difflib import get_close_matches

from pofx.core.elsewhere import ELSEWHERE

PUBLIC = ("PofxError",)


class PofxError(Exception):
    """Base of every error that pofx raises on purpose; the command line prints its message and exits with `code`."""

    code = 1


class UsageError(PofxError):
    """The question was put wrongly: an unknown name, key or option, or values that exclude each other."""

    code = 2


class DataError(PofxError):
    """The data is not what it must be: missing, empty, not finite, of the wrong shape, type or range."""


class Unsupported(PofxError):
    """The model cannot do this; the message states what to do instead."""


class TrainingError(PofxError):
    """Training cannot go on; the last good weights are saved."""


class CorruptError(PofxError):
    """A saved file is damaged, incomplete or of another format."""


class WriteError(PofxError):
    """A file or folder could not be written; its previous content is unchanged."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason  # alone, without the path


LISTED = 40  # names that a message can hold


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that nobody knows: with our name for another library's, or the nearest of ours."""
    names = sorted({*known})
    ours = [one for one in ELSEWHERE.get(name, ()) if one in names]
    if ours:
        return UsageError(f"unknown {kind} '{name}': it is {ours[0]} here")
    plain = name.casefold().replace("_", "-")
    near = [one for one in names if one.casefold().replace("_", "-") == plain]
    near = near or get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        mend = f"did you mean {' or '.join(near)}?"
    elif len(names) > LISTED:
        nearest = get_close_matches(name, names, n=5, cutoff=0.0)
        mend = f"the nearest of {len(names)} names are {', '.join(nearest)}"
    else:
        mend = f"choose one of: {', '.join(names)}" if names else "it has none"
    return UsageError(f"unknown {kind} '{name}': {mend}")
