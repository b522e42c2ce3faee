"""A doctor for a trained artifact: each finding is ok, warning or failed, with what was seen and the mend.

Checks ask only what the contract promises, so every family takes the same examination; one that does not apply is left
out. Numbers of items are small: the whole takes seconds. They are found in `evaluate/checks/`, in each file's `CHECKS`.
"""

from collections.abc import Callable, Iterator

from pofx.artifact import Artifact
from pofx.core.config import modules
from pofx.core.errors import PofxError, Unsupported
from pofx.data.dataset import Dataset
from pofx.evaluate.checks.finding import Finding, finding

Check = Callable[[Artifact, Dataset, int], Iterator[Finding]]


def checks() -> list[Check]:
    """Every check, in the order of their files."""
    return [check for module in modules("pofx.evaluate.checks") for check in vars(module).get("CHECKS", ())]


def audit(artifact: Artifact, dataset: Dataset, *, seed: int = 0) -> list[Finding]:
    """Examine an artifact against the data it was trained on.

    Returns:
        Rows {"check", "result": "ok" | "warning" | "failed", "seen", "mend"}.
    """
    found: list[Finding] = []
    for check in checks():
        try:
            found += check(artifact, dataset, seed)
        except Unsupported:  # the model says that this is not asked of it
            continue
        except PofxError as error:
            found.append(finding(check.__name__.strip("_"), "failed", str(error), "see the message"))
    return found
