"""Texts: an autoregressive and a diffusion model side by side, with the same budget, in bits per byte.

Perplexities of different alphabets cannot be compared; bits per byte can. A diffusion model has no log p of a passage
given what precedes it, so both are scored on the same windows by themselves; the autoregressive one once more with
context. The floor is a table of n-grams, its order chosen in its favour. Texts end at `stop`, and gaps are filled by
the model of any order: what each of the two does better is shown.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from pofx.apps.ngram import NGram, floor_nats
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.printed import aligned, show
from pofx.data.dataset import Dataset
from pofx.data.passages import Passages
from pofx.declared import Guarded, Overwrite, Reads, Seed

GROUP = "Uses"
EXAMPLE = 'pofx text shakespeare.txt --minutes 10 --prompt "ROMEO:" --fill "My ____ is ____."'

MODELS = ("gpt", "masked-diffusion")
TABLE = 6  # symbols of the longest n-gram of the floor
COUNTED = 1_000_000  # characters that it counts, and at most
WINDOWS, SCORED = 400, 1000  # windows and texts that are scored, at most
GAP = "_"
TRIES = 8  # draws of a text with gaps, at most


def read(source: Any, seed: int = 0) -> Dataset:
    """Texts, one an item, or running text, in splits."""
    from pofx.data.sources import load

    data = load(source, seed=seed)
    if not isinstance(data.train.values, Passages | list):
        raise UsageError(f"texts are read here (got {data.card.kind} items): give a .txt file or a list of strings")
    return data


def running(data: Dataset) -> bool:
    return isinstance(data.train.values, Passages)


def bits_per_byte(nats: float, values: Sequence[str]) -> float:
    """Total nats over the bytes of texts in UTF-8, as bits."""
    return nats / np.log(2) / sum(len(v.encode("utf-8", "surrogatepass")) for v in values)


def window_scores(run: Any, text: str, most: int = WINDOWS) -> tuple[float, float, float]:
    """Bits per byte of a running text in windows by themselves, its standard error, and nats per character."""
    import torch

    from pofx.core.model import Explicit

    view = run.representation
    if not isinstance(run.model, Explicit):
        raise Unsupported(f"{run.name} has no density: compare its samples with `pofx evaluate`")
    codes = view.codes(text)
    n = min(len(codes) // view.length, most)
    if n < 1:
        raise DataError(f"the text has {len(codes)} {view.codes_are}, fewer than a window of {view.length}: give more")
    at = np.linspace(0, len(codes) // view.length - 1, n).round().astype(int)
    rows = torch.from_numpy(codes[: (len(codes) // view.length) * view.length].reshape(-1, view.length)[at])
    with torch.inference_mode():
        parts = [run.model.log_prob_estimate(part.to(run.device))[0].double().cpu() for part in rows.split(32)]
    log_p = torch.cat(parts).numpy()
    pieces = [view.text(row) for row in rows.numpy()]
    each = np.array([bits_per_byte(-lp, [piece]) for lp, piece in zip(log_p, pieces, strict=True)])
    characters = sum(map(len, pieces))
    return float(each.mean()), float(each.std(ddof=1) / n**0.5) if n > 1 else np.nan, float(-log_p.sum() / characters)


def report(runs: Mapping[str, Any], data: Dataset) -> pd.DataFrame:
    """A row for each run and the floor: bits per byte and nats per character of held-out text."""
    rows: dict[str, dict[str, Any]] = {}
    if running(data):
        text = data.test.values.text
        for name, run in runs.items():
            bits, error, nats = window_scores(run, text)
            rows[name] = {"bits/byte": bits, "±": error, "nats/char": nats, "density": run.density.name.lower()}
            try:
                some = data.test.values.taken(np.arange(min(len(data.test), 2000)))
                whole = [str(v) for v in some]
                rows[name]["bits/byte given context"] = bits_per_byte(-float(run.log_prob(some).sum()), whole)
            except Unsupported:
                continue
        table = NGram([data.train.values.text[:COUNTED]], TABLE, ends=False)
        held = [text[:20_000]]
        order, nats_of = floor_nats(table, held)
        rows[f"{order}-grams"] = {"bits/byte given context": bits_per_byte(nats_of, held)}
        rows[f"{order}-grams"]["nats/char"] = nats_of / len(held[0])
    else:
        held = list(data.test.values)[:SCORED]
        characters = sum(len(v) + 1 for v in held)
        for name, run in runs.items():
            each = -run.log_prob(held)
            total, error = float(each.sum()), float(each.std(ddof=1) * len(held) ** 0.5) if len(held) > 1 else np.nan
            rows[name] = {"bits/byte": bits_per_byte(total, held), "±": bits_per_byte(error, held)}
            rows[name] |= {"nats/char": total / characters, "density": run.density.name.lower()}
        order, nats_of = floor_nats(NGram(data.train.values[:100_000], TABLE), held)
        rows[f"{order}-grams"] = {
            "bits/byte": bits_per_byte(nats_of * len(held), held),
            "nats/char": nats_of * len(held) / characters,
        }
    return pd.DataFrame(rows).T.infer_objects()


def prompted(
    run: Any, prompt: str = "", n: int = 3, *, length: int = 400, stop: Sequence[str] = (), **options: Any
) -> list[str]:
    """Texts that begin with a prompt, each cut behind the first of the stop texts that comes after it.

    Args:
        length: characters, of running text; a model without an order draws a window.
        options: seed, temperature, top_k, top_p, min_p.
    """
    if any(not s for s in stop):
        raise UsageError("stop texts must not be empty: leave them out")
    if run.representation.passage and in_order(run):
        from pofx.runs.continuation import long_texts

        found = long_texts(run, n, length, prefix=prompt, **options)
    else:
        found = list(run.sample(n, prefix=prompt or None, with_condition=False, **options))
    return [stopped(text, len(prompt), stop) for text in found]


def stopped(text: str, begin: int, stop: Sequence[str]) -> str:
    """A text up to and with the first stop text behind place `begin`."""
    ends = [text.index(s, begin) + len(s) for s in stop if s in text[begin:]]
    return text[: min(ends)] if ends else text


def filled(run: Any, template: str, n: int = 3, *, gap: str = GAP, seed: int = 0, **options: Any) -> list[str]:
    """Texts in which every gap character of a template is drawn, given all the rest of it.

    Raises:
        Unsupported: a model that draws in a fixed order, or a view without characters.
        DataError: a template that is too long, or with characters that training did not have.
    """
    import torch

    from pofx.core.model import Completing, Infilling
    from pofx.core.random import Streams
    from pofx.represent.characters import UNKNOWN, Characters

    view = run.representation
    if not (isinstance(run.model, Infilling) and isinstance(run.model, Completing)):
        raise Unsupported(f"{run.name} draws in a fixed order: fill gaps with a masked-diffusion run")
    if not isinstance(view, Characters):
        raise Unsupported(f"gaps are characters, and this run sees {view.codes_are}: train with represent=characters")
    if gap in view.characters:
        raise UsageError(f"gap must be a character that no text has (got {gap!r}): pass another")
    if not 1 <= len(template) <= view.length:
        raise DataError(f"template must have 1 to {view.length} characters (got {len(template)})")
    view.prefix([template.replace(gap, "")])  # refuses unknown characters
    row = torch.full((view.length,), -1 if view.passage else 0, dtype=torch.int64)
    codes = torch.from_numpy(view.codes(template).astype(np.int64))
    row[: len(template)] = torch.where(torch.tensor([c == gap for c in template]), -1, codes)
    found: list[str] = []
    for attempt in range(TRIES):  # a gap is a character: draws in which a text ends there are drawn again
        generator = Streams(seed + (attempt << 32), n, device=run.device)
        with torch.inference_mode():
            drawn = run.model.sample(n, generator=generator, prefix=row.expand(n, -1).to(run.device), **options)
        part = drawn[:, : len(template)].cpu().numpy()
        found += [view.text(codes) for codes in part[(part > UNKNOWN).all(1)]]
        if len(found) >= n:
            return found[:n]
    if not found:
        raise DataError(f"no draw of {TRIES * n} fills the gaps with characters: train for longer, or open fewer gaps")
    return found


def text(
    source: Annotated[
        str, typer.Argument(metavar="TEXT", help="A .txt file: a text a line, or running text."), Reads()
    ],
    models: Annotated[
        str | None, typer.Option(help=f"Names with commas between them (default: {','.join(MODELS)}).")
    ] = None,
    run: Annotated[
        list[Path] | None, typer.Option(help="Runs, instead of training; repeatable."), Reads(run=True)
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Of training, each (default: 3).")] = None,
    prompt: Annotated[str, typer.Option(help="How drawn texts begin.")] = "",
    fill: Annotated[str | None, typer.Option(help="A text with _ where characters are to be drawn.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Texts end behind this one, such as \\n; repeatable.")] = None,
    temperature: Annotated[float, typer.Option(help="Below 1 draws nearer to the modes.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Keep the k most probable characters.")] = 0,
    top_p: Annotated[float, typer.Option(help="Keep the most probable ones of this total probability.")] = 1.0,
    min_p: Annotated[float, typer.Option(help="Keep those of at least this share of the most probable.")] = 0.0,
    length: Annotated[int, typer.Option(min=1, max=1_000_000, help="Characters of drawn running text.")] = 300,
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Texts drawn.")] = 2,
    out: Annotated[Path, typer.Option(help="A folder for the runs."), Guarded()] = Path("runs/text"),
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Train gpt and masked diffusion on the same texts, compare them in bits per byte, draw, and fill gaps."""
    from pofx.artifact import load
    from pofx.core.model import Completing, Infilling
    from pofx.data.columns import listed
    from pofx.evaluate.provenance import held_out_by
    from pofx.hub import name_of
    from pofx.maths.sharpening import check_sharpening
    from pofx.runs.fitting import fit
    from pofx.runs.models import model_entry

    check_sharpening(temperature, top_k, top_p, min_p)
    if fill is not None and GAP not in fill:
        raise UsageError(f"--fill must have a {GAP} where characters are to be drawn (got '{fill}')")
    if any(not s for s in stop or ()):
        raise UsageError("--stop must not be empty: leave it out")
    if run and (models is not None or minutes is not None):
        raise UsageError("--run is trained already: leave --models and --minutes out")
    data = read(source)
    if run:
        runs = {name_of(one): load(one) for one in run}
        if len(runs) < len(run):
            raise UsageError("runs need different names: rename a folder")
        for name, trained in runs.items():
            if trained.representation.kind != data.train.kind:
                raise UsageError(
                    f"{name} models {trained.representation.kind} items: give runs of {data.train.kind} items"
                )
            if prompt:
                trained.representation.prefix([prompt])  # refuses unknown characters before anything is scored
            held_out_by(trained, data)
    else:
        names = listed(models) or list(MODELS)
        for name in names:
            model_entry(name)  # before the first one is trained
        check_known(data, prompt + (fill or "").replace(GAP, ""))
        how: dict[str, Any] = {"minutes": 3.0 if minutes is None else minutes, "seed": seed, "overwrite": overwrite}
        runs = {name: fit(data, name, out=out / name, **how) for name in names}
    typer.echo("scoring held-out texts, and counting n-grams", err=True)
    show(aligned(report(runs, data)))
    chosen = {"temperature": (temperature, 1.0), "top_k": (top_k, 0), "top_p": (top_p, 1.0), "min_p": (min_p, 0.0)}
    options: dict[str, Any] = {name: value for name, (value, default) in chosen.items() if value != default}
    for name, one in runs.items():
        ends = [s.replace("\\n", "\n") for s in stop or ()]  # as shells pass it
        free = not isinstance(one.model, Completing)  # of what is known of its texts
        if free and (prompt or ends):
            show(f"{name} cannot begin with a text: its draws are without --prompt and --stop")
        drawn = (
            one.sample(n, seed=seed, **options)
            if free
            else prompted(one, prompt, n, length=length, stop=ends, seed=seed, **options)
        )
        for sample in drawn:
            typer.echo(f"--- {name}\n{sample}")
        if fill is not None and not isinstance(one.model, Infilling):
            show(f"{name} draws in a fixed order, and fills no gaps: masked-diffusion does")
        elif fill is not None:
            for sample in filled(one, fill, n, seed=seed, **options):
                typer.echo(f"--- {name}, gaps filled\n{sample}")


def check_known(data: Dataset, written: str) -> None:
    """Refuse, before anything is trained, characters that no training text has.

    Raises:
        DataError: such characters.
    """
    values = data.train.values
    known = set(values.text if isinstance(values, Passages) else "".join(map(str, values)))
    lacking = sorted(set(written) - known)
    if lacking:
        raise DataError(
            f"--prompt and --fill have characters that no training text has ({', '.join(map(repr, lacking[:10]))}): "
            "write them without these"
        )


def in_order(run: Any) -> bool:
    from pofx.core.model import Factored

    return isinstance(run.model, Factored) and run.model.in_order
