"""compare: which family suits my data? One model per family, equal training time, one table, one report.

Every job (a model and a seed) runs in a process of its own under limits of time and memory and leaves a result behind:
a crash costs one row, an interruption one job, and a second call only what is missing. What may not change between the
calls is the protocol: data, budget, first seed and version.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

from pofx import __version__
from pofx.comparison import cluster, tuning
from pofx.comparison.given import given_runs, measured
from pofx.comparison.jobs import Job, Orders, run_jobs
from pofx.comparison.process import Limits
from pofx.comparison.request import (
    checked,
    choose_models,
    command_line,
    default_folder,
    refuse_failure,
    settle,
    sides_of,
)
from pofx.comparison.results import gather
from pofx.comparison.stored import freeze
from pofx.core.entry import public
from pofx.core.errors import UsageError, unknown
from pofx.core.files import write_json
from pofx.core.lock import lock
from pofx.core.options import Count, Positive, Range, Real, Seed
from pofx.core.progress import Progress, Sink, reporting
from pofx.data.dataset import sampled
from pofx.data.on_disk import OnDisk
from pofx.data.sources import load
from pofx.evaluate.suite import check
from pofx.report.columns import frame
from pofx.report.numbers import plain
from pofx.report.page import write as write_report
from pofx.report.results import Results
from pofx.report.rows import SCHEMA, read
from pofx.report.terminal import text
from pofx.runs.held import first_stage
from pofx.train.options import Budget

PUBLIC = ("Comparison", "compare")

ENGINES: dict[str, Callable[[Sequence[Job], Orders, Sink], None]] = {"local": run_jobs, "ray": cluster.run_jobs}


@dataclass(frozen=True, repr=False)
class Comparison:
    """A finished comparison: the folder that holds results.json and report.html."""

    folder: Path

    @property
    def results(self) -> dict[str, Any]:
        """The content of results.json."""
        return read(self.folder / "results.json")

    @property
    def report(self) -> Path:
        """The report: one HTML file that opens offline."""
        return self.folder / "report.html"

    def table(self) -> pd.DataFrame:
        """One row per model and control: values, standard errors ("… ±"), kind of density, status."""
        read_ = self._read()
        return frame(read_.rows, read_.metrics)

    def _read(self) -> Results:
        return Results(self.results, self.folder)

    def __repr__(self) -> str:
        results = self._read()
        n, name = len(results.models), Path(results.data["name"]).name
        return f"comparison of {n} model{'s' * (n != 1)} on {name}, {results.protocol['budget']} each: {self.report}"

    def __str__(self) -> str:
        """The main measures, the verdict and what to use, in lines of at most 80 characters."""
        return text(self._read())

    def _repr_html_(self) -> str:
        """The verdict and the table, for a notebook."""
        results = self._read()
        said = [results.verdict.headline, *results.verdict.warnings, *results.verdict.next]
        lines = "".join(f"<p>{escape(line)}</p>" for line in said)
        shown = self.table().drop(columns=["family", "role"], errors="ignore").dropna(axis=1, how="all")
        return f"{lines}{shown.to_html(na_rep='', float_format=lambda v: plain(v, 3))}<p>{escape(str(self.report))}</p>"


@public
def compare(
    data: Any,
    models: Sequence[str] | None = None,
    families: Sequence[str] | None = None,
    budget: str | Positive = "30s",
    seeds: Annotated[int, Range(1, 1000)] = 1,
    out: str | Path | None = None,
    seed: Seed = 0,
    *,
    label: str | None = None,
    on: Any = None,
    runs: Mapping[str, Any] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    reading: Mapping[str, Any] | None = None,
    trials: Annotated[int, Range(1, 1000)] = 1,
    spaces: Sequence[str] | None = None,
    n: Count | None = None,
    time_limit: str | Positive | None = None,
    memory_limit: str | Annotated[Real, Range(0, 1e18, above=True)] | None = None,
    engine: str = "local",
    progress: bool | Sink = True,
) -> Comparison:
    """Train models under equal budgets, measure them alike and write table and report.

    Args:
        data: as in `pofx.fit`.
        models: names of `pofx models`; by default one per family, the first that accepts the data.
        families: take one model of each of these families only.
        budget: training of each model: "30s", "2m", "1h" or seconds; "500 steps", "3 epochs"; "2e12 flops".
        seeds: training runs per model, with seeds seed, seed + 1, …
        out: folder of the comparison; a second call there runs only what is missing or has failed.
        label: the column of a table that is no part of its items: classes, by which balance is measured and the feature
            space of the classifier is trained.
        on: the folder of a trained run of a model with codes: all models are trained on its codes, as in `pofx.fit`.
        runs: trained runs by name, also wrapped flows of other libraries: {"mine": run}. They are measured as they are
            and not ranked, for their budgets are their own.
        options: by model, as `pofx.fit` takes them: {"nsf": {"width": 128}}.
        reading: options of reading the data, as `pofx.fit` takes them: {"size": 64}.
        trials: sets of options tried per model, each under the same budget and judged by validation (see `tuning`);
            1 trains the options as shipped or given.
        spaces: feature spaces of the measures, as in `evaluate`.
        n: items on each side of every measure, at most what the data allows; by default 5,000, but of pictures of 256
            numbers and more 10 for every second of training (1,000 at least): a model draws as many, and drawing them
            may not take longer than its training.
        time_limit: the most that one job may take by the clock; by default 4 × the training time + 15 min, or 2 h.
        memory_limit: the most memory of one job, such as "8GB"; by default nine tenths of the machine's.
        progress: True shows a bar in a terminal and lines elsewhere; False nothing; a function is called with every
            `Progress`.
        engine: "local", one process after the other; "ray", all over the cluster of RAY_ADDRESS.

    Raises:
        UsageError: unknown names, values out of their range, too few items, a folder that holds a comparison under
            another protocol or that another call works in; nothing has been trained then.
        DataError: data that cannot be read.
        TrainingError: every job failed; the report holds the reasons.
    """
    limit = Budget.of(budget)
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    limits = Limits.of(limit, time_limit, memory_limit)
    with reporting(progress, "compare") as report:
        report(Progress("reading the data"))
        dataset = load(data, label=label, reading=reading)
        left = isinstance(dataset.train.values, OnDisk)
        if left and (label is not None or engine != "local" or not isinstance(data, str | os.PathLike)):
            raise UsageError("data on the disk is compared by its path, on this machine: leave label and engine out")
        dataset = sampled(dataset, seed)  # measured on that; jobs train on all of it
        first = None if on is None else first_stage(on)
        codes = None if first is None else first.event
        chosen, skipped = choose_models(dataset, models, families, codes)
        given = checked(options or {}, chosen, dataset, codes)
        check(dataset, spaces=spaces)
        beside = given_runs(runs, dataset)
        folder = Path(out).expanduser() if out is not None else default_folder(dataset, limit, seed)
        with lock(folder / ".locks" / "comparison.lock", f"the comparison in {folder}"):
            sides = sides_of(dataset, limit) if n is None else n
            protocol = {
                "schema": SCHEMA,
                "pofx": __version__,
                "data": dataset.card.name,
                "hash": dataset.card.hash,
                "budget": str(limit),
                "seed": seed,
                **({} if label is None else {"label": label}),
                **({} if first is None else {"on": first.hash}),
                **({} if sides is None else {"n": sides}),
            }
            settle(folder, protocol)
            named = isinstance(data, str | os.PathLike)
            frozen = not left and (
                not named or label is not None or bool(reading) or engine != "local"
            )  # no path there
            if frozen:
                freeze(dataset, folder / "data")
            orders = Orders(
                folder, None if frozen else str(data), limit, seed, limits, None if spaces is None else tuple(spaces),
                dataset.card.hash, dict(reading or {}),
                None if first is None else first.path, sides,
            )  # fmt: skip
            run = ENGINES[engine]
            controls = Job(None, seed)
            tuned: dict[str, Any] = {}
            rows: dict[str, Any] = {}

            def jobs() -> list[Job]:
                """The controls, then seed after seed every model with its options."""
                own = {model: tuned[model]["options"] if model in tuned else given.get(model, {}) for model in chosen}
                return [controls, *(Job(model, seed + k, own[model]) for k in range(seeds) for model in chosen)]

            try:
                if trials > 1:
                    tries = tuning.trials(chosen, trials, seed, given)
                    run([controls, *tries], orders, report)
                    tuned |= tuning.chosen(tries, orders)
                run(jobs(), orders, report)
                for name, one in beside.items():
                    report(Progress(f"measuring {name}"))
                    rows[name] = measured(name, one, dataset, orders, report)
            finally:
                results = gather(orders, jobs(), dataset, protocol, tuned, models or (), rows)
                results["skipped"] = skipped
                if named:
                    flags = {
                        "models": ",".join(models or ()),
                        "families": ",".join(families or ()),
                        "label": label or "",
                        "on": "" if first is None else first.path,
                        "budget": str(limit).replace(" ", ""),
                        "seeds": str(seeds),
                        "seed": str(seed),
                        "trials": str(trials) if trials > 1 else "",
                        "spaces": ",".join(spaces or ()),
                        "n": "" if n is None else str(n),
                        "out": str(folder),
                    }
                    results["command"] = command_line(
                        str(data), flags, given, reading or {}, list((runs or {}).values())
                    )
                write_json(folder / "results.json", results)
                write_report(folder / "results.json")
            refuse_failure(results, folder)
    return Comparison(folder)
