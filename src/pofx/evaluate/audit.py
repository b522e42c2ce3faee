"""Checks of a trained artifact for common faults: each finding is ok, warning or failed, with evidence and a remedy.

Checks use only what the contract promises, so all families share them; a check that does not apply is omitted. They
look at few items: the whole takes seconds. They are found in `evaluate/checks/`, in each file's `CHECKS`.
"""

from collections.abc import Callable, Iterator

from pofx.artifact import Artifact
from pofx.core.discovery import modules
from pofx.core.errors import PofxError, Unsupported
from pofx.data.dataset import Dataset
from pofx.evaluate.checks.finding import Finding, finding
from pofx.evaluate.conditions import with_conditions
from pofx.evaluate.provenance import check_same_data

Check = Callable[[Artifact, Dataset, int], Iterator[Finding]]


def checks() -> list[Check]:
    """Every check, in the order of their files."""
    return [check for module in modules("pofx.evaluate.checks") for check in vars(module).get("CHECKS", ())]


def audit(artifact: Artifact, dataset: Dataset, *, seed: int = 0, force: bool = False) -> list[Finding]:
    """Check an artifact against the data it was trained on.

    Args:
        force: check on other data, whose test split may hold training items.

    Returns:
        Rows {"check", "result": "ok" | "warning" | "failed", "seen", "mend"}.

    Raises:
        UsageError: the data is not that of training (and `force` is False).
    """
    differs = check_same_data(artifact, dataset, force=force)
    dataset = with_conditions(artifact, dataset)
    mend = "its test split may hold training items: name the data of training"
    found: list[Finding] = [finding("data of training", "warning", "; ".join(differs), mend)] if differs else []
    for check in checks():
        try:
            found += check(artifact, dataset, seed)
        except Unsupported:  # the model lacks this capability
            continue
        except PofxError as error:
            found.append(finding(check.__name__.strip("_"), "failed", str(error), "see the message"))
    return found
