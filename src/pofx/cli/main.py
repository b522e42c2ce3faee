"""`pofx`: one verb per question. Torch is imported by the verbs that need it, so `pofx --help` is quick."""

import os
import signal
import sys
from typing import Any

import typer

from pofx.cli import arguments as given
from pofx.cli import measure as judging
from pofx.cli import model as asking

app = typer.Typer(
    name="pofx",
    help="p(x) for every family of deep generative models: learn it, sample it, score it, compare the families.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(epilog="Example: pofx models")
def models(as_json: given.Json = False) -> None:
    """Every model: its family, events, what its density is worth, and where it comes from."""
    from pofx.core.config import entries

    rows = [
        {
            "model": name,
            "family": row.traits.family,
            "events": ", ".join(row.traits.events).lower(),
            "density": row.traits.density.name.lower(),
            "encodes": "yes" if row.traits.encodes else "no",
            "conditional": "yes" if row.traits.conditional else "no",
            "source": row.traits.source,
        }
        for name, row in entries().items()
    ]
    given.show(rows, as_json)


@app.command(epilog="Example: pofx data")
def data(as_json: given.Json = False) -> None:
    """Built-in data sets and the file types that are read."""
    from pofx.data.files import SUFFIXES
    from pofx.data.sources import catalogue

    given.show(catalogue(), as_json)
    if not as_json:
        typer.echo(f"\nFiles: {', '.join(sorted(SUFFIXES))}, folders of images or sound (labels from sub-folders).")


app.add_typer(asking.verbs)
app.add_typer(judging.verbs)


def main() -> None:
    """Run the command line: exit code 0, 1 (failed) or 2 (wrong usage); 130 after Ctrl-C."""
    from pofx.core.errors import PofxError

    shown: type[Any] = typer.BadParameter.__mro__[2]  # ClickException, of click or of the copy that typer carries
    interrupted = "interrupted; finish a training with --resume, a comparison by the same call again"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(standalone_mode=False) or 0
        if code == 130:  # typer turns Ctrl-C into this code
            raise KeyboardInterrupt
        sys.exit(code)
    except typer.Exit as end:
        if end.exit_code == 130:
            typer.echo(f"pofx: {interrupted}", err=True)
        sys.exit(end.exit_code)
    except shown as error:
        error.show()
        sys.exit(error.exit_code)
    except PofxError as error:
        typer.echo(f"pofx: {error}", err=True)
        sys.exit(error.code)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo(f"pofx: {interrupted}", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        typer.echo(f"pofx: {error.strerror or error}: {error.filename or ''}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
