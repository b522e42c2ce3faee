"""Shapes and types of arguments and results are checked while the tests run: the hook must come before pofx itself.

What one process has compiled, the others read, whatever the environment says of bytecode: to write the assertions anew
takes ten seconds a process, and each of the programs that tests start would compile pofx.

Ctrl-C is heard even where the tests were started in the background by a shell, which lets its jobs ignore it. The tests
of one file run in one process, and of the conformance suite the laws of one case, so that what they share is trained
once. What was imported is never freed, so the collector of garbage need not look at it.
"""

import gc
import os
import signal
import sys

import pytest
from jaxtyping import install_import_hook
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

import checking

CHECKED = ("pofx.maths", "pofx.nets", "pofx.families", "pofx.core.model", "pofx.core.random")
MEASURES = ("pofx.evaluate.metrics", "pofx.evaluate.distances", "pofx.evaluate.selftest")

sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
install_import_hook([*CHECKED, *MEASURES], "checking.check")
signal.signal(signal.SIGINT, signal.default_int_handler)


FIRST = ("test_new_kind.py", "test_kills.py", "test_plugin.py")  # few tests that take long


class CaseByCase(LoadScopeScheduling):
    """Shares out files of tests, but the conformance suite by case and long files without fixtures by test.

    What has most tests begins first; before it the files of few long ones, for which all would wait at the end.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        case = test.partition("[")[2]
        if file.endswith("test_conformance.py") and case:
            return case
        alone = file.endswith("test_default_dtype.py") or test.startswith("test_every_block")
        return nodeid if alone else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        for scope in self.workqueue:
            if scope.endswith(FIRST):
                self.workqueue.move_to_end(scope, last=False)
                break
        super()._assign_work_unit(node)


def pytest_runtest_setup(item: pytest.Item) -> None:
    checking.begin()


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> CaseByCase:
    return CaseByCase(config, log)
