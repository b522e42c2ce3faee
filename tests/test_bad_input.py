"""Many bad inputs: each ends with a clear message and the right exit code, and loses nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pofx.cli.main as cli

SMALL = ["-o", "width=16", "-o", "batch_size=16"]


def call(monkeypatch, capsys, *arguments: str) -> tuple[int, str]:
    """The exit code and the messages of a call of the command line, in this process."""
    monkeypatch.setattr(sys, "argv", ["pofx", *map(str, arguments)])
    monkeypatch.setattr(signal, "signal", lambda *a: None)
    with pytest.raises(SystemExit) as end:
        cli.main()
    seen = capsys.readouterr()
    return int(end.value.code or 0), seen.out + seen.err


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A small finished run on digits."""
    import pofx

    folder = tmp_path_factory.mktemp("runs") / "made"
    pofx.fit("digits", model="made", steps=3, out=folder, progress=False, width=16, batch_size=16)
    return folder


def npz(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


def csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def folder_of(path: Path, *files: str) -> Path:
    path.mkdir()
    for name in files:
        (path / name).write_bytes(b"not a picture")
    return path


IMAGES = np.zeros((40, 4, 4), np.uint8)
NOT_FINITE = np.where(np.arange(400).reshape(200, 2) == 7, np.nan, 1.0)
TRAIN = ["train", "DATA", "--model", "made", "--steps", "1"]

# name → what makes DATA, the call, exit code, what the message must name
CASES = {
    "missing file": (lambda d: d / "none.npz", TRAIN, 1, "none.npz"),
    "unknown data name": (lambda d: "digit", TRAIN, 2, "digits"),
    "unknown file type": (lambda d: csv(d / "x.xyz", "1"), TRAIN, 1, "x.xyz"),
    "empty csv": (lambda d: csv(d / "x.csv", ""), TRAIN, 1, "x.csv"),
    "csv of ids": (lambda d: csv(d / "x.csv", "a\n" + "".join(f"id{i}\n" for i in range(40))), TRAIN, 1, "a"),
    "NaN in points": (lambda d: npz(d / "x.npz", x=NOT_FINITE), TRAIN, 1, "finite"),
    "damaged npz": (lambda d: csv(d / "x.npz", "PK broken"), TRAIN, 1, "x.npz"),
    "pickled npy": (lambda d: _pickled(d / "x.npy"), TRAIN, 1, "x.npy"),
    "empty array": (lambda d: npz(d / "x.npz", x=IMAGES[:0]), TRAIN, 1, "x.npz"),
    "one item": (lambda d: npz(d / "x.npz", x=IMAGES[:1]), TRAIN, 1, "1"),
    "folder without images": (lambda d: folder_of(d / "f"), TRAIN, 1, "f"),
    "folder of damaged images": (lambda d: folder_of(d / "f", "a.png", "b.png"), TRAIN, 1, "png"),
    "damaged zip": (lambda d: csv(d / "x.zip", "no zip"), TRAIN, 1, "x.zip"),
    "empty text": (lambda d: csv(d / "x.txt", ""), TRAIN, 1, "x.txt"),
    "unknown model": (lambda d: "digits", ["train", "DATA", "--model", "realnvpp"], 2, "realnvp"),
    "unknown option": (lambda d: "digits", [*TRAIN, "-o", "widht=3"], 2, "width"),
    "option without a value": (lambda d: "digits", [*TRAIN, "-o", "width"], 2, "key=value"),
    "option out of range": (lambda d: "digits", [*TRAIN, "-o", "lr=-1"], 2, "lr"),
    "two budgets": (lambda d: "digits", [*TRAIN, "--minutes", "1"], 2, "steps"),
    "zero steps": (lambda d: "digits", ["train", "DATA", "--model", "made", "--steps", "0"], 2, "steps"),
    "condition without labels": (lambda d: npz(d / "x.npz", x=IMAGES), [*TRAIN, "--condition", "label"], 2, "label"),
    "model that cannot take the data": (
        lambda d: csv(d / "x.csv", "a,b\n" + "1.5,2\n2,1.5\n" * 40),
        ["train", "DATA", "--model", "pixelcnn", "--steps", "1"],
        2,
        "pixelcnn",
    ),
    "unknown command": (lambda d: "digits", ["trian", "DATA"], 2, "trian"),
    "no such run": (lambda d: d / "nowhere", ["sample", "DATA"], 2, "nowhere"),
    "unknown format of samples": (None, ["sample", "RUN", "--out", "x.bmp"], 2, "bmp"),
    "zero samples": (None, ["sample", "RUN", "-n", "0"], 2, "from 1"),
    "condition for a model without one": (None, ["sample", "RUN", "--condition", "3"], 1, "condition"),
    "codes of a model without codes": (None, ["encode", "RUN", "digits"], 1, "no codes"),
    "items of another shape": (lambda d: npz(d / "x.npz", x=IMAGES), ["score", "RUN", "DATA"], 1, "8"),
    "unknown sampling option": (None, ["sample", "RUN", "-o", "stepps=3"], 2, "stepps"),
    "temperature of no number": (None, ["sample", "RUN", "-o", "temperature=warm"], 2, "temperature"),
    "known rows of nothing": (None, ["sample", "RUN", "--known", "3"], 2, "--prefix"),
    "a prefix that is the whole image": (None, ["sample", "RUN", "--prefix", "digits", "--known", "8"], 2, "below 8"),
    "a text for images": (None, ["sample", "RUN", "--prefix", "he"], 2, "--known"),
    "bad budget of compare": (lambda d: "digits", ["compare", "DATA", "--budget", "soon"], 2, "soon"),
}  # fmt: skip


def _pickled(path: Path) -> Path:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return path


@pytest.mark.parametrize("name", CASES)
def test_bad_input_ends_with_a_clear_message(name, run, tmp_path, monkeypatch, capsys):
    make, arguments, code, named = CASES[name]
    monkeypatch.chdir(tmp_path)
    data = make(tmp_path) if make else ""
    before = sorted(p.name for p in run.iterdir())
    got, message = call(
        monkeypatch,
        capsys,
        *[{"DATA": data, "RUN": run}.get(str(a), a) if isinstance(a, str) else a for a in arguments],
    )
    assert got == code, message
    assert named in message
    assert "Traceback" not in message
    assert sorted(p.name for p in run.iterdir()) == before
    assert not list(tmp_path.rglob("artifact.json"))


def damaged(run: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    return copy


def test_truncated_weights_are_named(run, tmp_path, monkeypatch, capsys):
    copy = damaged(run, tmp_path)
    weights = next(copy.glob("weights-*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    code, message = call(monkeypatch, capsys, "sample", copy)
    assert code == 1 and weights.name in message and "Traceback" not in message


def test_changed_weights_are_named(run, tmp_path, monkeypatch, capsys):
    copy = damaged(run, tmp_path)
    weights = next(copy.glob("weights-*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    code, message = call(monkeypatch, capsys, "sample", copy)
    assert code == 1 and "hash" in message


def test_a_broken_card_is_named(run, tmp_path, monkeypatch, capsys):
    copy = damaged(run, tmp_path)
    (copy / "artifact.json").write_text("{")
    code, message = call(monkeypatch, capsys, "sample", copy)
    assert code == 1 and "artifact.json" in message


def test_a_card_of_a_newer_format_is_refused(run, tmp_path, monkeypatch, capsys):
    copy = damaged(run, tmp_path)
    card = json.loads((copy / "artifact.json").read_text())
    (copy / "artifact.json").write_text(json.dumps(card | {"format": 99}))
    code, message = call(monkeypatch, capsys, "sample", copy)
    assert code == 1 and "upgrade" in message


def test_a_corrupt_checkpoint_is_named_and_an_earlier_state_resumed(run, tmp_path, monkeypatch, capsys):
    copy = damaged(run, tmp_path)
    broken = next((copy / "checkpoints").glob("step-*/model.safetensors"))
    broken.write_bytes(b"broken")
    code, message = call(
        monkeypatch, capsys, "train", "digits", "--model", "made", "--steps", 5, *SMALL, "--out", copy, "--resume"
    )
    assert code == 0 and "damaged" in message and broken.parent.name in message, message
    assert (copy / "artifact.json").exists()


def test_another_request_does_not_resume(run, tmp_path, monkeypatch, capsys):
    copy = damaged(run, tmp_path)
    code, message = call(monkeypatch, capsys, "train", "digits", "--model", "kde", "--out", copy, "--resume")
    assert code == 2 and "made" in message


def test_a_full_disk_keeps_what_stood_there(run, tmp_path, monkeypatch, capsys):
    from pofx.artifact import load

    copy = damaged(run, tmp_path)
    artifact = load(copy)

    def full(tensors, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(pofx_error(), match="No space left"):
        artifact.save(copy)
    monkeypatch.undo()
    assert (load(copy).sample(4, seed=0) == artifact.sample(4, seed=0)).all()
    assert not [p for p in copy.iterdir() if "part" in p.name or "new" in p.name]


def pofx_error():
    from pofx.core.errors import PofxError

    return PofxError


def test_a_request_that_fails_leaves_the_run_resumable(run, tmp_path):
    import pofx
    from pofx.core.errors import UsageError

    out = shutil.copytree(run, tmp_path / "run")
    with pytest.raises(UsageError):  # refused by the constructor of the model
        pofx.fit("digits", model="gmm", steps=1, out=out, progress=False, components=-1)
    options = {"width": 16, "batch_size": 16}
    more = pofx.fit("digits", model="made", steps=5, out=out, resume=True, progress=False, **options)
    assert more.card["training"]["steps"] == 5


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_resumes(sign, tmp_path):
    out = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "pofx", "train", "digits", "--model", "made", "--steps", "100000", *SMALL),
        *("-o", "checkpoint_seconds=0.2", "--out", str(out)),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True)
    deadline = time.time() + 120
    while not list(out.glob("checkpoints/step-*/state.json")) or not (out / "artifact.json").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.time() < deadline, "no checkpoint within two minutes"
        time.sleep(0.1)
    process.send_signal(sign)
    _, error = process.communicate(timeout=60)
    if sign == signal.SIGINT:
        assert process.returncode == 130 and "--resume" in error
    from pofx.artifact import load

    assert len(load(out).sample(2)) == 2, "the last checkpoint can be used at once"
    state = json.loads(max(out.glob("checkpoints/step-*/state.json")).read_text())
    import pofx

    options = {"width": 16, "batch_size": 16, "checkpoint_seconds": 0.2}
    more = pofx.fit("digits", model="made", steps=state["step"] + 5, out=out, resume=True, progress=False, **options)
    assert more.card["training"]["steps"] == state["step"] + 5
