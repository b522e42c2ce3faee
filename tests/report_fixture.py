"""A made-up comparison for the tests of the report: its numbers were invented and measure nothing."""

import json
import math
from pathlib import Path

import numpy as np

from pofx.evaluate.metric import catalogue

MODELS = {  # name: family, density kind, bits, FD, coverage, samples/s, encodes
    "pixelcnn": ("autoregressive", "exact", 1.80, 2.9, 0.93, 420.0, False),
    "nsf": ("flow", "bound", 1.96, 5.1, 0.86, 5200.0, True),
    "vae": ("vae", "bound", 2.10, 6.4, 0.80, 61000.0, True),
    "gan": ("gan", "none", None, 3.4, 0.78, 88000.0, False),
    "flow-matching": ("diffusion", "estimate", 2.02, 2.7, 0.95, 900.0, True),
    "rbm": ("energy", "estimate", 2.31, 9.2, 0.64, 300.0, True),
    "gmm": ("mixture", "bound", 2.66, 8.0, 0.70, 150000.0, False),
}


def measurement(metric, value, stderr=None, better="none", space=None, n=360, note="", **extra):
    return dict(metric=metric, value=value, stderr=stderr, better=better, space=space, n=n, note=note, extra=extra)


def measurements(fd, coverage, bits=None, kind="none", copies=0.4, rng=None):
    found = []
    if bits is not None:
        found.append(measurement("bits_per_dim", bits, 0.02, "lower", n=180, density=kind, unit="nats"))
    for space, factor in (("pca-0a1b2c3d", 1.0), ("classifier-4e5f6a7b", 0.6)):
        found += [
            measurement("frechet_distance", fd * factor, 0.12 * math.sqrt(fd), "lower", space),
            measurement("precision", min(1.0, coverage + 0.03), 0.02, "higher", space),
            measurement("recall", coverage - 0.08, 0.02, "higher", space),
            measurement("density", 0.9 * coverage, 0.04, "none", space),
            measurement("coverage", coverage, 0.018, "higher", space),
            measurement("near_copy", copies, None, "none", space),
        ]
    found.append(measurement("c2st", min(1.0, 0.5 + fd / 25), 0.015, "lower", "pca-0a1b2c3d"))
    found.append(measurement("class_tv", 0.03 + fd / 90, 0.015, "lower", "classifier-4e5f6a7b"))
    return found


def pictures(rng, n):
    y, x = np.mgrid[0:8, 0:8]
    centre, width = rng.uniform(2, 5, (n, 2, 1, 1)), rng.uniform(1.0, 2.2, (n, 1, 1))
    blob = np.exp(-((x - centre[:, 0]) ** 2 + (y - centre[:, 1]) ** 2) / width**2)
    return (255 * blob).astype(np.uint8)


def lines(rng, kind):
    plane = {"points": rng.normal(size=(500, 2)).round(4).tolist(), "axes": ["x1", "x2"]}
    listed = rng.normal(size=(64, 2)).tolist()
    if kind == "table":
        listed = [[a, "bcd"[int(abs(b)) % 3]] for a, b in listed]
    columns = ["height", "group"] if kind == "table" else ["x1", "x2"]
    return {"plane": plane, "columns": columns, "samples": listed, "neighbours": listed, "distances": [0.0] * 64}


def comparison(folder: Path, kind: str = "image", failed: str = "", seeds: int = 1) -> Path:
    """Write results.json and its arrays into a folder; returns the path of results.json."""
    rng = np.random.default_rng(0)
    rows = []
    for name, (family, density, bits, fd, coverage, speed, encodes) in MODELS.items():
        runs = []
        for seed in range(seeds):
            run = {"seed": seed, "status": "done"}
            if name == failed:
                runs.append({"seed": seed, "status": "failed", "reason": "TrainingError: the loss is not finite"})
                continue
            shift = 0.02 * seed
            run["measurements"] = measurements(fd + shift, coverage, bits, density)
            run["measurements"].append(measurement("samples_per_second", speed, better="higher"))
            if bits:
                run["measurements"].append(measurement("log_probs_per_second", speed / 3, better="higher"))
            run["cost"] = {"train_seconds": 25.1, "steps": 2400, "parameters": 412345, "peak_memory_bytes": 412 << 20}
            run["history"] = [
                {"seconds": t, "step": 100 * t, "loss": 2 + 3 * math.exp(-t / 4) + rng.normal() * 0.05}
                | ({"validation": 2.1 + 3 * math.exp(-t / 4)} if t % 5 == 0 else {})
                for t in range(1, 26)
            ]
            place = folder / f"{name}-seed{seed}"
            place.mkdir(parents=True, exist_ok=True)
            if kind == "image":
                arrays = {"samples": pictures(rng, 64), "neighbours": pictures(rng, 64)}
                np.savez(place / "samples.npz", **arrays, distances=np.ones(64))
            else:
                (place / "samples.json").write_text(json.dumps(lines(rng, kind)))
            run["files"] = {"samples": f"{place.name}/samples.{'npz' if kind == 'image' else 'json'}"}
            runs.append(run)
        events = ["Discrete"] if density == "exact" else ["Continuous", "Bounded"]
        traits = dict(events=events, density=density, encodes=encodes, conditional=name != "rbm")
        traits |= {"source": "Author et al., 2020, arXiv 2000.00000", "summary": "A made-up row."}
        rows.append(dict(name=name, family=family, role="model", traits=traits, runs=runs))
    for name, fd, coverage, copies in (
        ("real-test", 1.4, 0.96, 0.6),
        ("memoriser", 0.8, 0.99, 1e-9),
        ("marginals", 31, 0.2, 1),
    ):
        run = {"seed": 0, "status": "done", "measurements": measurements(fd, coverage, copies=copies)}
        rows.append(dict(name=name, family="", role="control", traits={}, runs=[run]))
    if kind == "image":
        np.savez(folder / "real.npz", samples=pictures(rng, 64))
    else:
        (folder / "real.json").write_text(json.dumps(lines(rng, kind)))
    spaces = [
        dict(name="pca", label="pca-0a1b2c3d", hash="0a1b2c3d00000000", dims=41, about={"variance": 0.990322}),
        dict(name="classifier", label="classifier-4e5f6a7b", hash="4e5f6a7b00000000", dims=32),
    ]
    measures = dict(arrangement="train-blocks", n=360, blocks=3, samples=1080, k=5, spaces=spaces)
    measures |= {"primary_space": "pca-0a1b2c3d"}
    results = {
        "schema": 1,
        "pofx": "0.1.0",
        "created": "2026-01-01 00:00 UTC",
        "command": "pofx compare made-up --budget 25s",
        "data": dict(
            name="made-up", kind=kind, source="invented for tests", licence="none",
            summary="Invented numbers for tests.",
            sizes=dict(train=1437, validation=180, test=180), hash="00" * 32, near_duplicates={"train-test": 2},
        ),
        "protocol": dict(
            budget="25 s", seed=0, seeds=list(range(seeds)), threads=2, device="CPU (made-up)", measures=measures,
            versions={"pofx": "0.1.0", "python": "3.x", "torch": "2.x"},
        ),
        "skipped": {},
        "metrics": catalogue(),
        "files": {"real": "real.npz" if kind == "image" else "real.json"},
        "rows": rows,
    }  # fmt: skip
    path = folder / "results.json"
    path.write_text(json.dumps(results))
    return path
