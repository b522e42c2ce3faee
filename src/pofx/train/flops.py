"""FLOPs of training: those of the matrix products, convolutions and attention that a step executed.

Elementwise work is not counted, as is usual (Kaplan et al., 2020, arXiv 2001.08361, section 2.1). The first descent of
a phase is counted; all others are taken to need as many.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from pofx.core.model import Batch, Phase


class _Watch(TorchDispatchMode):
    """Adds up the FLOPs of every operation without changing any."""

    def __init__(self) -> None:
        super().__init__()
        self.total, self.products, self.narrow = 0, 0, False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled while it counts, and the detour around the compiler doubles the cost

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        rule = flop_registry.get(func._overloadpacket)
        count = 0
        if rule is not None:
            count = rule(*args, **(kwargs or {}), out_val=out)
        elif func._overloadpacket in _ATTENTION:
            query, key, value = args[_ATTENTION[func._overloadpacket] :][:3]
            count = _attention(query.shape, key.shape, value.shape, backward=len(args) > 5)
        elif func._schema.name == "mkldnn::_linear_pointwise":  # that of `maths.products`
            count = 2 * out.numel() * args[0].shape[-1]
        self.total, self.products = self.total + count, self.products + bool(count)
        self.narrow |= func._overloadpacket is torch.ops.aten.convolution and args[3][-1] > 1 and out.shape[-1] == 1
        return out


# Attention on the CPU has no rule in PyTorch: operation → position of query, key and value in its arguments.
_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: 0,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: 1,
}


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, backward: bool) -> int:
    """Two products forward; backward recomputes the scores and makes four more."""
    heads, queries, width = math.prod(query[:-2]), query[-2], query[-1]
    scores, mix = 2 * heads * queries * key[-2] * width, 2 * heads * queries * key[-2] * value[-1]
    return 3 * scores + 2 * mix if backward else scores + mix


class Flops:
    """FLOPs of a step by the name of its phase; `known` is plain and survives a checkpoint."""

    def __init__(self, known: dict[str, int] | None = None) -> None:
        self.known = dict(known or {})

    @contextmanager
    def of(self, phase: str) -> Iterator[None]:
        """Counts what is executed in its block (loss and gradient), if it is the first descent of the phase."""
        if phase in self.known:
            yield
            return
        with _Watch() as watch:
            yield
        self.known[phase] = watch.total


def mean_product(objective: nn.Module, phases: Iterable[Phase], batch: Batch) -> float:
    """Multiplications of a product on average, in the losses of all phases; 0 where there is none, or where a strided
    convolution ends in grids of one column: on processors its kernels of bf16 leave these unset (oneDNN with AMX, found
    in PyTorch 2.13). The objective is a copy, for its buffers may change."""
    with _Watch() as watch:
        for phase in phases:
            objective(phase.name, batch)
    return 0.0 if watch.narrow else watch.total / 2 / max(watch.products, 1)
