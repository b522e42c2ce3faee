"""What verbs read and write is declared: nothing read is written over, nothing is half-written, and no verb forgets."""

import importlib
import inspect
import re
from pathlib import Path
from typing import Annotated, get_args, get_type_hints

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pofx import declared
from pofx.cli import scan
from pofx.core.errors import PofxError, UsageError
from pofx.declared import File, Folder, Guarded, Items, Reads, Run, Writes, declarations, guarded

VERBS = scan.verbs()
OUTPUTS = re.compile(r"(^|child_)out$|^(output|report|export|record|save)$")


def function_of(name):
    verb = VERBS[name]
    return getattr(importlib.import_module(verb.module), verb.module.rpartition(".")[2])


def help_of(hint):
    found = [m.help or "" for m in getattr(hint, "__metadata__", ()) if hasattr(m, "help")]
    return " ".join(found)


@pytest.mark.parametrize("name", VERBS)
def test_every_path_of_a_verb_is_declared(name):
    verb = function_of(name)
    hints, stated = get_type_hints(verb, include_extras=True), declarations(verb)
    assert set(stated) == set(inspect.signature(verb).parameters)
    for parameter, declaration in stated.items():
        types = get_args(hints[parameter])[:1]
        about = help_of(hints[parameter])
        paths = Path in types or any(Path in get_args(t) or list[Path] in get_args(t) for t in types)
        files = bool(re.search(r"\b(file|folder|run|FILE\.py|file\.py)s?\b", about)) and str in (
            *types,
            *[a for t in types for a in get_args(t)],
        )
        if paths or OUTPUTS.search(parameter) or parameter in ("source", "against", "run", "condition"):
            names_columns = parameter == "condition" and name == "train"
            assert declaration is not None or names_columns, f"{name} {parameter}: declare Reads() or a Writes"
        if OUTPUTS.search(parameter):
            assert isinstance(declaration, Writes), f"{name} {parameter} is written: declare File, Folder, …"
        if files and re.search(r"\.py\b|or a file|a file or", about):
            assert declaration is not None, f"{name} {parameter} may be a file: declare Reads()"


@pytest.mark.parametrize("name", VERBS)
def test_a_folder_is_replaced_by_request_alone(name):
    verb = function_of(name)
    for declaration in declarations(verb).values():
        if isinstance(declaration, Folder) and not declaration.again:
            assert "overwrite" in inspect.signature(verb).parameters, f"{name} needs overwrite: Overwrite = False"


@pytest.mark.parametrize("name", VERBS)
def test_counts_have_both_ends(name):
    """A number of draws that no memory holds is refused at once, not after the training whose work it would lose."""
    for option in scan.command(VERBS[name]).params:
        least, most = getattr(option, "min", None), getattr(option, "max", None)
        assert least is None or most is not None, f"{name} --{option.name}: state a max beside its min"


def test_verbs_do_not_check_for_themselves_what_they_declare():
    for name, verb in VERBS.items():
        text = Path(importlib.import_module(verb.module).__file__).read_text()
        assert not re.search(r"\bcheck_free\(|\bcheck_output\(|\bapart\(", text), name


def call(verb, *arguments):
    app = typer.Typer()
    app.command()(guarded(verb))
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    if isinstance(done.exception, PofxError):
        raise done.exception
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.output


def copied(
    source: Annotated[Path, typer.Argument(), Reads()],
    out: Annotated[Path, typer.Option(), File(".csv")] = Path("x.csv"),
) -> str:
    """Copy."""
    out.write_text(source.read_text() if source.is_file() else "all")
    return "copied"


def filled(
    source: Annotated[Path, typer.Argument(), Reads()],
    out: Annotated[Path, typer.Option(), Folder()],
    fail: bool = False,
    overwrite: declared.Overwrite = False,
) -> str:
    """Fill a folder."""
    (out / "deep").mkdir()
    (out / "deep" / "one.txt").write_text("new")
    if fail:
        raise UsageError("half-way")
    (out / "two.txt").write_text("new")
    return "2 files"


def test_a_file_that_is_read_or_of_another_type_or_place_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("1")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "folder.csv" / "b.csv").write_text("2")
    (tmp_path / "link.csv").symlink_to("a.csv")
    for out in ("a.csv", "./a.csv", "link.csv"):
        with pytest.raises(UsageError, match="is read"):
            call(copied, "a.csv", "--out", out)
    for out in ("b.txt", "b", "folder.csv", "a.csv/b.csv"):
        with pytest.raises(UsageError):
            call(copied, "a.csv", "--out", out)
    (tmp_path / "new").mkdir()
    assert call(copied, "a.csv", "--out", "new/B.CSV").strip() == "copied → new/B.CSV"
    assert (tmp_path / "a.csv").read_text() == "1"


def test_a_folder_of_runs_may_hold_what_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("1")

    def trained(
        source: Annotated[Path, typer.Argument(), Reads()], out: Annotated[Path, typer.Option(), Guarded()] = Path(".")
    ) -> str:
        """Train."""
        return "trained"

    assert call(trained, "a.csv").strip() == "trained → ."
    with pytest.raises(UsageError, match="is read"):
        call(trained, "a.csv", "--out", "a.csv")


def state(folder):
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_folder_is_whole_or_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("1")
    with pytest.raises(UsageError, match="half-way"):
        call(filled, "a.csv", "--out", "made/here", "--fail")
    assert state(tmp_path) == {"a.csv": "1"}
    assert call(filled, "a.csv", "--out", "made/here").strip() == "2 files → made/here"
    (tmp_path / "made/here/mine.txt").write_text("mine")
    (tmp_path / "made/here/more").mkdir()
    (tmp_path / "made/here/more/mine.txt").write_text("mine")
    before = state(tmp_path)
    with pytest.raises(UsageError, match="not empty.*--overwrite"):
        call(filled, "a.csv", "--out", "made/here")
    with pytest.raises(UsageError, match="half-way"):
        call(filled, "a.csv", "--out", "made/here", "--overwrite", "--fail")
    assert state(tmp_path) == before
    (tmp_path / "made/here/two.txt").write_text("old")
    call(filled, "a.csv", "--out", "made/here", "--overwrite")
    assert state(tmp_path) == before
    for wrong in (".", "..", "a.csv"):
        with pytest.raises(UsageError):
            call(filled, "a.csv", "--out", wrong, "--overwrite")
    with pytest.raises(UsageError, match="is read"):
        call(filled, "made/here/mine.txt", "--out", "made", "--overwrite")
    assert state(tmp_path) == before


def test_what_a_condition_names_is_not_written_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.png").write_text("")
    (tmp_path / "given.csv").write_text("")
    reads = Reads()
    for text in ("s.png", "label=3,sketch=s.png", "s.png:function"):
        assert Path("s.png") in reads.paths(text)
    assert reads.paths(None) == [] and reads.paths("x" * 5000) == [] and reads.paths("a\0b") == []
    assert reads.paths([Path("s.png"), Path("given.csv")]) == [Path("s.png"), Path("given.csv")]


def test_items_of_a_run_go_where_their_kind_fits_and_never_into_the_run(tmp_path, monkeypatch):
    import pofx

    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).normal(size=(60, 2)))
    pofx.fit("x.npy", "gmm", steps=1, out="run", progress=False)

    def drawn(run: Run, out: Annotated[Path | None, typer.Option(), Items("drawn")] = None) -> str:
        """Draw."""
        return str(out)

    assert call(drawn, "run").startswith("drawn.")
    assert call(drawn, "run", "--out", "-").strip() == "-"
    for out in ("x.bmp", "x.npy", "run", "."):
        with pytest.raises(UsageError):
            call(drawn, "run", "--out", out)


def test_guarded_writers_guard_themselves():
    """Only what continues its own work may decide for itself what is refused."""
    found = {(n, p) for n in VERBS for p, d in declarations(function_of(n)).items() if isinstance(d, Guarded)}
    assert {name for name, _ in found} <= {
        *("train", "distill", "compare", "report", "judge"),
        *("levels", "molecules", "proteins", "text"),
    }, found
