"""Lets peers that import torchvision be imported beside a PyTorch for CPUs, for which the index has no torchvision.

The operators of its wheel do not load there, and its import fails on two of them, which no benchmark calls. Their
schemas alone are declared; call `declare` before the peer's import.
"""

import importlib.util

import torch

_DECLARED = []


def declare():
    """Declare what `import torchvision` needs, where its own operators cannot be loaded."""
    if _DECLARED or importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "does not exist" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")  # what it declares goes when it is collected
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(library)
