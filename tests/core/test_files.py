"""Laws of files: whole or not there, as the umask wants them, tidy after a kill, and never read without end."""

import json
import os
import socket
import stat
import subprocess
import sys

import pytest
import torch

from pofx.core.errors import CorruptError, UsageError, WriteError
from pofx.core.files import (
    digest,
    read_json,
    read_shapes,
    read_tensors,
    sha256,
    tidy,
    whole,
    write,
    write_bytes,
    write_json,
    write_tensors,
)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_every_file_has_the_mode_that_the_umask_states(tmp_path, umask, mode):
    def fill(aside):
        aside.mkdir()
        write_tensors(aside / "w.safetensors", {"a": torch.zeros(2)})

    def private(aside):
        os.close(os.open(aside, os.O_CREAT, 0o600))

    before = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", [1])
        write_tensors(tmp_path / "w.safetensors", {"a": torch.zeros(2)})
        write(tmp_path / "folder", fill)
        write(tmp_path / "p", private)
    finally:
        os.umask(before)
    for name in ("a.json", "w.safetensors", "folder/w.safetensors", "p"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode, name


def test_content_is_flushed_before_its_name_refers_to_it(tmp_path, monkeypatch):
    events = []
    flush, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append(os.readlink(f"/proc/self/fd/{fd}")), flush(fd))[1])
    monkeypatch.setattr(type(tmp_path), "replace", lambda p, t: (events.append(f"-> {t.name}"), replace(p, t))[1])
    write_json(tmp_path / "a.json", 1)
    assert [e.rsplit("/", 1)[-1][:7] for e in events] == [".a.json", "-> a.json"[:7], tmp_path.name[:7]]


def test_what_was_there_stays_when_a_write_fails(tmp_path):
    write_json(tmp_path / "a.json", "before")

    def fails(aside):
        aside.mkdir()
        write_json(aside / "inner.json", 1)
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteError) as error:
        write(tmp_path / "a.json", fails)
    assert error.value.reason == "No space left on device" and ".part" not in str(error.value)
    assert read_json(tmp_path / "a.json") == "before" and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_inner_failure_names_the_outer_target(tmp_path, monkeypatch):
    def full(tensors, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)

    def fill(aside):
        aside.mkdir()
        write_tensors(aside / "model.safetensors", {})

    with pytest.raises(WriteError, match=r"could not write \S+/step-1: No space left on device; make room"):
        write(tmp_path / "step-1", fill)
    assert not list(tmp_path.iterdir())


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "afile").write_text("x")
    with pytest.raises(WriteError, match="afile is a file, not a folder"):
        write_json(tmp_path / "afile" / "deep" / "a.json", 1)


def test_leftovers_of_dead_processes_are_removed_and_those_of_living_ones_are_not(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = socket.gethostname()
    gone = [f".a.json.{dead.pid}@{host}.part", f".weights.new.safetensors.{dead.pid}.part"]
    for name in gone:
        (tmp_path / name).write_text("half")
    (tmp_path / f".step-1.{dead.pid}@{host}.part").mkdir()
    (tmp_path / f".lost.json.{dead.pid}@{host}.old").write_text("moved away, and never back")
    (tmp_path / f".there.json.{dead.pid}@{host}.old").write_text("old")
    (tmp_path / "there.json").write_text("new")
    stays = {
        f".b.json.{os.getpid()}@{host}.part",
        f".c.{dead.pid}@another.host.org.part",
        ".mine.part",
        ".git.old",
    }
    for name in stays:
        (tmp_path / name).write_text("")
    tidy(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == stays | {"lost.json", "there.json"}
    assert (tmp_path / "there.json").read_text() == "new"
    tidy(tmp_path, alone=True)
    assert {p.name for p in tmp_path.iterdir()} == {".mine.part", ".git.old", "lost.json", "there.json"}


def test_only_bounded_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for read in (read_json, read_tensors, read_shapes, sha256):
        for name in ("pipe", "zero"):
            with pytest.raises(CorruptError, match="regular"):
                read(tmp_path / name)
        with pytest.raises(CorruptError):
            read(tmp_path)
        with pytest.raises(CorruptError, match="missing"):
            read(tmp_path / "none")
    for text in ("", "{", "[" * 100_000, "[" * 200 + "]" * 200, '{"a":' * 150 + "1" + "}" * 150, "\xff"):
        (tmp_path / "x.json").write_text(text, encoding="latin-1")
        with pytest.raises(CorruptError):
            read_json(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("[" * 90 + "]" * 90)
    assert read_json(tmp_path / "x.json")
    with (tmp_path / "x.json").open("wb") as file:
        file.truncate(1 << 40)  # sparse: it takes no room, and would take for ever
    with pytest.raises(CorruptError, match="bytes"):
        read_json(tmp_path / "x.json")


def test_texts_survive_whatever_characters_they_have(tmp_path):
    value = {"a": "é\ud800b", "b": "\u2028", "c": [1, 2.5, None, True]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert digest(value) == digest(json.loads(json.dumps(value))) == digest(dict(reversed(value.items())))
    assert digest(value) != digest({**value, "c": [1, 2.5, None, 1]})


def test_shapes_are_read_without_the_tensors(tmp_path):
    write_tensors(tmp_path / "w", {"a": torch.zeros(2, 3), "b": torch.zeros((), dtype=torch.int64)})
    assert read_shapes(tmp_path / "w") == {"a": ((2, 3), "F32"), "b": ((), "I64")}


def test_devices_and_pipes_are_not_replaced(tmp_path):
    """/dev/null had become a folder of pictures for every process of the machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="device or a pipe"):
        write_bytes(pipe, b"x")
    with pytest.raises(UsageError, match="device or a pipe"), whole(pipe):
        pass
    assert pipe.is_fifo()
