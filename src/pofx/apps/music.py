"""Melodies: notes on a grid as tokens of an autoregressive model, beside n-grams, written as MIDI and sound."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pofx.apps.ngram import NGram
from pofx.artifact import Artifact
from pofx.core.errors import DataError
from pofx.data.conditions import column
from pofx.data.dataset import dataset, split, take
from pofx.data.kinds.tokens import tokens
from pofx.data.midi import CLASSES, notes_of, read_midi, tokens_of
from pofx.runs.fitting import fit

SMALL: Mapping[str, Any] = {"width": 96, "layers": 3}  # of the default model
RATE = 8000


def read_tunes(paths: list[Path], bars: int = 4) -> np.ndarray:
    """Windows of so many bars of the melodies of MIDI files, one after the other, each once: tokens int64 (n, 16
    bars)."""
    return windows_of(paths, bars)[0]


def windows_of(paths: list[Path], bars: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """As `read_tunes`, and the number of the file of each window: (n, 16 bars), (n,).

    Raises:
        DataError: fewer than ten windows, or a file that cannot be read.
    """
    found: dict[bytes, tuple[np.ndarray, int]] = {}
    for k, path in enumerate(paths):
        whole = melody(path)
        for i in range(0, len(whole) - 16 * bars + 1, 16 * bars):
            part = whole[i : i + 16 * bars]
            found.setdefault(part.tobytes(), (part, k))
    if len(found) < 10:
        raise DataError(f"there are {len(found)} windows of {bars} bars, at least 10 are needed: give more files")
    grids, files = zip(*found.values(), strict=True)
    return np.stack(grids), np.array(files)


def melody(path: Path) -> np.ndarray:
    """The melody of a MIDI file from the bar of its first note on: tokens int64 (16 times the bars,)."""
    notes = read_midi(path)
    first, last = notes[0][0] // 16 * 16, max(start + length for start, length, _ in notes)
    return tokens_of([(a - first, b, p) for a, b, p in notes], -(-(last - first) // 16) * 16)


def continued(run: Artifact, begun: np.ndarray, n: int, *, seed: int = 0, **options: Any) -> np.ndarray:
    """n continuations of a melody by half a window each, the melody before them: tokens int64 (n, steps).

    The model sees the end of the melody, up to half of its window.
    """
    view: Any = run.representation
    size = int(view.length)
    known = np.asarray(begun, np.int64)[-(size // 2) :]
    drawn = run.sample(n, prefix=np.repeat(known[None], n, 0), seed=seed, with_condition=False, **options)
    new = np.asarray(drawn)[:, len(known) : len(known) + size // 2]
    return np.concatenate((np.repeat(np.asarray(begun, np.int64)[None], n, 0), new), 1)


def learn(
    grids: np.ndarray,
    modes: Any = None,
    *,
    files: np.ndarray | None = None,
    model: str = "gpt",
    options: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    progress: Any = False,
    seed: int = 0,
) -> tuple[Artifact, dict[str, float]]:
    """A model of tunes, and nats per step of what was held out: its own and those of n-grams.

    Args:
        files: the number of the file of each tune; files are held out as a whole, of one or two their ends.
    """
    import pandas as pd

    items = tokens(grids, classes=CLASSES)
    if modes is not None:
        items = replace(items, condition=column(pd.Series(np.asarray(modes), name="mode")))
    data = split(items, "tunes", seed=seed) if files is None else by_file(items, files, seed)
    own = {**(SMALL if model == "gpt" else {}), **(options or {})}
    run = fit(data, model, seed=seed, progress=progress, minutes=minutes, steps=steps, **own)
    test, train = take(data.test, np.arange(min(200, len(data.test)))), data.train.values.tolist()
    size = grids.shape[1]
    found = {model: float(-run.log_prob(test, test.condition).mean() / size)}
    for order in (1, 3, 5):
        table = NGram(train, order, ends=False)
        found[f"{order}-grams"] = float(-np.mean([table.log_prob(row) for row in test.values.tolist()]) / size)
    return run, found


def by_file(items: Any, files: np.ndarray, seed: int) -> Any:
    """A data set of windows whose files, or of one file or two whose ends, are held out, a tenth each."""
    names = np.unique(files)
    if len(names) < 3:
        few = max(1, len(items) // 10)
        order = np.arange(len(items))
        parts = [order[: -2 * few], order[-2 * few : -few], order[-few:]]
    else:
        names = np.random.default_rng(seed).permutation(names)
        few = max(1, len(names) // 10)
        chosen = (names[2 * few :], names[few : 2 * few], names[:few])
        parts = [np.flatnonzero(np.isin(files, of)) for of in chosen]
    train, validation, test = (take(items, part) for part in parts)
    about: dict[str, Any] = {"source": "given by the caller", "licence": "unknown", "count_overlaps": False}
    return dataset(train, validation, test, "tunes", **about)


def sound(grid: np.ndarray, rate: int = RATE, beats_per_minute: int = 110) -> np.ndarray:
    """A tune as a clip: decaying tones with three harmonics."""
    step = 60 / beats_per_minute / 4
    clip = np.zeros(round((len(grid) + 4) * step * rate))
    for start, length, pitch in notes_of(grid):
        t = np.arange(round((length + 1) * step * rate)) / rate
        wave = sum(np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * k * t) / k**2 for k in (1, 2, 3))
        at = round(start * step * rate)
        clip[at : at + len(t)] += (0.25 * wave * np.exp(-3 * t))[: len(clip) - at]
    return np.clip(clip, -1, 1).astype(np.float32)


def rolls(grids: Any, path: Path) -> None:
    """Piano rolls of tunes, one below the other: pitch upwards, a line at each bar of 16 steps."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from pofx.core.files import write_bytes

    notes = [notes_of(grid) for grid in grids]
    pitches = [pitch for tune in notes for _, _, pitch in tune] or [60]
    figure = Figure(figsize=(9, 1.1 * len(notes) + 0.5), layout="constrained")
    for axes, tune, grid in zip(figure.subplots(len(notes), squeeze=False)[:, 0], notes, grids, strict=True):
        for start, length, pitch in tune:
            axes.barh(pitch, length, 0.9, start, align="center", color="tab:blue", ec="white", lw=0.6)  # repeats too
        for bar in range(0, len(grid) + 1, 16):
            axes.axvline(bar, color="0.8", lw=0.7, zorder=0)
        axes.set(xlim=(0, len(grid)), ylim=(min(pitches) - 1, max(pitches) + 1), xticks=[])
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.tick_params(labelsize=7)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    write_bytes(path, stream.getvalue())


def in_scale(grids: np.ndarray, modes: np.ndarray) -> float:
    """The share of notes that are of the scale on C that each tune should have."""
    from pofx.data.midi import MAJOR, MINOR

    right = [
        (pitch % 12) in (MINOR if mode else MAJOR)
        for grid, mode in zip(grids, modes, strict=True)
        for _, _, pitch in notes_of(grid)
    ]
    return float(np.mean(right)) if right else float("nan")
