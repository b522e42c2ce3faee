"""pofx multimodal: pictures and captions as one event, each drawn given the other, and both from nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pofx.core.printed import show
from pofx.declared import Folder, Overwrite, Reads, Seed

SHARED = "shared"  # a model through a class, in place of one of all places
HEARD = 24  # events that are written as a picture and sound, at most

GROUP = "Uses"
EXAMPLE = 'pofx multimodal tiles --caption "large red ring" --out runs/joint'


def multimodal(
    source: Annotated[
        str,
        typer.Argument(help="tiles, digits (MNIST and spoken digits), or an .npz of the parts of each event."),
        Reads(),
    ],
    out: Annotated[Path, typer.Option(help="A folder: the model, and events drawn."), Folder()],
    run: Annotated[
        Path | None, typer.Option(help="The folder of such a model, instead of training one."), Reads(run=True)
    ] = None,
    caption: Annotated[str | None, typer.Option(help="Of tiles: words that the picture should have.")] = None,
    given: Annotated[
        str | None,
        typer.Option(
            help="An .npz of known parts, one for all or one for each of -n events, -1 where unknown; of digits also "
            "picture=FILE.png or sound=FILE.wav."
        ),
        Reads(),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="circuit (default), vae, masked-diffusion, or shared: through a class that all share (default of "
            "tiles and digits)."
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, max=1_000_000, help="Events.")] = 100,
    minutes: Annotated[float | None, typer.Option(help="Of training (default: 1).")] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> str:
    """Learn several parts of an event together, and draw any of them given the others."""
    from pofx.core.errors import UsageError
    from pofx.data import captioned_tiles

    if run is not None and (model is not None or minutes is not None):
        raise UsageError("--run is trained already: leave --model and --minutes out")
    if caption is not None and given is not None:
        raise UsageError("--caption and --given both state what is known: give one")
    if caption is not None and source != "tiles":
        raise UsageError("--caption belongs to tiles: leave it out")
    of = None
    if source == "digits":
        from pofx.apps import spoken_pairs

        of = spoken_pairs.pairs(seed=seed)
        parts = of.parts
    elif source == "tiles":
        pictures, captions = captioned_tiles.tiles(6000, seed)
        parts = {"caption": captions, "picture": pictures}
    else:
        parts = read_parts(source)
    known = stated(parts, caption, given, of)
    joint = learned(source, parts, of, run, model, out, minutes, seed)
    if of is not None:
        known = {name: spoken_pairs.as_given(joint, name, part) for name, part in known.items()}
    drawn = joint.sample(n, known, seed=seed)
    if of is not None:
        drawn["picture"] = spoken_pairs.pixels(drawn["picture"])
    write_events(drawn, out)
    if source == "tiles":
        pictures, captions = captioned_tiles.tiles(300, seed + 1)
        for name, found in agreement(joint, pictures, captions, seed).items():
            show(f"{name}: words that agree {found:.3f}")
        captioned_tiles.sheet(drawn["picture"][:32], out / "events.png")
        for row in drawn["caption"][:5]:
            show(captioned_tiles.text(row))
    if of is not None:
        from pofx.data.kinds.audio import wav

        for name, share in spoken_pairs.agreement(joint, of, min(n, 300), seed).items():
            show(f"{name}: {share:.3f}")
        spoken_pairs.sheet(drawn["picture"][:HEARD], out / "events.png")
        for i, clip in enumerate(of.clips(drawn["sound"][:HEARD])):
            (out / f"{i}.wav").write_bytes(wav(clip, of.voice.rate))
    return f"{n} events"


def stated(parts: Mapping[str, Any], caption: str | None, given: str | None, of: Any) -> dict[str, Any]:
    """The parts that are known, by name: of a caption in words, of files, or none.

    Args:
        of: the pairs of pictures and sounds of `digits`, or None.

    Raises:
        UsageError: a part, or a word of a caption, that there is not.
    """
    import numpy as np
    import pandas as pd

    from pofx.apps import spoken_pairs
    from pofx.core.errors import UsageError, unknown
    from pofx.data import captioned_tiles

    if caption is not None:
        try:
            return {"caption": captioned_tiles.read(caption)}
        except KeyError as word:
            raise UsageError(f"--caption has a word that no caption has: {word}") from None
    name, sign, file = (given or "").partition("=")
    if sign and of is not None:
        found: dict[str, Any] = {name: spoken_pairs.read_part(name, Path(file), of)}
    else:
        found = {} if given is None else read_parts(given)
        if of is not None and "picture" in found:
            found["picture"] = spoken_pairs.squares(found["picture"])
    for name, part in found.items():
        if name not in parts:
            raise unknown("part", name, parts)
        columns = getattr(parts[name], "columns", None)
        if columns is not None and not hasattr(part, "columns"):
            found[name] = pd.DataFrame(np.atleast_2d(part), columns=columns)
    return found


def learned(
    source: str, parts: Mapping[str, Any], of: Any, run: Path | None, model: str | None, out: Path,
    minutes: float | None, seed: int,
) -> Any:  # fmt: skip
    """The model of a folder, or one of the parts, which is written beside what it draws."""
    from pofx.apps import spoken_pairs
    from pofx.apps.joint import Joint
    from pofx.apps.shared_class import through_class
    from pofx.apps.shared_parts import SharedParts

    if run is not None:
        kind: Any = SharedParts if any((run / at / "shared.json").is_file() for at in ("", "model")) else Joint
        return kind.load(run)
    how: dict[str, Any] = {"minutes": 1.0 if minutes is None else minutes, "progress": True, "seed": seed}
    made: Any
    if model == SHARED or (model is None and source in ("tiles", "digits")):
        made = through_class(parts, **how) if of is None else spoken_pairs.through_class(of, **how)
    else:
        joint = Joint(model or "circuit", **how)
        made = joint.fit(parts) if of is None else spoken_pairs.fitted(joint, of)
    made.save(out / "model")
    return made


def write_events(drawn: Mapping[str, Any], out: Path) -> None:
    """The parts of events as events.npz, words as texts."""
    import numpy as np

    from pofx.data.arrays import write_arrays

    arrays = {name: np.asarray(part) for name, part in drawn.items()}
    words = {name: part.astype(str) for name, part in arrays.items() if part.dtype.kind == "O"}
    write_arrays(out / "events.npz", arrays | words)


def read_parts(path: str | Path) -> dict[str, Any]:
    """The arrays of an .npz by name.

    Raises:
        DataError: no such file, or Python objects in it.
    """
    import numpy as np

    from pofx.core.errors import DataError
    from pofx.data.bounded import reading

    if Path(path).is_file() and Path(path).open("rb").read(4) not in (b"PK\x03\x04", b"PK\x05\x06"):
        raise DataError(f"{path} holds no parts: give an .npz of arrays by name (numpy.savez)")
    with reading(path, "parts", "give an .npz of arrays"), np.load(path, allow_pickle=False) as file:
        if not hasattr(file, "files"):
            raise ValueError("it holds one array")
        return {name: file[name] for name in file.files}


def agreement(joint: Any, pictures: Any, captions: Any, seed: int = 0) -> dict[str, float]:
    """The share of words that a rule sees in the picture, in all three directions, and by chance."""
    from pofx.data.captioned_tiles import seen

    n = len(captions)
    both = joint.sample(n, seed=seed)
    painted = joint.sample(n, {"caption": captions}, seed=seed + 1)
    named = joint.sample(n, {"picture": pictures}, seed=seed + 2)
    return {
        "both from nothing": float((seen(both["picture"]) == both["caption"]).mean()),
        "picture given caption": float((seen(painted["picture"]) == captions).mean()),
        "caption given picture": float((named["caption"] == captions).mean()),
        "chance": float((seen(pictures)[::-1] == captions).mean()),
    }
