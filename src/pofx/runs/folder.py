"""The folder of a run: one writer at a time, nothing overwritten without request, and a state that is always known.

A folder holds `request.json` (what is to be trained), `checkpoints/` and `log.jsonl` (how far it has come) and, from
the first checkpoint on, an artifact whose card states under "training", "finished" whether the training is complete.
"""

import dataclasses
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pofx import storage
from pofx.artifact import Artifact
from pofx.core import config
from pofx.core.errors import CorruptError, UsageError, WriteError
from pofx.core.files import read_json, write_json
from pofx.core.lock import lock

FREE = ("budget", "source", "on_path", "companion_paths")  # of a request: a resumed run may differ in them


@dataclass(frozen=True)
class Status:
    """`state` is "empty", "begun" (a request, no weights), "unfinished", "finished" or "failed"."""

    state: str
    model: str = ""
    data: str = ""
    steps: int = 0
    note: str = ""  # why it failed

    def __str__(self) -> str:
        what = " on ".join(part for part in (self.model, self.data) if part)
        steps = f", {self.steps} step{'s' if self.steps != 1 else ''}" if self.steps else ""
        return f"{'an' if self.state == 'unfinished' else 'a'} {self.state} run ({what}{steps})"


def status(path: str | Path) -> Status:
    """What a folder holds, from its plain values alone.

    Raises:
        CorruptError: a file of plain values is damaged.
    """
    folder = Path(path)
    artifact, request = folder / storage.FILE, folder / "request.json"
    if artifact.exists():
        plain = read_json(artifact)
        try:
            card = dict(plain["card"])
            training = dict(card.get("training") or {})
            data = dict(card.get("data") or {}).get("name") or ""
            failed = training.get("failed") or ""
            state = "failed" if failed else "unfinished" if training.get("finished") is False else "finished"
            return Status(state, str(plain["model"]["name"]), str(data), int(training.get("steps") or 0), str(failed))
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"{artifact} is damaged ({error!r}): restore it or train again") from error
    if request.exists():
        plain = read_json(request)
        plain = plain if isinstance(plain, dict) else {}
        model, data = str(plain.get("model") or ""), str(plain.get("data") or plain.get("target") or "")
        failed = storage.failure(folder) or ""
        if failed:
            return Status("failed", model, data, 0, failed)
        steps = max((int(p.name[5:]) for p in folder.glob("checkpoints/step-*") if p.name[5:].isdigit()), default=0)
        return Status("unfinished" if steps else "begun", model, data, steps)
    return Status("empty")


class RunFolder:
    """A folder that one run writes into; with `path` None nothing is stored."""

    def __init__(self, path: Path | None, request: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
        self.path, self.request, self.resume, self.overwrite = path, request, resume, overwrite
        self.stored: int | None = None  # steps of the artifact that was stored last
        self.lost: WriteError | None = None  # why the last one was not

    def check(self) -> None:
        """Refuse to resume another run, and to replace what is there without `overwrite`.

        Raises:
            UsageError: the folder holds another run, or one that would be replaced.
        """
        if self.path is None:
            return
        if self.resume:
            check_request(self.path, self.request)
        elif not self.overwrite:
            try:
                found = status(self.path)
            except CorruptError as error:
                raise UsageError(f"{error}; or pass --overwrite to replace it") from error
            if found.state in ("unfinished", "finished", "failed"):
                go_on = "pass --resume to continue it, " if found.state != "finished" else ""
                raise UsageError(
                    f"{self.path} holds {found}: {go_on}choose another --out, or pass --overwrite to replace it"
                )

    def begin(self) -> None:
        """Write the request. A run that starts anew sets an earlier artifact aside until its own first one.

        Raises:
            WriteError: the folder cannot be written.
        """
        if self.path is None:
            return
        if self.resume and (self.path / "request.json").exists():
            if _request(self.path) is None:
                write_json(self.path / "request.json", dict(self.request))
            return
        storage.retire(self.path)
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
        for name in ("log.jsonl", storage.FAILED):
            (self.path / name).unlink(missing_ok=True)
        write_json(self.path / "request.json", dict(self.request))

    def store(self, artifact: Artifact) -> None:
        """Save an artifact during training. What cannot be written is a warning: the next may be, or `finish`."""
        if self.path is None:
            return
        try:
            _with(artifact, finished=False).save(self.path)
        except WriteError as error:
            self.lost = error
            warnings.warn(f"{error}. Training goes on; {self._remains()}", stacklevel=2)
        else:
            self.lost, self.stored = None, _steps(artifact)

    def discard(self, why: str, step: int) -> None:
        """Leave no artifact of a training that failed without good weights, but the reason."""
        if self.path is not None:
            (self.path / storage.FILE).unlink(missing_ok=True)
            write_json(self.path / storage.FAILED, {"error": why, "step": step})

    def finish(self, artifact: Artifact) -> Artifact:
        """State that the training is complete; returns the artifact whose card states so.

        Raises:
            WriteError: neither the folder nor the system's temporary folder has room; the message states what is lost.
        """
        done = _with(artifact, finished=True)
        if self.path is None:
            return done
        if self.lost is None and self.stored == _steps(artifact):
            storage.annotate(self.path, done.card)
            return done
        try:
            done.save(self.path)
        except WriteError:
            shutil.rmtree(self.path / "checkpoints", ignore_errors=True)  # a finished training resumes from nothing
            try:
                done.save(self.path)
            except WriteError as error:
                raise self._elsewhere(done, error) from error
        return done

    def _elsewhere(self, artifact: Artifact, error: WriteError) -> WriteError:
        """The error after an attempt to save in the system's temporary folder."""
        assert self.path is not None
        try:
            other = Path(tempfile.mkdtemp(prefix=f"pofx-{self.path.name}-"))
            artifact.save(other)
        except (OSError, WriteError):
            return WriteError(f"{error}. The weights after step {_steps(artifact)} are lost; {self._remains()}")
        return WriteError(f"{error}. The trained model is in {other}: move it before that folder is cleared")

    def _remains(self) -> str:
        if self.stored is None:
            return f"{self.path} has no weights of this run"
        return f"{self.path} holds those after step {self.stored}"


@contextmanager
def run_folder(
    out: str | Path | None,
    request: Mapping[str, Any],
    *,
    resume: bool = False,
    overwrite: bool = False,
    main: bool = True,
) -> Iterator[RunFolder]:
    """The folder of a run, locked while it is trained; `main` is False in all processes of a run but one.

    Raises:
        UsageError: `out` is a file, in use by another process, or holds what may not be replaced.
        WriteError: the folder cannot be made.
    """
    if resume and overwrite:
        raise UsageError("resume and overwrite exclude each other: pass --resume to continue or --overwrite to replace")
    if out is None:
        if resume:
            raise UsageError("resume needs the folder of the run: pass --out FOLDER")
        yield RunFolder(None, request, resume, overwrite)
        return
    path = Path(out)
    try:
        if "\0" in str(out):
            raise ValueError("a zero character")
        file = next((p for p in (path, *path.parents) if p.exists() and not p.is_dir()), None)
    except (OSError, ValueError) as error:  # too long, or with a zero character
        raise UsageError(f"out must be the name of a folder (got {str(out)[:40]!r}…): choose another --out") from error
    if file is not None:
        raise UsageError(f"out must be a folder ({file} is a file): choose another --out")
    run = RunFolder(path, request, resume, overwrite)
    if not main:
        run.check()
        yield run
        return
    with lock(path / ".lock", f"{path}"):
        storage.tidy(path)
        run.check()
        yield run


def check_request(folder: Path, request: Mapping[str, Any]) -> None:
    """Refuse to resume another run than the one in the folder.

    Raises:
        UsageError: naming what differs.
    """
    if not (folder / "request.json").exists():
        return
    before = _request(folder)
    if before is None:
        warnings.warn(f"{folder / 'request.json'} is damaged: resuming as the present request states", stacklevel=2)
        return
    free = (*FREE, "data") if request.get("hash") is not None and request["hash"] == before.get("hash") else FREE
    changed = [k for k, v in request.items() if k not in free and before.get(k) != config.plain(v)]
    if changed:
        raise UsageError(
            f"{folder} holds another run: {', '.join(f'{k} was {before.get(k)!r}' for k in changed)}; "
            "resume it with the same request, or choose another --out"
        )


def _request(folder: Path) -> dict[str, Any] | None:
    """The request of a run; None where it is damaged."""
    try:
        plain = read_json(folder / "request.json")
    except CorruptError:
        return None
    return plain if isinstance(plain, dict) else None


def _with(artifact: Artifact, *, finished: bool) -> Artifact:
    training = {**(artifact.card.get("training") or {}), "finished": finished}
    return dataclasses.replace(artifact, card={**artifact.card, "training": training})


def _steps(artifact: Artifact) -> int:
    training = artifact.card.get("training") or {}
    return int(training.get("steps") or 0)
