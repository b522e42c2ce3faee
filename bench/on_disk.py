"""Data on the disk against data in memory: steps a second and private memory, on an image set that is removed again.

    python bench/on_disk.py [GIB] [STEPS]

Makes GIB (6) GiB of 64 x 64 colour images as one .npy, trains `ddpm` on it from the disk, and on a part of it that fits
in memory under the same options; each in a process of its own. The bars: at most 1.5 GiB of private memory (anonymous
pages, `RssAnon`), at least 0.8 of the steps a second.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

SIDE, BLOCK = 64, 1 << 12


def make(path: Path, gib: float) -> int:
    """Random smooth images in a .npy file; returns how many."""
    n = int(gib * 2**30 // (SIDE * SIDE * 3))
    rng = np.random.default_rng(0)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, SIDE, SIDE, 3))
    for i in range(0, n, BLOCK):
        coarse = rng.integers(0, 256, (min(BLOCK, n - i), 8, 8, 3), dtype=np.uint8)
        out[i : i + BLOCK] = coarse.repeat(8, 1).repeat(8, 2)
    out.flush()
    return n


def private() -> int:
    """Bytes of anonymous pages of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def measure(path: str, where: str, steps: int) -> None:
    """Train in this process; print steps a second and the most private memory as JSON."""
    import pofx

    peak, done = [private()], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], private())

    threading.Thread(target=watch, daemon=True).start()
    began = time.monotonic()
    run = pofx.fit(
        path, "ddpm", steps=steps, width=16, batch_size=32, validations=1, validation_items=64, on_disk=where == "disk",
        progress=False,
    )  # fmt: skip
    seconds = run.card["training"]["seconds"]
    done.set()
    whole = time.monotonic() - began
    print(json.dumps({"where": where, "steps_per_second": steps / seconds, "peak": peak[0], "whole": whole}))


def main(gib: float = 6.0, steps: int = 60) -> None:
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder) / "large.npy", Path(folder) / "small.npy"
        n = make(large, gib)
        np.save(small, np.load(large, mmap_mode="r")[: min(n, 4000)])
        found = {}
        for where, path in (("disk", large), ("memory", small)):
            line = subprocess.run(
                [sys.executable, __file__, "measure", str(path), where, str(steps)],
                check=True, capture_output=True, text=True,
            ).stdout.strip()  # fmt: skip
            found[where] = json.loads(line.splitlines()[-1])
            print(line)
    ratio = found["disk"]["steps_per_second"] / found["memory"]["steps_per_second"]
    print(f"{n:,} images, {gib:g} GiB: {ratio:.2f} of the speed, {found['disk']['peak'] / 2**30:.2f} GiB private")


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main(*(float(a) for a in sys.argv[1:2]), *(int(a) for a in sys.argv[2:3]))
