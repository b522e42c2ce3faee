"""`clip=FOLDER`: the image embedding, or without a projection the pooled token.

Radford et al., 2021, arXiv 2103.00020.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from pofx.evaluate.pretrained import Embed, Pretrained, transformer

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Clip(Pretrained):
    """`clip=FOLDER`: the image embedding of CLIP."""

    name: ClassVar = "clip"
    summary: ClassVar = "CLIP, of images"
    source: ClassVar = "Radford et al., 2021, arXiv 2103.00020"
    needs: ClassVar = "a FOLDER of 🤗 transformers (hf download openai/clip-vit-large-patch14 --local-dir FOLDER)"
    order: ClassVar = 62

    @classmethod
    def load(cls, given: str, device: torch.device) -> tuple[Embed, str, dict[str, Any]]:
        return transformer(cls, given, device, _network, _output, MEAN, DEVIATION)


def _network(library: Any, config: Mapping[str, Any]) -> Any:
    plain = (config.get("architectures") or [""])[0] == "CLIPVisionModel"
    return library.CLIPVisionModel if plain else library.CLIPVisionModelWithProjection


def _output(found: Any) -> Tensor:
    features: Tensor = found.image_embeds if "image_embeds" in found else found.pooler_output
    return features
