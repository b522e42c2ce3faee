"""Proteins: which mutations a family of sequences allows, scored by densities beside their floors, and new members.

A score is the log-probability of a mutant less that of the focus sequence (Hopf et al., 2017): by a profile, by Potts
models (`couplings`), by VAEs whose ELBOs are taken with the same draws for
every sequence (Riesselman et al., 2018, arXiv 1712.06527; Frazer et al., 2021), by autoregressive models, by masked
marginals (Meier et al., 2021). A lower training loss is not a better score: weights are chosen on clusters of sequences
that were held out, and the floors are printed beside.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from pofx.apps.couplings import mean_field, pseudo_likelihood
from pofx.apps.sequence_family import RECIPES, resampled
from pofx.apps.templates import check_fills
from pofx.apps.tolerance import Tolerance
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.files import whole
from pofx.core.printed import aligned, number_of, show
from pofx.data.alignments import LETTERS, Alignment, codes, read_alignment
from pofx.data.arrays import write_frame
from pofx.data.dataset import Dataset
from pofx.data.frames import rows_in
from pofx.data.kind import kind_of
from pofx.data.kinds.proteins import proteins as as_proteins
from pofx.declared import Guarded, Overwrite, Reads, Seed

GROUP = "Uses"
EXAMPLE = "pofx proteins BLAT.a2m --assay BLAT.csv --minutes 3"

CLASSES = len(LETTERS)
SIMILAR = 10.0  # counts of a profile that come from similar residues, as PSI-BLAST has it (Altschul et al., 1997)
RESIDUE = dict(zip(
    "Ala Cys Asp Glu Phe Gly His Ile Lys Leu Met Asn Pro Gln Arg Ser Thr Val Trp Tyr".split(), LETTERS[1:], strict=True
))  # fmt: skip
FEWEST = 3  # mutants whose order is compared with their measured one
DRAWS = 64  # of the code of a VAE, the same for all sequences


# data


def learn(data: Dataset, model: str = "vae", *, seed: int = 0, **options: Any) -> Any:
    """A run on sequences, with the default recipe of the model."""
    from pofx.runs.fitting import fit

    return fit(data, model, seed=seed, **{**RECIPES.get(model, {}), **options})


def read_assay(path: str | Path, mutant: str = "mutant", score: str = "score") -> tuple[list[str], np.ndarray]:
    """Mutants such as V29A or V29A:K30R and their measured scores, of a .csv.

    Columns wildtype, site and mutant are put together; rows without a score, of stops and of no change are left out.
    """
    frame = rows_in(Path(path))
    for column in (mutant, score):
        if column not in frame.columns:
            what = "mutant" if column == mutant else "score"
            known = ", ".join(map(str, frame.columns))
            raise UsageError(f"assay has no column '{column}': pass {what}=NAME with one of its columns, {known}")
    names = frame[mutant].fillna("").astype(str)
    if {"wildtype", "site"} <= set(frame.columns) and names.str.len().max() == 1:
        names = frame["wildtype"].fillna("").astype(str) + frame["site"].astype(str) + names
    values = pd.to_numeric(frame[score], errors="coerce").to_numpy()
    good = [np.isfinite(v) and bool(changes(n)) for n, v in zip(names, values, strict=True)]
    if not any(good):
        raise DataError(f"{path} has no mutants with a score: write them as V29A")
    if sum(good) > 1 and len({*values[np.array(good)].tolist()}) < 2:
        raise DataError(f"all scores of {path} are {values[np.array(good)][0]:g}: there is nothing to rank")
    if not all(good):
        warnings.warn(
            f"{len(good) - sum(good)} of {len(good)} rows of {path} are left out: no score, a stop, no change, or no "
            f"mutant as V29A is (the first: '{names[good.index(False)]}')",
            stacklevel=2,
        )
    return names[good].tolist(), values[np.array(good)]


def changes(mutant: str) -> list[tuple[str, int, str]]:
    """The substitutions of a mutant: ("V", 29, "A") …; empty where it is none.

    Written V29A, Val29Ala or p.Val29Ala (HGVS), several as V29A:K30R or p.[Val29Ala;Lys30Arg].
    """
    found = []
    for part in re.split(r"[:,;/ ]+", re.sub(r"[\[\]()]|^p\.", "", mutant.strip())):
        one = re.fullmatch(r"(?:p\.)?([A-Za-z]+)(\d+)([A-Za-z]+)", part)
        old, new = (RESIDUE.get(one[k].capitalize(), one[k].upper()) if one else "" for k in (1, 3))
        if one is None or old == new or not {old, new} <= set(LETTERS[1:]):
            return []
        found.append((old, int(one[2]), new))
    return found


def mutated(alignment: Alignment, mutants: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The sequence of each mutant over the columns, and which mutants lie in them: the others cannot be scored.

    Raises:
        DataError: a mutant of another wild type.
    """
    place = {int(number): i for i, number in enumerate(alignment.numbers)}
    found, there = [], []
    for mutant in mutants:
        sequence, inside = list(alignment.focus), True
        for old, number, new in changes(mutant):
            if number not in place:
                inside = False
                continue
            if sequence[place[number]] != old:
                raise DataError(f"{mutant}: the focus sequence has {sequence[place[number]]} at {number}, not {old}")
            sequence[place[number]] = new
        there.append(inside)
        found.append("".join(sequence))
    return found, np.array(there, bool)


# floors


class Profile:
    """Independent columns, weighted: the site-independent floor.

    Args:
        pseudo: counts that are added to each residue of each column.
        similar: counts that are added to each column, divided as the residues that it has are replaced in all columns
            of the family (Henikoff and Henikoff, 1996): a small family lacks most substitutions of a column.
    """

    def __init__(self, alignment: Alignment, pseudo: float = 0.5, similar: float = 0.0) -> None:
        x = codes(alignment.sequences)
        counts = np.zeros((x.shape[1], CLASSES))
        for letter in range(1, CLASSES):  # gaps are no evidence on residues
            counts[:, letter] = ((x == letter) * alignment.weights[:, None]).sum(0)
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1e-9)
        pairs = counts.T @ shares + np.full((CLASSES, CLASSES), 1e-9)
        counts += pseudo + similar * shares @ (pairs / pairs.sum(1, keepdims=True))
        self.log_p = np.log(counts / counts.sum(1, keepdims=True))

    def __call__(self, sequences: Sequence[str]) -> np.ndarray:
        x = codes(sequences)
        return np.asarray(self.log_p[np.arange(x.shape[1]), x].sum(1))


# scores of runs


def elbo(run: Any, sequences: Sequence[str], draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """The bound of a VAE on log p of each sequence, its code drawn with the same noise for all: differences of two
    sequences are then those of the sequences, and not of draws."""
    import torch

    from pofx.core.model import Weighted
    from pofx.core.random import Still, Streams

    if not isinstance(run.model, Weighted):
        raise Unsupported(f"{run.name} has no evidence lower bound: score it by its log p")
    raw, found = run.placed(list(sequences)), []
    with torch.inference_mode():
        for i in range(0, len(raw), 200):
            x, _ = run.representation.encode(raw[i : i + 200], Still(0, len(raw[i : i + 200]), device=raw.device))
            streams = Streams(seed, len(x), device=raw.device)
            streams.ids = torch.zeros_like(streams.ids)
            weights = run.model.importance_weights(x, particles=draws, generator=streams)
            found.append(weights.mean(1).cpu())
    return np.asarray(torch.cat(found).double().numpy())


def masked_marginals(run: Any, focus: str) -> np.ndarray:
    """log p of each residue in each column, which is hidden, given the rest of the focus: (columns, 21)."""
    import torch

    from pofx.core.model import Infilling, Stepwise

    if not (isinstance(run.model, Infilling) and isinstance(run.model, Stepwise) and hasattr(run.model, "net")):
        raise Unsupported(f"{run.name} does not fill single columns: train masked-diffusion")
    x = run.placed([focus]).long()
    net: Any = run.model.net
    columns, found = x.shape[1], []
    with torch.inference_mode():
        for hidden in torch.eye(columns, dtype=torch.bool, device=x.device).split(64):
            found.append(net(x.expand(len(hidden), -1), hidden, None, hidden).float().log_softmax(-1).cpu())
    return np.asarray(torch.cat(found).double().numpy())


def score_of(run: Any, alignment: Alignment, sequences: Sequence[str]) -> np.ndarray:
    """log p of mutants less that of the focus, as fits the model: ELBOs with shared draws, masked marginals, log p."""
    from pofx.core.model import Infilling, Weighted

    if isinstance(run.model, Weighted):
        values = elbo(run, [alignment.focus, *sequences])
        return values[1:] - values[0]
    if isinstance(run.model, Infilling):
        table, x = masked_marginals(run, alignment.focus), codes(sequences)
        first = codes([alignment.focus])[0]
        at = np.arange(len(first))
        return np.asarray((table[at, x] - table[at, first]).sum(1))
    values = run.log_prob([alignment.focus, *sequences])
    return np.asarray(values[1:] - values[0])


def ensemble(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """The mean of the ranks of several scores: they have different units."""
    from scipy.stats import rankdata

    return np.asarray(np.mean([rankdata(s) / len(s) for s in scores.values()], 0))


def floors(alignment: Alignment, sequences: Sequence[str], *, potts_steps: int = 60) -> dict[str, np.ndarray]:
    """Scores by the profile and by Potts models: the mean field, of families with as many effective sequences as
    columns, and pseudo-likelihood by so many steps."""
    return scored(floor_models(alignment, potts_steps), alignment, sequences)


def floor_models(alignment: Alignment, potts_steps: int = 60) -> dict[str, Any]:
    """The models behind `floors`: sequences → scores up to a constant."""
    models: dict[str, Any] = {"profile": Profile(alignment)}
    models["profile, similar residues"] = Profile(alignment, pseudo=0.05, similar=SIMILAR)
    models["tolerance"] = Tolerance(alignment, models["profile, similar residues"].log_p)
    if alignment.effective >= len(alignment.focus):  # of fewer the covariance has no inverse but that of its prior
        models["Potts, mean field"] = mean_field(alignment)
    if potts_steps:
        models["Potts, pseudo-likelihood"] = pseudo_likelihood(alignment, steps=potts_steps)
    return models


def scored(models: Mapping[str, Any], alignment: Alignment, sequences: Sequence[str]) -> dict[str, np.ndarray]:
    """Scores of sequences less that of the focus."""
    found = {}
    for name, model in models.items():
        values = model([alignment.focus, *sequences])
        found[name] = values[1:] - values[0]
    return found


def spearman(scores: Mapping[str, np.ndarray], truth: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Rank correlations with an assay, with standard errors by the bootstrap over mutants; NaN of equal scores."""
    from scipy.stats import spearmanr

    generator = np.random.default_rng(seed)
    draws = [generator.integers(len(truth), size=len(truth)) for _ in range(50)]
    rows = {}
    for name, values in scores.items():
        if not np.ptp(values) > 0:
            rows[name] = {"Spearman": np.nan, "±": np.nan}
            continue
        again = [float(spearmanr(values[at], truth[at]).statistic) for at in draws]
        rows[name] = {"Spearman": float(spearmanr(values, truth).statistic), "±": float(np.std(again))}
    return pd.DataFrame(rows).T


def fill(run: Any, template: str, n: int = 10, *, seed: int = 0) -> list[str]:
    """Sequences that keep a motif: `?` in the template is drawn, every other residue stays."""
    return list(run.sample(n, prefix=[template], seed=seed))


def check_template(template: str, alignment: Alignment, model: str, trained: bool = False) -> None:
    """Refuse, before anything is trained, a template that no run of the model on the alignment can fill.

    Raises:
        DataError: of another length, or with letters that are no residues.
        UsageError: the model does not complete sequences, or only from their beginning.
    """
    if len(template) != len(alignment.focus) or not set(template) <= {"?", *LETTERS}:
        raise DataError(
            f"template must have {len(alignment.focus)} residues or ? (got {len(template)}: {template[:20]}): write "
            "every column of the alignment"
        )
    check_fills(model, begins="?" not in template.rstrip("?"), trained=trained)


def proteins(
    source: Annotated[
        Path, typer.Argument(metavar="ALIGNMENT", help="An .a2m or .a3m file, the focus first."), Reads()
    ],
    run: Annotated[
        list[Path] | None,
        typer.Option(help="Runs of the family, or the folder of several, instead of training; repeatable."),
        Reads(run=True),
    ] = None,
    assay: Annotated[Path | None, typer.Option(help="A .csv of measured mutants."), Reads()] = None,
    mutant: Annotated[str, typer.Option(help="Its column of mutants: V29A, V29A:K30R, p.Val29Ala.")] = "mutant",
    score: Annotated[str, typer.Option(help="Its column of measured scores.")] = "score",
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="vae, gpt or masked-diffusion (default: vae).")
    ] = None,
    members: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Trainings with different seeds, whose scores are averaged (default: 3)."),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Of training, of all members together (default: 3).")] = None,
    potts_steps: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Of the Potts model by pseudo-likelihood, a second each; 0: none.")
    ] = 60,
    whole_: Annotated[
        bool, typer.Option("--whole", help="Mutants are whole sequences, of any length: scored by a gpt without gaps.")
    ] = False,
    template: Annotated[str | None, typer.Option(help="A sequence with ? where residues are to be drawn.")] = None,
    design: Annotated[
        int, typer.Option(min=0, max=10_000, help="With --assay: variants proposed under a model of its fitness.")
    ] = 0,
    changes_: Annotated[int, typer.Option("--changes", min=1, max=50, help="Of a variant of --design, at most.")] = 5,
    n: Annotated[int, typer.Option("-n", min=1, max=1_000_000, help="New sequences.")] = 100,
    out: Annotated[Path, typer.Option(help="A folder: runs, new sequences, scores.csv."), Guarded()] = Path(
        "runs/proteins"
    ),
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> str:
    """Learn a family of proteins, score mutants, and draw new members.

    The profile of the alignment and Potts models are scored beside: a network that is below them has not helped.
    """
    if run and any(v is not None for v in (model, members, minutes)):
        raise UsageError("--run is trained already: leave --model, --members and --minutes out")
    alignment = read_alignment(source)
    trained = loaded(run or [], alignment, whole_)
    model, members = trained[0].name if trained else model or "vae", members or len(trained) or 3
    each = (3.0 if minutes is None else minutes) / members
    show(
        f"{len(alignment.sequences):,} sequences ({alignment.effective:.0f} effective) of {len(alignment.focus)} "
        f"columns; {alignment.dropped} with too many gaps or repeated"
    )
    if design and (assay is None or whole_):
        raise UsageError("--design needs --assay with the mutants of columns, V29A: without --whole")
    if whole_:
        if assay is None or template is not None or model not in ("vae", "gpt"):
            raise UsageError("--whole needs --assay, and takes a gpt and no --template")
        return _of_any_length(alignment, (assay, mutant, score), trained, members, each, n, out, seed, overwrite)
    if template is not None:
        check_template(template, alignment, model, bool(trained))
    if assay is None:
        names, truth = every_mutant(alignment), None
    else:
        names, truth = read_assay(assay, mutant, score)
    sequences, there = mutated(alignment, names)
    sequences = [s for s, inside in zip(sequences, there, strict=True) if inside]
    if not sequences:
        raise DataError(f"none of the {len(names)} mutants of {assay} lies in the columns of the alignment")
    runs = trained or [
        learn(resampled(alignment, seed=seed + k), model, seed=seed + k, minutes=each, out=out / f"run{k}",
              overwrite=overwrite)
        for k in range(members)
    ]  # fmt: skip
    drawn = fill(runs[0], template, n, seed=seed) if template else list(runs[0].sample(n, seed=seed))
    items = as_proteins(drawn)
    typer.echo(f"scoring {len(sequences):,} mutants by the profile and Potts models", err=True)
    models = floor_models(alignment, potts_steps)
    scores = scored(models, alignment, sequences)
    typer.echo(f"scoring them by {model}", err=True)
    scores[f"{model} x {members}"] = np.mean([score_of(run, alignment, sequences) for run in runs], 0)
    scores["mean rank of all"] = ensemble(scores)
    table = pd.DataFrame({"mutant": np.array(names)[there], **scores})
    with whole(out) as aside:
        kind_of(items).write(items, aside / "sequences.fasta")
        write_frame(table, aside / "scores.csv")
        if design and truth is not None:
            write_frame(
                _proposed(alignment, models, sequences, truth[there], design, changes_, seed), aside / "designs.csv"
            )
    if truth is not None and len(sequences) < FEWEST:
        warnings.warn(
            f"{number_of(len(sequences), 'mutant')} cannot be ranked: {FEWEST} or more are needed", stacklevel=2
        )
    elif truth is not None:
        show(aligned(spearman(scores, truth[there])))
    outside = f"{int((~there).sum())} outside the columns of the alignment"
    return f"{number_of(len(sequences), 'mutant')} scored, {outside}"


def _proposed(
    alignment: Alignment, models: Mapping[str, Any], sequences: Sequence[str], truth: np.ndarray, n: int, most: int,
    seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Designs under a model of fitness, with what was held out and the floor printed."""
    from pofx.apps import protein_design as of

    density = models.get("Potts, pseudo-likelihood", models["profile, similar residues"])
    fitness = of.fitted(alignment.focus, sequences, truth, density, seed)
    show("rank correlation of the model of fitness\n" + aligned(fitness.checks))
    found = of.designs(fitness, alignment, models["profile, similar residues"].log_p, n, most=most, seed=seed)
    show(
        f"{len(found)} designs, predicted, not measured\n"
        + aligned(found.drop(columns="sequence").head(5), index=False)
    )
    floor = fitness([of.stacked(alignment, sequences, truth, most)])[0][0]
    show(f"predicted of the {most} best measured changes at once: {floor:.3f}; best measured: {truth.max():.3f}")
    return found


def _of_any_length(
    alignment: Alignment, assay: tuple[Path, str, str], trained: Sequence[Any], members: int, each: float, n: int,
    out: Path, seed: int, overwrite: bool,
) -> str:  # fmt: skip
    """Score whole sequences beside floors, and draw new ones."""
    from pofx.apps import indels

    sequences, truth = indels.read_whole(*assay)
    how: dict[str, Any] = {"minutes": each, "overwrite": overwrite}
    how["length"] = max(map(len, [*sequences, *alignment.whole]))
    runs = trained or [indels.learn(alignment, seed=seed + k, out=out / f"run{k}", **how) for k in range(members)]
    scores = indels.scores(runs, alignment, sequences)
    items = as_proteins([s for s in runs[0].sample(n, seed=seed) if s] or [alignment.whole[0]])
    with whole(out) as aside:
        kind_of(items).write(items, aside / "sequences.fasta")
        write_frame(pd.DataFrame({"mutant": sequences, **scores}), aside / "scores.csv")
    show(aligned(spearman(scores, truth)))
    return f"{len(sequences)} sequences scored"


def loaded(paths: Sequence[Path], alignment: Alignment, whole: bool = False) -> list[Any]:
    """The runs of folders, or of the folders run0, run1, … in them.

    Raises:
        UsageError: a run of other items, or of sequences of another length.
    """
    from pofx.artifact import load

    places = [one for path in paths for one in (sorted(path.glob("run[0-9]*/artifact.json")) or [path])]
    runs = [load(place.parent if place.name == "artifact.json" else place) for place in places]
    for run in runs:
        length = getattr(run.representation, "length", None)
        if not whole and length != len(alignment.focus):
            raise UsageError(
                f"{run.name} models {run.representation.kind} items of length {length}, the alignment has "
                f"{len(alignment.focus)} columns: give runs of this family"
            )
    return runs


def every_mutant(alignment: Alignment) -> list[str]:
    """All single substitutions of the focus."""
    pairs = zip(alignment.focus, alignment.numbers, strict=True)
    return [f"{old}{number}{new}" for old, number in pairs for new in LETTERS[1:] if new != old]
