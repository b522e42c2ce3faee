"""A write that fails half-way leaves the former output whole and nothing else, whatever is written.

The disk is full from the k-th file on that is opened for writing, for every k until the write succeeds.
"""

import builtins
import errno
import io
import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.core.errors import WriteError
from pofx.core.files import whole
from pofx.core.items import Items
from pofx.data.kind import FOLDER, kind_of, kinds

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)
DIRECT = re.compile(
    r"\.write_text\(|\.write_bytes\(|\.savefig\((?!stream|buffer|out,)|\bnp\.save(z|z_compressed|txt)?\((?!buffer)"
    r"|\.to_(csv|parquet)\((?!index=False\)|buffer\b|\)|\*\*)|open\([^)]*[\"'][wax]b?[\"']"
)
THROUGH = {  # files whose direct writes go aside, with how
    "core/files.py": "the writer itself",
    "data/kind.py": "into a folder aside",
    "data/arrays.py": "into a file aside",
    "data/files.py": "into a temporary folder that is read",
    "data/frames.py": "into a temporary folder that is read",
    "combine/export.py": "into a file aside",
    "comparison/cluster.py": "into a folder aside",
    "comparison/process.py": "the log of a job, line by line",
    "comparison/status.py": "progress, a few times a second, without waiting for the disk",
    "train/log.py": "the log of a run, line by line",
    "inverse/restoration.py": "into a file aside",
    "apps/pair_plot.py": "into a file aside",
    "cli/verbs/judge.py": "into a file aside",
}


def test_whoever_writes_goes_through_the_writer_of_the_house():
    package = ROOT / "src" / "pofx"
    for path in sorted(package.rglob("*.py")):
        name, text = path.relative_to(package).as_posix(), path.read_text()
        found = [line.strip() for line in text.splitlines() if DIRECT.search(line) and "StringIO" not in line]
        declared = re.search(r"\bFolder\((again=True)?\)", text) and "EXAMPLE = " in text  # verbs write aside
        assert not found or declared or name in THROUGH, (
            f"{name}: use write, write_bytes or whole of core/files: {found}"
        )


@cache
def run_of_points():
    return pofx.fit(pofx.points(RNG.normal(size=(40, 2))), "gmm", steps=1, progress=False)


def forecaster(place):
    from pofx.apps.forecaster import Forecaster
    from pofx.apps.linear_forecast import LinearForecast

    made = Forecaster(3, model="gmm")
    made.run, made.names, made.middle, made.scale, made.directions = run_of_points(), ("a",), *np.zeros((3, 1))
    made.gappy = False
    made.linear = LinearForecast(0, 1, 1.0, (2, 2), *np.zeros((4, 2)))
    made.save(place)


def voice(place):
    from pofx.apps.voice import Voice
    from pofx.data.components import Components

    made = Voice("gmm")
    made.run, made.parts = run_of_points(), Components(np.zeros(4), np.zeros((2, 4)))
    made.rate, made.window, made.hop, made.conditions = 8000, 4, 2, []
    made.save(place)


def posterior(place):
    from pofx.apps.parameter_posterior import Posterior
    from pofx.apps.ratio import Ratio

    ratio = Ratio(tuple(np.zeros((2, 2)) for _ in range(4)), np.zeros(2), np.ones(2))
    made = object.__new__(Posterior)
    for name, value in {
        "prior": SimpleNamespace(written={"a": "uniform(0, 1)"}), "method": "ratio", "runs": (ratio, ratio),
        "held_out": (np.zeros((2, 1)), np.zeros((2, 1))), "x": None, "failed": 0, "rounds": 1,
    }.items():  # fmt: skip
        object.__setattr__(made, name, value)
    made.save(place)


def items(kind, ending):
    values = {
        "image": RNG.integers(0, 255, (5, 6, 6)).astype("u1"),
        "audio": [np.sin(np.arange(300.0) / (i + 2)) for i in range(5)],
        "table": pd.DataFrame({"a": [1.5, 2, 3], "b": list("xyz")}),
        "points": RNG.normal(size=(9, 2)),
        "text": ["anna", "bob", "cléo"],
        "video": RNG.integers(0, 2, (3, 2, 4, 4)).astype("u1"),
        "voxels": RNG.integers(0, 2, (3, 4, 4, 4)).astype("u1"),
    }[kind]
    facts = {"image": {"levels": 256}, "audio": {"rate": 8000}, "video": {"levels": 2}, "voxels": {"levels": 2}}
    made = Items(kind, values, facts=facts.get(kind, {}))
    return lambda place: kinds()[kind].write(made, place, ending=ending)


def levels(place):
    from pofx.data.kinds.levels import levels as as_levels

    grids = as_levels(RNG.integers(0, 2, (3, 4, 4)), ["#", "."])
    with whole(place) as aside:
        for name in ("levels.txt", "levels.png", "levels.tmj"):
            kind_of(grids).write(grids, aside / name)


SAVED = {"forecaster": forecaster, "voice": voice, "posterior": posterior, "levels": levels}
WRITERS = {f"{k}{e}": items(k, e) for k, e in [
    ("image", FOLDER), ("image", ".png"), ("image", ".npz"), ("audio", FOLDER), ("table", ".csv"), ("points", ".png"),
    ("text", ".txt"), ("video", ".gif"), ("voxels", ".npz"),
]}  # fmt: skip
WRITERS |= SAVED


def state(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Full:
    """A disk that is full from the k-th file on."""

    def __init__(self, monkeypatch, under):
        self.left, self.under, self.open = 0, str(under), io.open
        for module in (builtins, io):
            monkeypatch.setattr(module, "open", self.opened)
        import safetensors.torch

        self.save = safetensors.torch.save_file
        monkeypatch.setattr(safetensors.torch, "save_file", self.saved)

    def spend(self, path):
        if str(path).startswith(self.under):
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")

    def opened(self, file, mode="r", *arguments, **options):
        if not isinstance(file, int) and set(mode) & set("wxa"):
            self.spend(file)
        return self.open(file, mode, *arguments, **options)

    def saved(self, tensors, path, *arguments):
        self.spend(path)
        self.save(tensors, path, *arguments)


@pytest.mark.parametrize("name", WRITERS)
def test_a_write_that_fails_leaves_what_was_there(name, tmp_path, monkeypatch):
    place = tmp_path / "out"
    full = Full(monkeypatch, tmp_path)
    for known in (False, True):  # nothing was there; something was
        before = state(tmp_path)
        for k in range(50):
            full.left = k
            with suppress(WriteError):
                WRITERS[name](place)
                break
            assert state(tmp_path) == before, f"{name} failed at file {k + 1}"
            assert [p.name for p in tmp_path.iterdir()] == ["out"] * known
        else:
            pytest.fail("never written")
        assert k > 0, f"{name} is written past what this test watches"
        full.left = 1000
        assert place.exists()
        if known:
            assert set(state(tmp_path)) == set(before)


def test_an_interrupt_between_two_renames_loses_nothing(tmp_path, monkeypatch):
    with whole(tmp_path / "out") as aside:
        (aside / "a.txt").write_text("1")
    before, replace = state(tmp_path), Path.replace

    def interrupted(self, target):
        if Path(target).name == "out":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), whole(tmp_path / "out") as aside:
        (aside / "a.txt").write_text("2")
    assert state(tmp_path) == before


def test_what_was_numbered_higher_before_does_not_stay(tmp_path):
    kind = kinds()["image"]
    for n in (12, 3):
        kind.write(Items("image", np.zeros((n, 4, 4), "u1"), facts={"levels": 2}), tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.png"))) == 3
    assert len(list((tmp_path / "out").iterdir())) == 4  # and the list of what was written


def test_notebooks_are_written_whole(tmp_path, monkeypatch):
    import sys

    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    sys.modules.pop("notebooks", None)
    import notebooks

    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(notebooks, "HERE", tmp_path)
    monkeypatch.setattr(notebooks, "files", lambda: {tmp_path / "a.ipynb": "new", tmp_path / "b.ipynb": "new"})
    (tmp_path / "a.ipynb").write_text("old")
    full = Full(monkeypatch, tmp_path)
    with pytest.raises(WriteError):
        notebooks.write()
    full.left = 1000
    assert state(tmp_path) == {"a.ipynb": b"old"}
