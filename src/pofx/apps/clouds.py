"""Clouds of points: matched to a template point by point, learned as vectors, drawn, compared as sets.

A cloud has no order. Each is matched to the mean cloud by the cheapest one-to-one assignment, and the mean is taken
again, so that point i means alike in all; principal components of the matched clouds are what a model of vectors
learns, a spline flow by default. Comparisons see sets alone: the Chamfer distance or the exact EMD, with MMD, COV and
1-NNA (`maths.point_clouds`). Floors: the mean cloud, which MMD flatters, and a normal of the components.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from pofx.artifact import Artifact, load
from pofx.core.errors import DataError, UsageError
from pofx.core.files import whole, write_bytes
from pofx.data.arrays import read_array, write_arrays
from pofx.data.components import Components
from pofx.data.dataset import split
from pofx.data.kinds.points import points
from pofx.data.point_files import read_folder
from pofx.maths.point_clouds import chamfer, coverage, distances, earth_movers
from pofx.runs.fitting import fit

PUBLIC = ("Clouds",)

Shapes = Float[np.ndarray, "n k d"]
PARTS = 48  # principal components
LEAST, LARGEST = 4, 2048  # points of a cloud
DISTANCES: Mapping[str, Callable[..., float]] = {"chamfer": chamfer, "emd": earth_movers}
SMALL: Mapping[str, Any] = {"layers": 2, "bins": 8, "width": 128, "blocks": 1}  # of the default model


def check_clouds(x: Any, name: str = "clouds") -> Shapes:
    """Clouds float64 (n, k, d) of k points in 2 or 3 dimensions, each once.

    Raises:
        DataError: of another shape, not finite, or a cloud whose points are all one.
    """
    array = np.asarray(x)
    if array.ndim != 3 or array.shape[2] not in (2, 3) or not LEAST <= array.shape[1] <= LARGEST or not len(array):
        raise DataError(
            f"{name} must have shape (n, k, 3) or (n, k, 2), k from {LEAST} to {LARGEST} points (got {array.shape})"
        )
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise DataError(f"{name} must be finite numbers (got {array.dtype}): leave out clouds with gaps")
    array = array.astype(np.float64)
    if (np.ptp(array, axis=1).max(1) == 0).any():
        raise DataError(f"cloud {int((np.ptp(array, axis=1).max(1) == 0).argmax())} of {name} is a single point")
    ordered = [cloud[np.lexsort(cloud.T)].tobytes() for cloud in array]  # the same set in another order is a copy
    return array[sorted({key: i for i, key in reversed(list(enumerate(ordered)))}.values())]


def read_clouds(path: Path) -> Shapes:
    """Clouds of a .npy or .npy.gz file, or of a folder with a file for each (`data.point_files`)."""
    return check_clouds(read_folder(path) if path.is_dir() else read_array(path), str(path))


def matched(clouds: Shapes, template: Float[np.ndarray, "k d"]) -> Shapes:
    """The points of every cloud in the order of the points of a template: the cheapest one-to-one assignment."""
    return np.stack([cloud[linear_sum_assignment(cdist(template, cloud, "sqeuclidean"))[1]] for cloud in clouds])


class Clouds:
    """p(cloud) of sets with as many points each."""

    def __init__(
        self,
        model: str = "nsf",
        *,
        options: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        progress: Any = False,
        seed: int = 0,
    ) -> None:
        """Args:
        model: a model of vectors of `pofx models`.
        options: of the model, the trainer and the view.
        minutes: of training; one by default.
        progress: of training, as of `pofx.fit`.
        """
        self.model, self.options, self.minutes, self.steps, self.seed = model, options, minutes, steps, seed
        self.progress = progress
        self.run: Artifact | None = None

    def fit(self, clouds: Any) -> "Clouds":
        """Learn from clouds (n, k, d)."""
        every = check_clouds(clouds)
        if len(every) < 20:
            raise DataError(f"there are {len(every)} different clouds, at least 20 are needed")
        g = np.random.default_rng(self.seed)
        template, some = every[g.integers(len(every))], every[g.permutation(len(every))[:64]]
        for _ in range(3):
            template = matched(some, template).mean(0)
        self.template = template
        flat = matched(every, template).reshape(len(every), -1)
        self.parts = Components.fit(flat, PARTS)
        options = {**(SMALL if self.model == "nsf" else {}), **(self.options or {})}
        data = split(points(self.parts.encode(flat)), "clouds", seed=self.seed)
        self.run = fit(
            data, self.model, seed=self.seed, progress=self.progress, minutes=self.minutes, steps=self.steps, **options
        )
        return self

    def sample(self, n: int, *, seed: int = 0) -> Shapes:
        """n clouds (n, k, d)."""
        if self.run is None:
            raise UsageError("the clouds are not fitted: call fit first")
        return self.decode(np.asarray(self.run.sample(n, seed=seed), np.float64))

    def encode(self, clouds: Any) -> Float[np.ndarray, "n few"]:
        """Clouds as the vectors that the model sees."""
        every = np.asarray(clouds, np.float64)
        if every.ndim != 3 or every.shape[1:] != self.template.shape:
            raise DataError(
                f"clouds must have shape (n, {', '.join(map(str, self.template.shape))}) (got {every.shape}): draw as "
                "many points of each"
            )
        return self.parts.encode(matched(every, self.template).reshape(len(every), -1))

    def decode(self, codes: Float[np.ndarray, "n few"]) -> Shapes:
        """Clouds (n, points, 3) of codes (n, few)."""
        return self.parts.decode(np.asarray(codes)).reshape(len(codes), *self.template.shape)

    def save(self, folder: str | Path) -> Path:
        """Write the model into a folder."""
        if self.run is None:
            raise UsageError("the clouds are not fitted: call fit first")
        own = {"template": self.template, "mean": self.parts.mean, "directions": self.parts.directions}
        with whole(Path(folder)) as aside:
            self.run.save(aside)
            write_arrays(aside / "clouds.npz", own)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "Clouds":
        """The model that `save` wrote."""
        made = cls()
        made.run = load(folder)
        made.model = made.run.name
        with np.load(Path(folder) / "clouds.npz", allow_pickle=False) as arrays:
            made.template, made.parts = arrays["template"], Components(arrays["mean"], arrays["directions"])
        return made


def compared(
    drawn: Mapping[str, Shapes], test: Shapes, train: Shapes, distance: str = "chamfer"
) -> dict[str, dict[str, float]]:
    """MMD, COV and 1-NNA against test clouds, of drawn ones by name and of training clouds in their place ("real").

    Raises:
        UsageError: an unknown distance.
    """
    if distance not in DISTANCES:
        raise UsageError(f"distance must be {' or '.join(DISTANCES)} (got '{distance}')")
    of, few = DISTANCES[distance], min(len(test), len(train), *(len(v) for v in drawn.values()))
    as_tensor = lambda v: torch.from_numpy(np.ascontiguousarray(v[:few], dtype=np.float32))  # noqa: E731
    y = as_tensor(test)
    inside = distances(y, y, of)
    found = {}
    for name, clouds in {"real": train, **drawn}.items():
        x = as_tensor(clouds)
        found[name] = coverage(inside, distances(y, x, of), distances(x, x, of))
    return found


def floors(train: Shapes, n: int, model: Clouds, seed: int = 0) -> dict[str, Shapes]:
    """The mean cloud n times, with a little noise, and draws of a normal of the components."""
    g, codes = np.random.default_rng(seed), model.encode(train)
    mean = model.decode(np.zeros((n, codes.shape[1])))
    normal = g.multivariate_normal(codes.mean(0), np.cov(codes.T), size=n)
    return {"mean cloud": mean + 1e-4 * g.normal(size=mean.shape), "normal": model.decode(normal)}


def ply(cloud: Float[np.ndarray, "k d"]) -> str:
    """A cloud as the content of a .ply file."""
    rows = np.pad(cloud, ((0, 0), (0, 3 - cloud.shape[1])))
    head = ["ply", "format ascii 1.0", f"element vertex {len(rows)}", *(f"property float {c}" for c in "xyz")]
    return "\n".join([*head, "end_header", *(f"{x:.5f} {y:.5f} {z:.5f}" for x, y, z in rows)]) + "\n"


def picture(clouds: Shapes, path: str | Path, most: int = 8) -> None:
    """Clouds side by side as a .png, seen from above a corner, near points in front and darker."""
    import io

    from matplotlib.figure import Figure

    shown = clouds[:most]
    across = min(len(shown), 4)
    down = -(-len(shown) // across)
    figure = Figure(figsize=(2.2 * across, 2.2 * down), layout="constrained")
    for ax, cloud in zip(figure.subplots(down, across, squeeze=False).flat, shown, strict=False):
        rows = np.pad(cloud, ((0, 0), (0, 3 - cloud.shape[1])))
        flat = cloud.shape[1] == 2
        u = rows[:, 0] if flat else (rows[:, 0] - rows[:, 1]) * 0.866
        v = rows[:, 1] if flat else rows[:, 2] + (rows[:, 0] + rows[:, 1]) * 0.35 * -1
        depth = rows.sum(1)
        order = np.argsort(depth)
        ax.scatter(u[order], v[order], c=depth[order], s=4, cmap="viridis", lw=0)
        ax.set_aspect("equal")
    for ax in figure.axes:
        ax.axis("off")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    write_bytes(Path(path), stream.getvalue())
