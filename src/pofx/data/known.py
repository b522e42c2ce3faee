"""Well-known image sets by name: from the folder $POFX_DATA, else downloaded by torchvision.

MNIST (LeCun, Cortes and Burges, 1998), Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017, 1708.07747) and CIFAR-10
(Krizhevsky, 2009). The official test split is unchanged; the last 5,000 training images become the validation split.
"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pofx.core.errors import DataError
from pofx.core.items import Items
from pofx.data.dataset import Dataset, Source, split
from pofx.data.files import arrays, official
from pofx.data.kinds.image import Image, images

CLASSES = {
    "MNIST": tuple("0123456789"),
    "FashionMNIST": (
        "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
    "CIFAR10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}  # fmt: skip
LICENCES = {"MNIST": "CC BY-SA 3.0", "FashionMNIST": "MIT", "CIFAR10": "unknown (research use)"}


def folder() -> Path | None:
    """The folder $POFX_DATA, or None where it is not set."""
    value = os.environ.get("POFX_DATA")
    return Path(value).expanduser() if value else None


def load(seed: int, *, name: str, original: str, summary: str) -> Dataset:
    """The data set `name` from $POFX_DATA/<name>.npz, else downloaded.

    Raises:
        DataError: neither there nor to be had; the message states how to get it.
    """
    local = folder()
    path = local / f"{name.replace('-', '_')}.npz" if local else None
    if path is not None and not path.exists():
        path = path.with_name(f"{name}.npz")
    if path is not None and path.exists():
        found, source = arrays(path), path.name
        lacking = {"x_train", "y_train", "x_test", "y_test"} - set(found)
        if lacking:
            raise DataError(f"{path} lacks {', '.join(sorted(lacking))}: write it with all four arrays")
    else:
        found, source = _download(name, original), f"downloaded by torchvision ({original})"
    splits = []
    for part in ("train", "test"):
        items = images(found[f"x_{part}"], labels=found[f"y_{part}"].astype(np.int64), name=name)
        splits.append(replace(items, facts={**items.facts, "label_names": list(CLASSES[original])}))
    return official(splits[0], splits[1], name, source=source, licence=LICENCES[original], summary=summary)


def cifar10(seed: int, *, summary: str) -> Dataset:
    """CIFAR-10 from $POFX_DATA/cifar10_train.zip (its training images, JPEG-coded), cifar10.npz, else downloaded."""
    local = folder()
    path = local / "cifar10_train.zip" if local else None
    if path is None or not path.exists():
        return load(seed, name="cifar10", original="CIFAR10", summary=summary)
    note = "JPEG-coded: bits/dim are not comparable with published ones; no official test images"
    found = Image().read(path)
    assert isinstance(found, Items)
    return split(
        found,
        "cifar10",
        seed=seed,
        source=f"{path.name}: the 50,000 training images",
        licence=LICENCES["CIFAR10"],
        summary=summary,
        facts={"note": note},
    )


def _download(name: str, original: str) -> dict[str, Any]:
    mend = f"put {name}.npz (x_train, y_train, x_test, y_test) into a folder and set POFX_DATA to it"
    try:
        from torchvision import datasets
    except ImportError as error:
        raise DataError(
            f"{name} is not in $POFX_DATA: pip install 'pofx[datasets]' to download it, or {mend}"
        ) from error
    root = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "pofx"
    found: dict[str, Any] = {}
    try:
        for part in ("train", "test"):
            got = getattr(datasets, original)(root, train=part == "train", download=True)
            found[f"x_{part}"], found[f"y_{part}"] = np.asarray(got.data), np.asarray(got.targets)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{name} could not be downloaded ({error}): check the network, or {mend}") from error
    return found


def _source(name: str, original: str, n: int, summary: str) -> Source:
    return Source(
        name, "image", n, summary, partial(load, name=name, original=original, summary=summary), download=True
    )


_CIFAR = "photographs, 32 x 32, colour, 10 classes"
SOURCES = (
    _source("mnist", "MNIST", 70_000, "handwritten digits, 28 x 28, 256 grey levels, 10 classes"),
    _source("fashion-mnist", "FashionMNIST", 70_000, "clothes, 28 x 28, 256 grey levels, 10 classes"),
    Source("cifar10", "image", 60_000, _CIFAR, partial(cifar10, summary=_CIFAR), download=True),
)
