"""Verbs are found by scanning, like models: files of `cli/verbs`, and of `apps` and `serve`, that define one.

A file `<verb>.py` defines a verb if it has a function `<verb>` and a text EXAMPLE; its GROUP is the heading of the verb
in the help. Files are read as syntax trees, and only the verb that is called is imported: `pofx --help` loads no torch.
"""

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from pofx.declared import guarded

PACKAGES = ("pofx.cli.verbs", "pofx.apps", "pofx.serve")
GROUPS = ("Train", "Use a run", "Evaluate and compare", "Uses", "Look up")  # the order of the headings; others follow


@dataclass(frozen=True)
class Verb:
    """What the help shows of a verb, and where its function is."""

    name: str
    module: str
    summary: str
    example: str
    group: str


@cache
def verbs() -> dict[str, Verb]:
    """Every verb by name, in the order of the help."""
    found = [
        verb
        for package in PACKAGES
        for path in sorted(_files(package))
        if (verb := _read(path, f"{package}.{path.stem}")) is not None
    ]

    def place(verb: Verb) -> int:
        return GROUPS.index(verb.group) if verb.group in GROUPS else len(GROUPS)

    return {verb.name: verb for verb in sorted(found, key=place)}


def command(verb: Verb) -> Any:
    """The command of a verb: its module is imported here."""
    module = importlib.import_module(verb.module)
    one = typer.Typer(add_completion=False, rich_markup_mode="rich")
    function = getattr(module, verb.module.rpartition(".")[2])
    one.command(verb.name, cls=OneValue, epilog=f"Example: {verb.example}")(guarded(function))
    return typer.main.get_command(one)


class OneValue(TyperCommand):
    """A command that refuses an option given twice: of two values one would win in silence."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = args[: args.index("--")] if "--" in args else args
        for option in self.params:
            names = [*option.opts, *option.secondary_opts]
            if getattr(option, "multiple", False) or not any(name.startswith("-") for name in names):
                continue
            given = [w for w in words if w in names or any(n.startswith("--") and w.startswith(f"{n}=") for n in names)]
            if len(given) > 1:
                from pofx.core.errors import UsageError

                raise UsageError(f"{given[0].partition('=')[0]} has two values: give one")
        return super().parse_args(ctx, args)


class Verbs(TyperGroup):
    """The command `pofx`: lists the verbs by what their files state, and imports the one that is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for verb in verbs().values():
            self.add_command(TyperCommand(verb.name, help=verb.summary, rich_help_panel=verb.group))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        return name, None if found is None else command(verbs()[str(name)]), rest


def _files(package: str) -> Iterator[Path]:
    """The files of a package, which may be spread over several folders or not be there."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield from Path(folder).glob("*.py")


def _read(path: Path, module: str) -> Verb | None:
    text = path.read_text(encoding="utf-8")
    if "\nEXAMPLE = " not in text:
        return None
    tree = ast.parse(text)
    function = next((f for f in tree.body if isinstance(f, ast.FunctionDef) and f.name == path.stem), None)
    if function is None:
        return None
    stated = dict(_texts(tree))
    summary = (ast.get_docstring(function) or "").split("\n\n")[0].replace("\n", " ")
    return Verb(path.stem.replace("_", "-"), module, summary, stated["EXAMPLE"], stated.get("GROUP", "More"))


def _texts(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The texts that a module assigns to names."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value.value
