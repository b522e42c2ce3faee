"""Parts of one event, drawn together and given each other: `python bench/multimodal.py tiles|digits [--minutes 2]`.

`tiles`: small pictures and their captions, read by a rule. `digits`: pictures of MNIST and spoken digits
(`pofx.apps.spoken_pairs`); needs POFX_DATA.
"""

import argparse
import time
from pathlib import Path

import pandas as pd
from harness import option

from pofx.apps.joint import Joint


def tiles(args) -> dict[str, float]:
    from pofx.apps.multimodal import agreement
    from pofx.apps.shared_class import through_class
    from pofx.data import captioned_tiles

    pictures, captions = captioned_tiles.tiles(6000, 0)
    parts = {"caption": captions, "picture": pictures}
    if args.model == "shared":
        joint = through_class(parts, minutes=args.minutes)
        print(f"picture {joint.runs['picture'].card['training']['steps']} steps")
    else:
        joint = Joint(args.model, minutes=args.minutes, options=args.options).fit(parts)
    joint.save(args.out)
    captioned_tiles.sheet(joint.sample(64, seed=1)["picture"], Path(args.out) / "drawn.png")
    found = {}
    for steps in args.remasking or [None]:  # places that are drawn again at the end, given all others
        if steps is not None:
            joint.run = joint.run.using(remasking=steps)
        found = agreement(joint, *captioned_tiles.tiles(args.n, 1))
        print(steps, found, f"{time.process_time() - args.began:.0f} s of CPU", flush=True)
    return found


def digits(args) -> dict[str, float]:
    from pofx.apps import spoken_pairs

    of = spoken_pairs.pairs()
    print(f"pairs: {time.process_time() - args.began:.0f} s of CPU", flush=True)
    if args.model == "shared":
        joint = spoken_pairs.through_class(of, minutes=args.minutes)
        runs = joint.runs
    else:
        joint = spoken_pairs.fitted(Joint(args.model, minutes=args.minutes, options=args.options), of)
        runs = {args.model: joint.run}
    steps = ", ".join(f"{name} {run.card['training']['steps']} steps" for name, run in runs.items())
    print(f"{steps}, {time.process_time() - args.began:.0f} s of CPU", flush=True)
    joint.save(args.out)
    spoken_pairs.sheet(spoken_pairs.pixels(joint.sample(64, seed=1)["picture"]), Path(args.out) / "drawn.png")
    if args.remasking:
        joint.run = joint.run.using(remasking=args.remasking[-1])
    return spoken_pairs.agreement(joint, of, args.n)


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("name", choices=["tiles", "digits"])
    cli.add_argument("--model", default="circuit")
    cli.add_argument("--minutes", type=float, default=2.0)
    cli.add_argument("--states", type=int)
    cli.add_argument("--remasking", type=int, nargs="*", default=[], help="of masked-diffusion")
    cli.add_argument("-n", type=int, default=300)
    cli.add_argument("--option", "-o", action="append", default=[], type=option, help="KEY=VALUE of model or trainer")
    cli.add_argument("--out", default="multimodal", help="folder of the model")
    args = cli.parse_args()
    args.options = {**({"states": args.states} if args.states else {}), **dict(args.option)}
    args.began = time.process_time()
    found = {"tiles": tiles, "digits": digits}[args.name](args)
    print(f"{args.model}, {time.process_time() - args.began:.0f} s of CPU in all")
    print(pd.Series(found).round(3).to_string())
