"""What is wrong with a duel, by its numbers: collapse, divergence, a critic that wins; each with its usual fixes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

NEARLY_SPENT = 0.9  # of a budget
YOUNG = 0.25  # share of the budget before which samples may be alike
COVERED = 0.7  # of the effective classes of the data, below which samples collapsed
COPIES = 0.3  # near-duplicate share from which on samples collapsed
WORSE = 3.0  # times the best validation
WON = 0.99  # critic accuracy
HEEDED = 0.5  # of the share of items whose neighbour has their class, below which samples ignore their class


UNGUIDED = (
    "without images as its condition nothing is translated: pass --condition with the folder of the inputs (A), or "
    "left or right where pictures lie side by side"
)


def mends(given: Mapping[str, Any], *, grid: bool, styled: bool) -> dict[str, str]:
    """What helps against each symptom of a duel with these options, by the options that are not in use yet.

    Args:
        grid: whether events are grids, which can be changed for the critic.
        styled: whether the critic can see the deviation of a minibatch.
    """
    both = [name for name, wanted in (("loss", "relativistic"), ("penalty", "r1+r2")) if given[name] != wanted]
    stated = {"loss": "loss=relativistic", "penalty": "penalty=r1+r2"}
    pair = [" and ".join(stated[name] for name in both)] if both else []
    penalised = [stated["penalty"]] if "penalty" in both else []
    group = ["group=4"] if styled and not given["group"] else []
    spectral = (
        ["spectral=critic"] if given["architecture"] in ("spectral", "split") and given["spectral"] == "none" else []
    )
    few = ["augment for few items"] if grid and not given["augment"] else []
    heard = [] if given["auxiliary"] else ["auxiliary=true"]
    heard = (["matching=1"] if heard and not given["mismatches"] else []) + heard
    return {
        "collapse": f"Pass {_any([*pair, *group, 'a larger batch_size'])}, or train longer",
        "divergence": f"Lower lr, or pass {_any([*penalised, 'a larger gamma'])}",
        "critic": f"Pass {_any([*penalised, *spectral, 'a smaller critic_rate', *few])}",
        "condition": f"Pass {_any(heard)}, or train longer" if heard else "Train longer",
    }


def _any(options: Sequence[str]) -> str:
    return options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"


MENDS = {  # of a duel whose options are not known
    "collapse": "Pass a larger batch_size, or train longer",
    "divergence": "Lower lr, or pass a larger gamma",
    "critic": "Lower lr, or pass a larger batch_size",
}
TRANSLATION = {  # of a paired translation
    "collapse": "Pass a larger l1, or train longer",
    "divergence": "Lower lr, or pass a larger l1",
    "critic": "Lower critic_rate, or pass augment for few items",
}


def growing(stage: float | None, sizes: Sequence[tuple[int, int]], seen: float, share: float) -> dict[str, str]:
    """A progressive net that will not have all its resolutions before the budget is spent."""
    if stage is None or not sizes or share < NEARLY_SPENT:
        return {}
    (height, width), (most, widest) = sizes[min(math.ceil(stage), len(sizes) - 1)], sizes[-1]
    if stage >= len(sizes) - 1:
        return {"growth": ""}
    return {
        "growth": f"the net has grown to {height} × {width} of {most} × {widest}: samples are coarse. Train longer, or "
        f"pass growth={max(int(seen) // (4 * (len(sizes) - 1)), 1)}"
    }


IGNORED = (
    "the condition has little effect: {right:.0%} of samples lie nearest to items of the class that they were drawn "
    "for, items themselves in {due:.0%}. {mend}"
)


def symptoms(numbers: Mapping[str, float], mends: Mapping[str, str] = MENDS) -> dict[str, str]:
    """Sentences by name: "collapse", "divergence", "critic", "condition".

    A sentence is empty where that was measured and is not so, or no longer.

    Args:
        mends: by the same names, the options of the model that help.
        numbers: "share" of the budget; of a validation "validation", "best validation", "near-duplicate share", "class
            entropy", "class entropy of data", "condition right", "condition right of data"; of steps "critic accuracy".
    """
    found: dict[str, str] = {}
    share = numbers.get("share", 1.0)
    if share < YOUNG:
        return found
    copies = numbers.get("near-duplicate share", 0.0)
    modes = math.exp(numbers.get("class entropy", 0.0))
    due = math.exp(numbers.get("class entropy of data", 0.0))
    few = modes < COVERED * due
    if "class entropy" in numbers:
        found["collapse"] = ""
    if "class entropy" in numbers and (few or copies > COPIES):
        spread = (
            f"samples spread over {modes:.2g} {'class' if modes < 1.05 else 'classes'} where the data has {due:.2g}"
        )
        alike = f"{copies:.0%} of samples are near copies of one another"
        seen = " and ".join([spread] * few + [alike] * (copies > COPIES))
        found["collapse"] = f"the generator collapses: {seen}. {mends['collapse']}"
    now, best = numbers.get("validation"), numbers.get("best validation")
    if now is not None and best is not None:
        found["divergence"] = (
            f"the duel diverges: samples are {now / best:.1f} times as far from the data as at best (those weights are "
            f"stored). {mends['divergence']}"
            if now > WORSE * best
            else ""
        )
    right, due = numbers.get("condition right"), numbers.get("condition right of data", 0.0)
    if right is not None:
        ignored = due > HEEDED and right < HEEDED * due
        found["condition"] = (
            IGNORED.format(right=right, due=due, mend=mends.get("condition", "Train longer")) if ignored else ""
        )
    if "critic accuracy" in numbers:
        found["critic"] = (
            f"the critic wins: it orders {numbers['critic accuracy']:.1%} of pairs correctly, which leaves the "
            f"generator without direction. {mends['critic']}"
            if numbers["critic accuracy"] > WON
            else ""
        )
    return found
