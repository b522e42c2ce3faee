"""pofx shapes: solids of voxels, clouds of points and clips of frames, learned and drawn."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pofx.core.printed import aligned, number_of, show
from pofx.declared import Folder, Overwrite, Reads, Seed

GROUP = "Uses"
EXAMPLE = "pofx shapes chairs.npy --out runs/chairs"

JUDGED = 60  # clouds that are compared, at most: of every pair a distance is taken


def shapes(
    source: Annotated[
        str,
        typer.Argument(
            help="A .npy(.gz) of voxels (n, k, l, m), clouds (n, k, 3) or clips (n, t, h, w); a folder of .ply, .xyz, "
            ".obj, .off or .npy, a cloud each; or moving."
        ),
        Reads(),
    ],
    out: Annotated[Path, typer.Option(help="A folder: the model, what it draws, pictures, .gif, .obj."), Folder()],
    clips: Annotated[bool, typer.Option(help="The array holds clips, not solids.")] = False,
    surface: Annotated[
        int | None, typer.Option("--points", min=4, max=2048, help="Of solids: learn clouds of so many surface points.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="By default wavenet of solids (or layouts), made of frames, nsf of clouds.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, max=10_000, help="Solids, clouds or clips.")] = 8,
    minutes: Annotated[float, typer.Option(help="Of training.")] = 1.0,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> str:
    """Learn solids, clouds of points or clips and draw new ones, beside floors."""
    from pofx.apps import solids
    from pofx.core.errors import UsageError
    from pofx.data.arrays import read_array

    if surface is not None and (clips or source == "moving"):
        raise UsageError("--points belongs to solids: leave it out")
    if clips or source == "moving":
        return _clips(source, out, model, n, minutes, seed)
    path = Path(source)
    arrays = path.name.lower().endswith((".npy", ".npz", ".npy.gz"))
    flat_points = path.is_dir() or (arrays and read_array(path).ndim == 3)
    if flat_points and surface is not None:
        raise UsageError("--points belongs to solids, and these are clouds: leave it out")
    if flat_points or surface is not None:
        from pofx.apps.clouds import read_clouds

        of = read_clouds(path) if surface is None else solids.clouds(solids.read_solids(path), surface, seed)
        return _clouds(of, out, model, n, minutes, seed)
    return _solids(path, out, model, n, minutes, seed)


def _clips(source: str, out: Path, model: str | None, n: int, minutes: float, seed: int) -> str:
    """Learn clips frame by frame, and continue the last ones."""
    import numpy as np

    from pofx.apps import video
    from pofx.core.errors import DataError
    from pofx.data.arrays import read_array
    from pofx.data.moving import moving

    every = moving(1500, seed)[0] if source == "moving" else read_array(Path(source))
    if len(every) < max(n, 10):
        raise DataError(f"{source} must have {max(n, 10)} clips at least (got {len(every)}): give more, or lower -n")
    if every.ndim != 4 or every.dtype.kind not in "iub":
        raise DataError(
            f"clips must be whole numbers of one channel (n, t, h, w) (got {every.dtype} {every.shape}): round "
            "shades to 0 to 255, take one channel of colours"
        )
    every = every.astype(np.uint8) if every.dtype.kind == "b" else every
    run, found = video.learn(every, model=model or "made", minutes=minutes, progress=True, seed=seed)
    show("bits per pixel: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
    drawn = video.continued(run, every[-n:], every.shape[1], seed)
    np.save(out / "clips.npy", drawn)
    video.gif(drawn, out / "clips.gif")
    run.save(out / "model")
    return number_of(n, "clip")


def _solids(path: Path, out: Path, model: str | None, n: int, minutes: float, seed: int) -> str:
    """Learn solids, hold them against held-out ones and floors, draw new ones."""
    import numpy as np

    from pofx.apps import solids
    from pofx.core.errors import DataError

    every = solids.read_solids(path)
    how: dict[str, Any] = {"minutes": minutes, "progress": True, "seed": seed}
    learned: Any
    codes = {}
    if model == "layouts":
        learned, found, parts = solids.learn_layouts(every, **how)
        drawn = learned.sample(n, seed=seed)
    else:
        plain, found, parts = solids.learn(every, model=model or "wavenet", **how)
        learned, codes = plain, solids.codes_of(plain, parts)
        drawn = np.asarray(plain.sample(n, seed=seed, batch_size=n)).reshape(n, *every.shape[1:]).astype(np.uint8)
    show("bits per voxel of held-out solids: " + with_errors(found, 4))
    for name, value in codes.items():
        show(f"intersection over union of {name}: {value:.3f}")
    close = solids.likeness(drawn.reshape(n, -1), parts["test"], parts["train"])
    show(f"{n} drawn beside held-out solids: " + with_errors(close, 3))
    np.save(out / "solids.npy", drawn)
    solids.picture(drawn, out / "solids.png")
    try:
        for i, solid in enumerate(drawn):
            if solid.any():
                (out / f"{i}.obj").write_text(solids.mesh(solid))
    except DataError as error:
        show(str(error))
    learned.save(out / "model")
    return f"{n} solids"


def with_errors(found: dict[str, float], digits: int) -> str:
    """Numbers by name, each with its error, and with that of real items, where there is one."""
    shown = []
    for name, value in found.items():
        if name.endswith((", error", ", real")):
            continue
        error, real = found.get(f"{name}, error"), found.get(f"{name}, real")
        text = f"{name} {value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")
        shown.append(text + ("" if real is None else f" (real ones {real:.{digits}f})"))
    return ", ".join(shown)


def _clouds(every: Any, out: Path, model: str | None, n: int, minutes: float, seed: int) -> str:
    """Learn clouds, hold them against held-out ones and floors, draw new ones."""
    import numpy as np
    import pandas as pd

    from pofx.apps import clouds
    from pofx.core.errors import DataError

    if len(every) < 50:
        raise DataError(f"there are {len(every)} different clouds, at least 50 are needed: some are held out")
    order = np.random.default_rng(seed).permutation(len(every))
    test, train = every[order[: len(every) // 5]], every[order[len(every) // 5 :]]
    made = clouds.Clouds(model or "nsf", minutes=minutes, progress=True, seed=seed).fit(train)
    drawn = made.sample(max(n, min(len(test), JUDGED)), seed=seed)
    few = test[:JUDGED]
    rows = {made.model: drawn[:JUDGED], **clouds.floors(train, len(few), made, seed)}
    for distance in clouds.DISTANCES:
        most = JUDGED if distance == "chamfer" else JUDGED // 2  # an exact matching of every pair takes long
        some = {name: values[:most] for name, values in rows.items()}
        table = pd.DataFrame(clouds.compared(some, few, train, distance)).T
        show(f"{distance}, {min(most, len(few))} clouds\n" + aligned(table, 4))
    np.save(out / "clouds.npy", drawn[:n])
    clouds.picture(drawn[:n], out / "clouds.png")
    for i, cloud in enumerate(drawn[:n]):
        (out / f"{i}.ply").write_text(clouds.ply(cloud))
    made.save(out / "model")
    return f"{n} clouds"
