"""Cost: samples per second, parameters, peak memory. Measured as it runs, on the machine and threads that are named."""

import platform
import resource
import sys
import time
from typing import Any

import torch

from pofx.core.items import Items
from pofx.evaluate.conditions import drawn
from pofx.evaluate.measurement import Measurement
from pofx.evaluate.metric import Axis, ScoreInfo

SCORES = {
    "samples_per_second": ScoreInfo(
        "higher",
        "Samples/s",
        "items drawn per second",
        "cost",
        headline=True,
        axis=Axis("sampling", "Sampling speed", "samples/s", resolution=0.10, order=5),
        writes="speed",
    ),
    "train_seconds": ScoreInfo("none", "Training", "wall-clock time of training", "cost", writes="seconds"),
    "steps": ScoreInfo("none", "Steps", "optimiser steps", "cost", writes="count"),
    "parameters": ScoreInfo("none", "Parameters", "numbers that were learned", "cost", writes="count", short="Params"),
    "peak_memory_bytes": ScoreInfo("lower", "Memory", "largest resident memory of the process", "cost", writes="bytes"),
}  # the last four are facts of a training, which a comparison states


def timed_samples(artifact: Any, items: Items, n: int, seed: int) -> tuple[Items, Measurement]:
    """n samples, under the conditions of items where needed, and the measurement `samples_per_second`, at the batch
    size that the artifact uses."""
    drawn(artifact, items, min(n, 2), seed=seed + 1)  # warm up
    start = time.perf_counter()
    samples = drawn(artifact, items, n, seed=seed)
    if artifact.device.type == "cuda":
        torch.cuda.synchronize(artifact.device)
    spent = time.perf_counter() - start
    facts = {"seconds": spent, **machine(artifact.device)}
    return samples, Measurement("samples_per_second", n / max(spent, 1e-9), None, "higher", n=n, extra=facts)


def machine(device: torch.device) -> dict[str, Any]:
    """The device and threads that a timing holds for."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": device.type, "name": name, "threads": torch.get_num_threads()}


def cost(artifact: Any) -> dict[str, Any]:
    """Parameters of the model (its buffers where it has none), peak memory of the process (of the device) in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if artifact.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(artifact.device)
    learned = list(artifact.model.parameters()) or [b for b in artifact.model.buffers() if b.is_floating_point()]
    return {
        "parameters": sum(p.numel() for p in learned),
        "peak_memory_bytes": int(peak),
        **machine(artifact.device),
    }
