"""The jobs of a comparison on a Ray cluster: one task per job, on whatever machine has room.

Orders, data and fitted feature spaces travel to a worker as bytes and the job's folder comes back likewise, so that
the machines need no disk in common, only pofx. A job that ends is written down at once: an interrupted comparison goes
on with what is missing, and a lost machine costs the jobs that were on it. The limits of a job hold on its worker.
"""

import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pofx.comparison.jobs import Job, Orders, command, fail
from pofx.comparison.process import Limits, launch
from pofx.comparison.status import Status
from pofx.core.errors import UsageError
from pofx.core.files import write
from pofx.core.progress import Sink

CPUS = 1  # of a worker that a job takes; Ray sets as many threads for PyTorch
LEFT = ("checkpoints",)  # stays with the worker


def run_jobs(jobs: Sequence[Job], orders: Orders, report: Sink, *, gpus: float = 0.0) -> None:
    """Run what has no result yet on the cluster of RAY_ADDRESS, or on this machine's cores where there is none.

    The controls come first, for they fit the feature spaces that all other jobs use; where they fail, nothing else is
    run.

    Args:
        gpus: the share of a GPU that a job takes.

    Raises:
        UsageError: Ray is not installed.
    """
    missing = [job for job in jobs if not orders.done(job)]
    if not missing:
        return
    try:
        import ray
    except ImportError as error:
        raise UsageError("the engine 'ray' needs Ray: pip install 'pofx[cluster]'") from error
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, include_dashboard=False)
    work = ray.remote(num_cpus=CPUS, num_gpus=gpus, max_retries=0)(_work)
    try:
        status = Status(len(missing), orders.budget, report)
        for wave in ([job for job in missing if job.model is None], [j for j in missing if j.model is not None]):
            shared = ray.put(packed(orders.folder, ["data", "spaces"]))
            waiting = {}
            for job in wave:
                place = orders.begin(job)
                status.begin(job.name)
                waiting[work.remote(place.name, packed(place), shared, orders.limits)] = job
            while waiting:
                ended, _ = ray.wait(list(waiting), timeout=0.5)
                status.show(next(iter(waiting.values())).name, None)
                for task in ended:
                    job = waiting.pop(task)
                    reason = _received(task, orders.folder, orders.folder / job.name)
                    status.end(job.name, reason)
                    if job.model is None and reason is not None:
                        return
    finally:
        if started:
            ray.shutdown()


def _work(name: str, orders: bytes, shared: bytes, limits: Limits) -> tuple[str | None, bytes, bytes]:
    """On the worker: the job's reason of failure, its folder, and of the controls what else they left for all."""
    with tempfile.TemporaryDirectory(prefix="pofx-") as made:
        root = Path(made)
        unpack(shared, root)
        unpack(orders, root / name)
        reason = launch(command(root / name), root / name / "output.txt", limits)
        beside = [p.name for p in root.iterdir() if p.name not in ("data", name)] if name == "controls" else []
        return reason, packed(root / name), packed(root, beside) if beside else b""


def _received(task: Any, folder: Path, place: Path) -> str | None:
    """Write down what came back of a job; the reason of a failure, or None."""
    import ray

    try:
        reason, content, beside = ray.get(task)
    except ray.exceptions.RayError as error:
        return fail(place, f"lost with its worker ({type(error).__name__}): {str(error).splitlines()[0][:200]}")
    if beside:
        unpack(beside, folder)
    write(place, lambda aside: unpack(content, aside))
    return fail(place, reason)


def packed(folder: Path, parts: Sequence[str] | None = None) -> bytes:
    """A folder, or some folders in it, as bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        for path in sorted(folder.rglob("*")):
            inner = path.relative_to(folder)
            if path.is_file() and inner.parts[0] not in LEFT and (parts is None or inner.parts[0] in parts):
                file.write(path, inner)
    return out.getvalue()


def unpack(content: bytes, folder: Path) -> None:
    """The folder that `packed` took."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        file.extractall(folder)
