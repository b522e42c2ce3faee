"""Spoken digits: 3,000 recordings of the words zero to nine by six speakers, 8 kHz, from $POFX_DATA.

Jackson, Souza, Flaks, Pan, Nicolas and Thite (2018), "Free Spoken Digit Dataset". Recordings 0 to 4 of every digit and
speaker are the official test split; here 5 to 9 are for validation.
"""

from pathlib import PurePosixPath

import numpy as np

from pofx.core.errors import DataError
from pofx.core.items import Items
from pofx.data.dataset import Dataset, Source, dataset
from pofx.data.kind import take
from pofx.data.kinds.audio import Audio
from pofx.data.known import folder
from pofx.data.members import members

FILE, TEST, VALIDATION = "spoken_digits.zip", range(5), range(5, 10)


def load(seed: int = 0) -> Dataset:
    """The recordings with their official test split, labelled by digit; the seed changes nothing.

    Raises:
        DataError: there is no spoken_digits.zip in $POFX_DATA, or its names are not digit_speaker_index.wav.
    """
    local = folder()
    path = local / FILE if local else None
    if path is None or not path.exists():
        raise DataError(
            f"spoken-digits is not in $POFX_DATA: put the recordings of the Free Spoken Digit Dataset "
            f"(digit_speaker_index.wav) into {FILE} in a folder, and set POFX_DATA to it"
        )
    with members(path, Audio.members) as (names, _):
        last = [PurePosixPath(name).stem.split("_")[-1] for name in names]
    if not all(part.isdigit() for part in last):
        raise DataError(f"{path}: recordings must be called digit_speaker_index.wav (got {names[0]})")
    index, items = np.array([int(part) for part in last]), Audio().read(path)
    assert isinstance(items, Items)
    test, validation = np.isin(index, TEST), np.isin(index, VALIDATION)
    return dataset(
        take(items, ~test & ~validation),
        take(items, validation),
        take(items, test),
        "spoken-digits",
        source=FILE,
        licence="CC BY-SA 4.0",
        summary=SUMMARY,
    )


def speakers(part: str) -> list[str]:
    """Who speaks in the recordings of a split, in their order."""
    local = folder()
    path = None if local is None else local / FILE
    if path is None or not path.exists():
        raise DataError(f"spoken-digits is not in $POFX_DATA: put {FILE} there")
    with members(path, Audio.members) as (names, _):
        parts = [PurePosixPath(name).stem.split("_") for name in names]
    held = {"test": TEST, "validation": VALIDATION}
    where = {name: [int(p[-1]) in numbers for p in parts] for name, numbers in held.items()}
    where["train"] = [not (a or b) for a, b in zip(where["test"], where["validation"], strict=True)]
    return [p[1] for p, there in zip(parts, where[part], strict=True) if there]


SUMMARY = "spoken digits, 8 kHz, 0.1 to 2.3 seconds, 10 classes"
SOURCES = (Source("spoken-digits", "audio", 3000, SUMMARY, load, download=True),)
