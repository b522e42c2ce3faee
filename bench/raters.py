"""Coverage of the intervals of human judgements under simulated raters who differ from each other.

    python bench/raters.py --repeats 1000

People differ in a logit (standard deviation --spread). The truth of each statistic is
its value for 20,000 people. Prints the share of intervals of 95 % that hold it, with its standard error, for studies of
several sizes: the share of deceived answers, d′ and the differences of Bradley-Terry strengths.
"""

import argparse

import numpy as np
import pandas as pd
from scipy.special import expit

from pofx.evaluate.human import bradley_terry, rate, sensitivity

SHARES = (0.1, 0.3, 0.5)  # of answers that take an item of a run for real
STRENGTHS = {"a": 0.8, "b": 0.2, "c": -0.3, "d": -0.7}
MANY = 20_000


def deceived(share, people, trials, spread, rng):
    """Hits and raters of a study: a person's logit moves all of that person's answers."""
    logit = np.log(share / (1 - share)) + spread * rng.normal(size=people)
    hits = rng.random((people, trials)) < expit(logit)[:, None]
    return hits.ravel(), np.repeat(np.arange(people), trials)


def distinguished(people, trials, spread, rng):
    """Answers to generated and real items: persons differ in their bias and their eye."""
    generated = rng.random((people, trials)) < 0.5
    bias, eye = spread * rng.normal(size=(2, people, 1))
    answered = rng.random((people, trials)) < expit(bias + np.where(generated, 0.4 + eye, -0.4 - eye))
    columns = {"rater": np.repeat(np.arange(people), trials), "generated": generated.ravel()}
    return pd.DataFrame({**columns, "answered": answered.ravel()})


def preferred(people, trials, spread, rng):
    """Votes between models whose strengths differ by person."""
    names = np.array(list(STRENGTHS))
    own = np.array(list(STRENGTHS.values())) + spread * rng.normal(size=(people, len(names)))
    left = rng.integers(len(names), size=(people, trials))
    right = (left + rng.integers(1, len(names), size=left.shape)) % len(names)
    at = np.arange(people)[:, None]
    wins = rng.random(left.shape) < expit(own[at, left] - own[at, right])
    return pd.DataFrame({"rater": np.repeat(np.arange(people), trials), "left": names[left.ravel()],
                         "right": names[right.ravel()], "choice": np.where(wins.ravel(), "left", "right")})  # fmt: skip


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--repeats", type=int, default=1000)
    cli.add_argument("--trials", type=int, default=40)
    cli.add_argument("--spread", type=float, default=0.5)
    cli.add_argument("--people", type=int, nargs="*", default=[6, 12, 30])
    args = cli.parse_args()
    rng, how = np.random.default_rng(0), (args.trials, args.spread)
    wide = [np.mean(deceived(share, MANY, *how, rng)[0]) for share in SHARES]
    far = sensitivity(distinguished(MANY, *how, rng).assign(rater=lambda f: f["rater"] % 2))
    models = bradley_terry(preferred(MANY // 4, *how, rng))
    print(f"{args.repeats} studies of {args.trials} answers a person, spread {args.spread:g}")
    for people in args.people:
        held: dict[str, list[bool]] = {}
        for _ in range(args.repeats):
            for share, truth in zip(SHARES, wide, strict=True):
                found = rate(*deceived(share, people, *how, rng))
                held.setdefault(f"share {share}", []).append(found.low <= truth <= found.high)
            for name, (_, low, high) in sensitivity(distinguished(people, *how, rng)).items():
                held.setdefault(name, []).append(low <= far[name][0] <= high)
            votes = bradley_terry(preferred(people, *how, rng))
            for a, b in (("a", "b"), ("a", "d"), ("b", "c")):
                _, low, high = votes.difference(a, b)
                held.setdefault(f"{a} - {b}", []).append(low <= models.difference(a, b)[0] <= high)
        rates = {name: np.mean(v) for name, v in held.items()}
        print(f"{people} people: " + ", ".join(
            f"{name} {v:.3f} ± {(v * (1 - v) / args.repeats) ** 0.5:.3f}" for name, v in rates.items()))  # fmt: skip


if __name__ == "__main__":
    main()
