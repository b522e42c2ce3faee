"""Networks trained elsewhere as feature spaces of pictures, given by the path of their weights; nothing is fetched
unless it is requested.

Every picture becomes 8-bit RGB first: levels are scaled to 0 … 255 and rounded, grey is repeated. A network of
🤗 transformers gets the whole picture, resized by PIL, bicubic with antialiasing, to the side that
preprocessor_config.json states (`crop_size`), or else the network's own, and standardised by its mean and deviation.
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pofx.core.errors import CorruptError, DataError, UsageError
from pofx.core.files import read_tensors
from pofx.core.representation import Items
from pofx.data.kind import Kind, kind_of
from pofx.evaluate.space import Space

BATCH = 50
Embed = Callable[[Tensor], Tensor]  # uint8 RGB (n, 3, h, w) → features (n, dims)


class Pretrained(Space):
    """A loaded network over the pictures of any kind of items that is shown as pictures."""

    order: ClassVar = 60

    def __init__(
        self,
        embed: Embed,
        kind: Kind,
        items_facts: Mapping[str, Any],
        facts: Mapping[str, Any],
        hash: str,
        folder: Path | None,
    ) -> None:
        super().__init__(facts, hash, folder)
        self.embed, self.kind, self.items_facts = embed, kind, dict(items_facts)

    @classmethod
    @abstractmethod
    def load(cls, given: str, device: torch.device) -> tuple[Embed, str, dict[str, Any]]:
        """The network of the weights at `given`, its hash, and its facts with `dims`.

        Raises:
            UsageError: a library is missing or broken.
            DataError: the weights are not there, or not those of this network.
        """

    @classmethod
    def check(cls, train: Items, given: str = "") -> None:
        kind = kind_of(train)
        if not kind.photographic:
            raise UsageError(f"the space '{cls.name}' is one of images (got {train.kind} items): use 'pca' or 'random'")
        super().check(train, given)
        rgb(pictures(kind, kind.take(train.values, np.arange(1)), train.facts))
        cls.load(given, torch.device("cpu"))

    @classmethod
    def fit(cls, train: Items, *, given: str = "", seed: int = 0, folder: Path | None = None) -> Self:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        embed, digest, facts = cls.load(given, device)
        return cls(embed, kind_of(train), train.facts, {"weights": Path(given).name, **facts}, digest, folder)

    def features(self, values: Any) -> np.ndarray:
        pixels = rgb(pictures(self.kind, values, self.items_facts))
        parts = [self.embed(torch.as_tensor(pixels[i : i + BATCH])) for i in range(0, len(pixels), BATCH)]
        return torch.cat(parts).float().cpu().numpy()


def pictures(kind: Kind, values: Any, facts: Mapping[str, Any]) -> np.ndarray:
    """Items as they are shown: uint8 (n, h, w) or (n, h, w, c), 0 to 255."""
    shown = kind.shown(values, facts).pictures
    assert shown is not None
    return shown


def rgb(shown: np.ndarray) -> np.ndarray:
    """Pictures uint8 (n, h, w) or (n, h, w, c) → uint8 (n, 3, h, w); grey is repeated.

    Raises:
        UsageError: neither grey nor RGB.
    """
    pixels = shown[:, None] if shown.ndim == 3 else shown.transpose(0, 3, 1, 2)
    if pixels.shape[1] not in (1, 3):
        raise UsageError(f"images must be grey or RGB (got {pixels.shape[1]} channels): drop the others")
    return np.ascontiguousarray(np.broadcast_to(pixels, (len(pixels), 3, *pixels.shape[2:])))


def transformer(
    space: type[Pretrained],
    given: str,
    device: torch.device,
    network: Callable[[Any, Mapping[str, Any]], Any],
    output: Callable[[Any], Tensor],
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
) -> tuple[Embed, str, dict[str, Any]]:
    """A network of 🤗 transformers in a folder.

    Args:
        network: the class to load, of the library and the content of config.json.
        output: the features in what the network returns.
        mean, deviation: of the colours, where the folder states none.
    """
    folder = Path(given).expanduser()
    if not (folder / "config.json").is_file():
        raise DataError(f"there is no network at {folder} (no config.json): give {space.needs}")
    try:
        import transformers

        kind = network(transformers, json.loads((folder / "config.json").read_text()))
    except (ImportError, RuntimeError) as error:
        raise missing(space.name, "transformers", "pip install transformers", error) from error
    try:  # weights in safetensors alone: nothing is unpickled
        net = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval().to(device)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{folder} cannot be read as {kind.__name__} ({reason}): give {space.needs}") from error
    stated = folder / "preprocessor_config.json"
    wanted = json.loads(stated.read_text()) if stated.is_file() else {}
    crop = wanted.get("crop_size", net.config.image_size)
    side = int(crop["height"] if isinstance(crop, dict) else crop)
    middle, spread = (torch.tensor(wanted.get(key) or of)[:, None, None] for key, of in
                      (("image_mean", mean), ("image_std", deviation)))  # fmt: skip

    @torch.inference_mode()
    def embed(x: Tensor) -> Tensor:
        return output(net(pixel_values=((resized(x, side) / 255 - middle) / spread).to(device)))

    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), folder / "config.json", *([stated] if wanted else [])]):
        digest.update(path.name.encode() + path.read_bytes())
    projected = "WithProjection" in kind.__name__
    what = "image embedding" if projected else "pooled token"
    dims = int(net.config.projection_dim if projected else net.config.hidden_size)
    facts = {"dims": dims, "network": f"{space.name}, {what}", "resize": f"bicubic to {side}"}
    return embed, digest.hexdigest()[:16], facts


def tensors_in(path: Path, needs: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors file by name. Other formats of weights are pickles, and nothing is ever unpickled.

    Raises:
        DataError: there is no such file, or it is of another format; the message states what to give.
    """
    if not path.is_file():
        raise DataError(f"there are no weights at {path}: give {needs}")
    if path.suffix.lower() != ".safetensors":
        raise DataError(
            f"{path} is no .safetensors file, and others may hold a program: give {needs}, or convert one that you "
            "trust where you trust it, by safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        )
    try:
        return read_tensors(path)
    except CorruptError as error:
        raise DataError(f"{path} is no file of safetensors ({error.__cause__}): give {needs}") from error


def matched(
    own: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str, needs: str, unused: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """The tensors that a network needs, from those of a file, whose names may begin with "module.".

    Args:
        expected: every tensor of the network.
        unused: beginnings of names that the features do not depend on; they may be absent or of another size.

    Raises:
        DataError: tensors are absent, of another shape, or not finite; the message names them.
    """
    given = {name.removeprefix("module."): tensor for name, tensor in own.items()}
    used = [k for k in expected if not k.startswith(unused) and not k.endswith("num_batches_tracked")]
    lacking = [k for k in used if k not in given]
    if lacking:
        has = f"it has {_few(list(given))}" if len(lacking) == len(used) else f"{len(used) - len(lacking)} are there"
        raise DataError(f"{path} lacks {len(lacking)} of {len(used)} tensors ({_few(lacking)}; {has}): give {needs}")
    wrong = [
        f"{k} {tuple(given[k].shape)}, not {tuple(expected[k].shape)}"
        for k in used
        if given[k].shape != expected[k].shape
    ]
    if wrong:
        raise DataError(f"{path} has tensors of another shape ({_few(wrong)}): give {needs}")
    broken = [k for k in used if not given[k].is_floating_point() or not bool(given[k].isfinite().all())]
    if broken:
        raise DataError(f"{path} has tensors that are not finite numbers ({_few(broken)}): give {needs}")
    return {k: given[k] if k in used else tensor for k, tensor in expected.items()}


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "") or "nothing"


def missing(name: str, library: str, remedy: str, error: Exception) -> UsageError:
    """A library that cannot be imported, and what to do."""
    cause = error.__cause__ or error  # transformers wraps what went wrong
    if isinstance(cause, RuntimeError):
        remedy = "torchvision was built for another torch; install the one that goes with this torch"
    return UsageError(f"the space '{name}' needs {library}, which cannot be imported ({cause}): {remedy}")


def resized(x: Tensor, side: int) -> Tensor:
    """uint8 images (n, 3, h, w) → float32 (n, 3, side, side) in 0 … 255: PIL's bicubic filter, antialiased."""
    small = [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in
             x.permute(0, 2, 3, 1).numpy()]  # fmt: skip
    return torch.as_tensor(np.stack(small)).permute(0, 3, 1, 2).float()
