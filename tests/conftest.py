"""Shapes and types of arguments and results are checked while the tests run: the hook must come before pofx itself.

Ctrl-C is heard even where the tests were started in the background by a shell, which lets its jobs ignore it.
"""

import signal

from jaxtyping import install_import_hook

CHECKED = ("pofx.maths", "pofx.nets", "pofx.families", "pofx.core.model", "pofx.core.random")
MEASURES = ("pofx.evaluate.metrics", "pofx.evaluate.distances", "pofx.evaluate.selftest")

install_import_hook([*CHECKED, *MEASURES], "beartype.beartype")
signal.signal(signal.SIGINT, signal.default_int_handler)
