"""Watermarks: samples that a key recognises, by signs of their codes or by coefficients of their pixels.

`CodeMark`, for runs with real codes (flows, diffusion): the signs of the code follow one of the key's random
patterns, its magnitudes are free, so that over the patterns a marked code is exactly Gaussian and samples keep
their distribution (after Gaussian shading, Yang et al., 2024, arXiv 2404.04956; several patterns keep the
diversity). `PixelMark`, for any images: each of many cosine coefficients is moved to the nearest point of a
lattice that the key shifts (quantisation index modulation, Chen and Wornell, 2001). Both are detected by a
binomial test of matches against chance ½ whose level is exact over the key's choice, whatever the item; a p-value
is no proof against someone who has the key.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.fft import dctn, idctn
from scipy.stats import binom

from pofx.artifact import run_of
from pofx.core.errors import DataError, Unsupported, UsageError, unknown
from pofx.core.event import Bounded, Continuous, dims
from pofx.core.items import Items
from pofx.core.model import Encoding
from pofx.core.random import Streams
from pofx.data.kind import kind_of

PUBLIC = ("CodeMark", "PixelMark")
PATTERNS = 256  # of signs that a key has
LEAST_KEY = 8  # bytes
ROUNDS = 12  # of moving coefficients and cutting at the range of pixels
LOW, HIGH = 0.05, 0.75  # of the frequencies: the band of marked coefficients, as shares of the largest


@dataclass(frozen=True)
class Detection:
    """The p-value of each item being unmarked, float64 (n,), and the matches that it is computed from."""

    p: np.ndarray
    matches: np.ndarray
    of: int  # the most matches there can be
    tried: int = 1  # patterns that were tried, for which p is corrected


def generator(key: str | bytes, purpose: str) -> np.random.Generator:
    """The key's random numbers for a purpose."""
    if not isinstance(key, str | bytes):
        raise UsageError(f"a key must be bytes or a text (got {type(key).__name__}): pass secrets.token_bytes(32)")
    secret = key.encode() if isinstance(key, str) else key
    if len(secret) < LEAST_KEY:
        raise UsageError(f"a key must have at least {LEAST_KEY} bytes (got {len(secret)}): choose a longer one")
    return np.random.default_rng(list(hashlib.sha256(purpose.encode() + b"\0" + secret).digest()))


class CodeMark:
    """A watermark in the codes of a run: samples of their own distribution, recognised through `encode`.

    Args:
        run: of a model with real Gaussian codes.
        key: secret; who knows it can detect and forge the mark.
        patterns: of signs; a sample has one of them. More keep more diversity, and cost detection log2 of them in bits.

    Raises:
        Unsupported: no codes, or none on the real line.
    """

    def __init__(self, run: Any, key: str | bytes, patterns: int = PATTERNS) -> None:
        run = run_of(run)
        code = run.model.code if isinstance(run.model, Encoding) else None
        if not isinstance(code, Continuous) or isinstance(code, Bounded):
            raise Unsupported(
                f"{run.name} has no Gaussian codes: mark samples of a flow or a diffusion model, or pixels"
            )
        if not 1 <= patterns <= 1 << 16:
            raise UsageError(f"patterns must be from 1 to {1 << 16} (got {patterns}): pass patterns={PATTERNS}")
        self.run, self.shape, self.size = run, code.shape, dims(code)
        signs = generator(key, "signs of codes").integers(0, 2, (patterns, self.size), dtype=np.int8)
        self.signs = (2 * signs - 1).astype(np.int8)

    def codes(self, n: int, seed: int = 0) -> Float[np.ndarray, "n d"]:
        """Marked codes: item i depends on the seed and i alone."""
        streams = Streams(seed, n)
        z = streams.normal(self.size).abs().numpy()
        which = streams.integers(len(self.signs), 1)[:, 0].numpy()
        return np.asarray(z * self.signs[which], np.float32)

    def sample(self, n: int, condition: Any = None, *, seed: int = 0) -> Any:
        """n marked items in data space."""
        return self.run.decode(self.codes(n, seed).reshape(n, *self.shape), condition)

    def detect(self, values: Any, condition: Any = None) -> Detection:
        """Whether items are marked: p of as many equal signs by chance, times the number of patterns."""
        z = self.run.encode(values, condition).reshape(-1, self.size)
        agree = (np.sign(z).astype(np.float32) @ self.signs.T.astype(np.float32)).max(1)
        matches = np.round((agree + self.size) / 2).astype(int)
        p = binom.sf(matches - 1, self.size, 0.5) * len(self.signs)
        return Detection(np.minimum(p, 1.0), matches, self.size, len(self.signs))


class PixelMark:
    """A watermark in the pixels of images of one size.

    Args:
        key: secret; who knows it can detect and forge the mark.
        strength: the step of the lattice in levels of 255; larger is more robust and more visible.
    """

    def __init__(self, key: str | bytes, strength: float = 30.0) -> None:
        if not isinstance(strength, int | float) or not 1 <= strength <= 255:
            raise UsageError(f"strength must be from 1 to 255 (got {strength!r}): pass strength=30")
        generator(key, "")  # refuses a short one at once
        self.key, self.strength = key, float(strength)

    def _lattice(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The marked coefficients, the shift of each one's lattice, and its bit."""
        y, x = np.mgrid[0:height, 0:width]
        radius = np.hypot(y / height, x / width)
        inside = np.flatnonzero((radius >= LOW) & (radius <= HIGH * 0.5) & (y + x > 0))
        random = generator(self.key, f"pixels {height} x {width}")
        return inside, random.uniform(0, self.strength, len(inside)), random.integers(0, 2, len(inside))

    def embed(self, pictures: Float[np.ndarray, "n h w *c"]) -> np.ndarray:
        """Marked pictures uint8; the same change in every channel."""
        pictures = _pictures(pictures)
        inside, shift, bits = self._lattice(*pictures.shape[1:3])
        marked = pictures.astype(np.float64)
        for _ in range(ROUNDS):
            grey = _grey(marked)
            c = dctn(grey, axes=(1, 2), norm="ortho").reshape(len(grey), -1)
            target = c.copy()
            offset = shift + bits * self.strength / 2
            target[:, inside] = np.round((c[:, inside] - offset) / self.strength) * self.strength + offset
            change = idctn((target - c).reshape(grey.shape), axes=(1, 2), norm="ortho")
            marked = np.clip(marked + (change[..., None] if marked.ndim == 4 else change), 0, 255)
        return np.asarray(np.round(marked), np.uint8)

    def detect(self, pictures: Float[np.ndarray, "n h w *c"]) -> Detection:
        """Whether pictures are marked: p of as many coefficients with the key's bit by chance."""
        grey = _grey(_pictures(pictures).astype(np.float64))
        inside, shift, bits = self._lattice(*grey.shape[1:])
        c = dctn(grey, axes=(1, 2), norm="ortho").reshape(len(grey), -1)[:, inside]
        read = np.round((c - shift) / (self.strength / 2)).astype(int) % 2
        matches = (read == bits).sum(1)
        return Detection(binom.sf(matches - 1, len(inside), 0.5), matches, len(inside))


def _pictures(pictures: Any) -> np.ndarray:
    found = np.asarray(pictures)
    if found.ndim not in (3, 4) or found.dtype != np.uint8 or min(found.shape[1:3]) < 8:
        got = f"got {found.dtype} of shape {found.shape}"
        raise DataError(f"pictures must be uint8 (n, h, w) or (n, h, w, c), 8 x 8 at least ({got}): enlarge them")
    return found


def _grey(pictures: np.ndarray) -> np.ndarray:
    return pictures.mean(-1) if pictures.ndim == 4 else pictures


def key_of(path: Path) -> bytes:
    """The key in a file.

    Raises:
        DataError: there is no such file.
    """
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise DataError(f"the key {path} cannot be read ({error.strerror}): write 32 random bytes to it") from error


MARKS = ("code", "pixel")


def p_unmarked(run: Any, items: Items, key: str | bytes, mark: str = "code", condition: Any = None) -> np.ndarray:
    """The p-value of each item being unmarked, float64 (n,): items as a file has them, whatever their levels.

    Raises:
        DataError: items of another kind than those of the run.
        Unsupported: a mark that such items or such a run cannot have.
        UsageError: an unknown mark.
    """
    run = run_of(run)
    kind = kind_of(items)
    if mark not in MARKS:
        raise unknown("mark", mark, MARKS)
    if mark == "pixel" and not kind.photographic:
        raise Unsupported(f"{kind.name} items have no pixels: use the mark code")
    if kind.name != run.representation.kind:
        raise DataError(f"{run.name} models {run.representation.kind} items (got {kind.name} items): give such items")
    if not kind.photographic:
        return detected(CodeMark(run, key), items.values, condition)
    pictures = np.asarray(kind.shown(items.values, items.facts).pictures)
    if mark == "pixel":
        return detected(PixelMark(key), pictures, None)
    levels = int(run.card.get("data", {}).get("facts", {}).get("levels", 256))
    values = np.round(pictures.astype(np.float64) * (levels - 1) / 255).astype(np.uint8)
    return detected(CodeMark(run, key), values, condition)


def detected(mark: "CodeMark | PixelMark", values: Any, condition: Any) -> np.ndarray:
    """The p-values of items under either mark."""
    return mark.detect(values, condition).p if isinstance(mark, CodeMark) else mark.detect(values).p
