"""pofx judge: let people compare samples of runs with each other and with real items, on a web page of your own."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pofx.cli import arguments, output
from pofx.core.printed import show
from pofx.declared import File, Guarded, Reads

GROUP = "Evaluate and compare"
EXAMPLE = "pofx judge runs/a runs/b --against digits --protocol preference --out study.db"


def judge(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders of runs; none opens a study that exists."), Reads(run=True)
    ] = None,
    out: Annotated[
        str, typer.Option(help="File of the study (SQLite), or the URL of a database."), Guarded()
    ] = "study.db",
    against: Annotated[
        str | None, typer.Option(help="Real items (default: the test split that the runs share)."), Reads()
    ] = None,
    protocol: Annotated[str, typer.Option(help="real, timed, pair or preference.")] = "real",
    question: Annotated[str, typer.Option(help="Instead of the question of the protocol.")] = "",
    items: Annotated[int, typer.Option(min=1, max=10_000, help="Of every run, and real ones.")] = 50,
    trials: Annotated[int, typer.Option(help="Per rater.")] = 60,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8600,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in.")] = "127.0.0.1",
    results: Annotated[bool, typer.Option("--results", help="Print the results and end.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write the answers to a .csv and end."), File(".csv")] = None,
    into: Annotated[
        Path | None, typer.Option(help="Folder of a comparison, whose report then shows the results."), Reads()
    ] = None,
    seed: arguments.Seed = 0,
    device: arguments.Device = "auto",
    as_json: arguments.Json = False,
) -> None:
    """Let people judge samples: real or generated, which is better; with hidden order and attention checks."""
    from pofx.artifact import load
    from pofx.core.errors import UsageError
    from pofx.core.files import write, write_json
    from pofx.evaluate.provenance import trained_on
    from pofx.hub import name_of
    from pofx.serve.stimuli import sources
    from pofx.serve.study import Plan, Study
    from pofx.serve.study_page import serve
    from pofx.serve.study_results import results as worked_out

    if runs:
        artifacts = {name_of(run): load(run).to(device) for run in runs}
        if len(artifacts) < len(runs):
            raise UsageError("runs need different names: rename a folder")
        kinds = {one.representation.kind for one in artifacts.values()}
        if len(kinds) > 1:
            raise UsageError(
                f"runs that are judged together must be of one kind of items (got {', '.join(sorted(kinds))})"
            )
        real = trained_on(next(iter(artifacts.values())), against).test
        plan = Plan(protocol, question, trials, seed=seed)
        study = Study.create(out, plan, sources(artifacts, real, items, seed))
    else:
        study = Study(out)
    if export is not None:
        write(export, lambda aside: study.answers().to_csv(aside, index=False))
        show(f"{len(study.answers()):,} answers → {export}")
    if into is not None:
        write_json(into / "human.json", worked_out(study))
        show(f"results → {into / 'human.json'}: `pofx report {into}` shows them")
    if results:
        found = worked_out(study)
        if as_json:
            output.as_json(found)
        else:
            show(printed(found))
    if results or export is not None or into is not None:
        return
    serve(study, host, port)


def printed(found: dict[str, Any]) -> str:
    """The results as lines of at most 80 columns."""
    lines = [f"{found['answers']:,} answers of {found['raters']} raters; {len(found['left_out'])} left out"]
    lines += [f"  rater {rater}: {reason}" for rater, reason in found["left_out"].items()]
    for run, row in found["analysis"].get("runs", {}).items():
        low, high = row["interval"]
        if "strength" in row:
            lines.append(f"  {row['rank']}. {run}: strength {row['strength']:+.2f} [{low:+.2f}, {high:+.2f}] logits")
        else:
            lines.append(f"  {run}: deceived {row['deceived']:.1%} [{low:.1%}, {high:.1%}] of {row['n']:,} answers")
    if found["analysis"].get("agreement") is not None:
        lines.append(f"  agreement between raters (Krippendorff's alpha): {found['analysis']['agreement']:.2f}")
    if found["stop"]:
        low, high = found["stop"]["interval"]
        state = "differs from chance" if found["stop"]["decided"] else "not decided yet"
        lines.append(f"  right answers {found['stop']['right']:.1%}, at any time [{low:.1%}, {high:.1%}]: {state}")
    return "\n".join(lines)
