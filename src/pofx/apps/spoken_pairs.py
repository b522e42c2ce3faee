"""Product events of two senses: a picture of a digit (MNIST) and a recording of the same digit (Free Spoken Digits).

Pictures are 14 × 14 in four greys, for a model squares of 2 × 2 pixels, each one of 256 classes: a quarter of the
places. Sounds are principal components of spectrograms with length and level (`voice`). They are paired by digit,
which is never shown; what both share is a class that clusters of both find (`shared_code`), a third part. Support
vector machines that learned other pictures and other clips (these also through the codec) name what was drawn; clips
are heard by Griffin and Lim first.
"""

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pofx.apps.shared_code import shared_code
from pofx.apps.shared_parts import SharedParts
from pofx.apps.voice import SMALL, Voice
from pofx.core.errors import DataError, unknown
from pofx.core.items import Items
from pofx.data.bounded import read_bytes, reading
from pofx.data.kinds.points import points
from pofx.data.kinds.tokens import tokens
from pofx.data.recordings import at_rate, read_recording

GREYS, SIDE = 4, 14
SQUARE = 2  # side of the squares of pixels that are one class for a model
COMPONENTS = 24  # of the spectrograms
PAIRS = 20_000
SHARED = 16  # classes of what both parts share
MOST = 0.7  # of the time is for pictures
OWN: Mapping[str, Mapping[str, Any]] = {
    "picture": {"width": 96, "layers": 3, "batch_size": 64, "dropout": 0.1},
    "sound": SMALL,
}
AGAIN = 3  # of so many recordings one is heard through the codec in training
REPEATS = ".*of the values repeat"  # a warning: lengths are whole numbers of samples, recordings come more than once
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass
class Pairs:
    """Training pairs, held-out parts with their digits, and the classifiers that name both.

    Attributes:
        pictures: int64 (n, SIDE, SIDE) in GREYS classes.
        sounds: a table (n, COMPONENTS + 2), of which models of classes take intervals.
        shared: int64 (n,), the class that picture and sound share, found without digits.
        held: held-out parts: "picture" and "sound", each with their digits.
        voice: turns sounds into clips.
    """

    pictures: np.ndarray
    sounds: pd.DataFrame
    shared: np.ndarray
    held: Mapping[str, tuple[Any, np.ndarray]]
    voice: Voice
    eye: Any
    ear: Any
    view: Any

    @property
    def parts(self) -> dict[str, Any]:
        """The pairs as a model learns them."""
        return {"picture": tokens(squares(self.pictures), classes=GREYS**SQUARE**2), "sound": self.sounds}

    def see(self, pictures: Any) -> np.ndarray:
        """The digits that pictures show, as a classifier of real ones sees them."""
        return np.asarray(self.eye.predict(np.asarray(pictures).reshape(len(pictures), -1) / (GREYS - 1)))

    def clips(self, sounds: Any) -> list[np.ndarray]:
        """The clips of sounds."""
        return [self.voice.decode(code, i) for i, code in enumerate(np.asarray(sounds, np.float64))]

    def hear(self, sounds: Any) -> np.ndarray:
        """The digits that sounds speak, as a classifier of real clips hears them."""
        return np.asarray(self.ear.predict(self.view(self.clips(sounds))))


def greys(pictures: np.ndarray) -> np.ndarray:
    """Pictures (n, 28, 28) of 256 levels → (n, SIDE, SIDE) classes."""
    small = pictures.reshape(len(pictures), SIDE, 2, SIDE, 2).mean((2, 4))
    return np.asarray(small // (256 // GREYS), np.int64)


def squares(pictures: Any) -> np.ndarray:
    """Pictures (n, SIDE, SIDE) of GREYS classes → (n, (SIDE / SQUARE)²) of GREYS ** SQUARE² classes; -1, not known,
    where any pixel of a square is -1.

    Raises:
        DataError: another shape, or other classes.
    """
    array = np.asarray(pictures)
    if array.shape == (SIDE, SIDE):
        array = array[None]
    if array.ndim != 3 or array.shape[1:] != (SIDE, SIDE) or array.dtype.kind not in "iu":
        raise DataError(f"picture must be classes of shape (n, {SIDE}, {SIDE}) (got {array.dtype} {array.shape})")
    if len(array) and (array.min() < -1 or array.max() >= GREYS):
        raise DataError(f"picture must lie in -1 to {GREYS - 1} (got {array.min()} to {array.max()})")
    side = SIDE // SQUARE
    cut = array.astype(np.int64).reshape(len(array), side, SQUARE, side, SQUARE).swapaxes(2, 3)
    cut = cut.reshape(len(array), side**2, SQUARE**2)
    return np.where((cut < 0).any(-1), -1, cut @ GREYS ** np.arange(SQUARE**2))


def pixels(of: Any) -> np.ndarray:
    """The pictures of `squares`."""
    array = np.asarray(of)
    side = SIDE // SQUARE
    cut = array.reshape(-1, side, side)[..., None] // GREYS ** np.arange(SQUARE**2) % GREYS
    return np.asarray(cut.reshape(-1, side, side, SQUARE, SQUARE).swapaxes(2, 3).reshape(-1, SIDE, SIDE), np.int64)


def pairs(n: int = PAIRS, seed: int = 0, *, pictures: str = "mnist", sounds: str = "spoken-digits") -> Pairs:
    """n pairs of the data sets of these names: each picture with a random recording of its digit.

    Raises:
        DataError: a data set is not there.
    """
    from pofx.data.dataset import joined
    from pofx.data.sources import load

    seen, spoken = load(pictures), load(sounds)
    real = joined([spoken.train, spoken.validation])
    x, y = greys(_pixels(seen.train)), np.asarray(seen.train.labels)
    said, heard = _digits(real), _digits(spoken.test)
    return paired(x, y, real, said, _pixels_of(seen.test), (spoken.test, heard), n, seed)


def paired(
    x: np.ndarray, y: np.ndarray, real: Items, said: np.ndarray, held: tuple[np.ndarray, np.ndarray],
    held_sounds: tuple[Items, np.ndarray], n: int, seed: int,
) -> Pairs:  # fmt: skip
    """Pairs of pictures x with digits y and recordings with digits `said`; the last third of x trains the classifier of
    pictures, that of sounds hears every third recording through the codec too, as it will hear what is drawn.

    Args:
        held: pictures of no pair, with their digits; `held_sounds` likewise.
    """
    from sklearn.svm import SVC

    from pofx.data.vectors import Vectors

    g = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=REPEATS)
        codec = Voice(steps=1, components=COMPONENTS).fit(real.values, int(real.facts["rate"]))
    codes = np.stack([codec.encode(clip) for clip in real.values])
    train = len(x) * 2 // 3
    digits = np.unique(y)
    chosen = digits[g.integers(len(digits), size=n)]
    of_x, of_sound = ({d: np.flatnonzero(labels == d) for d in digits} for labels in (y[:train], said))
    at = [(int(g.choice(of_x[d])), int(g.choice(of_sound[d]))) for d in chosen]
    view = Vectors.fit(real)
    new = np.stack([codec.encode(clip) for clip in held_sounds[0].values])
    again = [codec.decode(code, i) for i, code in enumerate(codes[::AGAIN])]
    seen, spoken = x[[i for i, _ in at]], codes[[j for _, j in at]]
    return Pairs(
        seen,
        named(spoken),
        shared_code(seen.reshape(n, -1), spoken, SHARED, seed),
        {"picture": held, "sound": (named(new), held_sounds[1])},
        codec,
        SVC(C=10).fit(x[train:].reshape(len(x) - train, -1) / (GREYS - 1), y[train:]),
        SVC(C=10).fit(np.concatenate((view(real.values), view(again))), np.concatenate((said, said[::AGAIN]))),
        view,
    )


def fitted(joint: Any, of: Pairs) -> Any:
    """A joint model that learned the pairs; that recordings come more than once is known, and no warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=REPEATS)
        return joint.fit(of.parts)


def through_class(of: Pairs, *, minutes: float | None = None, steps: int | None = None, **how: Any) -> SharedParts:
    """A model of pairs through the class that they share: pictures square by square, sounds by a spline flow.

    Args:
        minutes: of training, most of them for pictures; one by default.
        how: progress, seed.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=REPEATS)
        parts = {"picture": of.parts["picture"], "sound": points(of.sounds.to_numpy())}
        total = minutes or 1.0
        budgets = [{}, {}] if steps else [{"minutes": MOST * total}, {"minutes": (1 - MOST) * total}]
        options = {name: {**own, **budget} for (name, own), budget in zip(OWN.items(), budgets, strict=True)}
        model = SharedParts({"picture": "gpt", "sound": "nsf"}, options=options, steps=steps, **how)
        return model.fit(parts, of.shared)


def as_given(joint: Any, name: str, part: Any) -> Any:
    """A part as this model takes it: a model through the class has sounds as numbers, others as a table."""
    return np.asarray(part, np.float64) if name == "sound" and isinstance(joint, SharedParts) else part


def named(codes: np.ndarray) -> pd.DataFrame:
    """The numbers of sounds by name."""
    columns = [*(f"component {i}" for i in range(codes.shape[1] - 2)), "length", "level"]
    return pd.DataFrame(codes, columns=columns)


def agreement(joint: Any, of: Pairs, n: int = 300, seed: int = 0) -> dict[str, float]:
    """How often classifiers name the same digit in both parts, in all three directions, and by chance; and how often
    they are right of real parts."""
    g = np.random.default_rng(seed)
    (new, digits), (sounds, heard) = of.held["picture"], of.held["sound"]
    at, there = g.permutation(len(new))[:n], g.permutation(len(sounds))[:n]
    both = joint.sample(n, seed=seed + 1)
    named = joint.sample(len(at), {"picture": squares(new[at])}, seed=seed + 2)["sound"]
    some = sounds.iloc[there].reset_index(drop=True)
    painted = joint.sample(len(there), {"sound": as_given(joint, "sound", some)}, seed=seed + 3)["picture"]
    seen, spoken = of.see(pixels(both["picture"])), of.hear(both["sound"])
    return {
        "both from nothing": float((seen == spoken).mean()),
        "sound given picture": float((of.hear(named) == digits[at]).mean()),
        "picture given sound": float((of.see(pixels(painted)) == heard[there]).mean()),
        "chance": float((seen == np.roll(spoken, 1)).mean()),
        "the eye on real pictures": float((of.see(new[at]) == digits[at]).mean()),
        "the ear on real clips": float((of.hear(some) == heard[there]).mean()),
    }


def read_part(name: str, path: Path, of: Pairs) -> Any:
    """A picture or a recording of a file as a part of a model: light strokes on black, as in MNIST; any size, any rate.

    Raises:
        UsageError: another name.
        DataError: what cannot be read.
    """
    if name == "picture":
        from PIL import Image

        with reading(path, "picture", "give a .png"), Image.open(io.BytesIO(read_bytes(path))) as picture:
            shades = np.asarray(picture.convert("L").resize((2 * SIDE, 2 * SIDE)))
        return squares(greys(shades[None]))
    if name != "sound":
        raise unknown("part", name, ["picture", "sound"])
    clip, rate = read_recording(read_bytes(path), path.name)
    if rate != of.voice.rate:
        clip = at_rate(clip, rate, of.voice.rate)
    return named(of.voice.encode(clip)[None])


def sheet(pictures: Any, path: Path) -> None:
    """Pictures (n, SIDE, SIDE) side by side in one file."""
    from pofx.data.kind import kind_of
    from pofx.data.kinds.image import images

    kind_of(items := images(np.asarray(pictures, np.uint8)[..., None], levels=GREYS)).write(items, path)


def _pixels(items: Items) -> np.ndarray:
    return np.asarray(items.values).reshape(len(items), 2 * SIDE, 2 * SIDE)


def _pixels_of(items: Items) -> tuple[np.ndarray, np.ndarray]:
    return greys(_pixels(items)), np.asarray(items.labels)


def _digits(items: Items) -> np.ndarray:
    """The digits of recordings, whose labels are words or figures."""
    names = [str(name) for name in items.facts["label_names"]]
    of = np.array([NUMBERS.index(name) if name in NUMBERS else int(name) for name in names])
    return np.asarray(of[np.asarray(items.labels)])
