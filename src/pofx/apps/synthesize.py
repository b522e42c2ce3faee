"""pofx synthesize: rows like those of a table, or of two tables with one key, and a report of how good they are."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from pofx.apps.constraint_texts import constraints_of
from pofx.apps.synthesizer import Synthesizer, floors, modelled
from pofx.core.errors import UsageError, unknown
from pofx.core.options import named_values, once
from pofx.core.printed import aligned, show
from pofx.data.dated import Dated, in_days
from pofx.data.dialect import NUMBER
from pofx.declared import Csv, File, Reads, Seed, Table

GROUP = "Uses"
EXAMPLE = "pofx synthesize people.csv --out synthetic.csv --target income"

HELD = 0.2  # share of the rows that measure the result


def synthesize(
    source: Table,
    out: Csv = Path("synthetic.csv"),
    n: Annotated[int, typer.Option("-n", min=0, max=100_000_000, help="Rows; 0: as many as the table has.")] = 0,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A model (default: made; with --given circuit; private: mst).")
    ] = None,
    drop: Annotated[str | None, typer.Option(help="Columns to leave out: id,name.")] = None,
    target: Annotated[str | None, typer.Option(help="The column to be predicted (default: the last).")] = None,
    target_trees: Annotated[
        bool, typer.Option(help="Boosted trees draw a target of categories, given the other columns.")
    ] = True,
    constraint: Annotated[
        list[str] | None, typer.Option(help="'end >= start', 'total = net + tax', 'city, country', '18 <= age <= 90'.")
    ] = None,
    given: Annotated[
        str | None, typer.Option(help="Rows given values: country=Norway,age=30, or a file."), Reads()
    ] = None,
    epsilon: Annotated[float | None, typer.Option(help="Differential privacy: ε, such as 1.")] = None,
    delta: Annotated[float, typer.Option(help="Differential privacy: δ, below 1 / rows.")] = 1e-6,
    domain: Annotated[
        list[str] | None, typer.Option(help="Public: age=17..90 or plan=free|pro, repeatable; not stated: read.")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, max=1_000_000_000, help="Merge categories of fewer rows.")] = 1,
    balance: Annotated[str | None, typer.Option(help="A column whose groups count the same.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, max=1_000_000_000, help="Steps of training.")] = None,
    child: Annotated[
        Path | None, typer.Option(help="A .csv file of rows that belong to those of the table."), Reads()
    ] = None,
    key: Annotated[str | None, typer.Option(help="The column that joins both tables: id, or id=customer_id.")] = None,
    child_out: Annotated[Path, typer.Option(help="A .csv file of the synthetic children."), File(".csv")] = Path(
        "children.csv"
    ),
    report: Annotated[Path | None, typer.Option(help="The report as a page, .html."), File(".html")] = None,
    seed: Seed = 0,
) -> str:
    """Draw rows like those of a table, with a report of how good and how new they are.

    Independent columns, a Gaussian copula and real rows are measured beside.
    """
    from pofx.apps.synthetic_quality import LEAST, ROWS, measure_of, quality, usefulness
    from pofx.apps.synthetic_quality import report as page
    from pofx.core.files import write_bytes
    from pofx.data.arrays import write_frame
    from pofx.data.columns import selected
    from pofx.data.frames import rows_in
    from pofx.evaluate.metrics.marginals import column_shapes

    frame = selected(rows_in(source), None, drop, source.name)
    if (child is None) != (key is None):
        raise UsageError("--child and --key belong together: give the child table and the column that joins both")
    if child is not None and key is not None:
        from pofx.apps.related_tables import RelatedSynthesizer, synthesize_related

        if given is not None or report is not None or target is not None or domain:
            raise UsageError("two tables are drawn whole: leave given, target, domain and report out")
        own: dict[str, Any] = {"constraints": constraint or [], "k": k, "balance": balance, "epsilon": epsilon}
        first, _, second = key.partition("=")
        options: dict[str, Any] = {"child_key": second or None, "steps": steps, "seed": seed}
        pair = RelatedSynthesizer(first, parent={**own, "model": model}, **options)
        return synthesize_related(pair, frame, rows_in(child), n, out, child_out)
    whole, reasons = modelled(frame)
    chosen = target if target is not None else str(whole.columns[-1])
    shared: dict[str, Any] = {"constraints": constraint or [], "epsilon": epsilon, "delta": delta}
    shared |= {"domain": domain_of(domain or []), "target": chosen, "target_trees": target_trees}
    shared |= {"k": k, "balance": balance}
    shared |= {"steps": steps, "seed": seed}
    known = _given(given, n or len(whole))
    for column in known if known is not None else ():
        if column not in whole.columns:
            raise unknown("column of --given", str(column), map(str, whole.columns))
    constraints_of(constraint or [], Dated(whole).forward(whole))  # broken rows are those of the file
    order = np.random.default_rng(seed).permutation(len(whole))
    held, rest = (
        whole.iloc[np.sort(part)].reset_index(drop=True) for part in np.split(order, [int(HELD * len(whole))])
    )
    measured = len(held) >= LEAST
    usual = None if given is None or epsilon is not None else "circuit"
    maker = Synthesizer(model or usual, **shared).fit(rest if measured else whole)
    rows = maker.sample(n or len(whole), given=known)
    write_frame(rows, out)
    about = {
        "model": maker.named,
        "rows": f"{len(rows):,}",
        "learned from": f"{len(rest if measured else whole):,} rows",
    }
    for name, reason in reasons.items():
        about[f"left out {name}"] = reason
    for name, count in maker.merged.items():
        about[f"merged in {name}"] = f"{count} categories of fewer than {k} rows"
    if maker.rules:
        about["constraints"] = "; ".join(dict.fromkeys(c.text for c in maker.rules))
        about["accepted draws"] = f"{maker.accepted:.1%}"
    if maker.trees is not None:
        about["target"] = f"{chosen}, drawn by boosted trees given the other columns"
    if epsilon is not None:
        about["privacy"] = f"ε = {epsilon:g}, δ = {delta:g}, tables that differ in one row"
        if maker.unstated:
            about["not private"] = f"the domain of {', '.join(maker.unstated)} was read from the rows: state --domain"
    for key, value in about.items():
        show(f"{key}: {value}")
    if measured and given is None:
        part = rest.columns.intersection(rows.columns)
        several = rows if len(rows) >= len(held) else maker.sample(len(rest))  # few rows measure nothing
        made = {maker.named: several, **floors(rest[part], len(rest), seed), "real": held}
        made = dict(zip(made, in_days(list(made.values()), rest), strict=True))
        rest, held = in_days([rest, held], rest)
        fresh = held.sample(frac=1, random_state=seed).reset_index(drop=True)
        halves = fresh.iloc[: len(fresh) // 2], fresh.iloc[len(fresh) // 2 :]
        numbers = {
            name: quality(
                *((halves[0], rest[part], halves[1]) if name == "real" else (x, rest[part], held)), target=chosen
            )
            for name, x in made.items()
        }
        table = pd.DataFrame({ROWS[key][0]: {name: v.get(key) for name, v in numbers.items()} for key in ROWS}).T
        show(aligned(table))
        if rest.shape[1] > 1:  # else nothing predicts anything
            real = usefulness(rest, held, rest, chosen, seed)
            about["prediction of"] = f"{chosen}, {measure_of(rest, chosen)}; TRTR, real rows on real rows: {real:.3f}"
            show(f"TSTR predicts {about['prediction of']}")
        if report is not None:
            shapes = {name: column_shapes(x, held) for name, x in made.items()}
            write_bytes(report, page(numbers, about, shapes).encode())
            show(f"the report is computed from real rows, and as confidential as they are → {report}")
    return f"{len(rows):,} rows"


def domain_of(texts: Sequence[str]) -> dict[str, Any]:
    """Domains from COLUMN=LOW..HIGH and COLUMN=A|B|C."""
    found: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        low, dots, high = value.partition("..")
        try:
            of: Any = [w.strip() for w in value.split("|")]
            if dots:
                number = NUMBER.match(low) and NUMBER.match(high)
                of = (float(low), float(high)) if number else (day(low), day(high))
            found = once([*found.items(), (name.strip(), of)], "--domain")
        except ValueError as error:
            raise UsageError(f"--domain must be COLUMN=LOW..HIGH or COLUMN=A|B|C (got '{text}')") from error
        if not sign or not name.strip() or not value:
            raise UsageError(f"--domain must be COLUMN=LOW..HIGH or COLUMN=A|B|C (got '{text}')")
    return found


def day(text: str) -> str:
    """A text that begins as a date does, for the column's format decides what it is.

    Raises:
        ValueError: it does not.
    """
    if not re.match(r"\s*\d+[-/.: ]\d", text):
        raise ValueError(f"no number and no date: {text}")
    return text.strip()


def _given(text: str | None, n: int) -> Any:
    """Known values by column, or None."""
    if text is None:
        return None
    if Path(text).is_file():
        from pofx.data.frames import rows_in

        known = rows_in(Path(text))
        return known.iloc[[i % len(known) for i in range(n)]].reset_index(drop=True)
    return named_values(text, "--given")
