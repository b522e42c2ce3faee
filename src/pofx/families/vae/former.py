"""Options and weights of earlier versions as they are today."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def renewed(options: Mapping[str, Any], weights: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Of format 1, which chose the network by another size, counted the normals of the prior in `prior`, and held
    networks and prior under other names."""
    options, weights = dict(options), dict(weights)
    first = weights.get("encoder.first.weight", weights.get("networks.encoder.first.weight"))
    if first is not None:
        solid = any(key.endswith("encoder.down.weight") for key in weights)
        options["network"] = "conv" if first.ndim == 4 or solid else "mlp"
    if isinstance(options.get("prior"), int):
        parts = options["prior"]
        options |= {"prior": "mixture" if parts > 1 else "normal", "prior_parts": parts}
    names = {"prior_logits": "law.logits", "prior_means": "law.means", "prior_log_stds": "law.log_stds"}
    for key in [k for k in weights if k in names or k.startswith(("encoder.", "decoder."))]:
        weights[names.get(key, f"networks.{key}")] = weights.pop(key)
    weights.setdefault("items", torch.ones((), dtype=torch.int64))
    return options, weights


def read_then(options: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Any]:
    """The options under which weights of these shapes arose: convolutions read every condition that was a picture, and
    were the net of solids."""
    if any(key.startswith("conditioner.") and len(shape) == 4 for key, shape in shapes.items()):
        options = {**options, "condition_net": "conv"}
    if options.get("network", "auto") == "auto" and any(
        key.startswith("networks.encoder.") and len(shape) == 5 for key, shape in shapes.items()
    ):
        options = {**options, "network": "conv"}
    return options
