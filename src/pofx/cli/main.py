"""`pofx`: one verb per file of `cli/verbs`, found by `pofx.cli.scan`; here is what all of them share."""

import io
import os
import re
import shutil
import signal
import sys
import textwrap
import warnings
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from pofx import __version__
from pofx.cli.scan import Verbs
from pofx.cli.spelling import spelled
from pofx.core.options import BUDGETS
from pofx.core.progress import SPELLING

SHORT = re.compile("can't allocate memory|out of memory")  # what torch raises in the place of a MemoryError
INTERRUPTED = "interrupted; continue a training with --resume, a comparison by the same command"

app = typer.Typer(
    name="pofx",
    cls=Verbs,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def pofx(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-V", help="The version.")] = False,
    use: Annotated[
        list[Path] | None, typer.Option(help="A Python file with models of your own, which is run first; repeatable.")
    ] = None,
) -> None:
    """p(x) for every family of deep generative models: train, sample, score, encode, evaluate, compare."""
    if version:
        typer.echo(f"pofx {__version__}")
        raise typer.Exit()
    if use:
        from pofx.core.config import module_of

        for file in use:
            module_of(file.expanduser())
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def note(message: Warning | str, *about: Any) -> None:
    """Show a warning as a sentence, without the line of code that it comes from, once."""
    if str(message) not in _noted:
        _noted.add(str(message))
        sentence(message)


def sentence(message: Any) -> None:
    """A sentence on stderr: filled to the width of a terminal, in one line elsewhere, so that logs can be searched."""
    text = f"pofx: {spelled(str(message))}"
    if sys.stderr.isatty():
        width = max(shutil.get_terminal_size((80, 24)).columns, 40)
        text = textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    typer.echo(text, err=True)


_noted: set[str] = set()


def plain_words(error: typer.TyperException) -> str:
    """What is wrong with a call, with the value that was given."""
    message = error.format_message().strip().rstrip(".")
    names = tuple(getattr(getattr(error, "param", None), "opts", ()))
    unknown, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    taken = {option.name for option in context.command.params} if context is not None else set()
    if unknown is not None and message.startswith("No such option") and "option" in taken:
        if not get_close_matches(unknown, getattr(error, "possibilities", None) or (), cutoff=0.8):
            name = unknown.lstrip("-").replace("-", "_")
            mend = f"those of a model, its training and sampling are -o {name}=VALUE"
            if name in BUDGETS and "budget" in taken:
                mend = "the training of every model is --budget, such as 30s, 2m, 500steps or 3epochs"
            if name == "budget" and taken.issuperset(BUDGETS):
                mend = "that of one training is --minutes, --steps, --epochs or --flops"
            if name == "label" and "condition" in taken:
                mend = "classes that a model is given are --condition COLUMN"
            message = f"No such option: {unknown}; {mend}"
    given = [b for a, b in zip(sys.argv, sys.argv[1:], strict=False) if a in names]
    given += [a.partition("=")[2] for a in sys.argv if a.partition("=")[0] in names and "=" in a]
    for what, kind in (("valid number", "a number"), ("valid integer", "a whole number")):
        if f"should be a {what}" in message:
            message = f"{names[0] if names else 'a value'} must be {kind}"
    return f"{message}{f' (got {given[0]!r})' if given and message.startswith(('Invalid', *names[:1])) else ''}."


def interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C is this error or behind it: extension modules that are being imported raise others instead."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if isinstance(link, KeyboardInterrupt | typer.Abort):
            return True
        seen.add(id(link))
        link = link.__cause__ or link.__context__
    return False


def exit_code(error: BaseException) -> int:
    """Write what an error means in a sentence, and return the exit code; errors of no known kind are raised."""
    from pofx.core.errors import PofxError

    if interrupted(error):
        sentence(INTERRUPTED)
        return 130
    if isinstance(error, typer.TyperException):  # a wrong call, such as an unknown option
        sentence(f"{plain_words(error)} See `pofx --help` and `pofx VERB --help`.")
        return error.exit_code
    if isinstance(error, PofxError):
        sentence(error)
        return error.code
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and SHORT.search(str(error))):
        reason = (str(error).splitlines() or ["none is left"])[0]
        sentence(f"not enough memory ({reason}): draw fewer items, or take a smaller model")
        return 1
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, OSError):
        sentence(f"{error.strerror or error}: {error.filename or ''}")
        return 1
    raise error


def main() -> None:
    """Run the command line: exit code 0, 1 (failed) or 2 (wrong usage); 130 after Ctrl-C."""
    warnings.showwarning = note  # type: ignore[assignment]  # only the message is shown
    SPELLING.set(spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # "…" and "±" where the terminal has no such characters
    if sys.argv[1:2] == ["help"]:  # as other programs have it
        sys.argv[1:] = [*sys.argv[2:], "--help"]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(standalone_mode=False) or 0
        if code == 130:  # what typer makes of Ctrl-C
            sentence(INTERRUPTED)
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):  # typer ends with 1 where `| head` has read enough
            raise
        code = exit_code(end.__context__)
    except BaseException as error:
        code = exit_code(error)
    sys.exit(code)


if __name__ == "__main__":
    main()
