"""Options of reading files: each with its type, which a value is held against before any file is opened."""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pofx.core.options import Count, OneOf, Range, check_value


class ReadingOption(NamedTuple):
    """A type with its range, as options of models have them, and what the option does."""

    type: Any
    summary: str


ARRAYS: Mapping[str, ReadingOption] = {
    "kind": ReadingOption(str, "of the items of an array or table, where its shape does not show it: points, table …"),
    "on_disk": ReadingOption(bool, "true: items stay in the file and are read when needed, as of large files"),
    "levels": ReadingOption(Annotated[int, Range(2, 256)], "of images in an array, 2 to 256; found by default"),
    "window": ReadingOption(Count, "tokens of an item, of one long sequence of tokens in a file"),
}

TEXTS: Mapping[str, ReadingOption] = {
    "separator": ReadingOption(str, "between the fields of a text table: ; or tab or |; found by default"),
    "decimal": ReadingOption(Annotated[str, OneOf(".", ",")], "the decimal mark of a text table; found by default"),
    "header": ReadingOption(bool, "whether the first line of a text table holds names; found by default"),
    "encoding": ReadingOption(str, "of a text file, such as latin-1 or utf-16; found by default"),
    "tidy": ReadingOption(
        bool,
        "false: 5 kg, $3 and 80 % stay words, and totals, notes and units stay rows of a text table; true by default",
    ),
}


def check_reading(given: Mapping[str, Any], known: Mapping[str, ReadingOption]) -> None:
    """Refuse values of another type or out of their range; names that nobody knows are the reader's to refuse.

    Raises:
        UsageError: with the value, the limit and a value that fits.
    """
    for name, value in given.items():
        if name in known:
            check_value(name, value, known[name].type)
