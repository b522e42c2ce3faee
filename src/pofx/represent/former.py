"""Views under the names that they had in saved runs of format 1."""

from collections.abc import Mapping
from typing import Any


def renamed(kind: str, name: str, options: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """The kind, name and options of a view of a saved run as they are called today."""
    if (kind, name) == ("tokens", "characters"):
        if options.get("characters"):
            return "text", name, dict(options)
        return "tokens", "classes", {"classes": options["classes"], "length": options["length"]}
    if (kind, name) == ("tokens", "bpe"):
        return "text", name, dict(options)
    return kind, name, dict(options)
