"""What the verbs are given: their common arguments, and how texts of the command line become values."""

from pathlib import Path
from typing import Annotated, Any

import typer

Run = Annotated[Path, typer.Argument(help="Folder of a run, as `pofx train` wrote it.")]
Data = Annotated[str, typer.Argument(help="A built-in name (see `pofx data`) or a file or folder.")]
Seed = Annotated[int, typer.Option("--seed", "-s", help="The same seed gives the same numbers.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="key=value, as often as needed.", metavar="KEY=VALUE")
]
Condition = Annotated[str | None, typer.Option("--condition", "-c", help="A label, or several: 3 or 0,1,2.")]
Split = Annotated[str | None, typer.Option(help="train, validation or test (default: every item, in its order).")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU where there is one.")]
Force = Annotated[bool, typer.Option("--force", help="Use data other than that of training.")]
Json = Annotated[bool, typer.Option("--json", help="Print plain JSON.")]


def options(texts: list[str] | None) -> dict[str, Any]:
    from pofx.core.config import parse

    return dict(parse(text) for text in texts or [])


def options_of(texts: list[str] | None) -> dict[str, dict[str, Any]]:
    """Options by model from MODEL.key=value."""
    from pofx.core.errors import UsageError

    found: dict[str, dict[str, Any]] = {}
    for key, value in options(texts).items():
        model, dot, name = key.partition(".")
        if not dot:
            raise UsageError(f"say whose option '{key}' is: MODEL.{key}=…")
        found.setdefault(model, {})[name] = value
    return found


def beginnings(artifact: Any, text: str, known: int | None, n: int) -> Any:
    """The beginnings of items: the text itself, or the first `known` rows or characters of n items of a data set."""
    from pofx.core.errors import UsageError

    if known is None:
        if artifact.representation.kind != "text":
            raise UsageError("say how many rows are known: pofx sample RUN --prefix DATA --known 4")
        return text
    values = items(artifact, text, None).values[:n]
    if isinstance(values, list):
        return [v[:known] for v in values]
    if known >= values.shape[1]:
        raise UsageError(f"--known must be below {values.shape[1]}, the whole item (got {known})")
    return values[:, :known]


def conditions(text: str | None, n: int) -> Any:
    if text is None:
        return None
    values = text.split(",")
    return values[0] if len(values) == 1 else [values[i % len(values)] for i in range(n)]


def labels(items: Any) -> Any:
    """The labels of items by name: another file may number its classes otherwise than the training data did."""
    names = items.facts.get("label_names")
    return items.labels if items.labels is None or not names else [str(names[k]) for k in items.labels]


def facts(artifact: Any) -> dict[str, Any]:
    """What a file of items must be told: the levels of images, the sample rate of sound."""
    facts = artifact.card.get("data", {}).get("facts", {})
    return {"levels": facts.get("levels"), "rate": facts.get("rate")}


def items(artifact: Any, source: str, split: str | None, force: bool = False) -> Any:
    """Items of a source; a split of the run's own data is that of training, unless forced."""
    from pofx.core.errors import unknown
    from pofx.data.sources import load, whole

    label = artifact.card.get("data", {}).get("facts", {}).get("label")
    if split is None:
        return whole(source, label=label)
    dataset = load(source, label=label)
    splits = dataset.splits()
    if split not in splits:
        raise unknown("split", split, splits)
    if dataset.card.name == artifact.card.get("data", {}).get("name"):
        from pofx.evaluate.provenance import check_same_data

        check_same_data(artifact, dataset, force=force)
    return splits[split]


def trained_on(artifact: Any, against: str | None = None) -> Any:
    from pofx.core.errors import UsageError
    from pofx.data.sources import built_in, load

    card = artifact.card["data"]
    name = against or card["name"]
    if against is None and name not in built_in() and not Path(name).expanduser().exists():
        raise UsageError(f"the run's data ('{name}') cannot be found from here: name it with --against DATA")
    return load(name, label=card["facts"].get("label"))
