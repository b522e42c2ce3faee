"""A load test of the server: clients that request samples at once, against the same calls in Python.

    python bench/serve.py --clients 64 --seconds 60

A small run is trained, served in a process of its own, and requested; prints requests, errors, latency percentiles, the
memory of the server at the end of each eighth, and the rate of items against that of `run.sample` in Python.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

import pofx
from pofx.core.errors import PofxError

PORT = 8791


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--clients", type=int, default=64)
    cli.add_argument("--seconds", type=float, default=60)
    cli.add_argument("--model", default="realnvp")
    cli.add_argument("--data", default="digits")
    cli.add_argument("-n", type=int, default=8, help="items of a request")
    args = cli.parse_args()
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside) / "run"
        run = pofx.fit(args.data, model=args.model, steps=20, out=folder, progress=False)
        alone = {n: rate_alone(run, n) for n in (args.n, args.n * args.clients)}
        command = [sys.executable, "-m", "pofx", "serve", str(folder), "--port", str(PORT), "--waiting", "1000"]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            loaded(server.pid, args, alone)
        finally:
            server.terminate()
            server.wait(20)


def rate_alone(run, n) -> float:
    """Items per second of the Python call."""
    run.sample(n)
    began, drawn = time.perf_counter(), 0
    while time.perf_counter() - began < 3:
        run.sample(n, seed=drawn)
        drawn += n
    return drawn / (time.perf_counter() - began)


def loaded(pid, args, alone) -> None:
    at = f"http://127.0.0.1:{PORT}"
    while True:
        try:
            with pofx.Client(at) as client:
                _ = client.info
            break
        except PofxError:
            time.sleep(0.2)
    process, times, errors, stop = psutil.Process(pid), [], [], time.monotonic() + args.seconds

    def work(k):
        with pofx.Client(at) as client:
            seed = k << 32
            while time.monotonic() < stop:
                began = time.perf_counter()
                try:
                    client.sample(args.n, seed=seed)
                    times.append(time.perf_counter() - began)
                except PofxError as error:
                    errors.append(str(error))
                seed += 1

    threads = [threading.Thread(target=work, args=(k,)) for k in range(args.clients)]
    for thread in threads:
        thread.start()
    sizes = []
    for _ in range(8):  # of the server, at the end of each eighth
        time.sleep(args.seconds / 8)
        sizes.append(f"{process.memory_info().rss / 1e6:.0f}")
    for thread in threads:
        thread.join()
    rate = len(times) * args.n / args.seconds
    p50, p95, p99 = np.percentile(times, (50, 95, 99)) * 1000
    print(
        f"{args.clients} clients, {args.seconds:g} s: {len(times):,} requests of {args.n} items, {len(errors)} errors"
    )
    print(f"latency p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms; memory {', '.join(sizes)} MB")
    for n, python in alone.items():
        print(f"{rate:,.0f} items/s, {rate / python:.2f} of Python calls of {n} items ({python:,.0f} items/s)")


if __name__ == "__main__":
    main()
