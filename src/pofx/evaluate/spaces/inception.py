"""`inception=FILE`: pool3 of Inception v3 with torch-fidelity's weights, bit for bit its features.

Szegedy et al. (2016, arXiv 1512.00567); Obukhov et al. (2020). The network resizes by itself, as TensorFlow 1 did.
"""

import hashlib
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from pofx.core.errors import DataError
from pofx.evaluate.pretrained import Embed, Pretrained, missing


class Inception(Pretrained):
    """`inception=FILE`: pool3 of Inception v3."""

    name: ClassVar = "inception"
    summary: ClassVar = "Inception v3, of images"
    source: ClassVar = "Szegedy et al., 2016, arXiv 1512.00567"
    needs: ClassVar = "a FILE of torch-fidelity's weights (weights-inception-2015-12-05-6726825d.pth), or 'download'"

    @classmethod
    def load(cls, given: str, device: torch.device) -> tuple[Embed, str, dict[str, Any]]:
        path = None if given == "download" else Path(given).expanduser()
        if path is not None:
            if not path.is_file():
                raise DataError(f"there are no weights at {given}: give {cls.needs}")
            try:  # torch-fidelity unpickles whatever the file holds; only tensors pass here
                torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:
                raise DataError(f"{given} holds no plain tensors ({type(error).__name__}): give {cls.needs}") from error
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except (ImportError, RuntimeError) as error:
            raise missing("inception", "torch-fidelity", "pip install 'pofx[inception]'", error) from error
        try:
            net = FeatureExtractorInceptionV3("inception", ["2048"], None if path is None else str(path))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{given} does not fit Inception v3 ({reason}): give {cls.needs}") from error
        net = net.to(device)

        @torch.inference_mode()
        def embed(x: Tensor) -> Tensor:
            features: Tensor = net(x.to(device))[0]
            return features

        state = sorted(net.state_dict().items())
        digest = hashlib.sha256(b"".join(k.encode() + v.cpu().numpy().tobytes() for k, v in state)).hexdigest()
        return embed, digest[:16], {"dims": 2048, "network": "Inception v3, pool3", "resize": "to 299 as TensorFlow 1"}
