"""The house keeps its shape: imports point only down, files stay small, names say something."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "pofx"
FLOORS = {
    "__init__": 0,  # imports lazily, by name
    "core": 0,
    "maths": 0,
    "nets": 1,
    "data": 1,
    "represent": 1,
    "families": 2,
    "train": 2,
    "combine": 3,
    "parts": 3,
    "companions": 3,
    "conditioned": 3,
    "drawing": 3,
    "hub": 3,
    "model_card": 3,
    "scoring": 3,
    "incomplete": 3,
    "artifact": 3,
    "summary": 3,
    "declared": 4,
    "storage": 3,
    "partial": 3,
    "given_codes": 3,
    "runs": 4,
    "evaluate": 5,
    "comparison": 6,
    "report": 6,
    "inverse": 6,
    "apps": 7,
    "sklearn": 7,
    "serve": 7,
    "cli": 8,
    "__main__": 9,
}
NEVER = [
    ("families", "train"),
    ("families", "data"),
    ("families", "represent"),
    ("families", "evaluate"),
    ("families", "apps"),
    ("train", "families"),
    ("represent", "families"),
    ("nets", "families"),
    ("evaluate", "families"),
    ("maths", "core.model"),
    ("report", "artifact"),
    ("report", "comparison"),
]
FILES = sorted(ROOT.rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def part(module: str) -> str:
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 and pieces[1] in FLOORS else "__init__"


@cache
def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def where(path: Path) -> str:
    return ".".join(("pofx", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


@pytest.mark.parametrize("path", FILES, ids=where)
def test_imports_point_down(path):
    here = where(path)
    floor = FLOORS[part(here)]
    for target in imports(path):
        if target.startswith("pofx."):
            assert FLOORS[part(target)] <= floor, f"{here} imports {target}, which stands above it"
            for source, never in NEVER:
                if part(here) == source:
                    assert not target.startswith(f"pofx.{never}"), f"{here} must never import {target}"


def test_there_are_no_circles():
    graph = {where(p): {t for t in imports(p) if t.startswith("pofx")} for p in FILES}
    names = set(graph)

    def module(target):
        while target not in names and "." in target:
            target = target.rsplit(".", 1)[0]
        return target

    edges = {k: {module(t) for t in v} - {k, "pofx"} for k, v in graph.items()}
    done: set[str] = set()

    def visit(node, path):
        assert node not in path, f"circle: {' → '.join([*path[path.index(node) :], node])}"
        if node not in done:
            for target in edges.get(node, ()):
                visit(target, [*path, node])
            done.add(node)

    for node in edges:
        visit(node, [])


@pytest.mark.parametrize("path", [p for p in FILES if "families" in p.parts], ids=where)
def test_a_family_imports_only_its_own_folder(path):
    here = where(path).split(".")
    for target in imports(path):
        pieces = target.split(".")
        if pieces[:2] == ["pofx", "families"] and len(pieces) > 2:
            assert pieces[2] == here[2], f"{'.'.join(here)} imports {target}"


def test_reports_and_the_command_line_load_no_torch_by_themselves():
    for path in FILES:
        if part(where(path)) in ("report", "cli"):
            assert not [t for t in imports(path) if t.split(".")[0] == "torch"], path


@pytest.mark.parametrize("path", FILES, ids=where)
def test_files_are_short_named_and_open_with_their_idea(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 500, f"{path.name} has {len(lines)} lines"
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc", "base"}
    assert ast.get_docstring(tree_of(path)), f"{path} does not say what it is"


def test_nothing_is_ever_unpickled():
    for path in FILES:
        text = path.read_text()
        for word in ("import pickle", "pickle.load", "torch.load", "allow_pickle=True", "joblib.load", "cloudpickle"):
            assert word not in text, f"{path} has {word}"


def test_families_and_nets_name_no_modality():
    words = {"image", "images", "pixel", "pixels", "tables", "text", "audio", "dataframe"}
    for path in FILES:
        if part(where(path)) == "families":
            nodes = list(ast.walk(tree_of(path)))
            names = {n.id.lower() for n in nodes if isinstance(n, ast.Name)}
            args = {a.arg.lower() for a in nodes if isinstance(a, ast.arg)}
            assert not (names | args) & (words - {"images"}), f"{path}: {(names | args) & words}"


KINDS = {
    "several",
    "image",
    "table",
    "text",
    "audio",
    "tokens",
    "points",
    "signal",
    "molecules",
    "label",
    "tilemap",
    "proteins",
    "video",
    "voxels",
}
HOMES = ("data/kinds/", "data/kind.py")  # where a kind may be named
FORMER = ("represent/former.py",)  # names in runs of format 1


def _kinds_compared(tree):
    """Comparisons and matches with the name of a kind, and tests for the containers of one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            words = {c.value for side in sides for c in ast.walk(side) if isinstance(c, ast.Constant)}
            if words & KINDS and any("kind" in ast.unparse(side) for side in sides):
                yield ast.unparse(node)
        elif isinstance(node, ast.Match) and "kind" in ast.unparse(node.subject):
            yield ast.unparse(node.subject)
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict):
            keys = {k.value for k in node.value.keys if isinstance(k, ast.Constant)}
            if keys & KINDS and "kind" in ast.unparse(node.slice):
                yield ast.unparse(node)


def test_no_file_but_its_home_compares_a_kind_by_name():
    from pofx.data.kind import kinds

    assert {name for name, kind in kinds().items() if type(kind).__module__.startswith("pofx.data.kinds")} == KINDS
    found = {}
    for path in FILES:
        inside = path.relative_to(ROOT).as_posix()
        if not inside.startswith(HOMES) and inside not in FORMER:
            found[inside] = list(_kinds_compared(tree_of(path)))
    assert not {path: wrong for path, wrong in found.items() if wrong}
    caught = _kinds_compared(ast.parse("if train.kind in ('table', 'points') or {'image': 1}[items.kind]: pass"))
    assert len(list(caught)) == 2


def test_metrics_and_reports_test_no_containers():
    """Whether values are a DataFrame is the business of their kind."""
    for path in FILES:
        if part(where(path)) in ("evaluate", "comparison", "report", "apps", "serve"):
            assert not re.search(r"isinstance\([^)]*DataFrame", path.read_text()), path


def test_no_file_compares_a_feature_space_by_name():
    for path in FILES:
        if not path.relative_to(ROOT).as_posix().startswith("evaluate/spaces/"):
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.Compare):
                    words = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant)}
                    named = words & {"pca", "classifier", "random", "logmel"}
                    assert not (named and "space" in ast.unparse(node)), f"{path}: {ast.unparse(node)}"


def test_help_imports_no_torch():
    import subprocess
    import sys

    code = """
import sys
sys.argv = ["pofx", "--help"]
try:
    from pofx.cli.main import main
    main()
except SystemExit as end:
    assert end.code == 0
assert "torch" not in sys.modules and "numpy" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_functions_state_the_shapes_of_their_arguments():
    for path in FILES:
        if part(where(path)) in ("maths", "nets", "families"):
            tree = tree_of(path)
            public = (n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_"))
            holders = [tree, *public]
            functions = [f for holder in holders for f in holder.body if isinstance(f, ast.FunctionDef)]
            for function in (f for f in functions if not f.name.startswith("_") or f.name in ("__init__", "__call__")):
                for arg in (*function.args.args, *function.args.kwonlyargs):
                    said = ast.unparse(arg.annotation) if arg.annotation else ""
                    assert said not in ("Tensor", "Tensor | None", "np.ndarray"), f"{path}: {function.name}({arg.arg})"


def test_shapes_are_checked_in_the_tests_only():
    import subprocess
    import sys

    import torch
    from jaxtyping import TypeCheckError

    from pofx.maths.distributions import categorical_log_prob

    with pytest.raises(TypeCheckError):
        categorical_log_prob(torch.zeros(3, 4), torch.zeros(2, dtype=torch.int64))

    assert not any("beartype" in path.read_text() for path in FILES)
    code = "import sys, pofx.families.vae.vae; assert 'beartype' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _documented():
    """The files that docs/api.md shows."""
    for name in re.findall(r"^::: pofx\.([\w.]+)", (ROOT.parents[1] / "docs" / "api.md").read_text(), re.MULTILINE):
        parts = name.split(".")
        while not (path := ROOT.joinpath(*parts).with_suffix(".py")).exists():
            parts.pop()
        yield path


def test_documented_arguments_stand_alone_and_exist():
    """The documentation's builder refuses others."""
    wrong = []
    for path in set(_documented()):
        for node in ast.walk(tree_of(path)):
            text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            for part in re.findall(r"^Args:\n((?: {4}.*\n?)+)", text or "", re.MULTILINE):
                there = {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)}
                wrong += [
                    (path.name, name)
                    for name in re.findall(r"^ {4}(\S[^:]*):", part, re.MULTILINE)
                    if name not in there
                ]
    assert not wrong
