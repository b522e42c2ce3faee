"""pofx watermark."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments
from pofx.declared import Folder, Reads

GROUP = "Uses"
EXAMPLE = "pofx watermark runs/digits --key secret.key -n 64 --out marked"


def watermark(
    run: arguments.Run,
    key: Annotated[Path, typer.Option(help="A file with a secret of at least 8 bytes."), Reads()],
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="How many samples.")] = 64,
    mark: Annotated[str, typer.Option(help="code (flows, diffusion) or pixel (any images).")] = "code",
    strength: Annotated[float, typer.Option(min=1, max=255, help="Of pixel: the step of the lattice.")] = 30.0,
    out: Annotated[
        Path, typer.Option(help="A folder for the samples, and what the mark withstands."), Folder(again=True)
    ] = Path("marked"),
    condition: arguments.Condition = None,
    seed: arguments.Seed = 0,
    device: arguments.Device = "auto",
) -> str:
    """Draw samples that a key recognises, and measure what their mark withstands (JPEG, crop, noise, resize)."""
    import numpy as np

    from pofx.apps.robustness import Mark, curves, picture
    from pofx.apps.watermark import CodeMark, PixelMark, detected, key_of
    from pofx.artifact import load
    from pofx.core.errors import Unsupported, unknown
    from pofx.core.files import write_bytes, write_json
    from pofx.core.items import Items
    from pofx.data.kind import FOLDER, named

    artifact, secret = load(run).to(device), key_of(key)
    given = arguments.conditions(artifact, condition, n)
    kind = named(artifact.representation.kind)
    facts = artifact.card.get("data", {}).get("facts", {})
    if mark == "code":
        coded = CodeMark(artifact, secret)
        of: Mark = coded
        items = Items(kind.name, coded.sample(n, given, seed=seed), facts=facts)
    elif mark == "pixel":
        if not kind.photographic:
            raise Unsupported(f"{kind.name} items have no pixels: use --mark code")
        pixel = PixelMark(secret, strength)
        of, drawn = pixel, artifact.draw(n, given, seed=seed)
        marked = pixel.embed(np.asarray(kind.shown(drawn.values, facts).pictures))
        items = Items(kind.name, marked, facts={**facts, "levels": 256})
    else:
        raise unknown("mark", mark, ("code", "pixel"))
    p = detected(of, items.values, given)
    if kind.photographic:
        kind.write(items, out, ending=FOLDER)
        found = curves(of, items, given)
        write_bytes(out / "robustness.svg", picture(found).encode())
        write_json(out / "robustness.json", found)
    else:
        ending = kind.outputs[0]
        kind.write(items, out / ("marked" + ("" if ending == FOLDER else ending)), ending=ending)
    return f"{n} marked samples, p < 1e-6 for {(p < 1e-6).mean():.0%} of them, median p {np.median(p):.2g}"
