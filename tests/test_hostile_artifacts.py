"""Artifacts that somebody changed: each loads, or ends in an error of pofx, within bounded time and memory.

Seeded variants of saved runs: values of the description replaced, removed or added, its text damaged, weights changed
in bytes, shape, type and value, files exchanged for pipes and links, most of them with all hashes right, as an attacker
would leave them. They are read in a process of limited memory; what loads must also draw and score.
"""

import json
import math
import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import pofx
from pofx import storage
from pofx.core.errors import PofxError
from pofx.core.files import digest, read_json, read_tensors, sha256, write_tensors

MEMORY = 3 << 30  # bytes of address space beyond what the process has
SECONDS = 15  # CPU seconds for one variant
WILD = [None, True, -1, 0, 1, 2.5, 10**6, 10**30, "x", "", [], [0], [1, 2, 3], {}, {"a": 1}, math.nan, math.inf, -1e308]
WILD += ["NaN", [[]], [None], "../../x", "/etc/passwd", [1e400], 1 << 40]


def paths(plain, at=()):
    """Every place of a JSON value."""
    yield at
    for key, value in plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ():
        yield from paths(value, (*at, key))


def put(plain, at, value):
    for key in at[:-1]:
        plain = plain[key]
    plain[at[-1]] = value


def sealed(folder, plain):
    plain["hash"] = digest({k: v for k, v in plain.items() if k != "hash"})
    (folder / storage.FILE).write_text(json.dumps(plain))


def variant(folder: Path, rng: random.Random) -> str:
    """Change the artifact in a folder; returns what was done."""
    plain = read_json(folder / storage.FILE)
    places = [at for at in paths(plain) if at and at[0] not in ("card", "hash", "pofx")]
    kind = rng.choice(["value"] * 8 + ["remove", "add", "swap", "text", "deep", "bytes", "tensor", "file", "card"])
    weights = folder / plain["weights"]["file"]
    if kind in ("value", "remove", "card"):
        places = places if kind != "card" else [at for at in paths(plain) if at and at[0] == "card"]
        at = rng.choice(places)
        if kind == "remove" and isinstance(at[-1], str):
            parent = plain
            for key in at[:-1]:
                parent = parent[key]
            del parent[at[-1]]
        else:
            put(plain, at, rng.choice(WILD))
        sealed(folder, plain)
        return f"{kind} {at}"
    if kind == "add":
        at = rng.choice([at for at in places if isinstance(at[-1], str)])
        put(plain, (*at[:-1], rng.choice(["extra", "self", "event", "cls"])), rng.choice(WILD))
        sealed(folder, plain)
    elif kind == "swap":
        a, b = rng.sample(places, 2)
        value = [plain, plain]
        for i, at in enumerate((a, b)):
            for key in at:
                value[i] = value[i][key]
        put(plain, a, json.loads(json.dumps(value[1])))
        sealed(folder, plain)
    elif kind == "text":
        text = (folder / storage.FILE).read_bytes()
        i, j = sorted(rng.sample(range(len(text)), 2))
        new = rng.choice([text[:i], text[:i] + text[j:], text[:i] + bytes([rng.randrange(256)]) + text[i + 1 :], b""])
        (folder / storage.FILE).write_bytes(new)
    elif kind == "deep":
        at = rng.choice(places)
        put(plain, at, "DEEP")
        depth = rng.choice([50, 150, 3000, 200_000])
        text = json.dumps(plain).replace('"DEEP"', "[" * depth + "]" * depth)
        (folder / storage.FILE).write_text(text)
    elif kind == "bytes":
        content = bytearray(weights.read_bytes())
        for _ in range(rng.choice([1, 10])):
            content[rng.randrange(len(content) if rng.random() < 0.5 else min(len(content), 400))] = rng.randrange(256)
        weights.write_bytes(content[: rng.choice([len(content), len(content) // 2, 8, 0])])
        if rng.random() < 0.5:
            plain["weights"]["sha256"] = sha256(weights)
            sealed(folder, plain)
    elif kind == "tensor":
        tensors = read_tensors(weights)
        key = rng.choice(sorted(tensors))
        change = rng.choice(["nan", "inf", "shape", "type", "huge", "gone", "more", "integers"])
        value = tensors[key]
        if change == "gone":
            del tensors[key]
        elif change == "more":
            tensors[f"model.{rng.random()}"] = torch.zeros(3)
        elif change == "shape":
            tensors[key] = torch.zeros(*value.shape, 2)
        elif change == "type":
            tensors[key] = value.to(rng.choice([torch.int8, torch.complex64, torch.float16, torch.float64, torch.bool]))
        elif change == "integers":
            tensors[key] = torch.full_like(value, 1 << 40) if not value.is_floating_point() else value
        else:
            fill = {"nan": math.nan, "inf": math.inf, "huge": 1e38}[change]
            tensors[key] = torch.full_like(value, fill) if value.is_floating_point() else value
        weights.unlink()
        write_tensors(folder / "w", tensors)
        found = sha256(folder / "w")
        (folder / "w").rename(folder / f"weights-{found[:12]}.safetensors")
        plain["weights"] = {"file": f"weights-{found[:12]}.safetensors", "sha256": found}
        sealed(folder, plain)
        return f"tensor {change} {key}"
    else:
        path = rng.choice([weights, folder / storage.FILE])
        moved = folder.parent / f"outside-{path.name}"
        path.replace(moved)
        how = rng.choice(["fifo", "zero", "outside", "folder", "gone", "loop"])
        if how == "fifo":
            os.mkfifo(path)
        elif how == "folder":
            path.mkdir()
        elif how != "gone":
            path.symlink_to({"zero": "/dev/zero", "outside": moved, "loop": path}[how])
        return f"file {how} {path.name[:8]}"
    return kind


def read(folder: Path, expected: list[str]) -> str:
    """What comes of a variant: "loads", "differs" or "refused"; anything else is raised."""
    try:
        run = pofx.load(folder)
        drawn = run.sample(2, condition(run), with_condition=False)
        try:
            run.log_prob(drawn, condition(run))
        except PofxError:
            pass
    except PofxError as error:
        assert len(str(error)) < 3000
        return "refused"
    return "loads" if repr(drawn) in expected else "differs"


def mixed(rng):
    """A table with a column of every type."""
    columns = {
        "whole": rng.integers(0, 9, 60),
        "decimal": rng.integers(0, 9, 60) / 10,
        "lattice": 0.3 + rng.integers(0, 9, 60) * 0.7,
        "real": rng.normal(size=60),
        "flag": rng.random(60) < 0.5,
        "word": rng.choice(["a", "b", "c"], 60),
        "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 30, 60), "D"),
        "same": np.full(60, 3.5),
        "plan": rng.choice(["x", "y"], 60),
        "age": rng.normal(size=60),
        "gaps": np.where(rng.random(60) < 0.3, np.nan, rng.normal(size=60)),
    }
    return pd.DataFrame(columns)


def condition(run):
    """A condition that the unchanged run accepts."""
    if run.model.condition is None:
        return None
    return "0" if run.name == "made" else {"plan": "x", "age": 0.5}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Small runs of unlike kinds of data and models."""
    root, rng = tmp_path_factory.mktemp("originals"), np.random.default_rng(0)
    images = pofx.images(rng.integers(0, 4, (60, 8, 8)).astype(np.uint8), levels=4, labels=np.arange(60) % 2)
    points = pofx.points(rng.normal(size=(60, 2)))
    made = [
        ("made", images, {"width": 16, "blocks": 1, "condition": "label"}),
        ("maf", points, {"width": 16, "layers": 2, "blocks": 1}),
        ("gmm", pofx.table(rng.integers(0, 5, (60, 3)).astype(float)), {"components": 2}),
        ("vae", images, {"width": 16, "depth": 1, "latent": 2, "network": "mlp"}),
        ("gpt", pofx.tokens(["ab", "ba", "abc"] * 20), {"width": 16, "layers": 1, "heads": 1}),
        ("nsf", mixed(rng), {"width": 8, "layers": 1, "condition": ["plan", "age"]}),
        ("circuit", mixed(rng), {"states": 2}),
        ("flow-matching", images, {"width": 8, "depth": 1, "on": root / "vae", "batch_size": 16}),
    ]
    folders = []
    for name, data, options in made:
        folder = root / name
        pofx.fit(data, name, steps=2, out=folder, progress=False, **options)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        folders.append(folder)
    return folders


def tried(folder: Path, expected: list[str]) -> str:
    """`read` in a child of limited memory and time."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            answer = read(folder, expected)
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        deadline = time.monotonic() + 40 * SECONDS  # the machine may be busy; a read that waits takes no CPU
        signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
        signal.alarm(int(deadline - time.monotonic()))
        answer = pipe.read().decode()
        signal.alarm(0)
    _, status = os.waitpid(child, 0)
    return answer or f"ended by signal {os.WTERMSIG(status)}"


def fuzz(originals, tmp_path, count, seed):
    rng = random.Random(seed)
    expected = {}
    for folder in originals:
        run = pofx.load(folder)
        expected[folder] = [repr(run.sample(2, condition(run), with_condition=False))]
    found: dict[str, int] = {}
    for i in range(count):
        original = rng.choice(originals)
        folder = Path(shutil.copytree(original, tmp_path / str(i) / "run"))
        what = variant(folder, rng)
        answer = tried(folder, expected[original])
        assert answer in ("loads", "differs", "refused"), f"variant {i} of {original.name} ({what}): {answer}"
        found[answer] = found.get(answer, 0) + 1
        shutil.rmtree(tmp_path / str(i))
    print(found, file=sys.stderr)
    assert found["refused"] > count / 3
    return found


def test_changed_artifacts_are_refused_or_load(originals, tmp_path):
    fuzz(originals, tmp_path, 25, seed=1)


@pytest.mark.slow
def test_four_hundred_changed_artifacts_are_refused_or_load(originals, tmp_path):
    fuzz(originals, tmp_path, 400, seed=0)
