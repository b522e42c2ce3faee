"""Solids of voxels: read, modelled voxel by voxel by an autoregressive network, compared and written as meshes.

A solid of side k is a sequence of k³ zeros and ones, slice by slice, row by row. Dilated convolutions whose field of
view spans two slices and more see what is before, above and behind each voxel (`wavenet`), so that log p is exact.
Floors: independent voxels, a table of each voxel
given its neighbours, and for codes principal components.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pofx.artifact import Artifact
from pofx.core.errors import DataError
from pofx.core.event import Continuous
from pofx.core.model import Encoding
from pofx.core.printed import number_of
from pofx.data.arrays import read_array
from pofx.data.dataset import split, take
from pofx.data.kind import named
from pofx.data.kinds.tokens import tokens
from pofx.data.kinds.voxels import voxels
from pofx.maths.point_clouds import coverage, jaccard
from pofx.runs.fitting import fit

if TYPE_CHECKING:
    from pofx.apps.layouts import Solids

LARGEST = 64  # side of a solid
POINTS = 512  # of a cloud
LEAST = 3  # solids that differ
FRACTIONS, SCORED = (0.1, 0.2), 60  # held out; solids whose likelihood is taken, at most
CODES: Mapping[str, Any] = {  # of a vae
    "latent": 64, "network": "principal", "width": 64, "batch_size": 32, "lr": 1e-3, "importance": 16
}  # fmt: skip


def read_solids(path: Path) -> np.ndarray:
    """Solids uint8 (n, k, k, k) of zeros and ones from a .npy or .npy.gz; copies are removed. Others than cubes are
    filled up with air.

    Raises:
        DataError: no such array.
    """
    if not path.name.lower().endswith((".npy", ".npz", ".npy.gz")):
        raise DataError(f"{path} holds no solids: give a .npy of (n, k, k, k) zeros and ones")
    array = voxels(read_array(path), name=str(path)).values
    side = max(array.shape[1:])
    if len(set(array.shape[1:])) > 1 and side <= LARGEST:
        warnings.warn(f"solids of {path} are {array.shape[1:]}: filled up with air to cubes of {side}", stacklevel=2)
        around = [((side - size) // 2, side - size - (side - size) // 2) for size in array.shape[1:]]
        array = np.pad(array, [(0, 0), *around])
    found = checked(array, str(path))
    if len(found) < LEAST:
        raise DataError(
            f"{path} holds {number_of(len(array), 'solid')}, {len(found)} of them different: at least {LEAST} are "
            "needed to hold some out"
        )
    return found


def checked(x: Any, name: str = "solids") -> np.ndarray:
    """Solids uint8 (n, k, k, k), each once, in their order."""
    array = voxels(x, name=name).values
    if len(set(array.shape[1:])) != 1 or not 2 <= array.shape[1] <= LARGEST:
        raise DataError(f"{name} must have shape (n, k, k, k), k from 2 to {LARGEST} (got {array.shape})")
    flat = array.reshape(len(array), -1)
    _, first = np.unique(flat, axis=0, return_index=True)
    return np.asarray(array[np.sort(first)])


def layers_for(side: int) -> int:
    """Dilated layers whose field of view spans two slices."""
    return int(np.ceil(np.log2(2 * side**2)))


def learn_layouts(solids: np.ndarray, **how: Any) -> tuple["Solids", dict[str, float], dict[str, np.ndarray]]:
    """Solids in two stages (`layouts`): the model, bits per voxel of held-out ones beside floors, and the splits."""
    from pofx.apps.layouts import Solids

    data = split(tokens(solids.reshape(len(solids), -1).astype(np.int64), classes=2), "solids", seed=how.get("seed", 0),
                 fractions=FRACTIONS)  # fmt: skip
    cube = (-1, *solids.shape[1:])
    train, validation, test = (part.values for part in (data.train, data.validation, data.test))
    made = Solids(**how).fit(train.reshape(cube).astype(np.uint8), validation.reshape(cube).astype(np.uint8))
    logs = made.log_prob(test[:SCORED].reshape(cube).astype(np.uint8))
    return made, _bits("layouts", logs, train, test, solids.shape[1]), {"train": train, "test": test}


def _bits(name: str, logs: np.ndarray, train: np.ndarray, test: np.ndarray, side: int) -> dict[str, float]:
    size = test.shape[1] * np.log(2)
    return {
        name: float(-logs.mean() / size),
        f"{name}, error": float(logs.std() / len(logs) ** 0.5 / size),
        "independent voxels": independent(train, test),
        "neighbours table": neighbours(train, test, side),
    }


def learn(
    solids: np.ndarray,
    *,
    model: str = "wavenet",
    options: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    progress: Any = False,
    seed: int = 0,
) -> tuple[Artifact, dict[str, float], dict[str, np.ndarray]]:
    """A model of solids, bits per voxel of the fifth that was held out (its own and the floor's), and the splits."""
    side, own = solids.shape[1], dict[str, Any]()
    flat = solids.reshape(len(solids), -1).astype(np.int64)
    items = voxels(solids) if model == "vae" else tokens(flat, classes=2)
    data = split(items, "solids", seed=seed, fractions=FRACTIONS)
    if model == "wavenet":
        own = {"layers": layers_for(side), "cycle": 21, "width": 32, "skip": 32, "taps": min(side + 2, 40), "terms": 2}
        own["validation_items"] = 4
    elif model == "vae":
        own = dict(CODES)
    run = fit(data, model, seed=seed, progress=progress, minutes=minutes, steps=steps, **{**own, **(options or {})})
    train, test = (part.values.reshape(len(part), -1) for part in (data.train, data.test))
    logs = run.score(take(data.test, np.arange(min(SCORED, len(test)))), batch_size=4).value
    found = _bits(model, logs, train, test, side)
    return run, found, {"train": train, "test": test}


def codes_of(run: Artifact, parts: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Intersection over union of test solids with what a run makes of their codes, and with the reconstructions from as
    many principal components; empty for a run without codes that lose something."""
    model = run.model
    if not isinstance(model, Encoding) or model.lossless or not isinstance(model.code, Continuous):
        return {}
    size = int(np.prod(model.code.shape))
    shape = model.event.shape[-3:]  # type: ignore[union-attr]  # three axes, or the one of a sequence
    again = np.asarray(run.reconstruct(parts["test"].reshape(-1, *shape))).reshape(parts["test"].shape)
    return {
        f"{run.name}, {size} numbers": intersection_over_union(again, parts["test"]),
        f"{size} principal components": principal_codes(parts["train"].astype(np.float64), parts["test"], size),
    }


def independent(train: np.ndarray, test: np.ndarray) -> float:
    """Bits per voxel of independent voxels."""
    p = (train.sum(0) + 0.5) / (len(train) + 1)
    return float(-np.where(test == 1, np.log2(p), np.log2(1 - p)).mean())


def neighbours(train: np.ndarray, test: np.ndarray, side: int) -> float:
    """Bits per voxel of a table of each voxel given those of the 13 neighbours that come before it: the floor of models
    that see what is near."""
    places = [(a, b, c) for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1) if (a, b, c) < (0, 0, 0)]

    def contexts(flat: np.ndarray) -> np.ndarray:
        solids = np.pad(flat.reshape(-1, side, side, side), ((0, 0), (1, 1), (1, 1), (1, 1)))
        found = np.zeros((len(flat), side, side, side), np.int64)
        for i, (a, b, c) in enumerate(places):
            part = solids[:, 1 + a : 1 + a + side, 1 + b : 1 + b + side, 1 + c : 1 + c + side]
            found |= part.astype(np.int64) << i
        return found.reshape(-1)

    seen, size = contexts(train), 1 << len(places)
    every, full = (np.bincount(seen, w, minlength=size) for w in (None, train.reshape(-1).astype(float)))
    p = ((full + 0.2) / (every + 0.4))[contexts(test)]
    return float(-np.where(test.reshape(-1) == 1, np.log2(p), np.log2(1 - p)).mean())


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> float:
    """The mean over solids (n, voxels) of zeros and ones; 1 of two that are empty."""
    both, either = ((a > 0) & (b > 0)).sum(1), ((a > 0) | (b > 0)).sum(1)
    return float(np.where(either > 0, both / np.maximum(either, 1), 1.0).mean())


def principal_codes(train: np.ndarray, test: np.ndarray, k: int = 64) -> float:
    """Intersection over union of test solids with their reconstructions from k principal components."""
    mean = train.mean(0)
    directions = np.linalg.svd(train - mean, full_matrices=False)[2][:k]
    again = (test - mean) @ directions.T @ directions + mean
    return intersection_over_union((again > 0.5).astype(np.uint8), test)


def likeness(drawn: np.ndarray, test: np.ndarray, train: np.ndarray) -> dict[str, float]:
    """MMD, COV and 1-NNA by 1 - IoU of drawn solids to test ones, the share of copies of training solids, and the
    1-NNA of training solids in their place ("real"), the best that is possible."""
    few = min(len(drawn), len(test))
    x, y = (torch.from_numpy(v[:few].reshape(few, -1).astype(np.float32)) for v in (drawn, test))
    z = torch.from_numpy(train[:few].reshape(min(few, len(train)), -1).astype(np.float32))
    found = coverage(jaccard(y, y), jaccard(y, x), jaccard(x, x))
    real = coverage(jaccard(y, y), jaccard(y, z), jaccard(z, z))
    known = {row.tobytes() for row in train.reshape(len(train), -1).astype(np.uint8)}
    copies = np.mean([row.tobytes() in known for row in drawn.reshape(len(drawn), -1).astype(np.uint8)])
    return {**found, "1-NNA, real": real["1-NNA"], "copies": float(copies)}


def cloud(solid: np.ndarray, n: int = POINTS, seed: int = 0) -> np.ndarray:
    """n points (n, 3) in [0, 1]³ of the surface of a solid: of its voxels that touch air."""
    padded = np.pad(solid, 1)
    inner = np.logical_and.reduce([np.roll(padded, s, a) for a in range(3) for s in (-1, 1)])[1:-1, 1:-1, 1:-1]
    at = np.argwhere((solid > 0) & ~inner)
    if not len(at):
        raise DataError("a solid without voxels has no points: draw another")
    g = np.random.default_rng(seed)
    return np.asarray((at[g.integers(len(at), size=n)] + g.random((n, 3))) / solid.shape[0])


def clouds(solids: np.ndarray, n: int = POINTS, seed: int = 0) -> np.ndarray:
    """Clouds (solids, n, 3) of surface points; empty solids have none and are left out."""
    return np.stack([cloud(solid, n, seed + i) for i, solid in enumerate(solids) if solid.any()])


def mesh(solid: np.ndarray) -> str:
    """A solid as the content of an .obj file, its surface by marching cubes.

    Raises:
        DataError: scikit-image is not installed.
    """
    try:
        from skimage.measure import marching_cubes
    except ImportError:
        raise DataError("meshes need scikit-image: pip install pofx[shapes], or write .npz") from None
    corners, faces, _, _ = marching_cubes(np.pad(solid, 1).astype(np.float32), 0.5)
    lines = [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in corners]
    return "\n".join(lines + [f"f {a} {b} {c}" for a, b, c in faces + 1]) + "\n"


def picture(solids: np.ndarray, path: str | Path, most: int = 8) -> None:
    """Solids as they look from above a corner, as a .png."""
    named("voxels").write(voxels(solids[:most]), Path(path))
