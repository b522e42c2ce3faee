"""Runs on the Hugging Face Hub: "hf://user/name", with a revision and a hash that the content must have.

`hf://user/name@REVISION#HASH`: the revision is a branch, a tag or a commit; the hash is the first digits of that
in artifact.json, which covers everything in it and the hash of the weights. What was fetched once is read from the
cache of `huggingface_hub` where the Hub is not reached. Nothing that is fetched is executed: an artifact is JSON
and tensors.
"""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pofx.core.errors import CorruptError, UsageError
from pofx.core.files import read_json, write_bytes

ADDRESS = re.compile(r"hf:/{1,2}([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?(?:#([0-9a-f]{8,64}))?")
PARTS = ("artifact.json", "weights-*.safetensors", "README.md", "evaluation.json")


@dataclass(frozen=True)
class Address:
    """Where a run is on the Hub."""

    repo: str
    revision: str | None = None
    hash: str | None = None

    def __str__(self) -> str:
        return (
            f"hf://{self.repo}"
            + (f"@{self.revision}" if self.revision else "")
            + (f"#{self.hash}" if self.hash else "")
        )


def address(path: Any) -> Address | None:
    """The address that a path is; None for a path of this machine.

    Raises:
        UsageError: it begins as an address and is none.
    """
    text = str(path)
    if not text.startswith("hf:/"):
        return None
    found = ADDRESS.fullmatch(text)
    if found is None:
        raise UsageError(
            f"an address on the Hub is hf://user/name, with @revision and #hash (got "
            f"{'hf://' + text.removeprefix('hf:').lstrip('/')!r})"
        )
    return Address(*found.groups())


def cached_in(folder: Path) -> Path:
    """The folder in which the files of a run's folder lie: in the cache of the Hub, where the files of a revision are
    links to those of its repository, the folder of that; else itself."""
    repository = folder.parent.parent
    cached = folder.parent.name == "snapshots" and repository.name.startswith("models--")
    return repository if cached else folder


def name_of(folder: Path) -> str:
    """The name of a run among others: of its folder, or of its repository."""
    place = folder.resolve()
    return (place if cached_in(place) == place else cached_in(place)).name.removeprefix("models--")


def fetched(where: Address) -> Path:
    """The folder of a run on the Hub, fetched or from the cache.

    Raises:
        UsageError: there is no such repository or revision, or it is neither reached nor in the cache.
        CorruptError: its hash is another one than the address states.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    wanted: dict[str, Any] = {"revision": where.revision, "allow_patterns": list(PARTS), "tqdm_class": _bar()}
    try:
        folder = Path(snapshot_download(where.repo, **wanted))
    except (RepositoryNotFoundError, RevisionNotFoundError, GatedRepoError, HFValidationError) as error:
        raise UsageError(f"{where} is not found: check name, revision and access ({_line(error)})") from error
    except (OSError, LocalEntryNotFoundError) as error:  # errors of the connection are OSError's
        try:
            folder = Path(snapshot_download(where.repo, local_files_only=True, **wanted))
        except (OSError, LocalEntryNotFoundError):
            reason = f"the Hub is not reached and the cache has no {where} ({_line(error)})"
            raise UsageError(f"{reason}: connect, or copy the folder of the run") from error
    if where.hash:
        stated = read_json(folder / "artifact.json").get("hash", "")
        if not str(stated).startswith(where.hash):
            raise CorruptError(f"{where} has the hash {str(stated)[:16]}: it was changed after you noted its address")
    return folder


def push(run: Any, repo: str, *, private: bool = True, message: str = "", evaluation: Any = None) -> str:
    """Upload a run with its model card; returns its address with commit and hash.

    Raises:
        UsageError: no name of a repository, or no permission to write there.
    """
    from huggingface_hub import HfApi

    repo = repo.removeprefix("hf://")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise UsageError(f"a repository is user/name, as of hf://user/name (got {repo!r}): pass 'me/digits-flow'")
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(run.save(Path(aside) / "run"))
        write_bytes(folder / "README.md", run.model_card(evaluation).encode("utf-8", "surrogatepass"))
        stated = str(read_json(folder / "artifact.json")["hash"])
        api = HfApi()
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            done = api.upload_folder(repo_id=repo, folder_path=folder, allow_patterns=list(PARTS),
                                     delete_patterns=["weights-*.safetensors"],
                                     commit_message=message or f"{run.name} by pofx")  # fmt: skip
        except Exception as error:  # of the library, and of the libraries for HTTP that it has had
            raise UsageError(f"{repo} cannot be written ({_line(error)}): log in with `hf auth login`") from error
    return str(Address(repo, getattr(done, "oid", None), stated[:16]))


def _bar() -> Any:
    """The bar of the library, drawn on terminals alone."""
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg, misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": options.get("disable") or None})

    return Bar


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
