"""Shapes and types of arguments and results are checked while the tests run: the hook must come before pofx itself."""

from jaxtyping import install_import_hook

CHECKED = ("pofx.maths", "pofx.nets", "pofx.families", "pofx.core.model", "pofx.core.random")
METRICS = ("frechet", "neighbours", "distances", "near_copy", "two_sample")

install_import_hook([*CHECKED, *(f"pofx.evaluate.{name}" for name in METRICS)], "beartype.beartype")
