"""Write the reference pages of the documentation from the code: python docs/generate.py

docs/cli.md (verbs and their options), docs/trainer.md (options of the trainer), docs/models.md (models and their
options), docs/api.md (public names), the list of members in each docs/families/*.md, and the notebooks of tutorials and
uses (docs/notebooks.py). tests/test_docs.py checks that the pages are those of the code.
"""

import re
from pathlib import Path

import pofx
from pofx.cli import scan
from pofx.core.config import around, entries
from pofx.core.describe import options
from pofx.core.files import write_bytes
from pofx.train.options import TrainOptions

HERE = Path(__file__).parent
NOTE = "<!-- written by docs/generate.py: edit the code, then run it -->"


def row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(str(cell).replace("|", "\\|").split()) for cell in cells) + " |"


def cli() -> str:
    """Every verb: what it does, an example, its arguments and options."""
    parts = [
        "# Command line",
        NOTE,
        "`pofx VERB --help` shows the same text. Exit codes: 0, 1 (failed), 2 (wrong usage), 130 (Ctrl-C).",
    ]
    for verb in scan.verbs().values():
        command = scan.command(verb)
        lines = [f"## pofx {verb.name}", verb.summary, f"```\n{verb.example}\n```"]
        table = [row("argument or option", "meaning", "default"), "|---|---|---|"]
        for parameter in command.params:
            names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
            if parameter.param_type_name == "argument":
                names = f"`{(parameter.metavar or parameter.name).upper()}`"
            default = (
                "" if parameter.default in (None, False) or callable(parameter.default) else f"`{parameter.default}`"
            )
            table.append(
                row(names, getattr(parameter, "help", "") or "", "required" if parameter.required else default)
            )
        parts += [*lines, "\n".join(table)]
    return "\n\n".join(parts) + "\n"


def trainer() -> str:
    """The options of the trainer."""
    table = [row("option", "default", "values", "meaning"), "|---|---|---|---|"]
    table += [row(f"`{o.name}`", f"`{o.default}`", o.values, o.meaning) for o in options(TrainOptions)]
    about = (
        'Options of the training loop: `pofx train … -o lr=0.001`, or `pofx.fit(…, trainer={"lr": 0.001})`. A model '
        "may have defaults of its own (`pofx models NAME` lists them); values that you give override both."
    )
    return "\n\n".join(["# Trainer options", NOTE, about, "\n".join(table)]) + "\n"


def models() -> str:
    """Every model with its options, by family."""
    parts = [
        "# Models",
        NOTE,
        "`pofx models NAME` shows the same. Options are given as `-o KEY=VALUE` or `options={…}`.",
    ]
    rows = {**entries(), **around()}.values()
    for family in sorted({r.traits.family for r in rows}):
        parts.append(f"## {family}")
        for r in (r for r in rows if r.traits.family == family):
            traits = r.traits
            about = [
                f"density: {traits.density.name.lower()}",
                f"events: {', '.join(traits.events).lower()}",
                f"codes: {'yes' if traits.encodes else 'no'}",
                f"conditions: {'yes' if traits.conditional else 'no'}",
            ]
            about += (
                [f"trainer defaults: {', '.join(f'{k}={v}' for k, v in r.trains_with.items())}"]
                if r.trains_with
                else []
            )
            table = [row("option", "default", "values", "meaning"), "|---|---|---|---|"]
            table += [row(f"`{o.name}`", f"`{o.default}`", o.values, o.meaning) for o in options(r.model, r.values)]
            parts += [
                f"### {r.name}",
                traits.summary,
                "; ".join(about) + ".",
                f"Source: {traits.source}.",
                "\n".join(table),
            ]
    return "\n\n".join(parts) + "\n"


CONTRACT = (
    "core.event",
    "core.model",
    "core.objective",
    "core.representation",
    "core.random",
    "core.progress",
    "data.sources.load",
    "evaluate.suite",
    "evaluate.audit",
    "evaluate.metric",
    "evaluate.selftest",
    "evaluate.disentanglement",
    "evaluate.reference_models",
)  # what extensions build on


def api() -> str:
    """Every public name, and the modules that extensions build on."""
    public = [f"::: {module}.{name}" for name, module in sorted(pofx._public().items())]
    contract = [f"::: pofx.{module}" for module in CONTRACT]
    parts = ["# API", NOTE, "Names of `pofx`, each from the module where it is defined.", "\n".join(public)]
    parts += ["## Contract", "The modules that models, metrics and other extensions build on.", "\n".join(contract)]
    return "\n\n".join(parts) + "\n"


def members(family: str) -> str:
    """The page of a family, whose text is written by hand, with the list of the members that exist."""
    page = (HERE / "families" / f"{family}.md").read_text(encoding="utf-8")
    table = [row("model", "what it is", "density", "source"), "|---|---|---|---|"]
    table += [
        row(f"[`{r.name}`](../models.md#{r.name.replace('+', '')})", r.traits.summary,
            r.traits.density.name.lower(), r.traits.source)
        for r in entries().values() if r.traits.family == family
    ]  # fmt: skip
    block = "\n".join([f"<!-- members of {family} -->", *table, "<!-- end -->"])
    return re.sub(r"<!-- members of .*?<!-- end -->", lambda _: block, page, flags=re.DOTALL)


def families() -> list[str]:
    """The families of this package: folders of `pofx/families`."""
    return sorted(p.parent.name for p in (Path(pofx.__file__).parent / "families").glob("*/__init__.py"))


PAGES = {"cli.md": cli, "trainer.md": trainer, "models.md": models, "api.md": api}

if __name__ == "__main__":
    from notebooks import write  # docs/notebooks.py, beside this file

    write()
    for name, page in PAGES.items():
        write_bytes(HERE / name, page().encode())
    for family in families():
        write_bytes(HERE / "families" / f"{family}.md", members(family).encode())
