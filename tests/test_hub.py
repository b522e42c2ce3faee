"""Runs on the Hub: what is pushed is what is loaded, at the stated revision, with the stated hash, or from the cache.

A folder plays the Hub: `huggingface_hub`'s functions are replaced by copies to and from it.
"""

import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pofx
import pofx.cli.main as cli
from pofx.core.errors import CorruptError, UsageError
from pofx.hub import address, name_of


@pytest.fixture(scope="module")
def run():
    return pofx.fit("moons", model="gmm", steps=1, progress=False)


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """The Hub as a folder: a folder per repository and revision. `offline` makes it out of reach, but for its cache."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError, RevisionNotFoundError

    state = SimpleNamespace(root=tmp_path / "hub", cache=tmp_path / "cache", offline=False, commits=0, calls=0)

    class Api:
        def create_repo(self, repo, private, exist_ok):
            (state.root / repo).mkdir(parents=True, exist_ok=True)

        def upload_folder(self, repo_id, folder_path, **options):
            state.commits += 1
            commit = f"{state.commits:040x}"
            for name in (commit, "main"):
                shutil.rmtree(state.root / repo_id / name, ignore_errors=True)
                shutil.copytree(folder_path, state.root / repo_id / name)
            return SimpleNamespace(oid=commit)

    def snapshot(repo, revision=None, allow_patterns=None, local_files_only=False, tqdm_class=None):
        """As the library lays its cache out: the files of a revision are links to those of the repository."""
        home = state.cache / f"models--{repo.replace('/', '--')}"
        cached, blobs = home / "snapshots" / (revision or "main"), home / "blobs"
        state.calls += not local_files_only
        if state.offline and not local_files_only:
            raise ConnectionError("no route")
        if local_files_only:
            if not cached.exists():
                raise LocalEntryNotFoundError("not cached")
            return str(cached)
        source = state.root / repo / (revision or "main")
        if not source.exists():
            raise RevisionNotFoundError("no such revision", response=SimpleNamespace(headers={}, status_code=404,
                                                                                    request=None))  # fmt: skip
        shutil.rmtree(cached, ignore_errors=True)
        cached.mkdir(parents=True)
        blobs.mkdir(exist_ok=True)
        for file in source.iterdir():
            blob = blobs / f"{(revision or 'main')}-{file.name}"
            shutil.copy(file, blob)
            (cached / file.name).symlink_to(Path("..") / ".." / "blobs" / blob.name)
        return str(cached)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return state


def test_what_is_pushed_is_what_is_loaded(run, remote):
    at = run.push("me/moons")
    assert at.startswith("hf://me/moons@" + "0" * 39 + "1#")
    for where in (at, "hf://me/moons", Path(at)):  # a Path loses one of the slashes
        assert np.array_equal(pofx.load(where).sample(5), run.sample(5))
    assert "library_name: pofx" in (remote.root / "me/moons/main/README.md").read_text()


def test_revision_and_hash_are_checked(run, remote):
    first = run.push("me/moons")
    pofx.fit("moons", model="gmm", steps=1, seed=1, progress=False).push("me/moons")
    assert np.array_equal(pofx.load(first).sample(5), run.sample(5))
    wrong = "hf://me/moons#" + first.partition("#")[2]
    with pytest.raises(CorruptError, match="changed"):
        pofx.load(wrong)
    with pytest.raises(UsageError, match="not found"):
        pofx.load("hf://me/moons@other")


def test_the_cache_serves_where_the_hub_is_not_reached(run, remote):
    run.push("me/moons")
    pofx.load("hf://me/moons")
    remote.offline = True
    assert np.array_equal(pofx.load("hf://me/moons").sample(5), run.sample(5))
    with pytest.raises(UsageError, match="not reached"):
        pofx.load("hf://me/other")


@pytest.mark.parametrize("text", ["hf://me", "hf:///x", "hf://me/x@", "hf://me/x#zz", "hf://me/x/y", "hf://../../etc"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError, match="hf://user/name"):
        pofx.load(text)


def test_verbs_fetch_a_run_once_and_write_nothing_beside_it(run, remote, tmp_path, monkeypatch, capsys):
    run.push("me/moons")
    monkeypatch.chdir(tmp_path)
    for line, seen in (
        ("info hf://me/moons", "gmm on moons"),
        ("sample hf://me/moons -n 3 --out drawn.csv", "3 samples"),
        ("score hf://me/moons moons --split test --out scores.csv", "log p"),
        ("card hf://me/moons", "library_name"),
        ("push hf://me/moons hf://me/copy", "hf://me/copy@"),
    ):
        before = remote.calls
        assert call(monkeypatch, line.split()) == 0, capsys.readouterr().err
        assert seen in capsys.readouterr().out and remote.calls == before + 1
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("hf")]
    assert pofx.info("hf://me/moons")["summary"].startswith("gmm")
    assert name_of(remote.cache / "models--me--moons" / "snapshots" / "main") == "me--moons"


def call(monkeypatch, arguments):
    """The exit code of a call in this process."""
    monkeypatch.setattr("sys.argv", ["pofx", *arguments])
    monkeypatch.setattr(signal, "signal", lambda *a: None)
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_a_link_out_of_the_repository_is_refused(run, remote, tmp_path):
    run.push("me/moons")
    pofx.load("hf://me/moons")
    cached = remote.cache / "models--me--moons" / "snapshots" / "main" / "artifact.json"
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_bytes(cached.read_bytes())
    cached.unlink()
    cached.symlink_to(elsewhere)
    with pytest.raises(CorruptError, match="link"):
        pofx.load(cached.parent)


def test_what_the_library_for_http_raises_is_one_sentence(run, monkeypatch):
    import huggingface_hub

    class Api:
        def create_repo(self, *args, **options):
            raise Exception("Connection refused")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    with pytest.raises(UsageError, match="cannot be written.*refused"):
        run.push("me/moons")


def test_local_paths_are_no_addresses(run):
    assert address("runs/hf") is None
    with pytest.raises(UsageError, match="user/name"):
        run.push("name")
