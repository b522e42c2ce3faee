"""pofx, "p of x": every family of deep generative models behind one contract.

    run = pofx.fit("digits", model="realnvp", minutes=1)   # data: a name, a file, a folder, a DataFrame, wrapped arrays
    x = run.sample(64, seed=0)
    run.score(x)                                           # log p with its kind, unit, measure and standard error
    run.encode(x), run.decode(z), run.interpolate(a, b)    # where the model has codes
    pofx.evaluate(run).table(), pofx.audit(run)            # how good it is, and what is wrong with it
    pofx.compare("digits", budget="1m").table()            # which family suits the data
    run.save("runs/digits"), pofx.load("runs/digits")

`pofx.models()` lists the models, help(pofx.fit) the options of training. Arrays state what they are by `pofx.images`,
`table`, `points`, `tokens`, `texts`, `audio`, `video` or `voxels`.

A module offers names here by a line `PUBLIC = ("name", …)`. Modules are searched for that line without being imported,
and one is imported when its name is first used, so that `import pofx` and `pofx --help` load no torch.
"""

import ast
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"


@cache
def _public() -> dict[str, str]:
    """The module of every public name."""
    root = Path(__file__).parent
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*.py")):
        text = path.read_bytes()
        if b"\nPUBLIC = (" in text:
            module = ".".join(("pofx", *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
            for names in re.findall(rb"^PUBLIC = (\([^)]*\))", text, re.MULTILINE):
                found |= dict.fromkeys(ast.literal_eval(names.decode()), module)
    return found


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted(_public())
    if name.startswith("_") or name not in _public():
        raise AttributeError(f"module 'pofx' has no attribute '{name}'")
    return getattr(import_module(_public()[name]), name)


def __dir__() -> list[str]:
    return sorted((*_public(), "__version__"))
