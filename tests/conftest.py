"""Shapes and types of arguments and results are checked while the tests run: the hook must come before pofx itself.

Ctrl-C is heard even where the tests were started in the background by a shell, which lets its jobs ignore it. The laws
of one case of the conformance suite run in one process, so that its model is trained once.
"""

import signal

import pytest
from jaxtyping import install_import_hook
from xdist.scheduler import LoadScopeScheduling

CHECKED = ("pofx.maths", "pofx.nets", "pofx.families", "pofx.core.model", "pofx.core.random")
MEASURES = ("pofx.evaluate.metrics", "pofx.evaluate.distances", "pofx.evaluate.selftest")

install_import_hook([*CHECKED, *MEASURES], "checking.check")
signal.signal(signal.SIGINT, signal.default_int_handler)


class CaseByCase(LoadScopeScheduling):
    """Shares out tests one by one, but those of a conformance case together (pytest 9 does not see xdist_group)."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        case = test.partition("[")[2]
        return case if file.endswith("test_conformance.py") and case else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> CaseByCase:
    return CaseByCase(config, log)
