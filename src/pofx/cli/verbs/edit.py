"""pofx edit."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pofx.cli import arguments, output
from pofx.core.printed import number_of
from pofx.declared import Items, Reads

GROUP = "Use a run"
EXAMPLE = "pofx edit runs/digits digits --new right -n 16 --out edited.png"

HALVES = ("left", "right", "top", "bottom")
FIRST = 16  # items of a data set
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def edit(
    run: arguments.Run,
    source: arguments.Data,
    mask: Annotated[
        Path | None, typer.Option(help="A picture, white where items are drawn anew, or an array .npy."), Reads()
    ] = None,
    new: Annotated[str | None, typer.Option(help=f"The half that is drawn anew: {', '.join(HALVES)}.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="Above 0 to 1: draw rough items again from that noise; with --mask, strokes.")
    ] = None,
    enlarge: Annotated[
        int | None, typer.Option(min=2, max=256, help="Draw given the means of blocks of this side.")
    ] = None,
    colour: Annotated[bool, typer.Option("--colour", help="Draw given the means of channels: colour grey.")] = False,
    into: Annotated[
        str | None, typer.Option(help="A run of another domain: its items with the codes of these."), Reads()
    ] = None,
    align: Annotated[
        bool,
        typer.Option(help="--into: codes turned, mirrored or inverted where that makes both runs most alike."),
    ] = True,
    beyond: Annotated[
        str | None, typer.Option(help="Continue pictures: places on all sides, or at the top,bottom,left,right.")
    ] = None,
    toward: Annotated[
        str | None, typer.Option(help="Data or a picture: items on the path to its items."), Reads()
    ] = None,
    stops: Annotated[int, typer.Option(min=2, max=100_000, help="Items of a path, with both ends.")] = 8,
    n: Annotated[
        int | None,
        typer.Option(
            "-n", min=1, max=1_000_000, help="Of the first items (default 16); of one picture, so many edits."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="Of the walk from noise (default: 50; of a part 20 or 10, repeated)."),
    ] = None,
    particles: Annotated[
        int | None,
        typer.Option(
            min=0, max=4096, help="Walks of each item under a mask, of which the best go on (default 4); 0: RePaint."
        ),
    ] = None,
    guide: Annotated[str | None, typer.Option(help="A run or FILE.py:function, as in `pofx sample`."), Reads()] = None,
    split: arguments.Split = None,
    out: Annotated[Path | None, typer.Option(help="As in `pofx sample`."), Items("edited")] = None,
    beside: arguments.Beside = False,
    condition: arguments.Condition = None,
    seed: arguments.Seed = 0,
    device: arguments.Device = "auto",
) -> str | None:
    """Draw a part of items anew, make rough items probable, enlarge, colour, continue or join them, with a diffusion.

    DATA may be one picture, which is brought to the size and the levels of the run's items. Nothing is trained, and
    what is not to be changed stays as it is.
    """
    import numpy as np

    from pofx.apps import edit as app
    from pofx.artifact import load
    from pofx.core.errors import DataError, UsageError, unknown
    from pofx.data.kind import named, take
    from pofx.data.pictures import one_picture
    from pofx.data.sources import whole
    from pofx.evaluate.provenance import as_read
    from pofx.inverse.measurement_files import read_array

    artifact = load(run).to(device)
    if beside:
        output.check_pairs(named(artifact.representation.kind), out)
        if into is not None or toward is not None:
            raise UsageError("--beside belongs to edits of the items themselves: leave out --into and --toward, or it")
    if guide is not None:
        from pofx.combine.guiding import guided

        artifact = guided(artifact, guide)
    stated = arguments.conditions(artifact, condition, 1)

    def read(name: str, n: int | None) -> tuple[Any, Any]:
        """Items and their conditions."""
        path = Path(name).expanduser()
        if path.is_file() and path.suffix.lower() in PICTURES:
            if split is not None and name == source:
                raise UsageError(f"--split is of a data set, and {name} is one picture: leave it out")
            return np.repeat(app.pixels(artifact, one_picture(path), stated)[None], n or 1, 0), None
        try:
            items = arguments.items(artifact, name, split)
        except UsageError:  # items without the condition of the run, which does without
            if artifact.condition_source is None or split is not None:
                raise
            items = whole(name, **as_read(artifact))
        items = take(items, range(min(n or FIRST, len(items))))
        return items.values, items.condition

    values, conditions = read(source, n)
    volumes = len(getattr(artifact.model.event, "shape", ())) == 4  # clips and solids: a half of every frame or layer
    places, area = np.shape(values)[1 : 4 if volumes else 3], None
    sides = places[-2:]
    drawn = mask is not None and mask.suffix.lower() not in (".npy", ".npz")
    if (drawn or new is not None) and len(sides) < 2:
        raise UsageError(f"a part of {artifact.representation.kind} items is no area: --mask and --new need pictures")
    if mask is not None and new is not None:
        raise UsageError("--mask and --new both choose what is drawn anew: pass one")
    if mask is not None:
        if not mask.is_file():
            raise UsageError(f"there is no file {mask}: pass --mask a picture")
        arrays = mask.suffix.lower() in (".npy", ".npz")
        area = read_array(mask, "mask") if arrays else app.masked_area(one_picture(mask, behind=0), sides)
        if np.asarray(area).dtype.kind in "biuf" and not (np.nan_to_num(area, nan=1) > 0).any():
            raise DataError(f"{mask} marks no place: make it white (in an array true) where items are drawn anew")
    if new is not None:
        if new not in HALVES:
            raise unknown("half", new, HALVES)
        area = np.zeros(sides, dtype=bool)
        middle = sides[0] // 2 if new in ("top", "bottom") else sides[1] // 2
        part = slice(None, middle) if new in ("left", "top") else slice(middle, None)
        area[(part, slice(None)) if new in ("top", "bottom") else (slice(None), part)] = True
    if area is not None and np.ndim(area) == 2 and volumes:
        area = np.broadcast_to(area, places)
    stated = arguments.conditions(artifact, condition, len(values))
    with output.waiting(f"editing {number_of(len(values), 'item')} with {artifact.name}"):
        edited = app.edit(
            artifact,
            values,
            mask=area,
            strength=strength,
            enlarge=enlarge,
            colour=colour,
            into=None if into is None else load(into).to(device),
            align=align,
            beyond=None if beyond is None else _margins(beyond),
            toward=None if toward is None else read(toward, len(values))[0],
            stops=stops,
            condition=conditions if stated is None else stated,
            steps=steps,
            particles=particles,
            seed=seed,
        )
    of = artifact if into is None else load(into)
    columns = None if toward is None else stops  # a pair a row
    items = arguments.as_items(of, edited)
    left = _given(items, values, area, enlarge, colour, beyond) if beside else None
    return output.items(items, out, f"{number_of(len(edited), 'item')} drawn", columns=columns, beside=left)


def _given(items: Any, values: Any, area: Any, enlarge: int | None, colour: bool, beyond: str | None) -> Any:
    """What an edit was given, as pictures: grey where nothing was, means where means were."""
    import numpy as np

    seen, grey = np.array(values), (items.facts["levels"] - 1) // 2
    if area is not None:
        seen[np.broadcast_to(area, seen.shape[:3])] = grey
    if enlarge is not None:
        n, h, w = seen.shape[:3]
        if (h, w) == np.shape(items.values)[1:3]:
            blocks = seen.reshape(n, h // enlarge, enlarge, w // enlarge, enlarge, *seen.shape[3:])
            seen = blocks.mean((2, 4)).round().astype(values.dtype)
        seen = seen.repeat(enlarge, 1).repeat(enlarge, 2)
    if colour:
        seen = np.broadcast_to(seen.mean(-1, keepdims=True).round(), seen.shape).astype(values.dtype)
    if beyond is not None:
        top, bottom, left, right = _margins(beyond)
        sides = ((0, 0), (top, bottom), (left, right), *[(0, 0)] * (seen.ndim - 3))
        seen = np.pad(seen, sides, constant_values=grey)
    return seen


def _margins(text: str) -> tuple[int, int, int, int]:
    from pofx.core.errors import UsageError

    parts = text.split(",")
    if len(parts) not in (1, 4) or not all(part.strip().isdigit() for part in parts):
        raise UsageError(f"--beyond must be one number or top,bottom,left,right (got '{text}'): write 4 or 0,0,0,8")
    top, bottom, left, right = (int(part) for part in parts * (4 // len(parts)))
    if not top + bottom + left + right:
        raise UsageError(f"--beyond must continue a side by 1 or more places (got '{text}'): write 4 or 0,0,0,8")
    return top, bottom, left, right
