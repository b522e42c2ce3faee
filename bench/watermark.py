"""The pixel watermark on real pictures: detection after JPEG 75, false alarms, and what it changes.

python bench/watermark.py --data mnist -n 2000

Prints the share detected at p < 1e-6 unchanged and after JPEG 75, the share of unmarked test pictures at or below
levels of p, the peak signal-to-noise ratio, and the Fréchet distance to other real pictures (64 principal
components) before and after marking.
"""

import argparse

import numpy as np
from sklearn.decomposition import PCA

from pofx.apps.robustness import CHANGES
from pofx.apps.watermark import PixelMark
from pofx.data.kind import kind_of, take
from pofx.data.sources import load
from pofx.maths.frechet import frechet_distance


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", default="mnist")
    cli.add_argument("-n", type=int, default=2000)
    cli.add_argument("--strength", type=float, nargs="*", default=[30.0])
    args = cli.parse_args()
    data = load(args.data)
    kind = kind_of(data.train)
    pictures = kind.shown(take(data.train, np.arange(args.n)).values, data.train.facts).pictures
    others = kind.shown(take(data.train, np.arange(args.n, 4 * args.n)).values, data.train.facts).pictures
    test = kind.shown(data.test.values, data.test.facts).pictures
    pca = PCA(64, random_state=0).fit(others.reshape(len(others), -1) / 255)

    def distance(x) -> float:
        a, b = (pca.transform(v.reshape(len(v), -1) / 255) for v in (x, others))
        return float(frechet_distance(a, b))

    before = distance(pictures)
    for strength in args.strength:
        mark = PixelMark(b"a key of the benchmark", strength)
        marked = mark.embed(pictures)
        found = {"unchanged": marked}
        found |= {f"{name} {s}": change(marked, s) for name, (change, many) in CHANGES.items() for s in many[1:3]}
        found["JPEG 75"] = CHANGES["JPEG quality"][0](marked, 75)
        rates = {name: float((mark.detect(x).p < 1e-6).mean()) for name, x in found.items()}
        p = mark.detect(test).p
        error = np.square(marked.astype(float) - pictures).mean()
        print(f"strength {strength:g}: " + ", ".join(f"{name} {rate:.3f}" for name, rate in rates.items()))
        print(
            f"  false alarms on {len(p):,}: "
            + ", ".join(f"p <= {a}: {(p <= a).mean():.4f}" for a in (0.05, 0.01, 1e-3))
        )
        print(f"  PSNR {10 * np.log10(255**2 / error):.1f} dB, FD {before:.4f} -> {distance(marked):.4f}")


if __name__ == "__main__":
    main()
