"""Product events: a small picture in five colours and its caption, such as "large red ring", both as classes.

One figure a picture, in any place that holds it; the caption states size, colour and figure, the place is left open.
"""

import io
from pathlib import Path

import numpy as np

from pofx.core.files import write_bytes

SIDE = 10
SIZES, COLOURS, FIGURES = ("small", "large"), ("red", "green", "blue", "yellow"), ("square", "cross", "ring")
WORDS = (SIZES, COLOURS, FIGURES)


def tiles(n: int, seed: int = 0, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Pictures int64 (n, side, side), 0 the ground and 1 to 4 the colours; captions int64 (n, 3) of word numbers."""
    g = np.random.default_rng(seed)
    captions = np.stack([g.integers(0, len(words), n) for words in WORDS], 1)
    pictures = np.zeros((n, side, side), np.int64)
    for picture, (size, colour, figure) in zip(pictures, captions, strict=True):
        k = 5 if size else 3
        y, x = g.integers(0, side - k + 1, 2)
        shape = np.ones((k, k), bool)
        if figure == 1:
            shape[:] = False
            shape[k // 2, :] = shape[:, k // 2] = True
        elif figure == 2:
            shape[1:-1, 1:-1] = False
        picture[y : y + k, x : x + k][shape] = colour + 1
    return pictures, captions


def text(caption: np.ndarray) -> str:
    """The words of a caption (3,)."""
    return " ".join(words[int(k)] for words, k in zip(WORDS, caption, strict=True))


def read(caption: str) -> np.ndarray:
    """The word numbers (3,) of a caption; -1 where a word is left out.

    Raises:
        KeyError: a word that no caption has.
    """
    found = np.full(len(WORDS), -1)
    for word in caption.split():
        at = next((i for i, words in enumerate(WORDS) if word in words), None)
        if at is None:
            raise KeyError(word)
        found[at] = WORDS[at].index(word)
    return found


def seen(pictures: np.ndarray) -> np.ndarray:
    """The captions that pictures should have, by rule, whatever drew them: int64 (n, 3), -1 where nothing fits.

    The colour is the commonest one; size and figure those of the best match over all places.
    """
    found = np.full((len(pictures), 3), -1)
    for i, picture in enumerate(pictures):
        ink = picture > 0
        if not ink.any():
            continue
        best = -1.0
        for size, k in enumerate((3, 5)):
            for figure in range(3):
                shape = np.ones((k, k), bool)
                if figure == 1:
                    shape[:] = False
                    shape[k // 2, :] = shape[:, k // 2] = True
                elif figure == 2:
                    shape[1:-1, 1:-1] = False
                windows = np.lib.stride_tricks.sliding_window_view(ink, (k, k))
                both = (windows & shape).sum((2, 3))
                score = float((both / (ink.sum() + shape.sum() - both)).max())
                if score > best:
                    best, found[i, 0], found[i, 2] = score, size, figure
        found[i, 1] = int(np.bincount(picture[ink], minlength=5)[1:].argmax())
    return found


def sheet(pictures: np.ndarray, path: str | Path, scale: int = 6) -> None:
    """Pictures side by side in one file."""
    from PIL import Image

    colours = np.array([(20, 20, 20), (230, 50, 50), (40, 190, 70), (60, 90, 240), (240, 210, 40)], np.uint8)
    columns = min(8, len(pictures))
    rows = [np.pad(colours[p], ((1, 1), (1, 1), (0, 0)), constant_values=90) for p in pictures]
    rows += [np.full_like(rows[0], 90)] * (-len(rows) % columns)
    lines = [np.concatenate(rows[i : i + columns], 1) for i in range(0, len(rows), columns)]
    drawn, stream = Image.fromarray(np.concatenate(lines, 0)), io.BytesIO()
    drawn.resize((scale * drawn.width, scale * drawn.height), Image.Resampling.NEAREST).save(stream, "PNG")
    write_bytes(Path(path), stream.getvalue())
