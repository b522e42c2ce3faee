"""`inception=FILE`: pool3 of Inception v3 as torch-fidelity computes it, bit for bit its features, with weights in a
.safetensors file: those of torch-fidelity, or your own under the same names.

Szegedy et al. (2016, arXiv 1512.00567); Obukhov et al. (2020). The network resizes by itself, as TensorFlow 1 did.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from pofx.evaluate.pretrained import Embed, Pretrained, matched, missing, tensors_in


class Inception(Pretrained):
    """`inception=FILE`: pool3 of Inception v3."""

    name: ClassVar = "inception"
    summary: ClassVar = "Inception v3, of images"
    source: ClassVar = "Szegedy et al., 2016, arXiv 1512.00567"
    needs: ClassVar = (
        "a .safetensors FILE of torch-fidelity's weights (weights-inception-2015-12-05-6726825d) or your own"
    )

    @classmethod
    def load(cls, given: str, device: torch.device) -> tuple[Embed, str, dict[str, Any]]:
        own = tensors_in(Path(given).expanduser(), cls.needs)
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except (ImportError, RuntimeError) as error:
            raise missing("inception", "torch-fidelity", "pip install 'pofx[inception]'", error) from error

        class Network(FeatureExtractorInceptionV3):  # type: ignore[misc]
            def load_state_dict(self, state: Any, *args: Any, **options: Any) -> Any:
                state = matched(own, self.state_dict(), given, cls.needs, unused=("fc.",))
                return super().load_state_dict(state, *args, **options)

        with tempfile.TemporaryDirectory() as aside:  # it unpickles the file that it is given: an empty one of ours
            empty = Path(aside) / "empty.pth"
            torch.save({}, empty)
            net = Network("inception", ["2048"], str(empty)).to(device)

        @torch.inference_mode()
        def embed(x: Tensor) -> Tensor:
            features: Tensor = net(x.to(device))[0]
            return features

        state = sorted(net.state_dict().items())
        digest = hashlib.sha256(b"".join(k.encode() + v.cpu().numpy().tobytes() for k, v in state)).hexdigest()
        return embed, digest[:16], {"dims": 2048, "network": "Inception v3, pool3", "resize": "to 299 as TensorFlow 1"}
