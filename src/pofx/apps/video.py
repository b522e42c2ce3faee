"""Clips as frames, each drawn given the two before: p(clip) = Π p(frame | frames before), exact where the model is.

Floors: independent pixels, and the frame before with noise (pixels repeat themselves as often as in training).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pofx.artifact import Artifact
from pofx.core.errors import DataError
from pofx.core.event import Discrete
from pofx.data.dataset import dataset
from pofx.data.kind import named
from pofx.data.kinds.image import images
from pofx.data.kinds.tokens import tokens
from pofx.data.kinds.video import video
from pofx.runs.fitting import fit

SEEN = 2  # frames before


def pairs(clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames (m, H · W) and the frames before, as channels (m, H, W, SEEN)."""
    n, frames, height, width = clips.shape
    if frames <= SEEN:
        raise DataError(f"clips must have more than {SEEN} frames (got {frames})")
    later = [clips[:, t].reshape(n, -1) for t in range(SEEN, frames)]
    before = [np.moveaxis(clips[:, t - SEEN : t], 1, -1) for t in range(SEEN, frames)]
    return np.concatenate(later).astype(np.int64), np.concatenate(before)


def learn(
    clips: np.ndarray,
    *,
    model: str = "made",
    options: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    progress: Any = False,
    seed: int = 0,
) -> tuple[Artifact, dict[str, float]]:
    """A model of the next frame, and bits per pixel of clips that were held out: its own and the floors'."""
    clips = np.asarray(clips, np.uint8) if clips.dtype.kind == "b" else clips
    levels = int(clips.max()) + 1
    cuts = np.split(clips, [int(0.8 * len(clips)), int(0.9 * len(clips))])
    parts = []
    for part in cuts:
        later, before = pairs(part)
        parts.append(replace(tokens(later, classes=levels), condition=images(before, levels=max(levels, 2))))
    data = dataset(parts[0], parts[1], parts[2], "clips", source="given", licence="unknown", count_overlaps=False)
    run = fit(data, model, seed=seed, progress=progress, minutes=minutes, steps=steps, **dict(options or {}))
    bits = -run.log_prob(parts[2], None).mean() / parts[2].values.shape[1] / np.log(2)
    return run, {model: float(bits), **floors(cuts[0], cuts[2])}


def floors(train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Bits per pixel of independent pixels, and of the frame before with noise."""
    levels = int(max(train.max(), test.max())) + 1
    alone = np.stack([(train == k).mean((0, 1)) for k in range(levels)]) + 1e-4
    alone /= alone.sum(0)
    first = -np.log2(np.take_along_axis(alone[:, None, None], test[None, :, SEEN:].astype(np.int64), 0)).mean()
    table = np.ones((levels, levels))
    np.add.at(table, (train[:, SEEN - 1 : -1].ravel(), train[:, SEEN:].ravel()), 1)
    table /= table.sum(1, keepdims=True)
    second = -np.log2(table[test[:, SEEN - 1 : -1], test[:, SEEN:]]).mean()
    return {"independent pixels": float(first), "frame before": float(second)}


def continued(run: Artifact, start: np.ndarray, frames: int, seed: int = 0) -> np.ndarray:
    """Clips (n, SEEN + frames, H, W) that go on from their first frames."""
    clips, event = np.array(start[:, :SEEN]), run.model.event
    assert isinstance(event, Discrete)
    levels = max(event.largest, 2)
    for t in range(frames):
        before = np.moveaxis(clips[:, -SEEN:], 1, -1)
        drawn = run.sample(len(clips), images(before, levels=levels), seed=seed + 101 * t, with_condition=False)
        clips = np.concatenate(
            (clips, np.asarray(drawn).reshape(len(clips), 1, *clips.shape[2:]).astype(clips.dtype)), 1
        )
    return clips


def gif(clips: np.ndarray, path: str | Path) -> None:
    """Clips side by side as an animation."""
    named("video").write(video(clips, levels=max(int(np.max(clips)) + 1, 2)), Path(path), columns=len(clips))
