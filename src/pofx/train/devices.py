"""Devices and processes of a training, by 🤗 Accelerate, and the precision of its products."""

import atexit
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast

Cast = Callable[[], AbstractContextManager[Any]]
SMALL = 2**22  # multiplications, below which a product in bf16 with its conversions is no faster on a processor


def processes() -> Accelerator:
    """The GPUs and processes that Accelerate finds: without GPUs the processes of torchrun share the CPU (gloo)."""
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # parameters of other phases than the one
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[unused])
    atexit.register(_leave)
    return accelerator


def _leave() -> None:
    """Let gloo's threads free their tensors before interpreter shutdown, then end the process group.

    Freeing one later needs the interpreter's lock and aborts the process; the threads outlive the group, since DDP
    holds a reference to it. Sleeping hands them the lock.
    """
    if torch.distributed.is_initialized():
        time.sleep(0.2)
        torch.distributed.destroy_process_group()


def agreed(value: float, accelerator: Accelerator) -> float:
    """The main process's value in every process, so that all stop at the same step."""
    if accelerator.num_processes == 1:
        return value
    return float(broadcast(torch.tensor(value, dtype=torch.float64, device=accelerator.device)))


def autocast(precision: str, device: torch.device, product: float = math.inf) -> Cast:
    """The context of a loss: bf16 by choice, or with "auto" where the device multiplies it faster: on a processor,
    only where a product has enough multiplications on average (`product`) to outweigh the conversions; never where
    there are none, or none that bf16 may make (0)."""
    fast = device.type == "cuda" or (device.type == "cpu" and multiplies_bf16() and product >= SMALL)
    if (precision == "bf16" and product > 0) or (precision == "auto" and fast):
        return lambda: torch.autocast(device.type, torch.bfloat16)
    return nullcontext


def channels_last(module: torch.nn.Module) -> None:
    """Put the channels of a module's convolutions over pictures last in memory, where products of bf16 read them."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:  # of clips and solids, with five sides, torch has no such kernels on a processor
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)


def layout(weight: torch.Tensor) -> torch.memory_format:
    """Whether channels come last in memory, as far as a weight's sides show it."""
    last = weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def multiplies_bf16() -> bool:
    """Whether this CPU has instructions for products of bf16: AMX tiles, or AVX-512's dot product."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
