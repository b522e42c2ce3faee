"""What a watermark withstands: the share of marked pictures that are still detected after JPEG, cropping, noise and
resizing, by how strong the change is, with Clopper and Pearson's intervals, as a picture."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from scipy.stats import beta

from pofx.apps.watermark import CodeMark, PixelMark
from pofx.core.errors import Unsupported
from pofx.core.items import Items
from pofx.data.kind import kind_of

Mark = CodeMark | PixelMark
LEVEL = 1e-6  # p below which an item counts as marked
MOST = 256  # items that are changed


def jpeg(pictures: np.ndarray, quality: float) -> np.ndarray:
    """Written as JPEG of this quality and read again."""
    found = []
    for one in _flat(pictures):
        stream = io.BytesIO()
        Image.fromarray(one).save(stream, "JPEG", quality=int(quality))
        found.append(np.asarray(Image.open(stream)))
    return np.stack(found).reshape(pictures.shape)


def crop(pictures: np.ndarray, share: float) -> np.ndarray:
    """The edges blackened, so that this share of each side is left in its place."""
    h, w = pictures.shape[1:3]
    a, b = round(h * (1 - share) / 2), round(w * (1 - share) / 2)
    out = np.zeros_like(pictures)
    out[:, a : h - a, b : w - b] = pictures[:, a : h - a, b : w - b]
    return out


def noise(pictures: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian noise of this standard deviation in levels of 255."""
    moved = pictures + sigma * np.random.default_rng(0).standard_normal(pictures.shape)
    return np.asarray(np.round(moved).clip(0, 255), np.uint8)


def resize(pictures: np.ndarray, factor: float) -> np.ndarray:
    """Reduced by this factor and enlarged again."""
    h, w = pictures.shape[1:3]
    small = (max(round(w * factor), 1), max(round(h * factor), 1))
    found = [
        np.asarray(
            Image.fromarray(one).resize(small, Image.Resampling.BICUBIC).resize((w, h), Image.Resampling.BICUBIC)
        )
        for one in _flat(pictures)
    ]
    return np.stack(found).reshape(pictures.shape)


CHANGES: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], tuple[float, ...]]] = {
    "JPEG quality": (jpeg, (95, 85, 75, 60, 40, 20)),
    "crop: share of the side": (crop, (0.95, 0.9, 0.8, 0.7, 0.5)),
    "noise: deviation of 255": (noise, (2, 5, 10, 20, 40)),
    "resize: factor": (resize, (0.95, 0.85, 0.75, 0.5, 0.25)),
}


def curves(mark: Mark, items: Items, condition: Any = None) -> dict[str, Any]:
    """The share of items detected at p < 1e-6, unchanged and after every change: plain values.

    Raises:
        Unsupported: items that are no pictures.
    """
    kind = kind_of(items)
    if not kind.photographic:
        raise Unsupported(
            f"{items.kind} items cannot be written as JPEG: what a mark withstands is measured on pictures"
        )
    values = kind.take(items.values, np.arange(min(len(items), MOST)))
    given = condition[: len(values)] if isinstance(condition, list) else condition
    shown = kind.shown(values, items.facts).pictures
    assert shown is not None
    found: dict[str, Any] = {"level": LEVEL, "items": len(values), "unchanged": _share(mark, items, shown, given)}
    for name, (change, strengths) in CHANGES.items():
        found[name] = {str(s): _share(mark, items, change(shown, s), given) for s in strengths}
    return found


def _share(mark: Mark, items: Items, pictures: np.ndarray, condition: Any) -> list[float]:
    """The share that is detected, and its 95 % interval."""
    if isinstance(mark, PixelMark):
        p = mark.detect(pictures).p
    else:
        levels = int(items.facts.get("levels", 256))
        p = mark.detect(np.round(pictures.astype(np.float64) * (levels - 1) / 255).astype(np.uint8), condition).p
    n, k = len(p), int((p < LEVEL).sum())
    low = float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0
    high = float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
    return [k / n, low, high]


def picture(found: dict[str, Any]) -> str:
    """The curves as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.6), layout="constrained")
    axes = figure.subplots(1, len(CHANGES), sharey=True)
    for axis, name in zip(axes, CHANGES, strict=True):
        strengths = list(found[name])
        rows = np.array([found["unchanged"], *found[name].values()])
        places = np.arange(len(rows))
        axis.fill_between(places, rows[:, 1], rows[:, 2], alpha=0.2, linewidth=0)
        axis.plot(places, rows[:, 0], marker="o", markersize=4)
        axis.set_xticks(places, ["none", *strengths], fontsize=7)
        axis.set_ylim(-0.03, 1.03)
        axis.set_title(name, fontsize=9)
    axes[0].set_ylabel(f"detected at p < {found['level']:g}", fontsize=8)
    stream = io.StringIO()
    figure.savefig(stream, format="svg")
    return stream.getvalue()


def _flat(pictures: np.ndarray) -> np.ndarray:
    """Pictures as Pillow takes them: one channel without an axis of its own."""
    return pictures[..., 0] if pictures.ndim == 4 and pictures.shape[-1] == 1 else pictures
