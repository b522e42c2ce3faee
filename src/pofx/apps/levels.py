"""Levels of games: grids of tiles that are drawn, constrained, repaired with a solver, widened and judged.

Judged by likelihood, by rules, by a solver, by tile patterns (Lucas and Volz, 2019, arXiv 1906.05175), and by copies,
beside two floors: independent tiles, and a table of each tile given its left, upper and diagonal neighbours. Windows
of one level overlap, so that levels and never windows are divided into splits. `rules` names a game whose levels can
be checked; others are drawn and measured without.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from pofx.apps import sokoban
from pofx.apps.templates import check_fills
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.items import Items
from pofx.core.printed import aligned, show
from pofx.data.arrays import read_array
from pofx.data.dataset import Dataset, dataset, split, take
from pofx.data.kind import joined, kind_of
from pofx.data.kinds.levels import as_text, levels_in, padded
from pofx.data.kinds.levels import levels as as_levels
from pofx.data.text import decoded
from pofx.data.tile_maps import GRIDS, MAPS, in_letters, lettered, read_grids
from pofx.declared import Guarded, Overwrite, Reads, Seed, Trained

GROUP = "Uses"
EXAMPLE = "pofx levels boxoban/ --rules sokoban --minutes 10 --out runs/sokoban"

RULES = ("none", "sokoban")
EPS = 1e-5  # weight of what never occurs in a distribution of patterns
SIZES = (2, 3)  # of the patterns
PUSHED = 3000  # positions that a solver looks at for a level of a report
TRIES = 30  # redraws of a level, at most
SOLVED = 40  # levels of a report that are tried to be solved
TEXTS = (".txt", ".lvl", ".sok", ".xsb")
RECIPES: dict[str, dict[str, Any]] = {"gpt": {"batch_size": 32}, "masked-diffusion": {}}


def read(
    source: str | Path | Sequence[Any] | np.ndarray,
    *,
    width: int | None = None,
    pad: str | None = None,
    symmetries: bool = False,
    seed: int = 0,
) -> Dataset:
    """Levels of a file, a folder of them, strings, lists of lines or arrays of whole numbers (n, H, W), as a data set.

    Files are texts, maps of Tiled, .csv of tiles, .npy or .npz; of a folder those in its subfolders are read too.

    Args:
        pad: a tile that fills smaller levels up to the size of the largest, on the right and below.
        width: of windows that are cut from wider levels at every column; each file is then one level, and the levels,
            not their windows, are divided into training (about 70 %), validation and test.
        symmetries: turn and mirror training levels, where the game is the same in all directions.

    Raises:
        DataError: no levels, or levels of different sizes without a width.
    """
    texts, name, names = texts_of(source)
    texts = texts if pad is None else padded(texts, pad)
    tiles = "".join(sorted({c for level in texts for c in level} - {"\n"}))
    if width is None:
        first = list(dict.fromkeys(texts))
        if len(first) < 3:
            raise DataError(
                f"{name} has {len(first)} levels that differ, at least 3 are needed to hold some out: give more, or "
                "cut windows of wide ones (width=, --width)"
            )
        data = split(as_levels(first, tiles), name, seed=seed, facts={"repeats_removed": len(texts) - len(first)})
    else:
        data = by_level(texts, tiles, width, name, seed)
    if names is not None:
        kept = {"names": [names.get(c, c) for c in tiles]}
        parts = {part: replace(items, facts={**items.facts, **kept}) for part, items in data.splits().items()}
        data = Dataset(**parts, card=replace(data.card, facts={**data.card.facts, **kept}))
    if not symmetries:
        return data
    facts = {**data.card.facts, "symmetries": True}
    about: dict[str, Any] = {"source": data.card.source, "licence": data.card.licence, "facts": facts}
    train = replace(data.train, values=turned(data.train.values))
    return dataset(train, data.validation, data.test, data.card.name, count_overlaps=False, **about)


def texts_of(source: str | Path | Sequence[Any] | np.ndarray) -> tuple[list[str], str, dict[str, str] | None]:
    """Levels as lines of characters, a name, and what the characters were in a map of numbers or words; None: the same.

    Of a folder the texts are read, else the maps, else the .csv files.

    Raises:
        DataError: no levels.
    """
    if not isinstance(source, str | Path):
        return in_letters(source, "levels")
    path = Path(source)
    if path.suffix.lower() in (".npy", ".npz"):
        return in_letters(read_array(path), path.stem)
    files = [path]
    if path.is_dir():
        every = sorted(f for f in path.rglob("*") if f.is_file() and not f.name.startswith("."))
        sorts = ([f for f in every if f.suffix.lower() in endings] for endings in (TEXTS, MAPS[:2], GRIDS))
        files = next((found for found in sorts if found), [])
    if not files or not all(f.exists() for f in files):
        raise DataError(f"{path} holds no levels: give a .txt, a map of Tiled or a .csv of tiles, or a folder of them")
    if files[0].suffix.lower() not in (*MAPS, *GRIDS):
        return [level for f in files for level in levels_in(decoded(f, None))], path.stem, None
    texts, tiles, names = lettered([grid for f in files for grid in read_grids(f)])
    return texts, path.stem, None if names is None else dict(zip(tiles, names, strict=True))


def by_level(texts: Sequence[str], tiles: str, width: int, name: str, seed: int) -> Dataset:
    """Windows of levels; the last levels of a random order are held out. Of one level or two the last stretches are."""
    if len(texts) < 3:
        parts = [[stretch(text, *share) for text in texts] for share in ((0, 0.7), (0.7, 0.85), (0.85, 1))]
        held = {"levels_held_out": 0, "stretches_held_out": 2}
    else:
        order = np.random.default_rng(seed).permutation(len(texts))
        few = max(1, round(0.15 * len(texts)))
        parts = [[texts[i] for i in at] for at in (order[2 * few :], order[few : 2 * few], order[:few])]
        held = {"levels_held_out": few}
    cut = [list(dict.fromkeys(w for text in part for w in windows(text, width))) for part in parts]
    train, validation, test = (as_levels(part, tiles) for part in cut)
    facts = {**held, "window": width}
    return dataset(train, validation, test, name, source=name, licence="unknown", facts=facts, count_overlaps=False)


def stretch(level: str, start: float, end: float) -> str:
    """The columns of a level between two shares of its width."""
    lines = level.split("\n")
    across = min(map(len, lines))
    return "\n".join(line[round(start * across) : round(end * across)] for line in lines)


def windows(level: str, width: int) -> list[str]:
    """All windows of a level of this width, one column after the other."""
    lines = level.split("\n")
    across = min(map(len, lines))
    if across < width:
        raise DataError(
            f"width must be at most that of the narrowest level, or held-out stretch of a single one, {across} (got "
            f"{width})"
        )
    return ["\n".join(line[i : i + width] for line in lines) for i in range(across - width + 1)]


def turned(values: np.ndarray) -> np.ndarray:
    """Levels with all that they are when turned and mirrored; turned by quarters only where they are square."""
    square = values.shape[1] == values.shape[2]
    found = [np.rot90(v, k, (1, 2)) for v in (values, values[:, :, ::-1]) for k in (range(4) if square else (0, 2))]
    return np.unique(np.concatenate(found), axis=0)


def described(values: np.ndarray, tiles: str, given: Sequence[str]) -> pd.DataFrame:
    """Numbers of levels that a model can be given: `open`, the share of the commonest tile that a level lacks; `pushes`
    of Sokoban, its difficulty; or any tile as `count_X`."""
    texts = as_text(values, tiles)
    most = Counter("".join(texts).replace("\n", "")).most_common(1)[0][0]
    columns: dict[str, list[float]] = {}
    for name in given:
        if name == "open":
            columns[name] = [1 - t.count(most) / (len(t) - t.count("\n")) for t in texts]
        elif name == "pushes":
            columns[name] = [float(sokoban.pushes(t, PUSHED) or -1) for t in texts]
        elif name.startswith("count_") and name[6:] in tiles:
            columns[name] = [float(t.count(name[6:])) for t in texts]
        else:
            raise UsageError(f"given must be open, pushes or count_TILE (got '{name}')")
    return pd.DataFrame(columns)


def conditioned(data: Dataset, given: Sequence[str]) -> Dataset:
    """A data set whose levels have these numbers as their condition."""
    parts = {}
    for part, items in data.splits().items():
        frame = described(items.values, items.facts["tiles"], given)
        parts[part] = replace(items, condition=Items("table", frame, facts={"columns": list(given)}))
    return Dataset(**parts, card=data.card)


def learn(data: Dataset, model: str = "gpt", *, seed: int = 0, **options: Any) -> Any:
    """A run on levels, with the default recipe of the model."""
    from pofx.runs.fitting import fit

    return fit(data, model, seed=seed, **{**RECIPES.get(model, {}), **options})


# rules


def valid(values: np.ndarray, tiles: str, rules: str) -> np.ndarray:
    """Which levels follow the rules: bool (n,); all where there are none."""
    if rules not in RULES:
        raise UsageError(f"rules must be {' or '.join(RULES)} (got '{rules}')")
    if rules == "none":
        return np.ones(len(values), bool)
    return np.array([sokoban.well_formed(text) for text in as_text(values, tiles)], bool)


def solvable(values: np.ndarray, tiles: str, nodes: int = PUSHED) -> np.ndarray:
    """Which levels of Sokoban a solver solves within so many positions: bool (n,)."""
    return np.array([sokoban.pushes(text, nodes) is not None for text in as_text(values, tiles)], bool)


@dataclass(frozen=True)
class Repaired:
    """Levels after a repair; `changed` counts those that were redrawn, `left` those that still break the rules."""

    values: np.ndarray
    changed: int
    left: int


def repair(
    run: Any, values: np.ndarray, rules: str, *, solve: bool = False, tries: int | None = None, seed: int = 0
) -> Repaired:
    """Levels that follow the rules: those that do not are redrawn in part, given the rest of them.

    A model of any order redraws random rectangles, one of a fixed order everything from a random row on. With `solve`
    a level must also be solved by the solver.
    """
    from pofx.core.model import Completing, Infilling

    if not isinstance(run.model, Completing):
        raise Unsupported(f"{run.name} cannot redraw a part of a level: train gpt or masked-diffusion")
    tiles = run.representation.tiles
    found, generator = values.copy(), np.random.default_rng(seed)
    good = valid(found, tiles, rules)
    if solve:
        good[good] &= solvable(found[good], tiles)
    broken = first = np.flatnonzero(~good)
    for attempt in range(TRIES if tries is None else tries):
        if not len(broken):
            break
        part = found[broken].astype(np.int64)
        _, height, width = part.shape
        for level in part:
            if isinstance(run.model, Infilling):
                h, w = generator.integers(height // 2, height + 1), generator.integers(width // 2, width + 1)
                y, x = generator.integers(height - h + 1), generator.integers(width - w + 1)
                level[y : y + h, x : x + w] = -1
            else:
                level[generator.integers(height) :] = -1
        drawn = run.sample(len(broken), prefix=part, seed=seed + ((attempt + 1) << 36), with_condition=False)
        ok = valid(drawn, tiles, rules)
        if solve:
            ok[ok] &= solvable(drawn[ok], tiles)
        found[broken[ok]] = drawn[ok]
        broken = broken[~ok]
    return Repaired(found, len(first), len(broken))


def widened(run: Any, level: np.ndarray, width: int, *, seed: int = 0) -> np.ndarray:
    """A level drawn on to the right until it is `width` wide: window after window, given half of the one before.

    Raises:
        Unsupported: the model cannot draw what is right of something known (train masked-diffusion).
    """
    from pofx.core.model import Infilling

    if not isinstance(run.model, Infilling):
        raise Unsupported(f"{run.name} draws in a fixed order: train masked-diffusion to widen levels")
    size = run.representation.shape[1]
    found, step = np.asarray(level), size - size // 2
    while found.shape[1] < width:
        window = np.full((1, found.shape[0], size), -1)
        window[0, :, : size - step] = found[:, -(size - step) :]
        drawn = run.sample(1, prefix=window, seed=seed + found.shape[1], with_condition=False)[0]
        found = np.concatenate((found, drawn[:, size - step :]), 1)
    return np.asarray(found[:, :width])


# measures and floors


def patterns(values: np.ndarray, size: int) -> dict[bytes, float]:
    """How often each pattern of size x size tiles occurs, of smaller levels each level."""
    sides = tuple(min(size, side) for side in values.shape[1:])  # of levels of a single row
    view = np.lib.stride_tricks.sliding_window_view(np.asarray(values, np.uint8), sides, axis=(1, 2))
    rows, counts = np.unique(view.reshape(-1, sides[0] * sides[1]), axis=0, return_counts=True)
    return {row.tobytes(): float(c) for row, c in zip(rows, counts, strict=True)}


def pattern_divergence(a: np.ndarray, b: np.ndarray, sizes: Sequence[int] = SIZES) -> float:
    """The mean over sizes of the mean of KL(a, b) and KL(b, a) of patterns, smoothed by EPS."""
    found = []
    for size in sizes:
        p, q = patterns(a, size), patterns(b, size)
        keys = sorted({*p, *q})
        x, y = (np.array([side.get(k, 0.0) + EPS for k in keys]) for side in (p, q))
        x, y = x / x.sum(), y / y.sum()
        found.append(float((x * np.log(x / y)).sum() + (y * np.log(y / x)).sum()) / 2)
    return float(np.mean(found))


def nearest(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The share of tiles that differ from the most similar training level: (n,)."""
    flat, known = values.reshape(len(values), -1), train.reshape(len(train), -1)
    return np.array([float((known != row).mean(1).min()) for row in flat])


class Neighbours:
    """Each tile given its left, upper left, upper and upper right neighbours, or given its place: floors."""

    def __init__(self, train: np.ndarray, classes: int, *, independent: bool = False) -> None:
        self.classes, self.independent, self.shape = classes, independent, train.shape[1:]
        self.counts: dict[tuple[int, ...], np.ndarray] = defaultdict(lambda: np.ones(classes))
        contexts = self._contexts(train)
        keys, inverse = np.unique(contexts.reshape(-1, contexts.shape[-1]), axis=0, return_inverse=True)
        table = np.zeros((len(keys), classes))
        np.add.at(table, (inverse.reshape(-1), train.reshape(-1)), 1)
        for key, row in zip(keys, table, strict=True):
            self.counts[tuple(key.tolist())] = row + 1 / classes

    def _contexts(self, values: np.ndarray) -> np.ndarray:
        n, height, width = values.shape
        if self.independent:
            place = np.broadcast_to(np.arange(height * width).reshape(1, height, width), values.shape)
            return place[..., None]
        edge = np.full((n, height + 1, width + 2), -1, int)
        edge[:, 1:, 1:-1] = values
        parts = [edge[:, 1:, :-2], edge[:, :-1, :-2], edge[:, :-1, 1:-1], edge[:, :-1, 2:]]
        return np.stack(parts, -1)

    def nats(self, values: np.ndarray) -> float:
        """Mean nats of a level."""
        contexts = self._contexts(values).reshape(-1, 1 if self.independent else 4)
        p = [self.counts[tuple(c)][t] / self.counts[tuple(c)].sum()
             for c, t in zip(contexts.tolist(), values.reshape(-1).tolist(), strict=True)]  # fmt: skip
        return -float(np.log(p).sum()) / len(values)

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        generator = np.random.default_rng(seed)
        found = np.full((n, *self.shape), -1, int)
        for y in range(self.shape[0]):
            for x in range(self.shape[1]):
                contexts = self._contexts(found)[:, y, x].tolist()
                for i, c in enumerate(contexts):
                    weights = self.counts[tuple(c)]
                    found[i, y, x] = generator.choice(self.classes, p=weights / weights.sum())
        return found.astype(np.uint8)


def measured(values: np.ndarray, data: Dataset, rules: str, tries: int = SOLVED) -> dict[str, float]:
    """Validity, solved share of the valid ones, pattern divergence, copies and novelty of levels."""
    tiles, train = data.train.facts["tiles"], data.train.values
    good = valid(values, tiles, rules)
    apart = nearest(values[:300], train)
    found = {"valid": float(good.mean())} if rules != "none" else {}
    if rules == "sokoban" and good.any():
        found["solved"] = float(solvable(values[good][:tries], tiles).mean())
    found |= {
        "pattern KL": pattern_divergence(values, data.test.values),
        "copies": float((apart == 0).mean()),
        "nearest": float(apart.mean()),
        "unique": len(np.unique(values, axis=0)) / len(values),
    }
    return found


def report(
    run: Any, data: Dataset, *, rules: str = "none", solve: bool = False, n: int = 500, seed: int = 0
) -> pd.DataFrame:
    """A row for held-out levels, the run, the run with repairs (with `solve` by the solver too), and each floor."""
    train, test = data.train.values, data.test.values
    classes = len(data.train.facts["tiles"])
    given = condition_of(run, data, n, seed)
    drawn = run.sample(n, given, seed=seed, with_condition=False)
    held = data.test.condition.values if data.test.condition is not None else None
    rows = {"held-out levels": measured(joined([data.validation, data.test]).values[:n], data, rules)}
    rows[run.name] = {"nats": -float(np.mean(run.log_prob(test[:1000], None if held is None else held[:1000])))}
    rows[run.name] |= measured(drawn, data, rules)
    if rules != "none" and given is None:
        mended = repair(run, drawn, rules, seed=seed)
        rows[f"{run.name}, repaired"] = measured(mended.values, data, rules)
        if solve:
            mended = repair(run, drawn[:SOLVED], rules, solve=True, seed=seed)
            rows[f"{run.name}, repaired until solved"] = measured(mended.values, data, rules)
    for name, independent in (("neighbours table", False), ("independent tiles", True)):
        floor = Neighbours(train, classes, independent=independent)
        rows[name] = {"nats": floor.nats(test[:1000]), **measured(floor.sample(min(n, 300), seed), data, rules)}
    return pd.DataFrame(rows).T


def condition_of(run: Any, data: Dataset, n: int, seed: int) -> Any:
    if run.conditioning is None or data.test.condition is None:
        return None
    at = np.random.default_rng(seed).integers(len(data.test), size=n)
    return data.test.condition.values.iloc[at].reset_index(drop=True)


def levels(
    source: Annotated[
        Path,
        typer.Argument(metavar="LEVELS", help="A .txt of levels, a map of Tiled, a .csv, .npy or .npz, or a folder."),
        Reads(),
    ],
    run: Trained = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="gpt, masked-diffusion, vae … (default: gpt; masked-diffusion to fill and to widen)."
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Of training (default: 3).")] = None,
    rules: Annotated[str, typer.Option(help="none, or sokoban: levels are checked, repaired and solved.")] = "none",
    width: Annotated[int | None, typer.Option(min=2, max=10_000, help="Of windows cut from wide levels.")] = None,
    pad: Annotated[str | None, typer.Option(help="A tile that fills smaller levels up to the largest size.")] = None,
    symmetries: Annotated[bool, typer.Option("--symmetries", help="Turn and mirror training levels.")] = False,
    given: Annotated[str | None, typer.Option(help="Numbers to condition on: open,pushes,count_X.")] = None,
    template: Annotated[Path | None, typer.Option(help="A level with ? where tiles are to be drawn."), Reads()] = None,
    widen: Annotated[int | None, typer.Option(min=2, max=100_000, help="Draw levels on to this width.")] = None,
    solve: Annotated[bool, typer.Option("--solve", help="Repair until a solver solves each level.")] = False,
    n: Annotated[int, typer.Option("-n", min=2, max=1_000_000, help="Levels drawn.")] = 500,
    out: Annotated[Path, typer.Option(help="A folder: run, levels as .txt, .png and .tmj."), Guarded()] = Path(
        "runs/levels"
    ),
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> str:
    """Learn levels of a game, draw new ones, repair them, and hold them against simple floors."""
    from pofx.artifact import load
    from pofx.core.files import whole
    from pofx.evaluate.provenance import held_out_by

    if rules not in RULES:
        raise UsageError(f"rules must be {' or '.join(RULES)} (got '{rules}')")
    if solve and rules == "none":
        raise UsageError("--solve needs a game with a solver: pass --rules sokoban")
    if run is not None and (model is not None or minutes is not None):
        raise UsageError("--run is trained already: leave --model and --minutes out")
    data = read(source, width=width, pad=pad, symmetries=symmetries, seed=seed)
    if given:
        data = conditioned(data, [name.strip() for name in given.split(",")])
    prefix = None
    if template is not None:
        prefix = levels_in(decoded(template, None))[:1]
        shape = data.train.values.shape[1:]
        lines = prefix[0].split("\n")
        across = sorted({len(line) for line in lines})
        if (len(lines), *across) != shape:
            raise DataError(
                f"the template must have {shape[0]} lines of {shape[1]} tiles (got {len(lines)} lines of "
                f"{' or '.join(map(str, across[:3]))})"
            )
        other = sorted(set(prefix[0]) - {*data.train.facts["tiles"], "?", "\n"})
        if other:
            raise DataError(f"the template has tiles that no level has: {' '.join(other)}")
    if rules != "none" and not valid(data.train.values, data.train.facts["tiles"], rules).any():
        raise DataError(
            f"no training level follows the rules of {rules}: one player @, as many boxes $ as goals ., and walls # "
            f"along all four sides (the tiles are {data.train.facts['tiles']!r}): write them so, or leave --rules out"
        )
    begins = widen is None and (prefix is None or "?" not in prefix[0].replace("\n", "").rstrip("?"))
    fills = prefix is not None or widen is not None
    if run is None and fills:
        model = model or ("gpt" if begins else "masked-diffusion")
        check_fills(model, begins=begins)
    if run is not None:
        one = load(run)
        if fills:
            check_fills(one.name, begins=begins, trained=True)
        held_out_by(one, data)
    else:
        how: dict[str, Any] = {"minutes": 3.0 if minutes is None else minutes, "out": out / "run"}
        one = learn(data, model or "gpt", seed=seed, overwrite=overwrite, **how)
    show(aligned(report(one, data, rules=rules, solve=solve, n=n, seed=seed)))
    drawn = one.sample(n, condition_of(one, data, n, seed), prefix=prefix, seed=seed, with_condition=False)
    if rules != "none" and (prefix is not None or one.conditioning is not None):  # a repair would change what is given
        good = int(valid(drawn, data.train.facts["tiles"], rules).sum())
        show(f"{good} of {len(drawn)} levels follow the rules")
    elif rules != "none":
        mended = repair(one, drawn, rules, solve=solve, seed=seed)
        show(f"{mended.changed} levels redrawn in part, {mended.left} of them still break the rules")
        drawn = mended.values
    if widen is not None:
        drawn = np.stack([widened(one, level, widen, seed=seed + i) for i, level in enumerate(drawn[:20])])
    items = replace(as_levels(drawn, data.train.facts["tiles"]), facts=data.train.facts)
    few = take(items, range(min(len(items), 36)))
    with whole(out) as aside:
        for name, some in (("levels.txt", items), ("levels.png", few), ("levels.tmj", few)):
            kind_of(items).write(some, aside / name)
    show(kind_of(few).preview(few, 80, 6))
    return f"{len(items)} levels"
