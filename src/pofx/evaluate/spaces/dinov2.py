"""`dinov2=FOLDER`: the class token after the last norm (Oquab et al., 2023, arXiv 2304.07193)."""

from typing import Any, ClassVar

import torch

from pofx.evaluate.pretrained import Embed, Pretrained, transformer

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Dinov2(Pretrained):
    """`dinov2=FOLDER`: the class token of DINOv2."""

    name: ClassVar = "dinov2"
    summary: ClassVar = "DINOv2, of images"
    source: ClassVar = "Oquab et al., 2023, arXiv 2304.07193"
    needs: ClassVar = "a FOLDER of 🤗 transformers (hf download facebook/dinov2-large --local-dir FOLDER)"
    order: ClassVar = 61

    @classmethod
    def load(cls, given: str, device: torch.device) -> tuple[Embed, str, dict[str, Any]]:
        return transformer(
            cls, given, device, lambda library, _: library.Dinov2Model, lambda out: out.pooler_output, MEAN, DEVIATION
        )
