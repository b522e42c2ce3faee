"""One sheet of samples per model, and a page that shows them: `make gallery`.

    python docs/gallery.py --family gan --budget 60s

Sheets and page go to docs/gallery/, which is not part of the repository: they depend on the machine and the budget. The
trained runs lie in docs/gallery/runs/, so that the same command after an interruption trains only what is missing; the
page has all models of this and of earlier calls, each from its file in docs/gallery/sections/.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import pofx
import pofx.data.sources
from pofx.core.config import entries
from pofx.core.errors import PofxError
from pofx.core.generative import Steerable
from pofx.data.kind import joined, kind_of, take
from pofx.runs.folder import status
from pofx.train.options import Budget

HERE = Path(__file__).parent / "gallery"
SHOWN, COLUMNS, HEARD = 64, 10, 10  # samples of a sheet, of a line of one that shows a control, and of a sound
STEERED = ("stylegan2",)  # models whose controls are shown
DATA = ("digits", "moons", "spoken-digits")
REAL = "real"  # begins the names of sections of real items
SOUND = ("wavegan", "wavenet")  # models of signals, which take pictures of digits as such too
TRANSLATIONS = ("pix2pix", "cyclegan")  # of digits that were turned and inverted


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--family", default="all")
    cli.add_argument("--data", help=f"for all models; by default the first of {', '.join(DATA)} that a model takes")
    cli.add_argument("--budget", default="60s", help="of each training")
    cli.add_argument("--models", help="names with commas between them; all of the family by default")
    cli.add_argument("--again", action="store_true", help="train what is there with this budget again")
    args = cli.parse_args()
    budget, known = Budget.of(args.budget), entries()
    named = list(known) if args.models is None else args.models.split(",")
    if missing := [name for name in named if name not in known]:
        cli.error(f"no model is called {', '.join(missing)}: see `pofx models`")
    if args.family not in ("all", *(row.traits.family for row in known.values())):
        cli.error(f"no family is called {args.family}: see `pofx models`")
    HERE.mkdir(exist_ok=True)
    if args.models is None and args.family != "all":
        named = [name for name, row in known.items() if row.traits.family == args.family]
    real: set[str] = set()
    for name in sorted(named, key=lambda n: (known[n].traits.family, n)):
        found = trained(name, [args.data] if args.data else DATA[::-1] if name in SOUND else DATA, budget, args.again)
        if found is None:
            continue
        run, source = found
        if source not in real:
            test = pofx.data.sources.load(source).test
            shown = sheet(f"real-{source}", "samples", take(test, range(min(SHOWN, len(test)))))
            section(f"{REAL}-{source}", [f"## Real items of {source}, which no model has seen", "", shown, ""])
            real.add(source)
        steps, family = run.card["training"]["steps"], known[name].traits.family
        lines = [f"## `{name}` ({family})", ""]
        lines += [f"{known[name].traits.summary} {steps} steps on {source}, with its defaults, in {budget}.", ""]
        if name in TRANSLATIONS:
            given = turned(take(pofx.data.sources.load(source).test, range(SHOWN)))
            lines += ["Turned and inverted digits, and what is made of them:", "", sheet(name, "given", given), ""]
            lines += [sheet(name, "samples", run.draw(SHOWN, given.values, seed=0)), ""]
        else:
            lines += [sheet(name, "samples", run.draw(SHOWN, seed=0)), ""]
        for control in run.model.controls() if name in STEERED and isinstance(run.model, Steerable) else ():
            drawn = joined([run.draw(COLUMNS, seed=0, **options) for _, options in control.lines])
            labels = "; ".join(label for label, _ in control.lines)
            lines += [sheet(name, control.name, drawn, COLUMNS), "", f"{control.name}, line by line: {labels}", ""]
        print(f"{name}: {steps} steps on {source}", flush=True)
        section(f"{family}-{name}", lines)
    print(HERE / "index.md")


def section(name: str, lines: Sequence[str]) -> None:
    """Write the part of one model, and the page of all parts: real items first, then family by family."""
    parts = HERE / "sections"
    parts.mkdir(exist_ok=True)
    (parts / f"{name}.txt").write_text("\n".join(lines))
    real = [part.read_text() for part in sorted(parts.glob(f"{REAL}-*.txt"))]
    others = {part.stem: part.read_text() for part in parts.glob("*.txt") if not part.stem.startswith(f"{REAL}-")}
    (HERE / "index.md").write_text("\n".join(["# Gallery", "", *real, *(others[stem] for stem in sorted(others))]))


def trained(name: str, sources: Sequence[str], budget: Budget, again: bool) -> tuple[Any, str] | None:
    """A run of a model on the first of the data sets that it takes, and the name of that; None where it takes none. A
    finished run with this budget is loaded."""
    for source in sources:
        folder = HERE / "runs" / f"{source}-{name}"
        try:
            if not again and finished(folder, budget):
                return pofx.load(folder), source
            data, options = source, budget.request
            if name in TRANSLATIONS:
                data = pofx.data.sources.load(source).train
                options = {**options, "condition": turned(data)}
            return pofx.fit(data, name, progress=False, out=folder, overwrite=True, **options), source
        except PofxError as error:
            reason = error
    print(f"{name}: {reason}", flush=True)
    return None


def turned(digits: Any) -> Any:
    """Pictures by a quarter turn, white for black."""
    top = int(digits.values.max())
    return pofx.images(top - np.rot90(digits.values, axes=(1, 2)), levels=top + 1)


def finished(folder: Path, budget: Budget) -> bool:
    """Whether a folder holds a run that was trained for so long, to its end."""
    request = folder / "request.json"
    if not request.exists() or status(folder).state != "finished":
        return False
    return bool(json.loads(request.read_text())["budget"] == budget.request)


def sheet(name: str, title: str, drawn: Any, columns: int | None = None) -> str:
    """The lines of a page that show samples: a picture in a file of its own, or the first lines."""
    kind = kind_of(drawn)
    if ".wav" in kind.outputs:
        (HERE / f"{name}.wav").write_bytes(kind.content(take(drawn, range(HEARD)), ".wav"))
        return f"[{name}: {title}, {HEARD} clips]({name}.wav)"
    if not kind.pictorial and kind.plane(drawn.values) is None:
        return f"```\n{kind.preview(drawn) or kind.describe(drawn)}\n```"
    file = f"{name}{'' if title == 'samples' else '-' + title.replace(' ', '-').replace('.', '')}.png"
    (HERE / file).write_bytes(kind.content(drawn, ".png", columns=columns))
    return f"![{name}: {title}]({file})"


if __name__ == "__main__":
    main()
