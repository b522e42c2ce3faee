"""Networks trained elsewhere as feature spaces of images, given by the path of their weights; nothing comes unasked.

`inception=FILE`: pool3 of Inception v3 with torch-fidelity's weights (Szegedy et al., 2016, arXiv 1512.00567; Obukhov
et al., 2020), bit for bit its features. `dinov2=FOLDER`: the class token after the last norm (Oquab et al., 2023, arXiv
2304.07193). `clip=FOLDER`: the image embedding, or without a projection the pooled token (Radford et al., 2021, arXiv
2103.00020). Both folders are as 🤗 transformers saves them.

Every image becomes 8-bit RGB first: levels are scaled to 0 … 255 and rounded, grey is repeated. Inception resizes by
itself, as TensorFlow 1 did; for the others the whole image is resized by PIL, bicubic with antialiasing, to the side
that preprocessor_config.json states (`crop_size`), or else the network's own, and standardised by its mean and
deviation.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pofx.core.errors import DataError, UsageError
from pofx.core.representation import Items

HINTS = {
    "inception": "a FILE of torch-fidelity's weights (weights-inception-2015-12-05-6726825d.pth), or 'download'",
    "dinov2": "a FOLDER of 🤗 transformers (hf download facebook/dinov2-large --local-dir FOLDER)",
    "clip": "a FOLDER of 🤗 transformers (hf download openai/clip-vit-large-patch14 --local-dir FOLDER)",
}
BATCH = 50
MEANS = {"dinov2": (0.485, 0.456, 0.406), "clip": (0.48145466, 0.4578275, 0.40821073)}
DEVIATIONS = {"dinov2": (0.229, 0.224, 0.225), "clip": (0.26862954, 0.26130258, 0.27577711)}


@dataclass(frozen=True)
class Pretrained:
    """A loaded network: uint8 RGB images (n, 3, h, w) → features (n, dims); facts describe it, plain JSON."""

    embed: Callable[[Tensor], Tensor]
    hash: str
    facts: Mapping[str, Any]
    levels: int

    def __call__(self, values: Any) -> np.ndarray:
        """Images in data space → float32 (n, dims)."""
        pixels = rgb(np.asarray(values), self.levels)
        parts = [self.embed(torch.as_tensor(pixels[i : i + BATCH])) for i in range(0, len(pixels), BATCH)]
        return torch.cat(parts).float().cpu().numpy()


def pretrained(name: str, given: str, train: Items) -> Pretrained:
    """The network `name` with the weights at `given`, for images like the training items.

    Raises:
        UsageError: no weights are given, items are no RGB or grey images, or a library is missing or broken.
        DataError: the weights are not there, or not those of this network.
    """
    if train.kind != "image":
        raise UsageError(f"the space '{name}' is one of images (got {train.kind} items): use 'pca' or 'random'")
    if not given:
        raise UsageError(f"the space '{name}' needs weights, which are never fetched unasked: {name}={HINTS[name]}")
    levels = int(train.facts.get("levels") or 256)
    rgb(np.asarray(train.values[:1]), levels)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "inception":
        embed, digest, facts = _inception(given, device)
    else:
        embed, digest, facts = _transformer(name, Path(given).expanduser(), device)
    return Pretrained(embed, digest, {"weights": Path(given).name, **facts}, levels)


def rgb(images: np.ndarray, levels: int) -> np.ndarray:
    """Images (n, h, w) or (n, h, w, c) of some levels → uint8 (n, 3, h, w); grey is repeated.

    Raises:
        UsageError: neither grey nor RGB.
    """
    pixels = channels_first(images)
    if pixels.shape[1] not in (1, 3):
        raise UsageError(f"images must be grey or RGB (got {pixels.shape[1]} channels): drop the others")
    if levels != 256:
        pixels = np.rint(pixels.astype(np.float64) * (255 / max(levels - 1, 1)))
    return np.ascontiguousarray(np.broadcast_to(pixels.astype(np.uint8), (len(pixels), 3, *pixels.shape[2:])))


def _inception(given: str, device: torch.device) -> tuple[Callable[[Tensor], Tensor], str, dict[str, Any]]:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except (ImportError, RuntimeError) as error:
        raise _missing("inception", "torch-fidelity", "pip install 'pofx[inception]'", error) from error
    path = None if given == "download" else Path(given).expanduser()
    if path is not None:
        if not path.is_file():
            raise DataError(f"there are no weights at {given}: give {HINTS['inception']}")
        try:  # torch-fidelity unpickles whatever the file holds; only tensors pass here
            torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise DataError(
                f"{given} holds no plain tensors ({type(error).__name__}): give {HINTS['inception']}"
            ) from error
    try:
        net = FeatureExtractorInceptionV3("inception", ["2048"], None if path is None else str(path))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{given} does not fit Inception v3 ({reason}): give {HINTS['inception']}") from error
    net = net.to(device)

    @torch.inference_mode()
    def embed(x: Tensor) -> Tensor:
        features: Tensor = net(x.to(device))[0]
        return features

    state = sorted(net.state_dict().items())
    digest = hashlib.sha256(b"".join(k.encode() + v.cpu().numpy().tobytes() for k, v in state)).hexdigest()
    return embed, digest[:16], {"dims": 2048, "network": "Inception v3, pool3", "resize": "to 299 as TensorFlow 1"}


def _transformer(
    name: str, folder: Path, device: torch.device
) -> tuple[Callable[[Tensor], Tensor], str, dict[str, Any]]:
    if not (folder / "config.json").is_file():
        raise DataError(f"there is no network at {folder} (no config.json): give {HINTS[name]}")
    try:
        from transformers import CLIPVisionModel, CLIPVisionModelWithProjection, Dinov2Model
    except (ImportError, RuntimeError) as error:
        raise _missing(name, "transformers", "pip install transformers", error) from error
    config = json.loads((folder / "config.json").read_text())
    projected = name == "clip" and config.get("architectures", [""])[0] != "CLIPVisionModel"
    kind = Dinov2Model if name == "dinov2" else CLIPVisionModelWithProjection if projected else CLIPVisionModel
    try:  # weights in safetensors alone: nothing is unpickled
        net = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval().to(device)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{folder} cannot be read as {kind.__name__} ({reason}): give {HINTS[name]}") from error
    stated = folder / "preprocessor_config.json"
    asked = json.loads(stated.read_text()) if stated.is_file() else {}
    crop = asked.get("crop_size", net.config.image_size)
    side = int(crop["height"] if isinstance(crop, dict) else crop)
    mean, deviation = (torch.tensor(asked.get(key) or of[name])[:, None, None] for key, of in
                       (("image_mean", MEANS), ("image_std", DEVIATIONS)))  # fmt: skip

    @torch.inference_mode()
    def embed(x: Tensor) -> Tensor:
        out = net(pixel_values=((resized(x, side) / 255 - mean) / deviation).to(device))
        features: Tensor = out.image_embeds if projected else out.pooler_output
        return features

    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), folder / "config.json", *([stated] if asked else [])]):
        digest.update(path.name.encode() + path.read_bytes())
    what = "image embedding" if projected else "pooled token"
    dims = int(net.config.projection_dim if projected else net.config.hidden_size)
    return embed, digest.hexdigest()[:16], {"dims": dims, "network": f"{name}, {what}", "resize": f"bicubic to {side}"}


def _missing(name: str, library: str, mend: str, error: Exception) -> UsageError:
    cause = error.__cause__ or error  # transformers wraps what went wrong
    if isinstance(cause, RuntimeError):
        mend = "torchvision was built for another torch; install the one that goes with this torch"
    return UsageError(f"the space '{name}' needs {library}, which cannot be imported ({cause}): {mend}")


def resized(x: Tensor, side: int) -> Tensor:
    """uint8 images (n, 3, h, w) → float32 (n, 3, side, side) in 0 … 255: PIL's bicubic filter, antialiased."""
    small = [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in
             x.permute(0, 2, 3, 1).numpy()]  # fmt: skip
    return torch.as_tensor(np.stack(small)).permute(0, 3, 1, 2).float()


def channels_first(images: np.ndarray) -> np.ndarray:
    """(n, h, w) or (n, h, w, c) → (n, c, h, w)."""
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
