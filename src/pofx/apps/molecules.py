"""Molecules: a model of SMILES or SELFIES that is judged as the field does, given properties, completed and steered.

Measures are those of MOSES (Polykovskiy et al., 2020, arXiv 1811.12823), on canonical strings, beside the floors that a
model must beat: tables of n-grams, and random SELFIES, whose validity is by construction and means nothing. Properties
on which a model is conditioned are computed by RDKit or columns of the table, measured; generated molecules with a
measured property are judged by a random forest, whose own error is printed beside.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from pofx.apps.conditioned_molecules import given, nearest, obedience, reached, stated
from pofx.apps.molecule_search import explore, function, optimise, plain, some
from pofx.apps.ngram import NGram, floor_nats
from pofx.apps.random_selfies import random_selfies
from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.items import Items
from pofx.core.printed import aligned, show
from pofx.data import chemistry
from pofx.data.dataset import Dataset, dataset, split, take
from pofx.data.kind import joined
from pofx.data.kind import named as kind_named
from pofx.data.kinds.molecules import molecules as as_molecules
from pofx.data.structures import table_of
from pofx.declared import Guarded, Overwrite, Reads, Seed, Trained

GROUP = "Uses"
EXAMPLE = "pofx molecules zinc.smi --minutes 10 --out runs/zinc"

TABLE = 10  # symbols of the longest n-gram of the floor
FITTED = 20_000  # molecules that the floor counts, and at most
FIRST = ("valid", "unique", "novel", "diversity", "nats/char", "FD")  # columns of a report
SCORED = 2_000  # held-out molecules whose likelihood is taken
TRIES = 10  # draws for each molecule that is wanted, at most
OTHERS = ("smiles-sizes", "smiles-pieces", "smiles-rings", "characters")
TOKENS = ("smiles", "smiles-kekule", "selfies", *OTHERS)  # views of molecules
RECIPES: dict[str, dict[str, Any]] = {  # trainer and model options by model, chosen on a validation split
    "gpt": {"represent": "smiles-kekule", "batch_size": 64, "least_batch": 16, "width": 96, "dropout": 0.1},
    "masked-diffusion": {},
    "vae": {"latent": 32, "width": 256, "depth": 2, "prior": "normal"},
}


def read(
    source: str | Path | pd.DataFrame | Sequence[str],
    columns: Sequence[str] = (),
    *,
    smiles: str | None = None,
    seed: int = 0,
) -> Dataset:
    """Molecules of a .smi file, an .sdf, a list, or a column of a table, with their properties as condition; each
    molecule once.

    Args:
        columns: properties of the condition, by the name of a column (of an .sdf: of a data field) or of
            `chemistry.PROPERTIES`.
        smiles: the column of a table that holds the molecules; by default found by its name or its values.

    Raises:
        UsageError: no such column.
        DataError: fewer than three molecules.
    """
    tabled = table_of(source, smiles)
    frame = pd.DataFrame()
    if tabled is not None:
        strings, frame = tabled
    elif isinstance(source, str | Path):
        strings = _lines(Path(source), str(source))
    else:
        strings = [s.strip() if isinstance(s, str) else "" for s in source]
    canonical = chemistry.canonical(strings)
    first = {c: i for i, c in reversed(list(enumerate(canonical))) if c is not None}
    at = sorted(first.values())
    invalid = canonical.count(None)
    if invalid:
        warnings.warn(
            f"{invalid:,} of {len(strings):,} strings are no molecules (the first: "
            f"{strings[canonical.index(None)] or 'an empty one'}): left out",
            stacklevel=2,
        )
    if len(at) < 3:
        raise DataError(f"at least 3 different molecules are needed (got {len(at)})")
    items = as_molecules([strings[i] for i in at])
    if columns:
        computed = [c for c in columns if c not in frame.columns]
        other = [c for c in computed if c not in chemistry.PROPERTIES]
        if other:
            raise unknown("property or column", other[0], [*chemistry.PROPERTIES, *map(str, frame.columns)])
        found = chemistry.properties(items.values, computed)
        for column in columns:
            if column not in computed:
                found[column] = _averaged(pd.to_numeric(frame[column], errors="coerce"), canonical, at, column)
        found = found[list(columns)]
        wrong = ~np.isfinite(found.to_numpy(float))
        good = ~wrong.any(1)
        if not good.all():
            at_row, place = (int(k) for k in np.argwhere(wrong)[0])
            what = (
                f"{int((~good).sum())} of {len(good)} molecules have no number in column {columns[place]} or others "
                f"(the first: {items.values[at_row]})"
            )
            if good.sum() < 3:
                raise DataError(f"{what}: give numbers")
            warnings.warn(f"{what}: left out", stacklevel=2)
            items, found = take(items, np.flatnonzero(good)), found[good].reset_index(drop=True)
        items = replace(items, condition=Items("table", found.astype(float), facts={"columns": list(columns)}))
    name = Path(source).stem if isinstance(source, str | Path) else "molecules"
    return split(items, name, seed=seed, facts={"repeats_removed": len(strings) - invalid - len(at)})


def _lines(path: Path, name: str) -> list[str]:
    """The strings of a file, or of a data set by name, whatever they are."""
    from pofx.data.sources import whole

    if path.is_dir():
        raise DataError(f"{name} is a folder: give a .smi, an .sdf or a table with a column of SMILES")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* are no molecules to RDKit")  # counted by the caller
        if path.suffix.lower() == ".txt" and path.is_file():
            lines: Any = kind_named("molecules").read(path)
            return list(lines.values)
        return list(whole(name).values)


def _averaged(values: pd.Series, canonical: Sequence[str | None], at: Sequence[int], column: str) -> np.ndarray:
    """The mean of what was measured of each molecule, of all of its rows: float64 (molecules,)."""
    rows = pd.DataFrame({"of": canonical, "value": values.to_numpy(float)})
    groups = rows.groupby("of")["value"]
    apart = int((groups.nunique() > 1).sum())
    if apart:
        warnings.warn(f"{apart} molecules have several values of {column}: their means are taken", stacklevel=3)
    means = groups.mean().to_dict()
    return np.array([means[canonical[i]] for i in at], np.float64)


def respelled(data: Dataset, copies: int, seed: int = 0) -> Dataset:
    """Training molecules in `copies` further random spellings: a model of all spellings, not of one of each."""
    parts = [data.train]
    for k in range(copies):
        parts.append(replace(data.train, values=chemistry.respelled(data.train.values, seed + k)))
    about = {"source": data.card.source, "licence": data.card.licence, "summary": data.card.summary}
    facts = {**data.card.facts, "respellings": copies}
    train = joined(parts)
    return dataset(train, data.validation, data.test, data.card.name, facts=facts, count_overlaps=False, **about)


def learn(
    data: Dataset, model: str = "gpt", *, tokens: str | None = None, respellings: int = 0, seed: int = 0, **options: Any
) -> Any:
    """A run on molecules, with the default recipe of the model.

    Args:
        tokens: one of TOKENS; by default pieces of Kekulé structures for `gpt`, the symbols of SMILES for other models.
    """
    from pofx.runs.fitting import fit

    if tokens is not None and tokens not in TOKENS:
        raise UsageError(f"tokens must be one of {', '.join(TOKENS)} (got '{tokens}')")
    if respellings:
        data = respelled(data, respellings, seed)
    named = {} if tokens is None else {"represent": tokens}
    given = {"represent": "smiles", **RECIPES.get(model, {}), **named, **options}
    return fit(data, model, seed=seed, **given)


def measured(strings: Sequence[str], real: Items, train: Items, seed: int = 0) -> dict[str, float]:
    """The measures of generated molecules by name: shares, diversity, distances."""
    from pofx.evaluate.metrics.molecule_properties import MoleculeProperties
    from pofx.evaluate.metrics.molecules import Molecules

    samples = Items("molecules", list(strings), None, dict(train.facts))
    found = dict(Molecules().read(samples, real, train, seed).values)
    return found | dict(MoleculeProperties().read(samples, real, train, seed).values)


def report(
    run: Any, data: Dataset, *, n: int = 1000, seed: int = 0, samples: Sequence[str] | None = None
) -> pd.DataFrame:
    """A row for held-out molecules, the run and each floor; `nats/char` counts the end of a string as a character."""
    train = plain(data.train)
    real = plain(data.test)
    held = [str(s) for s in real.values[:SCORED]]
    characters = float(np.mean([len(s) + 1 for s in held]))
    drawn = list(run.sample(n, **given(run, data, n, seed), seed=seed)) if samples is None else list(samples)
    rows = {"held-out molecules": measured(some(plain(joined([data.validation, data.test])), n), real, train, seed)}
    means = ", valid by construction" if run.representation.name == "selfies" else ""
    rows[f"{run.name} ({run.representation.name}{means})"] = {
        **measured(drawn, real, train, seed),
        "nats/char": nats(run, data, held) / characters,
    }
    table = NGram(train.values[:FITTED], TABLE)
    order, lowest = floor_nats(table, held[:500])
    characters_of = float(np.mean([len(s) + 1 for s in held[:500]]))
    made = ["".join(s) for s in table.sample(n, seed, longest=200)]
    rows[f"{TABLE}-grams"] = measured(made, real, train, seed)
    rows[f"{TABLE}-grams"]["nats/char"] = -float(np.mean([table.log_prob(s) for s in held[:500]])) / characters_of
    if order != TABLE:
        rows[f"{order}-grams"] = {"nats/char": lowest / characters_of}
    blind = random_selfies(train.values, n, seed)
    if blind:
        rows["random SELFIES (valid by construction)"] = measured(blind, real, train, seed)
    found = pd.DataFrame({name: reported(row) for name, row in rows.items()}).T
    return found[[c for c in FIRST if c in found] + [c for c in found if c not in FIRST]]


def reported(row: dict[str, float]) -> pd.Series:
    """Measures under the names of the report."""
    names = {"validity": "valid", "uniqueness": "unique", "novelty": "novel", "internal_diversity": "diversity",
             "fingerprint_distance": "FD"}  # fmt: skip
    spelled = {name.lower(): name for name in chemistry.PROPERTIES}
    return pd.Series(
        {names.get(c, "W1 " + spelled[c[3:]] if c.startswith("w1_") else c): v for c, v in row.items()}, dtype=float
    )


def valid_draws(run: Any, n: int, *, seed: int = 0) -> tuple[list[str], int]:
    """n draws that are molecules, canonical, and how many draws that took: those of p(x | x is a molecule), exactly,
    for what is no molecule is drawn again. After TRIES times n draws there may be fewer.
    """
    found: list[str] = []
    for attempt in range(TRIES):
        drawn = run.sample(n, seed=seed + (attempt << 32), with_condition=False)
        found += chemistry.valid(drawn)
        if len(found) >= n:
            break
    return found[:n], (attempt + 1) * n


def nats(run: Any, data: Dataset, held: Sequence[str]) -> float:
    """Mean nats of held-out strings; NaN without a density."""
    from pofx.core.errors import Unsupported

    condition = None
    if run.conditioning is not None and data.test.condition is not None:
        condition = data.test.condition.values.iloc[: len(held)].reset_index(drop=True)
    try:
        return -float(np.mean(run.log_prob(list(held), condition)))
    except Unsupported:
        return float("nan")


def check_scaffold(run: Any, scaffold: str, n: int = 1, seed: int = 0) -> list[str]:
    """n spellings of a scaffold from which a run can go on.

    Raises:
        DataError: the scaffold is no molecule, has no place to bond to, or parts that no training molecule had.
    """
    begun = chemistry.beginnings(scaffold, n, seed)
    try:
        run.representation.prefix(begun)
    except DataError as error:
        raise DataError(
            f"{run.name} cannot begin with the scaffold {scaffold}: its training molecules have not all of its atoms, "
            f"bonds and rings ({error}): choose another scaffold, or train on molecules with them"
        ) from None
    return list(begun)


def complete(run: Any, scaffold: str, n: int = 64, *, condition: Any = None, seed: int = 0) -> list[str]:
    """Different molecules that contain a scaffold, canonical: each continues a spelling of it from a place to bond to.

    A model that has learned random spellings (`respellings`) decorates every place; one of canonical strings fewer.

    Raises:
        DataError: the scaffold is no molecule, or has no place to bond to.
    """
    begun = check_scaffold(run, scaffold, n, seed)
    drawn = run.sample(n, condition, prefix=begun, seed=seed, with_condition=False)
    found = list(dict.fromkeys(s for s in chemistry.canonical(drawn) if s is not None))
    inside = chemistry.contains(found, scaffold)
    bare = chemistry.canonical([scaffold])[0]
    return [s for s, there in zip(found, inside, strict=True) if there and s != bare]


def molecules(
    source: Annotated[
        str,
        typer.Argument(metavar="MOLECULES", help="A .smi file, an .sdf, or a table with a column of SMILES."),
        Reads(),
    ],
    run: Trained = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="gpt, masked-diffusion, vae … (default: gpt).")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Of training (default: 3).")] = None,
    tokens: Annotated[
        str | None,
        typer.Option(help="smiles-kekule (default of gpt), smiles (of others), selfies, " + ", ".join(OTHERS) + "."),
    ] = None,
    respellings: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Random spellings of each training molecule.")
    ] = None,
    given_: Annotated[
        str | None,
        typer.Option(
            "--given", help="Properties to condition on: logP,QED,weight,SA or columns; to draw at a value, logP=2."
        ),
    ] = None,
    nearest_: Annotated[
        int | None,
        typer.Option("--nearest", min=2, max=1000, help="Of --given: of so many draws the nearest to each value."),
    ] = None,
    smiles: Annotated[str | None, typer.Option(help="The column of SMILES of a table; found if left out.")] = None,
    scaffold: Annotated[str | None, typer.Option(help="Draw molecules that contain this one.")] = None,
    optimise_: Annotated[
        str | None,
        typer.Option("--optimise", help="Steer to a high property, or low: -SA; or to your function, FILE.py:NAME."),
        Reads(),
    ] = None,
    by: Annotated[
        str, typer.Option(help="model: it learns from what scores high; codes: a search in a vae's.")
    ] = "model",
    rounds: Annotated[int, typer.Option(min=2, max=1000, help="Of --optimise.")] = 5,
    valid: Annotated[bool, typer.Option("--valid", help="Draw again what is no molecule, until there are -n.")] = False,
    constrain: Annotated[
        bool, typer.Option("--constrain", help="Draw no symbol behind which no molecule is possible; of SMILES alone.")
    ] = False,
    n: Annotated[int, typer.Option("-n", min=10, max=10_000_000, help="Molecules drawn.")] = 1000,
    out: Annotated[Path, typer.Option(help="A folder: run, .smi, .png, report.csv."), Guarded()] = Path(
        "runs/molecules"
    ),
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> str:
    """Learn molecules, draw new ones, and hold them against real ones and simple floors.

    Validity of SELFIES is by construction and no achievement; look at the distances of properties instead.
    """
    from pofx.artifact import load
    from pofx.core.files import whole
    from pofx.data.arrays import write_frame
    from pofx.data.columns import listed
    from pofx.data.kind import kind_of
    from pofx.evaluate.provenance import held_out_by

    if run is not None and any(v is not None for v in (model, minutes, tokens, respellings)):
        raise UsageError("--run is trained already: leave --model, --minutes, --tokens and --respellings out")
    check_search(by, optimise_, "gpt" if model is None else model, run is not None)
    check_draws(given_ is not None, nearest_ is not None, scaffold is not None, optimise_ is not None, valid, constrain)
    oracle = None if optimise_ is None else function(optimise_)
    if scaffold is not None:
        chemistry.beginnings(scaffold, 1, seed)
    columns, wanted = stated(listed(given_))
    one = None if run is None else load(run)
    if one is not None and one.conditioning is not None and not columns:
        columns = list(one.condition_columns)
    data = read(source, columns, smiles=smiles, seed=seed)
    if oracle is not None:
        oracle(list(data.train.values[:2]))  # what fails, fails before the training
    if one is not None:
        held_out_by(one, data)
        if scaffold is not None:
            check_scaffold(one, scaffold, seed=seed)
    else:
        how: dict[str, Any] = {"minutes": 3.0 if minutes is None else minutes, "out": out / "run"}
        how |= {"tokens": tokens, "respellings": respellings or 0}
        one = learn(data, model or "gpt", seed=seed, overwrite=overwrite, **how)
    typer.echo(f"drawing {n:,} molecules, and measuring them beside the floors", err=True)
    samples = list(one.sample(n, **given(one, data, n, seed), seed=seed, with_condition=False))
    found = report(one, data, n=n, seed=seed, samples=samples)
    samples, found = drawn_as(one, data, n, found, samples, wanted, nearest_, constrain, bool(columns), seed)
    if scaffold is not None:
        samples = complete(one, scaffold, n, seed=seed)
        show(f"\n{len(samples)} different molecules of {n} draws contain {scaffold}")
    if optimise_ is not None and by == "codes":
        loop, table = explore(one, oracle, rounds=rounds, seed=seed)
        show(f"\n{optimise_} in code space\n" + aligned(table))
        samples = loop.best(n)["item"].tolist()
    elif optimise_ is not None:
        steered, table = optimise(one, oracle, data, rounds=rounds, seed=seed)
        show(f"\n{optimise_} steered\n" + aligned(table))
        samples = steered.best(n)["item"].tolist()
        steered.run.save(out / "steered")
    if valid:
        samples, drawn = valid_draws(one, n, seed=seed)
        typer.echo(f"\n{len(samples)} molecules of {drawn} draws: what is none was drawn again")
    good = list(chemistry.valid(samples))
    if not good:
        what = "a molecule" if scaffold is None else f"a molecule that contains {scaffold}"
        raise DataError(f"none of {n} draws is {what}: train the model for longer, draw more, or pass --respellings")
    if len(good) < len(samples):
        typer.echo(f"\n{len(samples) - len(good)} of {len(samples)} draws are no molecules: left out of the files")
    items = as_molecules(good)
    with whole(out) as aside:
        write_frame(found, aside / "report.csv", index=True)
        kind_of(items).write(items, aside / "molecules.smi")
        kind_of(items).write(take(items, range(min(len(items), 24))), aside / "molecules.png")
    return f"\n{len(items)} molecules"


def check_search(by: str, optimise: str | None, model: str, trained: bool) -> None:
    """Refuse a search without a goal, or in codes that a model does not have.

    Raises:
        UsageError: either.
    """
    from pofx.core.model import Encoding
    from pofx.runs.models import model_entry

    if by not in ("model", "codes"):
        raise UsageError(f"--by must be model or codes (got '{by}')")
    if by == "codes" and optimise is None:
        raise UsageError("--by codes is how --optimise searches: pass --optimise QED, or leave --by out")
    if by == "codes" and not trained and not issubclass(model_entry(model).model, Encoding):
        raise UsageError(f"--by codes needs a model with codes (got {model}): pass --model vae")


def check_draws(given: bool, nearest: bool, scaffold: bool, optimise: bool, valid: bool, constrain: bool) -> None:
    """Refuse options of drawing that exclude each other.

    Raises:
        UsageError: two of them.
    """
    if given and (scaffold or optimise):
        raise UsageError("--given is not used together with --scaffold or --optimise: train without it")
    if valid and (given or scaffold or optimise):
        raise UsageError("--valid is not used together with --given, --scaffold or --optimise: these keep valid ones")
    if constrain and (valid or scaffold or optimise):
        raise UsageError("--constrain is not used together with --valid, --scaffold or --optimise: leave these out")
    if nearest and not given:
        raise UsageError("--nearest takes the draws that are nearest to given properties: pass --given logP")


def drawn_as(
    run: Any, data: Dataset, n: int, found: pd.DataFrame, samples: list[str], wanted: Mapping[str, float],
    tries: int | None, constrain: bool, conditional: bool, seed: int,
) -> tuple[list[str], pd.DataFrame]:  # fmt: skip
    """Draws under stated values, constrained, or the nearest of several, and the report with a row for them; `samples`
    and the report as they are where none of it is wanted. How draws obey a condition is shown."""
    from pofx.apps.constrained_molecules import constrained

    condition = {"condition": pd.DataFrame([wanted] * n)} if wanted else given(run, data, n, seed)
    draw = (lambda of, k: constrained(run, len(of), of, seed=k)) if constrain else None
    if tries is not None:
        samples = nearest(run, condition["condition"], data, tries, seed=seed, draw=draw)
    elif constrain:
        samples = constrained(run, n, **condition, seed=seed)
    elif wanted:
        samples = list(run.sample(n, **condition, seed=seed, with_condition=False))
    if constrain or tries is not None:
        how = ", ".join(["constrained"] * constrain + [f"nearest of {tries}"] * (tries is not None))
        row = reported(measured(samples, plain(data.test), plain(data.train), seed))
        found = pd.concat([found.iloc[:2], row.rename(f"{run.name}, {how}").to_frame().T, found.iloc[2:]])
    show(aligned(found))
    if conditional:
        show("\nmean absolute error of the given properties\n" + aligned(obedience(run, data, seed=seed)))
    if conditional and tries is not None:
        of = aligned(obedience(run, data, seed=seed, tries=tries, draw=draw))
        show(f"\nthe same of the nearest of {tries} {'constrained ' * constrain}draws each\n{of}")
    if wanted:
        show("\ndraws under the stated values\n" + aligned(reached(samples, dict(wanted), data, seed)))
    return samples, found
