"""Checks of a trained artifact for common faults: each finding is ok, warning or failed, with evidence and a remedy.

Checks use only what the contract promises, so all families share them; a check that does not apply is omitted. They
look at few items: the whole takes seconds. They are found in `evaluate/checks/`, in each file's `CHECKS`.
"""

from collections.abc import Callable, Iterator
from typing import Any

from pofx.artifact import Artifact, run_of
from pofx.core.discovery import modules
from pofx.core.entry import public
from pofx.core.errors import PofxError, Unsupported
from pofx.core.options import Seed
from pofx.core.progress import Parts, Sink, reporting
from pofx.data.dataset import Dataset, sampled
from pofx.evaluate.checks.finding import Finding, finding
from pofx.evaluate.conditions import with_conditions
from pofx.evaluate.provenance import check_same_data, trained_on

PUBLIC = ("audit",)
Check = Callable[[Artifact, Dataset, int], Iterator[Finding]]


def checks() -> list[Check]:
    """Every check, in the order of their files."""
    return [check for module in modules("pofx.evaluate.checks") for check in vars(module).get("CHECKS", ())]


@public
def audit(
    artifact: Any,
    dataset: Any = None,
    *,
    seed: Seed = 0,
    force: bool = False,
    progress: bool | Sink = True,
) -> list[Finding]:
    """Check an artifact against the data it was trained on.

    Args:
        artifact: a run or its folder.
        dataset: data set, or what `fit` takes; None reads that of training again.
        force: check on other data, whose test split may hold training items.
        progress: True shows the progress, False nothing; a function receives each `Progress`.

    Returns:
        Rows {"check", "result": "ok" | "warning" | "failed", "seen", "mend"}.

    Raises:
        UsageError: the data is not that of training (and `force` is False).
    """
    artifact = run_of(artifact)
    dataset = trained_on(artifact, dataset)
    differs = check_same_data(artifact, dataset, force=force)
    dataset = sampled(dataset, seed)
    dataset = with_conditions(artifact, dataset)
    mend = "its test split may hold training items: name the data of training"
    found: list[Finding] = [finding("data of training", "warning", "; ".join(differs), mend)] if differs else []
    with reporting(progress, f"audit {artifact.name}") as report:
        say = Parts(report, len(checks()))
        for check in checks():
            name = check.__name__.strip("_").replace("_", " ")
            say(name)
            try:
                found += check(artifact, dataset, seed)
            except Unsupported:  # the model lacks this capability
                continue
            except PofxError as error:
                found.append(finding(name, "failed", str(error), "see the message"))
        say.end()
    return found
