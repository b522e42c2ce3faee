"""Items as a browser shows them, with nothing that identifies where they are from: same size, same codec, no names."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pofx.artifact import Artifact
from pofx.core.errors import UsageError
from pofx.core.items import Items
from pofx.data.kind import FOLDER, kind_of, take
from pofx.evaluate.conditions import drawn

SIDE = 320  # pixels of the longer side of a picture: whole multiples of small images, so that no pixel is smoothed


@dataclass(frozen=True)
class Stimulus:
    """What a rater gets: bytes of a media type; tables and texts are JSON with `columns` and `line`."""

    media: str
    content: bytes


def stimuli(items: Items) -> list[Stimulus]:
    """One per item.

    Raises:
        UsageError: items of a kind that has neither pictures, nor sound, nor lines.
    """
    kind = kind_of(items)
    shown = kind.shown(items.values, items.facts)
    if shown.pictures is not None:
        return [Stimulus("image/png", picture(p)) for p in shown.pictures]
    if FOLDER in kind.outputs:  # kinds of sound write one file per item
        return [Stimulus(_media(name), content) for name, content in kind.files(items)]
    if not shown.lines:
        raise UsageError(f"{items.kind} items cannot be shown one by one: judge images, sound, texts or rows")
    columns = list(shown.columns)
    return [Stimulus("application/json", _line(columns, line)) for line in shown.lines]


REAL, SPOILT = "real", "spoilt"  # names of the sources that are no runs


def sources(artifacts: Mapping[str, Artifact], real: Items, n: int, seed: int) -> dict[str, list[Stimulus]]:
    """n stimuli of every run by its name, of real items and of spoilt ones; of runs that need conditions under those of
    real items.

    Raises:
        UsageError: a run has the name of another source.
    """
    if taken := {REAL, SPOILT} & set(artifacts):
        raise UsageError(f"a run must not be named '{REAL}' or '{SPOILT}' (got {min(taken)!r}): rename its folder")
    chosen = take(real, np.random.default_rng(seed).permutation(len(real))[:n])
    found = {name: stimuli(drawn(artifact, chosen, n, seed=seed)) for name, artifact in artifacts.items()}
    return found | {REAL: stimuli(chosen), SPOILT: stimuli(spoilt(chosen, seed))}


def spoilt(items: Items, seed: int) -> Items:
    """Items that nobody takes for real ones: every dimension is drawn on its own, or noise. For attention checks."""
    kind, generator = kind_of(items), np.random.default_rng(seed)
    values = kind.noised(kind.shuffled(items.values, len(items), generator), items.values, 1.0, generator)
    return take(Items(items.kind, values, facts=items.facts), np.arange(len(items)))


def picture(pixels: np.ndarray) -> bytes:
    """A PNG of a picture uint8 (H, W) or (H, W, C), enlarged by a whole number without smoothing, without metadata."""
    pixels = np.asarray(pixels)
    factor = max(SIDE // max(pixels.shape[:2]), 1)
    large = pixels.repeat(factor, 0).repeat(factor, 1)
    if large.ndim == 3 and large.shape[2] == 1:
        large = large[..., 0]
    if large.ndim == 3 and large.shape[2] == 2:  # grey with alpha
        large = large[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(large)).save(buffer, format="PNG")
    return buffer.getvalue()


def _media(name: str) -> str:
    return {"wav": "audio/wav", "png": "image/png", "flac": "audio/flac"}.get(name.rpartition(".")[2], "audio/wav")


def _line(columns: list[str], line: Any) -> bytes:
    plain = [v.item() if isinstance(v, np.generic) else v for v in line]
    return json.dumps({"columns": columns, "line": plain}, default=str).encode()
