"""Peers of images: lets those that import torchvision be imported beside a PyTorch for CPUs, and makes their U-Net.

The index has no torchvision for such a PyTorch. The operators of its wheel do not load there, and its import fails on
two of them, which no benchmark calls. Their schemas alone are declared; call `declare` before the peer's import.
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


def unet_of_diffusers(shape, width):
    """UNet2DModel for images of a shape (channels, side, side): three resolutions, attention at the second."""
    declare()
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=shape[-1], in_channels=shape[0], out_channels=shape[0], layers_per_block=2, norm_num_groups=4,
        block_out_channels=(width, 2 * width, 2 * width),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
