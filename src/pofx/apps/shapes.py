"""pofx shapes: solids of voxels and clips of frames, learned and drawn."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.core.printed import show
from pofx.declared import Folder, Overwrite, Reads, Seed

GROUP = "Uses"
EXAMPLE = "pofx shapes chairs.npy --out runs/chairs"


def shapes(
    source: Annotated[
        str, typer.Argument(help="A .npy(.gz) of voxels (n, k, k, k), of clips (n, t, h, w), or moving."), Reads()
    ],
    out: Annotated[Path, typer.Option(help="A folder: the model, what it draws, pictures, .gif, .obj."), Folder()],
    clips: Annotated[bool, typer.Option(help="The array holds clips, not solids.")] = False,
    model: Annotated[str | None, typer.Option(help="By default wavenet of solids, made of frames.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, max=10_000, help="Solids or clips.")] = 8,
    minutes: Annotated[float, typer.Option(help="Of training.")] = 1.0,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> str:
    """Learn solids or clips and draw new ones, beside floors."""
    import numpy as np

    from pofx.apps import solids, video
    from pofx.core.errors import DataError
    from pofx.data.arrays import read_array

    if clips or source == "moving":
        from pofx.data.moving import moving

        every = moving(1500, seed)[0] if source == "moving" else read_array(Path(source))
        if len(every) < max(n, 10):
            raise DataError(
                f"{source} must have {max(n, 10)} clips at least (got {len(every)}): give more, or lower -n"
            )
        if every.ndim != 4 or every.dtype.kind not in "iub":
            raise DataError(f"clips must be whole numbers (n, t, h, w) (got {every.dtype} {every.shape})")
        run, found = video.learn(every, model=model or "made", minutes=minutes, seed=seed)
        show("bits per pixel: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
        drawn = video.continued(run, every[-n:], every.shape[1], seed)
        np.save(out / "clips.npy", drawn)
        video.gif(drawn, out / "clips.gif")
        run.save(out / "model")
        return f"{n} clips"
    every = solids.read_solids(Path(source))
    run, found, parts = solids.learn(every, model=model or "wavenet", minutes=minutes, seed=seed)
    show("bits per voxel: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
    flat = np.asarray(run.sample(n, seed=seed, batch_size=max(n, 1)))
    drawn = flat.reshape(n, *every.shape[1:]).astype(np.uint8)
    close = solids.likeness(flat, parts["test"], parts["train"])
    show(", ".join(f"{name} {value:.3f}" for name, value in close.items()))
    np.save(out / "solids.npy", drawn)
    solids.picture(drawn, out / "solids.png")
    try:
        for i, solid in enumerate(drawn):
            if solid.any():
                (out / f"{i}.obj").write_text(solids.mesh(solid))
    except DataError as error:
        show(str(error))
    run.save(out / "model")
    return f"{n} solids"
