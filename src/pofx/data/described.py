"""Whether a description of columns, read from a file, is one that `pofx.data.schema.describe` can have made."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pofx.core.errors import DataError
from pofx.core.options import OneOf, Range, Real, Unit, fits, short

NEEDED: Mapping[str, Mapping[str, Any]] = {  # by type: what belongs to it
    "constant": {},
    "whole": {"low": Real, "high": Real, "offset": int},
    "decimal": {"places": int},
    "lattice": {"offset": Real, "step": Real, "high": Real},
    "levels": {"values": list[Real]},
    "real": {},
    "bool": {},
    "category": {"categories": list[str | bool | Real | None]},
    "date": {"offset": int, "step": int, "high": int},
    "id": {},
    "text": {},
}
POSSIBLE: Mapping[str, Any] = {
    "value": str | bool | Real | None,
    "missing": bool,
    "heavy": list[Real],
    "atoms": Unit,
    "written": Annotated[int, Range(0, 12)],
    "ordered": bool,
    "names": list[str | bool | Real],
    "unit": Annotated[str, OneOf("ns", "us", "ms", "s", "M")],
    "format": str | None,
    "span": bool,
    "single": bool,
}


def check_schema(schema: Any, columns: Sequence[str], constants: Mapping[str, Any] | None = None) -> None:
    """Refuse a description that cannot be, or where constants are given, other columns than these.

    Raises:
        DataError: naming the column and what is wrong.
    """
    if not isinstance(schema, Mapping) or not set(columns) <= set(schema):
        raise DataError(f"schema must describe the columns {', '.join(map(str, columns))[:200]} (got {short(schema)})")
    for column, about in schema.items():
        kind = about.get("type") if isinstance(about, Mapping) else None
        if not isinstance(kind, str) or kind not in NEEDED:
            raise DataError(f"schema of {column} must have a type, one of {', '.join(NEEDED)} (got {short(kind)})")
        for key, hint in NEEDED[kind].items():
            if not fits(about.get(key), hint):
                raise DataError(f"schema of {column}: {key} cannot be {short(about.get(key))}")
        for key, hint in POSSIBLE.items():
            if key in about and not fits(about[key], hint):
                raise DataError(f"schema of {column}: {key} cannot be {short(about[key])}")
        if kind in ("category", "levels") and not about["categories" if kind == "category" else "values"]:
            raise DataError(f"schema of {column} must have values (got none)")
        if kind in ("lattice", "date") and not about["step"] > 0:
            raise DataError(f"schema of {column}: step must be above 0 (got {about['step']})")
        if kind == "decimal" and not 0 <= about["places"] <= 12:
            raise DataError(f"schema of {column}: places must be 0 to 12 (got {about['places']})")
        if constants is not None and column in columns and (kind == "constant") != (column in constants):
            raise DataError(f"schema of {column} is of type {kind}, its constants are {short(dict(constants))}")
