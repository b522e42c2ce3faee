"""One sheet of samples per model of a family, and a page that shows them: `make gallery`.

    python docs/gallery.py --family gan --data digits --budget 60s

Sheets and page go to docs/gallery/, which is not part of the repository: they depend on the machine and the budget.
"""

import argparse
from pathlib import Path

import pofx
from pofx.core.config import entries
from pofx.core.errors import PofxError
from pofx.data.kind import kind_of
from pofx.data.sources import load
from pofx.train.options import Budget

HERE = Path(__file__).parent / "gallery"
SHOWN = 64
CONTROLS = {  # sheets of what can be steered, by model
    "stylegan2": (
        ("truncation 0.5", {}, {"truncation": 0.5}),
        ("coarse styles of a second code", {"mix_levels": "coarse"}, {}),
        ("middle styles of a second code", {"mix_levels": "middle"}, {}),
        ("fine styles of a second code", {"mix_levels": "fine"}, {}),
        ("along the first SeFa direction", {"direction": 1, "strength": 3.0}, {}),
        ("along the first GANSpace direction", {"directions": "ganspace", "direction": 1, "strength": 3.0}, {}),
    ),
}


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--family", default="gan")
    cli.add_argument("--data", default="digits")
    cli.add_argument("--budget", default="60s", help="of each training")
    cli.add_argument("--models", help="names with commas between them; all of the family by default")
    args = cli.parse_args()
    data = load(args.data)
    kind = kind_of(data.train)
    HERE.mkdir(exist_ok=True)
    budget = Budget.of(args.budget)
    names = (
        args.models.split(",")
        if args.models
        else [n for n, row in entries().items() if row.traits.family == args.family]
    )
    lines = [
        f"# Gallery: {args.family} on {args.data}",
        "",
        f"Each model was trained for {budget} with its defaults.",
        "",
    ]
    for name in names:
        try:
            run = pofx.fit(data, name, progress=False, **budget.request)
        except PofxError as error:
            print(f"{name}: {error}", flush=True)
            continue
        steps = run.card["training"]["steps"]
        lines += [f"## `{name}`", "", f"{entries()[name].traits.summary} {steps} steps.", ""]
        sheets = [("samples", {}, {}), *CONTROLS.get(name, ())]
        for title, options, tempering in sheets:
            drawn = run.using(**options).draw(SHOWN, seed=0, **tempering)
            file = f"{name}{'' if title == 'samples' else '-' + title.replace(' ', '-').replace('.', '')}.png"
            (HERE / file).write_bytes(kind.content(drawn, ".png"))
            lines += [f"![{name}: {title}]({file})", "", f"{title}", ""]
        print(f"{name}: {steps} steps", flush=True)
    (HERE / "index.md").write_text("\n".join(lines))
    print(HERE / "index.md")


if __name__ == "__main__":
    main()
