"""pofx latent: a folder of pictures and numbers about the codes of a run."""

import io
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from pofx.cli import arguments, output
from pofx.declared import Folder, Reads

GROUP = "Use a run"
EXAMPLE = "pofx latent runs/digits --arithmetic '8 - 3 + 1' --out latent"

PAIRS, STEPS = 6, 9  # paths, and items of each
FRAMES = 100  # milliseconds of a frame


def latent(
    run: arguments.Run,
    against: arguments.Against = None,
    arithmetic: Annotated[
        list[str] | None, typer.Option(help="A sum of mean codes of labels: '7 - 1 + 4'; repeatable.")
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            help="Lead an item without it along the direction of a label or, of --factors, of 'column=value' or of a "
            "column of numbers; repeatable."
        ),
    ] = None,
    others: Annotated[
        bool, typer.Option("--others", help="Of each --attribute the part that other attributes do not explain.")
    ] = False,
    factors: Annotated[
        Path | None,
        typer.Option(help="A .csv of known factors, one row per test item: for the checks, and as attributes."),
        Reads(),
    ] = None,
    seed: arguments.Seed = 0,
    as_json: arguments.Json = False,
    out: Annotated[Path, typer.Option(help="A folder."), Folder(again=True)] = Path("latent"),
    device: arguments.Device = "auto",
) -> str | None:
    """Explore the codes of a run: paths, arithmetic, directions, a map, checks, what steers the samples of a GAN."""
    from pofx.apps.latent import LatentSpace
    from pofx.artifact import load
    from pofx.core.files import write_json
    from pofx.evaluate.disentanglement import read_factors
    from pofx.evaluate.provenance import check_same_data, trained_on

    known = None if factors is None else read_factors(factors)
    artifact = load(run).to(device)
    dataset = trained_on(artifact, against)
    check_same_data(artifact, dataset, force=against is not None, forcible=False)
    space = LatentSpace(artifact, dataset, seed, known)
    with output.waiting(f"exploring the codes of {artifact.name}"):
        sums = {text: space.arithmetic(text) for text in arithmetic or ()}  # first: wrong names are refused
        led = {name: space.towards(name, steps=STEPS, others=others) for name in attribute or ()}
        moves = {"components": space.components()[0], "sensitive": space.sensitive()[0]}
        checks = space.checks()
        written = [_paths(space, out, kind) for kind in ("straight", "spherical", "quantile")]
        written += [_items(items, out / f"arithmetic-{i + 1}") for i, items in enumerate(sums.values())]
        for name, items in led.items():
            written += _lines(items, out / re.sub(r"[^\w.-]+", "-", f"attribute-{name}"))
        for name, directions in moves.items():
            written += _lines(space.traverse(directions, steps=STEPS), out / name)
        if space.codes.shape[1] > 1:
            written.append(_map(space, out / "map.png"))
        written += [_control(lines, out / f"control-{name}") for name, lines in space.steered().items()]
    rows = [vars(check) for check in checks]
    write_json(out / "latent.json", {"run": str(run), "codes": list(space.codes.shape), "checks": rows})
    if as_json:
        output.as_json(rows)
        return None
    shown = [
        {
            "check": check.name,
            "value": f"{check.value:.3f}",
            "beside": ", ".join(f"{name} {value:.3f}" for name, value in check.floors.items()),
        }
        for check in checks
    ]
    files = output.paragraph(", ".join(path.name for path in written))
    return f"{output.table(shown)}\n\n{files}\n{len(written)} files"


def _ending(kind: Any) -> str:
    """The picture or, for other kinds, the first format that is one file."""
    return ".png" if kind.pictorial else next(e for e in kind.outputs if e != "/")


def _items(items: Any, stem: Path, columns: int | None = None) -> Path:
    from pofx.data.kind import kind_of

    kind = kind_of(items)
    path = stem.with_name(stem.name + _ending(kind))
    kind.write(items, path, columns=columns)
    return path


def _paths(space: Any, out: Path, kind: str) -> Path:
    from pofx.data.kind import joined

    pairs = min(PAIRS, len(space.items) // 2)
    return _items(joined([space.path(2 * i, 2 * i + 1, STEPS, kind) for i in range(pairs)]), out / kind, STEPS)


def _lines(items: Any, stem: Path) -> list[Path]:
    """A line per direction; for pictures also a moving one, there and back."""
    from pofx.data.kind import kind_of

    written = [_items(items, stem, STEPS)]
    kind = kind_of(items)
    if kind.pictorial:
        written.append(_moving(kind.shown(items.values, items.facts).pictures, stem.with_name(stem.name + ".gif")))
    return written


def _control(lines: Any, stem: Path) -> Path:
    """Lines of items with their labels beside them; without labels where they are no pictures."""
    import numpy as np
    from matplotlib.figure import Figure

    from pofx.core.files import write_bytes
    from pofx.data.kind import joined, kind_of
    from pofx.data.kinds.image import grid

    items, columns = joined([line for _, line in lines]), len(lines[0][1])
    kind = kind_of(items)
    pictures = kind.shown(items.values, items.facts).pictures if kind.pictorial else None
    if pictures is None:
        return _items(items, stem, columns)
    sheet = grid(pictures, columns)
    height, width = sheet.shape[:2]
    figure = Figure(figsize=(8, max(6.5 * height / width, 1)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(np.squeeze(sheet, -1) if sheet.shape[-1] == 1 else sheet, cmap="gray", vmin=0, vmax=255)
    axes.set_xticks([])
    axes.set_yticks([(k + 0.5) * height / len(lines) for k in range(len(lines))], [label for label, _ in lines])
    axes.tick_params(length=0)
    axes.set_frame_on(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, bbox_inches="tight")  # the layout cuts labels beside narrow sheets
    path = stem.with_name(stem.name + ".png")
    write_bytes(path, stream.getvalue())
    return path


def _moving(pictures: Any, path: Path) -> Path:
    """All directions side by side, frame after frame, as a GIF."""
    import numpy as np
    from PIL import Image

    from pofx.core.files import write_bytes
    from pofx.data.kinds.image import grid

    lines = pictures.reshape(-1, STEPS, *pictures.shape[1:])
    frames = [grid(lines[:, i], len(lines)) for i in [*range(STEPS), *range(STEPS - 2, 0, -1)]]
    drawn = [Image.fromarray(np.squeeze(frame, -1) if frame.shape[-1] == 1 else frame) for frame in frames]
    stream = io.BytesIO()
    drawn[0].save(stream, format="GIF", save_all=True, append_images=drawn[1:], duration=FRAMES, loop=0)
    write_bytes(path, stream.getvalue())
    return path


def _map(space: Any, path: Path) -> Path:
    """The codes on two principal components, coloured by label where there are some."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    from pofx.core.files import write_bytes

    at, labels = space.map(), space.items.labels
    dot = float(np.clip(6000 / len(at), 8, 30))
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot()
    if labels is None or np.ndim(labels) != 1:
        axes.scatter(at[:, 0], at[:, 1], s=dot, alpha=0.6, linewidths=0)
    else:
        names = space.items.facts.get("label_names") or ()
        for k in np.unique(labels)[:20]:
            own, name = at[labels == k], str(names[int(k)]) if int(k) < len(names) else str(k)
            colour = colormaps["tab20" if len(np.unique(labels)) > 10 else "tab10"](int(k) % 20)
            axes.scatter(own[:, 0], own[:, 1], s=dot, alpha=0.6, linewidths=0, label=name, color=colour)
        figure.legend(markerscale=1.5, frameon=False, fontsize=8, loc="outside right upper")
    axes.set_xlabel("first principal component of the codes")
    axes.set_ylabel("second")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    write_bytes(path, stream.getvalue())
    return path
