"""One sheet of samples per model, and a page that shows them: `make gallery`.

    python docs/gallery.py --family gan --budget 60s

Sheets and page go to docs/gallery/, which is not part of the repository: they depend on the machine and the budget.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pofx
import pofx.data.sources
from pofx.core.config import entries
from pofx.core.errors import PofxError
from pofx.core.generative import Steerable
from pofx.data.kind import joined, kind_of, take
from pofx.train.options import Budget

HERE = Path(__file__).parent / "gallery"
SHOWN, COLUMNS = 64, 10  # samples of a sheet, and of a line of one that shows a control
STEERED = ("stylegan2",)  # models whose controls are shown
DATA = ("digits", "moons", "spoken-digits")
SOUND = ("wavegan", "wavenet")  # models of signals, which take pictures of digits as such too


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--family", default="all")
    cli.add_argument("--data", help=f"for all models; by default the first of {', '.join(DATA)} that a model takes")
    cli.add_argument("--budget", default="60s", help="of each training")
    cli.add_argument("--models", help="names with commas between them; all of the family by default")
    args = cli.parse_args()
    HERE.mkdir(exist_ok=True)
    budget, known = Budget.of(args.budget), entries()
    named = list(known) if args.models is None else args.models.split(",")
    if args.models is None and args.family != "all":
        named = [name for name, row in known.items() if row.traits.family == args.family]
    lines, real = [], {}
    for name in sorted(named, key=lambda n: (known[n].traits.family, n)):
        found = trained(name, [args.data] if args.data else DATA[::-1] if name in SOUND else DATA, budget)
        if found is None:
            continue
        run, source = found
        real.setdefault(source, f"real-{source}")
        steps = run.card["training"]["steps"]
        lines += [f"## `{name}` ({known[name].traits.family})", ""]
        lines += [f"{known[name].traits.summary} {steps} steps on {source}.", ""]
        lines += [sheet(name, "samples", run.draw(SHOWN, seed=0)), ""]
        for control in run.model.controls() if name in STEERED and isinstance(run.model, Steerable) else ():
            drawn = joined([run.draw(COLUMNS, seed=0, **options) for _, options in control.lines])
            labels = "; ".join(label for label, _ in control.lines)
            lines += [sheet(name, control.name, drawn, COLUMNS), "", f"{control.name}, line by line: {labels}", ""]
        print(f"{name}: {steps} steps on {source}", flush=True)
    head = [f"# Gallery: {args.models or args.family}", ""]
    head += [f"Each model was trained for {budget} with its defaults. Real items, which no model has seen:", ""]
    for source, name in real.items():
        test = pofx.data.sources.load(source).test
        head += [f"## Real items of {source}", "", sheet(name, "samples", take(test, range(min(SHOWN, len(test))))), ""]
    (HERE / "index.md").write_text("\n".join(head + lines))
    print(HERE / "index.md")


def trained(name: str, sources: Sequence[str], budget: Budget) -> tuple[Any, str] | None:
    """A run of a model on the first of the data sets that it takes, and the name of that; None where it takes none."""
    for source in sources:
        try:
            return pofx.fit(source, name, progress=False, **budget.request), source
        except PofxError as error:
            reason = error
    print(f"{name}: {reason}", flush=True)
    return None


def sheet(name: str, title: str, drawn: Any, columns: int | None = None) -> str:
    """The lines of a page that show samples: a picture in a file of its own, or the first lines."""
    kind = kind_of(drawn)
    if not kind.pictorial and kind.plane(drawn.values) is None:
        return f"```\n{kind.preview(drawn) or kind.describe(drawn)}\n```"
    file = f"{name}{'' if title == 'samples' else '-' + title.replace(' ', '-').replace('.', '')}.png"
    (HERE / file).write_bytes(kind.content(drawn, ".png", columns=columns))
    return f"![{name}: {title}]({file})"


if __name__ == "__main__":
    main()
