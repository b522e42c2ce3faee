"""Arguments that verbs share, and how the texts of the command line become values."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pofx.declared import LINES
from pofx.declared import Against as Against
from pofx.declared import Condition as Condition
from pofx.declared import Data as Data
from pofx.declared import Device as Device
from pofx.declared import Overwrite as Overwrite
from pofx.declared import Run as Run
from pofx.declared import Seed as Seed

Options = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="KEY=VALUE, repeatable.", metavar="KEY=VALUE")
]
Columns = Annotated[str | None, typer.Option("--columns", help="Columns of a table that are learned: age,income.")]
Drop = Annotated[str | None, typer.Option("--drop", help="Columns of a table that are left out: name,id.")]
Split = Annotated[str | None, typer.Option(help="train, validation or test (default: every item, in its order).")]
Force = Annotated[bool, typer.Option("--force", help="Use data other than that of training.")]
Beside = Annotated[bool, typer.Option("--beside", help="In a picture: what was given to the left of each item.")]
Json = Annotated[bool, typer.Option("--json", help="Print plain JSON.")]
DRAWN = 64  # items that a verb draws where their number is not stated


def options(texts: list[str] | None) -> dict[str, Any]:
    """Options from KEY=VALUE."""
    from pofx.core.config import parse
    from pofx.core.options import once

    return once((parse(text) for text in texts or []), "option")


def reading_of(given: dict[str, Any], columns: str | None, drop: str | None) -> dict[str, Any]:
    """Options of reading with the columns of `--columns` and `--drop`, names with commas between them."""
    from pofx.core.options import once

    stated = [
        (k, [c.strip() for c in v.split(",")]) for k, v in (("columns", columns), ("drop", drop)) if v is not None
    ]
    return once([*given.items(), *stated], "option")


def options_of(texts: list[str] | None) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Options by model from MODEL.KEY=VALUE, and those of reading the data from KEY=VALUE."""
    from pofx.core.errors import UsageError
    from pofx.core.options import BUDGETS
    from pofx.data.kind import reading_options

    found: dict[str, dict[str, Any]] = {}
    reading: dict[str, Any] = {}
    for key, value in options(texts).items():
        model, dot, name = key.partition(".")
        if not dot and key in reading_options():
            reading[key] = value
            continue
        if (name or key) in BUDGETS:
            unit = {"minutes": "m"}.get(name or key, name or key)
            raise UsageError(f"all models have the same budget: pass --budget {value}{unit} (got -o {key}={value})")
        if not dot:
            raise UsageError(f"option '{key}' needs its model: pass -o MODEL.{key}=VALUE")
        found.setdefault(model, {})[name] = value
    return found, reading


def sampling(artifact: Any, texts: list[str] | None, also: tuple[str, ...] = ()) -> tuple[Any, dict[str, Any]]:
    """The artifact under the sampling options of the command line, and those that `sample` takes itself.

    Raises:
        UsageError: an option that sampling from this model does not have; the ones it has are named.
    """
    adjusted, others = artifact.sampling_options(options(texts), also)
    return artifact.using(**adjusted), others


def as_items(artifact: Any, values: Any) -> Any:
    """Values of a run as Items with the facts of its data."""
    from pofx.core.items import Items
    from pofx.data.kind import of_card

    data = artifact.card["data"]
    facts = {k: v for k, v in data["facts"].items() if k not in ("label_names", "exact_duplicates", "overlap_rule")}
    return Items(of_card(data).name, values, facts=facts)


def beginnings(artifact: Any, text: str, known: int | None, n: int) -> Any:
    """The beginnings of items: the text itself, or the first `known` rows or characters of n items of a data set."""
    from pofx.core.errors import UsageError
    from pofx.core.generative import Within
    from pofx.core.model import Completing, Infilling
    from pofx.data.kind import named, of_card
    from pofx.partial import cannot_complete

    if named(artifact.representation.kind).columnar:
        raise UsageError(
            f"rows have no beginning: pass --given column=value or --given {text} (cells that are empty there are "
            "drawn by `pofx impute`)"
        )
    if not isinstance(artifact.model, Completing | Infilling | Within):
        raise cannot_complete(artifact.name, artifact.representation)
    if known is None:
        if of_card(artifact.card["data"]).outputs[0] not in LINES:
            raise UsageError("--prefix DATA needs --known: the number of rows that are given, such as --known 4")
        return text
    values = items(artifact, text, None).values[:n]
    if isinstance(values, list):
        return [v[:known] for v in values]
    if known >= values.shape[1]:
        raise UsageError(f"--known must be below {values.shape[1]}, the whole item (got {known})")
    return values[:, :known]


def unknown_grey(items: Any, known: Any) -> Any:
    """Beginnings of pictures (m, rows, …) as pictures of the shape of items (n, …), each in turn, grey below."""
    import numpy as np

    found = np.full_like(items.values, (items.facts["levels"] - 1) // 2)
    found[:, : known.shape[1]] = known[np.arange(len(found)) % len(known)]
    return found


def columns(text: str | None) -> Any:
    """The condition of a training: "label", a column, or several with commas between them."""
    from pofx.data.conditions import once_each

    return text if text is None or "," not in text else once_each([name.strip() for name in text.split(",")])


def conditions(artifact: Any, text: str | None, n: int | None) -> Any:
    """n conditions from the command line, repeated in turn: written out, or the items of a file or folder; without n
    each once, or as many as a verb draws by itself of what is written out."""
    from pofx.core.errors import DataError
    from pofx.data.kind import named, take
    from pofx.data.sources import read_conditions
    from pofx.represent.image import shape_of
    from pofx.represent.several import Product

    if text is None or artifact.conditioning is None:
        return text
    conditioning, path = artifact.conditioning, Path(text).expanduser()
    in_files = bool(named(conditioning.kind).members)
    if path.is_file() or (in_files and path.is_dir()):
        reading = artifact.card.get("data", {}).get("facts", {}).get("reading")
        items = read_conditions(path, shape_of(conditioning), reading)
        return take(items, [i % len(items) for i in range(len(items) if n is None else n)])
    if in_files and not path.exists() and not isinstance(conditioning, Product):
        raise DataError(f"there is no file or folder {text}: give {conditioning.kind} items as the condition")
    values = conditioning.written(text, files=True) if isinstance(conditioning, Product) else conditioning.written(text)
    return [values[i % len(values)] for i in range(DRAWN if n is None else n)]


def known(text: str, n: int) -> Any:
    """Known columns of n rows: column=value with commas between them, or the rows of a file, in turn."""
    from pofx.core.options import named_values
    from pofx.data.sources import read_conditions

    if Path(text).is_file():
        frame = read_conditions(Path(text)).values
        return frame.iloc[[i % len(frame) for i in range(n)]].reset_index(drop=True)
    return named_values(text, "--given")


def items(artifact: Any, source: str, split: str | None, force: bool = False) -> Any:
    """Items of a source; a split of the run's own data is that of training, unless forced."""
    from pofx.core.errors import unknown
    from pofx.data.kind import named
    from pofx.data.pairs import is_paired
    from pofx.data.sources import load
    from pofx.evaluate.provenance import as_read, read_alike

    how, stated = as_read(artifact), artifact.condition_source
    if isinstance(stated, str) and artifact.conditioning is not None and named(artifact.conditioning.kind).pictorial:
        folder = Path(source).expanduser()
        stated = stated if is_paired(folder, stated) or not folder.is_dir() else None  # items alone
    if split is None:
        return read_alike(artifact, source, stated)
    dataset = load(source, condition=stated, **how)
    splits = dataset.splits()
    if split not in splits:
        raise unknown("split", split, splits)
    if dataset.card.name == artifact.card.get("data", {}).get("name"):
        from pofx.evaluate.provenance import check_same_data

        check_same_data(artifact, dataset, force=force)
    return splits[split]
