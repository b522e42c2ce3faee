"""What a verb reads and writes is declared at its parameters, and checked here before it starts.

    source: Annotated[Path, typer.Argument(help="A .csv file."), Reads()]
    out: Annotated[Path, typer.Option(help="A folder."), Folder()]

A verb gets the place to write to: of a folder one aside, which takes its place when the verb has ended, and never where
it fails. What the verb returns is its last sentence; where it wrote is added. A law holds that no path is undeclared.
"""

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from pofx.core.printed import show

STDOUT = Path("-")
MOST = (1 << 31) - 1  # of a seed: libraries take no greater ones
LINES = (".txt", ".smi")  # formats that a terminal shows as they are


@dataclass(frozen=True)
class Reads:
    """A file, a folder, or a text that may hold some: nothing is written over it.

    Args:
        run: it is a run, whose data is not written over either.
    """

    run: bool = False

    def paths(self, value: Any) -> list[Path]:
        """What there is of it on the disk."""
        found = []
        for one in value if isinstance(value, list) else [value]:
            texts = dict.fromkeys([str(one), *re.split(r"[,=:]", str(one))]) if one is not None else ()
            found += [Path(text) for text in texts if text and os.path.exists(text)]
            if self.run and one is not None:
                data = data_of_run(Path(one))
                found += [Path(data)] if data is not None and os.path.exists(data) else []
        return found


class Writes:
    """What is written. `place` checks what the user gave, `opened` yields what the verb gets instead."""

    def inside(self, place: Path) -> bool:
        """Whether it is a folder that is replaced as a whole."""
        return False

    def place(self, out: Any, given: Mapping[str, Any]) -> Path | None:
        return None if out is None else Path(out)

    @contextmanager
    def opened(self, place: Path, given: Mapping[str, Any]) -> Iterator[Path]:
        yield place


class File(Writes):
    """A file with one of these endings."""

    def __init__(self, *endings: str) -> None:
        self.endings = endings

    def place(self, out: Any, given: Mapping[str, Any]) -> Path | None:
        from pofx.data.arrays import check_output

        if out is not None:
            check_output(out, *self.endings)
        return out


@dataclass(frozen=True)
class Folder(Writes):
    """A folder, written as a whole; one that holds anything is refused without `overwrite`.

    Args:
        again: it takes seconds to write, and what an earlier call wrote there is replaced, as a file is.
    """

    again: bool = False

    def inside(self, place: Path) -> bool:
        return True

    @contextmanager
    def opened(self, place: Path, given: Mapping[str, Any]) -> Iterator[Path]:
        from pofx.core.files import whole
        from pofx.data.arrays import check_free

        check_free(place, overwrite=self.again or given.get("overwrite", False))
        with whole(place) as aside:
            yield aside


class Guarded(Writes):
    """Runs, comparisons and databases, whose own code decides what is continued and what is refused."""

    def place(self, out: Any, given: Mapping[str, Any]) -> Path | None:
        return None if out is None or "://" in str(out) else Path(out)  # the address of a database is no path


class Items(Writes):
    """Items of the run: a file or folder that fits their kind; without one their usual file, or the screen."""

    def __init__(self, stem: str) -> None:
        self.stem = stem

    def inside(self, place: Path) -> bool:
        return not place.suffix

    def place(self, out: Any, given: Mapping[str, Any]) -> Path | None:
        kind = kind_of_run(given["run"])
        if out == STDOUT or kind is None:
            return None
        if out is not None:
            kind.check_output(out)
            return Path(out)
        ending = kind.outputs[0]
        return None if ending in LINES else Path(self.stem + ("" if ending == "/" else ending))


Run = Annotated[Path, typer.Argument(help="Folder of a run, as `pofx train` wrote it."), Reads(run=True)]
Data = Annotated[
    str, typer.Argument(help="A built-in name (see `pofx data`), a file or a folder.", metavar="DATA"), Reads()
]
Against = Annotated[str | None, typer.Option(help="Data to measure against (default: that of the run)."), Reads()]
Condition = Annotated[
    str | None,
    typer.Option(
        "--condition",
        "-c",
        help="A value, several (0,1,2), by name (country=Norway,age=30; label=3,sketch=s.png), or a file or folder.",
    ),
    Reads(),
]
Seed = Annotated[
    int, typer.Option("--seed", "-s", min=0, max=MOST, help="The same seed gives the same numbers.", metavar="INT")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU where there is one.")]
Table = Annotated[
    Path, typer.Argument(metavar="TABLE", help="A .csv, .parquet, .jsonl or .xlsx file, or one packed."), Reads()
]
Csv = Annotated[Path, typer.Option(help="A .csv file."), File(".csv")]
Trained = Annotated[Path | None, typer.Option(help="A run of such items, instead of training one."), Reads(run=True)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is in the folder.")]


def guarded(verb: Callable[..., str | None]) -> Callable[..., None]:
    """A verb that checks what it declares, and prints what it returns with the places that it wrote to."""
    declared = declarations(verb)

    @wraps(verb)
    def command(**given: Any) -> None:
        from pofx.data.arrays import apart

        given = {name: at_home(value) if declared[name] is not None else value for name, value in given.items()}
        runs = [name for name, d in declared.items() if isinstance(d, Reads) and d.run]
        given |= {name: run_folder(given[name]) for name in runs}
        outs = {name: d for name, d in declared.items() if isinstance(d, Writes)}
        sources = [p for name, d in declared.items() if outs and isinstance(d, Reads) for p in d.paths(given[name])]
        written = []
        with ExitStack() as stack:
            for name, target in outs.items():
                place = target.place(given[name], given)
                if place is not None:
                    apart(place, *sources, inside=target.inside(place))
                    written.append(place)
                    given[name] = stack.enter_context(target.opened(place, given))
            done = verb(**given)
        if done is not None:
            show(f"{done} → {written[0]}" if written else done)

    return command


def at_home(value: Any) -> Any:
    """Paths that begin with ~ in the home of the user, as a shell has them where they are not quoted."""
    if isinstance(value, list):
        return [at_home(one) for one in value]
    if not isinstance(value, str | Path) or not str(value).startswith("~"):
        return value
    return type(value)(os.path.expanduser(value))


def run_folder(value: Any) -> Any:
    """Runs as their folders: those on the Hub fetched, once for the whole call, and of the folder of a use its run."""
    from pofx.hub import address, fetched
    from pofx.storage import inside

    if isinstance(value, list):
        return [run_folder(one) for one in value]
    elsewhere = None if value is None else address(value)
    found = value if elsewhere is None else type(value)(fetched(elsewhere))
    return inside(found) if isinstance(found, Path) else found


def declarations(verb: Callable[..., Any]) -> dict[str, Reads | Writes | None]:
    """What each parameter of a verb declares."""
    hints = get_type_hints(verb, include_extras=True)
    stated = {name: getattr(hints[name], "__metadata__", ()) for name in inspect.signature(verb).parameters}
    return {n: next((d for d in data if isinstance(d, Reads | Writes)), None) for n, data in stated.items()}


def kind_of_run(run: Path) -> Any:
    """The kind of the items of a run, from its card alone: no weights are loaded."""
    from pofx.core.errors import CorruptError
    from pofx.core.files import read_json
    from pofx.data.kind import of_card
    from pofx.storage import locate

    path = locate(run) / "artifact.json"
    if not path.exists():
        return None  # loading the run reports what is missing
    try:
        return of_card(read_json(path)["card"]["data"])
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptError(f"{path} has no card of its data ({error}): restore it or train again") from error


def data_of_run(run: Path) -> str | None:
    """The path of the data of a run, from its card alone; None for built-in data."""
    from pofx.core.files import read_json
    from pofx.data.sources import built_in
    from pofx.storage import locate

    path = locate(run) / "artifact.json"
    card = read_json(path).get("card", {}) if path.exists() else {}
    data = card.get("data") if isinstance(card, dict) else None
    name = data.get("name") if isinstance(data, dict) else None
    return name if isinstance(name, str) and name not in built_in() else None
